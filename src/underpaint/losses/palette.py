"""Terms on the pixels' own colours: what a network sees at its first layer only in part, and an eye sees first.

`ColorTerm` asks for the style's colours in the style's proportions, `PaletteTerm` for no colour that the style does not have.
Both look at sRGB pixels as they are, without a network, and are deterministic, so that a line search may use them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from underpaint.losses.terms import FLOOR, PixelTerm

DIRECTIONS = 8
"""Directions in RGB along which colours are compared."""

MOST_PIXELS = 20_000
"""A picture with more is averaged over 2×2 pixels until it has fewer: sorting would cost more than the network."""

GRID = 33
"""Points along each side of the RGB cube at which the palette is measured; linear between them."""

SAMPLE, NEAREST = 8000, 10
"""Colours of the style that stand for it, and how many of them a colour's distance is the mean of."""

FLOOR_DELTA_E = 5.0
"""The normaliser of the palette term is at least this, ΔE."""


def directions() -> torch.Tensor:
    """(DIRECTIONS, 3) unit vectors spread over half a sphere (a Fibonacci lattice)."""
    i = torch.arange(DIRECTIONS, dtype=torch.float64) + 0.5
    angle, height = torch.pi * (1 + 5**0.5) * i, 1 - i / DIRECTIONS
    radius = (1 - height**2).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), height], 1).float()


GREY = 2 / 255
"""Channels that differ by no more than this are grey."""


def is_grey(rgb: np.ndarray) -> bool:
    """Whether a picture (H, W, 3) has no colours, but for one pixel in a thousand."""
    return bool(np.mean(np.ptp(rgb, axis=2) > GREY) < 1e-3)


def halvings(height: int, width: int) -> int:
    """How many times a picture is averaged over 2×2 pixels before its colours are compared."""
    count = 0
    while (height >> count) * (width >> count) > MOST_PIXELS:
        count += 1
    return count


def shrink(image: torch.Tensor, count: int) -> torch.Tensor:
    """(1, C, H, W) averaged over blocks of 2^count pixels a side; what is left over at the far edges is dropped."""
    return F.avg_pool2d(image, 1 << count) if count else image


@dataclass(frozen=True)
class Colors:
    """The colours of a region, along each direction.

    Attributes:
        where: (m,) places in the flattened (shrunk) picture; None for all of it.
        values: (DIRECTIONS, m), ascending: what the region's colours should be.
        share: the region's part of the picture's area, 0..1.
    """

    where: torch.Tensor | None
    values: torch.Tensor
    share: float


def goal(style: torch.Tensor, count: int) -> torch.Tensor:
    """Colours (3, n) of a style as `count` quantiles along each direction, (DIRECTIONS, count), ascending."""
    values = (directions().to(style) @ style).sort(dim=1).values
    return F.interpolate(values[None], size=count, mode="linear", align_corners=False)[0]


@dataclass(frozen=True)
class ColorTerm(PixelTerm):
    """Sliced Wasserstein distance, squared, of the pixels' colours to the style's (Bonneel et al. 2015, "Sliced and Radon
    Wasserstein Barycenters of Measures", in RGB): mean over directions and pixels of (sorted value − style's quantile)².

    Attributes:
        regions: one entry a region; all of the picture without masks.
        normaliser: the distance at the content picture, so that the term starts at 1 there.
    """

    regions: tuple[Colors, ...]
    halvings: int
    normaliser: float

    def value_and_gradient(self, image: torch.Tensor) -> tuple[float, torch.Tensor]:
        """Of (1, 3, H, W); a float and the unweighted gradient."""
        small = shrink(image, self.halvings)
        flat, axes = small[0].flatten(1), directions().to(image)
        value, g = 0.0, torch.zeros_like(flat)
        for region in self.regions:
            own = flat if region.where is None else flat[:, region.where]
            values, order = (axes @ own).sort(dim=1, stable=True)
            difference = values - region.values
            value += region.share * float(difference.square().mean())
            difference *= 2 * region.share / difference.numel() / self.normaliser
            back = axes.T @ torch.zeros_like(difference).scatter_(1, order, difference)
            if region.where is None:
                g += back
            else:
                g.index_add_(1, region.where, back)
        return value / self.normaliser, _enlarged(g.view_as(small), self.halvings, image)


def color_term(
    name: str, weight: float, content: torch.Tensor, styles: Sequence[torch.Tensor], covers: Sequence[np.ndarray]
) -> ColorTerm:
    """The term at one size.

    Args:
        content: (1, 3, H, W).
        styles: the style's colours (3, n) for each region.
        covers: where each region lies in the content, (h, w) of 0 and 1; none for one region that is all of it.
    """
    count = halvings(*content.shape[2:])
    small = shrink(content, count)
    total, regions = small[0, 0].numel(), []
    for style, where in zip(styles, _places(covers, small), strict=True):
        number = total if where is None else len(where)
        if number:
            regions.append(Colors(where, goal(style, number), number / total))
    term = ColorTerm(name, weight, tuple(regions), count, 1.0)
    value, _ = term.value_and_gradient(content)
    size = sum(region.share * float(region.values.square().mean()) for region in regions)
    return replace(term, normaliser=max(value, FLOOR * size, 1e-12))


