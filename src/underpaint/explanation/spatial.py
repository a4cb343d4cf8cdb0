"""Where a layer acted in the pastiche, and where in the style picture a place's features come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from underpaint.errors import UnderpaintError
from underpaint.networks.base import Network

SIDE = 64
"""Feature maps are compared at no more than this many positions a side: 4,096 × 4,096 pairs are 17 million."""

CHUNK = 1024
"""Positions of the pastiche compared at a time: 1,024 × 4,096 similarities take 17 MB."""

STILL = 1e-12
"""Squared 0..1 pixel values, a mean over a region: below it nothing moved, what there is is float32's rounding."""


def acted(columns: Mapping[str, np.ndarray], change: np.ndarray, strides: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Where each term moved the picture: its column times the change, Σ_RGB c·Δ, smoothed over the term's scale.

    Unsmoothed (a stride of 0), the maps of columns that sum to Δ sum to |Δ|² at every pixel. Where the ledger has
    a clamp, that holds with the clamp as a column. Smoothing replicates the edge, so it keeps a map's sum but near
    the edges.

    Args:
        columns: by term name, (3, H, W), signed differences of 0..1 pixel values: the ledger's.
        change: (3, H, W), pastiche − start, same unit.
        strides: by term name, the Gaussian's sigma in pixels, 0 or more.

    Returns:
        By term name, (H, W) float32, squared 0..1 pixel values. Positive: the term pulled the pixel the way it went;
        negative: against it.

    Raises:
        UnderpaintError: a column of another shape than the change, or a term without a stride.
    """
    from scipy.ndimage import gaussian_filter

    if change.ndim != 3 or change.shape[0] != 3:
        raise UnderpaintError(f"change: has shape {change.shape}; give (3, height, width)")
    maps: dict[str, np.ndarray] = {}
    for name, column in columns.items():
        if column.shape != change.shape:
            raise UnderpaintError(f"columns: {name} has shape {column.shape}; give {change.shape}, the change's")
        if not strides.get(name, -1) >= 0:
            raise UnderpaintError(f"strides: {name} has none of 0 or more; give its scale in pixels")
        product = (column.astype(np.float64) * change).sum(0)
        maps[name] = gaussian_filter(product, strides[name], mode="nearest").astype(np.float32)
    return maps


def share_in(maps: Mapping[str, np.ndarray], region: np.ndarray) -> dict[str, float]:
    """Each term's share of what happened in a region: its map's sum there, divided by all the maps' sum there.

    Smoothed maps carry in what happened within about their sigma outside the region; unsmoothed ones do not.

    Args:
        maps: by term name, (H, W): from `acted`.
        region: (H, W) boolean.

    Returns:
        By term name, without a unit. They sum to 1; a term that pulled against the change has a negative one, and
        others can then pass 1.

    Raises:
        UnderpaintError: no maps, a region that is empty or of another shape, or one without a movement to share:
            nothing moved there, or the terms cancel or together pulled against the change, when shares mean nothing.
    """
    if not maps:
        raise UnderpaintError("maps: there are none; give at least one term's")
    shapes = {np.shape(part) for part in maps.values()}
    if len(shapes) > 1:
        raise UnderpaintError(f"maps: have different shapes, {sorted(shapes)}; give maps of one pastiche")
    region = _region(region, shapes.pop())
    sums = {name: float(part[region].sum(dtype=np.float64)) for name, part in maps.items()}
    total, size = sum(sums.values()), sum(map(abs, sums.values()))
    if size <= STILL * np.count_nonzero(region):
        raise UnderpaintError("region: nothing moved there, so there is nothing to share; choose another")
    if total <= 1e-6 * size:
        raise UnderpaintError("region: the terms there cancel or pulled against the change; choose another, or add the clamp")
    return {name: part / total for name, part in sums.items()}


@dataclass(frozen=True, eq=False)
class Sources:
    """The nearest place of the style picture for each cell of the pastiche: see `sources`.

    Attributes:
        layer: whose features were compared.
        rows, columns: (h, w) int32, the centre of the nearest style cell, in pixels of the style picture.
        similarity: (h, w) float32, the cosine of the two centred features, -1..1.
        stride: side of a cell, pixels, in both pictures. Cell (i, j) begins at pixel (i·stride, j·stride); the last
            row and column may be cut off by the picture's edge.
    """

    layer: str
    rows: np.ndarray
    columns: np.ndarray
    similarity: np.ndarray
    stride: int


@torch.no_grad()
def sources(network: Network, pastiche: torch.Tensor, style: torch.Tensor, layer: str) -> Sources:
    """Which place of the style picture has the features most like those of each place of the pastiche.

    Single positions are compared (3×3 patches, as in Li and Wand 2016, arXiv:1601.04589, are too heavy for shallow
    layers), by the cosine of features less the style's mean feature. Where a feature map has more than `SIDE`
    positions a side, both pictures' maps are first averaged over blocks of k×k positions, k the least that brings
    both to `SIDE`: 512 pixels at relu1_1 become 64×64 cells of 8 pixels. One k for both, since averages over
    different areas do not compare; so a much larger style picture makes the pastiche's cells larger too.

    It is a likeness, not a cause: the statistics that the pastiche was made by forget where things are.

    Args:
        network: that has the layer.
        pastiche: (1, 3, H, W) float32 sRGB, 0..1.
        style: (1, 3, H', W'), the same, at the size that the pastiche saw.
        layer: one of the network's.

    Raises:
        UnderpaintError: no such layer, or not one picture each.
    """
    for field, picture in (("pastiche", pastiche), ("style", style)):
        if picture.ndim != 4 or picture.shape[:2] != (1, 3):
            raise UnderpaintError(f"{field}: has shape {tuple(picture.shape)}; give one picture, (1, 3, height, width)")
    step = network.anatomy.layer(layer).stride
    longest = -(-max(*pastiche.shape[2:], *style.shape[2:]) // step)
    block = -(-longest // SIDE)
    ours, theirs = _cells(network, pastiche, layer, block), _cells(network, style, layer, block)
    likeness, index = _nearest(ours.flatten(1).T, theirs.flatten(1).T)
    i, j = np.divmod(index.reshape(ours.shape[1:]), theirs.shape[2])
    return Sources(
        layer=layer,
        rows=_centres(theirs.shape[1], step * block, style.shape[2])[i],
        columns=_centres(theirs.shape[2], step * block, style.shape[3])[j],
        similarity=likeness.reshape(ours.shape[1:]),
        stride=step * block,
    )


def _cells(network: Network, picture: torch.Tensor, layer: str, block: int) -> torch.Tensor:
    """(C, h, w) float32: features averaged over blocks, fewer positions where the edge cuts a block off."""
    features = network.features(picture.to(network.device), [layer])[layer].float()
    size = [-(-side // network.anatomy.layer(layer).stride) for side in picture.shape[2:]]
    if list(features.shape[2:]) != size:
        # Of a network whose positions are no whole pixels apart, or that loses some at the edges.
        features = F.interpolate(features, size=size, mode="bilinear", align_corners=False)
    return F.avg_pool2d(features, block, ceil_mode=True, count_include_pad=False)[0]


def _nearest(ours: torch.Tensor, theirs: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """For each of n features (n, C) the greatest cosine among m (m, C), and which: (n,) float32 and (n,) int64."""
    mean = theirs.mean(0)
    # Of a style that is flat at this layer only rounding is left after centring: keep it from being a direction.
    least = max(1e-5 * float(theirs.square().sum(1).mean().sqrt()), 1e-12)
    ours, theirs = F.normalize(ours - mean, eps=least), F.normalize(theirs - mean, eps=least)
    best = [(part @ theirs.T).max(1) for part in torch.split(ours, CHUNK)]
    likeness = torch.cat([found.values for found in best]).clamp_(-1, 1)
    return likeness.cpu().numpy(), torch.cat([found.indices for found in best]).cpu().numpy()


def _centres(count: int, stride: int, extent: int) -> np.ndarray:
    """(count,) int32: the pixel in the middle of each cell, of what the picture has of it."""
    start = np.arange(count) * stride
    return ((start + np.minimum(start + stride, extent)) // 2).astype(np.int32)


def paint(sources: Sources, style: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A collage to look at: the pastiche's cells, each filled with the style picture's cell that it is most like.

    Past its edge the style picture is mirrored, where it cuts off a cell that is used for a whole one.

    Args:
        sources: from `sources`.
        style: (H', W', 3), the picture that `sources` saw, at that size.
        size: (height, width) of the pastiche, pixels.

    Returns:
        (height, width, 3), of the style's type and range.

    Raises:
        UnderpaintError: a style or size that `sources` is not of.
    """
    if style.ndim != 3 or style.shape[2] != 3:
        raise UnderpaintError(f"style: has shape {style.shape}; give (height, width, 3)")
    _check_style(sources, style.shape[:2])
    i, j = _cell_of(sources, size, "size")
    cell = np.ix_(i, j)
    # A centre lies in its cell, so rounding down to a multiple of the stride gives the cell's first pixel.
    first = [centre[cell] // sources.stride * sources.stride for centre in (sources.rows, sources.columns)]
    y = _mirrored(first[0] + (np.arange(size[0]) % sources.stride)[:, None], style.shape[0])
    x = _mirrored(first[1] + np.arange(size[1]) % sources.stride, style.shape[1])
    collage: np.ndarray = style[y, x]
    return collage


def _mirrored(index: np.ndarray, extent: int) -> np.ndarray:
    """Indexes past the end, counted back from it."""
    inside: np.ndarray = np.maximum(np.where(index < extent, index, 2 * extent - 1 - index), 0)
    return inside


def origin_map(sources: Sources, region: np.ndarray, style_size: tuple[int, int]) -> np.ndarray:
    """How often each place of the style picture is the source of a region of the pastiche.

    Each pixel of the region counts once, at the centre of its cell's source; a Gaussian with a sigma of one cell
    spreads the counts, mirrored at the edges so that none is lost.

    Args:
        sources: from `sources`.
        region: (H, W) boolean, of the pastiche's size.
        style_size: (H', W') of the style picture that `sources` saw, pixels.

    Returns:
        (H', W') float32, 0 or more, the share of the region's pixels per pixel of the style picture; sums to 1.

    Raises:
        UnderpaintError: a region or size that `sources` is not of, or an empty region.
    """
    from scipy.ndimage import gaussian_filter

    _check_style(sources, style_size)
    if region.ndim != 2:
        raise UnderpaintError(f"region: has shape {region.shape}; give (height, width), the pastiche's")
    i, j = _cell_of(sources, region.shape, "region")
    cell = np.ix_(i, j)
    inside = _region(region, region.shape)
    heat: np.ndarray = np.zeros(style_size)
    np.add.at(heat, (sources.rows[cell][inside], sources.columns[cell][inside]), 1)
    heat = gaussian_filter(heat, sources.stride, mode="reflect")
    shares: np.ndarray = (heat / heat.sum()).astype(np.float32)
    return shares


def _region(region: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The region itself, if it is a boolean mask of this shape with something in it."""
    if region.dtype != np.bool_:
        raise UnderpaintError(f"region: is of type {region.dtype}; give a boolean mask")
    if region.shape != shape:
        raise UnderpaintError(f"region: has shape {region.shape}; give {shape}, the pastiche's")
    if not region.any():
        raise UnderpaintError("region: is empty; mark at least one pixel")
    return region


def _check_style(sources: Sources, size: tuple[int, ...]) -> None:
    """As far as the centres tell: they must lie inside."""
    if sources.rows.max() >= size[0] or sources.columns.max() >= size[1]:
        raise UnderpaintError(f"style: {size[0]}×{size[1]} px is smaller than the picture that was compared; give that one")


def _cell_of(sources: Sources, size: tuple[int, ...], field: str) -> tuple[np.ndarray, np.ndarray]:
    """The cell's row of each pixel row, (H,), and its column of each pixel column, (W,)."""
    cells = tuple(-(-extent // sources.stride) for extent in size)
    if cells != sources.rows.shape:
        h, w = (count * sources.stride for count in sources.rows.shape)
        raise UnderpaintError(
            f"{field}: is {size[0]}×{size[1]} px, and the pastiche has cells of {sources.stride} px that cover {h}×{w}; "
            "give the pastiche's size"
        )
    return np.arange(size[0]) // sources.stride, np.arange(size[1]) // sources.stride