def _places(covers: Sequence[np.ndarray], small: torch.Tensor) -> list[torch.Tensor | None]:
    """The pixels of each region in the flattened picture: each pixel belongs to the region that covers most of it."""
    if not covers:
        return [None]
    parts = torch.stack([torch.from_numpy(np.ascontiguousarray(part)).float() for part in covers])
    owner = F.adaptive_avg_pool2d(parts[None], (small.shape[2], small.shape[3]))[0].argmax(0).flatten().to(small.device)
    return [torch.nonzero(owner == number)[:, 0] for number in range(len(covers))]


def _enlarged(g: torch.Tensor, count: int, image: torch.Tensor) -> torch.Tensor:
    """The way back of `shrink`: each pixel gets its part of its block's gradient."""
    if not count:
        return g
    side = 1 << count
    large = g.repeat_interleave(side, 2).repeat_interleave(side, 3).div_(side * side)
    return F.pad(large, (0, image.shape[3] - large.shape[3], 0, image.shape[2] - large.shape[2]))


def field(styles: Sequence[np.ndarray]) -> torch.Tensor:
    """How far each colour is from the palette of some pictures: the mean distance to its nearest colours in CIELAB, ΔE.

    Args:
        styles: colours (n, 3) of each picture, sRGB, 0..1.

    Returns:
        (1, 1, GRID, GRID, GRID) float32 by blue, green, red, for `at_colors`.
    """
    from scipy.spatial import cKDTree
    from skimage.color import rgb2lab

    random = np.random.default_rng(0)
    each = max(1, SAMPLE // len(styles))
    some = np.concatenate([s[random.choice(len(s), min(len(s), each), replace=False)] for s in styles])
    tree = cKDTree(rgb2lab(some[:, None])[:, 0])
    axis = np.linspace(0, 1, GRID)
    bgr = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    count = min(NEAREST, len(some))
    distances = tree.query(rgb2lab(bgr[:, None, ::-1])[:, 0], k=count)[0].reshape(len(bgr), count)
    return torch.from_numpy(distances.mean(1).reshape(1, 1, GRID, GRID, GRID)).float()


def at_colors(cells: torch.Tensor, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A `field` at colours (3, n), and its slopes by red, green and blue: (n,) and (3, n).

    Linear between the grid's points. Colours outside 0..1 have the nearest one's value; at the bounds the slopes are those
    inside, so that black may become dark blue. By hand: the way back of `torch.nn.functional.grid_sample` is not
    deterministic on CUDA, and takes twice as long.
    """
    side = cells.shape[-1]
    scaled = pixels.clamp(0, 1) * (side - 1)
    low = scaled.floor().clamp_max_(side - 2)
    r, g, b = scaled - low
    first = (low[2].long() * side + low[1].long()) * side + low[0].long()
    steps = [i * side * side + j * side + k for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    corners = torch.stack([cells.flatten()[first + step] for step in steps]).view(2, 2, 2, -1).to(pixels.dtype)
    along_red, by_red = torch.lerp(corners[:, :, 0], corners[:, :, 1], r), corners[:, :, 1] - corners[:, :, 0]
    along_green, by_green = torch.lerp(along_red[:, 0], along_red[:, 1], g), along_red[:, 1] - along_red[:, 0]
    by_red = torch.lerp(by_red[:, 0], by_red[:, 1], g)
    slopes = [torch.lerp(each[0], each[1], b) for each in (by_red, by_green)] + [along_green[1] - along_green[0]]
    inside = (pixels >= 0) & (pixels <= 1)
    return torch.lerp(along_green[0], along_green[1], b), torch.stack(slopes) * (side - 1) * inside


@dataclass(frozen=True)
class PaletteTerm(PixelTerm):
    """Mean distance of the pixels' colours to the style's nearest ones (`field`).

    Unlike a distance of distributions it says of each pixel by itself whether the style has its colour.

    Attributes:
        places: of each region's pixels in the flattened picture, (m,); None for all of it.
        fields: of the colours that paint each region, see `field`.
        normaliser: ΔE at the content picture, so that the term starts at 1 there.
    """

    places: tuple[torch.Tensor | None, ...]
    fields: tuple[torch.Tensor, ...]
    normaliser: float

    def distance(self, image: torch.Tensor) -> torch.Tensor:
        """Mean over the pixels of (1, 3, H, W), ΔE."""
        return self._at(image)[0]

    def value_and_gradient(self, image: torch.Tensor) -> tuple[float, torch.Tensor]:
        """Of (1, 3, H, W); a float and the unweighted gradient."""
        distance, slopes = self._at(image)
        return float(distance) / self.normaliser, slopes.div_(self.normaliser).view_as(image)

    def _at(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The distance and its gradient by the pixels, (3, H·W)."""
        pixels = image[0].flatten(1)
        total, slopes, count = pixels.new_zeros(()), torch.zeros_like(pixels), pixels.shape[1]
        for place, of_style in zip(self.places, self.fields, strict=True):
            where = slice(None) if place is None else place
            values, slopes[:, where] = at_colors(of_style, pixels[:, where])
            total = total + values.sum()
        return total / count, slopes.div_(count)


def palette_term(
    name: str, weight: float, content: torch.Tensor, fields: Sequence[torch.Tensor], covers: Sequence[np.ndarray]
) -> PaletteTerm:
    """The term at one size; arguments as of `color_term`, with the style's `field` for each region."""
    term = PaletteTerm(name, weight, tuple(_places(covers, content)), tuple(fields), 1.0)
    return replace(term, normaliser=max(float(term.distance(content)), FLOOR_DELTA_E))
