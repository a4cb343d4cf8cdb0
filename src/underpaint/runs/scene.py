"""The pictures of a run, prepared: what the content, the styles and the masks are at each size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F

from underpaint.errors import UnderpaintError
from underpaint.imaging import borders, color, images
from underpaint.imaging.borders import Margins
from underpaint.imaging.images import Picture
from underpaint.losses import palette
from underpaint.losses.objective import Objective
from underpaint.losses.terms import Region
from underpaint.networks import lens
from underpaint.networks.base import Network
from underpaint.optimizers.loop import Stage, draw
from underpaint.recipe import Recipe
from underpaint.runs.terms import OWN, TERMS, View

LEVELS = 5
"""Masks are read as grey; 0, ¼, ½, ¾ and 1 are five regions."""

SMALLEST_REGION = 0.01
"""A grey level that covers less of the mask than this is the soft edge of another."""

PROTECT_WEIGHT_ALONE = "protect_weight: weighs what a mask protects, and there is none; add --protect MASK or --protect faces"


@dataclass(frozen=True)
class Pictures:
    """What the user gives. Masks have any size and are stretched over their picture; `protect` is one of the content, white
    where the content is to be kept."""

    content: Picture
    styles: tuple[Picture, ...]
    content_mask: Picture | None = None
    style_mask: Picture | None = None
    start: Picture | None = None
    protect: Picture | None = None

    def by_role(self) -> dict[str, Picture]:
        """Those that are there, by what they are for, in the order in which a run's folder lists them."""
        styles = {f"style{number}": picture for number, picture in enumerate(self.styles, 1)}
        masks = {
            "content_mask": self.content_mask,
            "style_mask": self.style_mask,
            "start": self.start,
            "protect": self.protect,
        }
        return {"content": self.content} | styles | {role: picture for role, picture in masks.items() if picture is not None}


class Scene:
    """Pictures and recipe, ready to be painted.

    Args:
        network: the recipe's.
        polish: the network that it approximates, where the recipe ends with it.

    Attributes:
        notes: what a user should know (a style that is smaller than its scale asks for, ...), one line each.

    Raises:
        UnderpaintError: pictures, masks and recipe do not fit together.
    """

    def __init__(self, recipe: Recipe, pictures: Pictures, network: Network, polish: Network | None = None) -> None:
        self.recipe, self.pictures, self.network, self.polish = recipe, pictures, network, polish
        self.notes: list[str] = []
        self._last: tuple[int, Stage] | None = None
        check(recipe, pictures)
        margins = _margins(recipe, pictures)
        self._seen = _without(margins, pictures)
        self._content = opaque(pictures.content)
        self._styles = [_recolour(recipe, opaque(p), self._content) for p in self._seen.styles]
        self._grey = bool(recipe.palette_weight) and all(palette.is_grey(style) for style in self._styles)
        if recipe.keep_color == "luminance" or self._grey:
            self._content = color.luminance(self._content)
        self._covers = _covers(self._seen, recipe.size)
        if self._grey and recipe.keep_color == "no":
            self.notes.append("the style has no colours: so will the pastiche; --palette-weight 0 allows others")
        self.notes += [
            f"{style.name}: a border of {margin} is cropped; --no-crop keeps it"
            for style, margin in zip(pictures.styles, margins, strict=True)
            if any(margin)
        ]
        self._note_sizes()

    def _note_sizes(self) -> None:
        content, protect = self.pictures.content, self.pictures.protect
        self.notes += [f"{p.name}: {note}" for p in self.pictures.by_role().values() for note in p.notes]
        if protect is not None:
            self.notes.append(f"protect ({protect.name}): {protect.rgb.mean():.0%} of the picture")
        if max(content.rgb.shape[:2]) < self.recipe.size:
            self.notes.append(f"{content.name} is enlarged from {_extent(content)} to {self.recipe.size} px")
        wanted = round(self.recipe.size * self.recipe.style_scale)
        self.notes += [
            f"{p.name} is {_extent(p)} and is used at that size, not enlarged to {wanted} px"
            for p in self._seen.styles
            if max(p.rgb.shape[:2]) < wanted
        ]

    def size(self, scale: int) -> tuple[int, int]:
        """Height and width of the pastiche at a scale."""
        return images.size_for(self.pictures.content.rgb.shape[:2], self.recipe.sizes()[scale])

    def network_at(self, scale: int) -> Network:
        """The network that paints at a scale."""
        if not self.recipe.polishes(scale):
            return self.network
        assert self.polish is not None
        return self.polish

    def stage(self, scale: int) -> Stage:
        """The objective and the start at a scale; runs the network once on every picture. The last one asked for is kept."""
        if self._last is None or self._last[0] != scale:
            self._last = scale, self._stage(scale)
        return self._last[1]

    def _stage(self, scale: int) -> Stage:
        content, network = self.content(scale), self.network_at(scale)
        wanted = list(dict.fromkeys([*self.recipe.content_layers, *self.recipe.style_layers]))
        with torch.no_grad():
            seen = network.features(content, wanted)
            moved = {
                by: network.features(lens.moved(content, by), list(self.recipe.content_layers))
                for by in lens.offsets(self.recipe.shift)
            }
            view = View(self, scale, network, content, seen, moved)
            terms = [term for name in (*OWN, *self.recipe.terms) for term in TERMS[name](view)]
        return Stage(Objective(network, tuple(terms), self._grey, self.recipe.shift), self._start(content))

    @property
    def shares(self) -> list[float]:
        """Of the style pictures; they add up to 1."""
        shares = self.recipe.style_weights or (1.0,) * len(self._styles)
        return [share / sum(shares) for share in shares]

    def protected(self, size: Sequence[int]) -> torch.Tensor | None:
        """How many times each of a layer's positions counts, (h, w); None without a mask."""
        if self.pictures.protect is None:
            return None
        white = soft(self.pictures.protect, size).to(self.network.device)
        return 1 + (self.recipe.protect_weight - 1) * white

    @property
    def covers(self) -> list[np.ndarray]:
        """Where the regions lie in the content, float32 (h, w) pictures of 0 and 1; none without masks."""
        return [part for part, _ in self._covers]

    @cached_property
    def colors(self) -> list[torch.Tensor]:
        """The styles' colours at the last size, as fields that the palette term looks up; one for each region."""
        whole = len(self.recipe.sizes()) - 1
        places = [place for place, share in enumerate(self.shares) if share]
        styles = [self.style_pixels(place, whole) for place in places]
        of_regions = [[pixels.T.cpu().numpy() for pixels in region] for region in zip(*styles, strict=True)]
        return [palette.field(pixels).to(self.network.device) for pixels in of_regions]

    def style_pixels(self, place: int, scale: int) -> list[torch.Tensor]:
        """What is seen of a style picture, (3, n) for each region."""
        style = self.style(place, scale)
        size, alpha = (style.shape[2], style.shape[3]), self._seen.styles[place].alpha
        seen = np.ones(size, np.float32) if alpha is None else images.resize(alpha, size)
        parts = [seen * images.resize(part, size) for _, part in self._covers] or [seen]
        # What is too thin, or too faint, to fill half of a pixel is told by the pixels that show most of it.
        chosen = [part > min(0.5, float(part.max()) / 2) for part in parts]
        return [style[0].flatten(1)[:, torch.from_numpy(part.ravel()).to(style.device)] for part in chosen]

    def regions(self, size: Sequence[int]) -> list[Region]:
        """Which positions of a layer of this size, of the pastiche, belong to which region."""
        if not self._covers:
            return [Region(None, 1.0)]
        device = self.network.device
        return [Region(_at_layer(part, size, device), float(part.mean())) for part, _ in self._covers]

    def style_regions(self, place: int, size: Sequence[int]) -> list[torch.Tensor | None]:
        """The same of a style picture, its transparent parts left out: the positions' weights, (n,); None for all alike."""
        alpha, device = self._seen.styles[place].alpha, self.network.device
        if not self._covers:
            return [None if alpha is None else _at_layer(alpha, size, device)]
        parts = [part for _, part in self._covers]
        if alpha is not None:
            seen = images.resize(alpha, parts[0].shape)
            parts = [part * seen for part in parts]
            if not all(part.any() for part in parts):
                name = self.pictures.styles[place].name
                raise UnderpaintError(f"style {name}: a region of --style-mask is fully transparent; mask what is seen")
        return [_at_layer(part, size, device) for part in parts]

    def _start(self, content: torch.Tensor) -> torch.Tensor:
        recipe = self.recipe
        image = content
        noise = torch.randn(content.shape, generator=torch.Generator().manual_seed(draw(recipe.seed, -1, 0))).to(
            content.device
        )
        if recipe.start == "noise":
            image = 0.5 + 0.15 * noise
        elif recipe.start == "file":
            assert self.pictures.start is not None
            image = self._tensor(opaque(self.pictures.start), (content.shape[2], content.shape[3]))
        if recipe.start_noise:
            image = image + recipe.start_noise * noise
        if self._grey:
            image = image.mean(1, keepdim=True).expand_as(image)
        return image.clamp(0, 1)

    def style(self, place: int, scale: int) -> torch.Tensor:
        """A style picture as it is looked at at a scale, (1, 3, h, w)."""
        style = self._styles[place]
        longest = min(max(style.shape[:2]), round(self.recipe.sizes()[scale] * self.recipe.style_scale))
        return self._tensor(style, images.size_for(style.shape[:2], longest))

    def content(self, scale: int) -> torch.Tensor:
        """The content picture at a scale, (1, 3, H, W)."""
        return self._tensor(self._content, self.size(scale))

    def _tensor(self, rgb: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
        small = images.resize(rgb, size)
        return torch.from_numpy(small.transpose(2, 0, 1).copy())[None].to(self.network.device)

    def finish(self, image: torch.Tensor) -> tuple[np.ndarray, np.ndarray | None]:
        """See the function of this name."""
        return finish(self.recipe, self.pictures.content, image)


def finish(recipe: Recipe, content: Picture, image: torch.Tensor) -> tuple[np.ndarray, np.ndarray | None]:
    """The optimiser's picture (1, 3, H, W) as the pastiche (H, W, 3), 0..1, and its transparency (H, W) if it has any.

    Colours are kept as the recipe says, and the content's transparency is put back.
    """
    rgb = image[0].clamp(0, 1).permute(1, 2, 0).float().cpu().numpy()
    if recipe.keep_color == "luminance":
        rgb = color.luminance_only(rgb, images.resize(opaque(content), rgb.shape[:2]))
    alpha = None if content.alpha is None else images.resize(content.alpha, rgb.shape[:2])
    return rgb, alpha


def check(recipe: Recipe, pictures: Pictures) -> None:
    """Whether pictures, masks and recipe fit together: what can be known without a network.

    Raises:
        UnderpaintError: they do not.
    """
    count, given = len(pictures.styles), len(recipe.style_weights)
    height, width = images.size_for(pictures.content.rgb.shape[:2], recipe.size)
    if min(height, width) < images.MIN_SIDE:
        raise UnderpaintError(
            f"size: {recipe.size} px would make a pastiche of {width}×{height} px; a short side under "
            f"{images.MIN_SIDE} px is too small, use a larger size"
        )
    if not count:
        raise UnderpaintError("style: none given; name at least one style picture")
    if given and given != count:
        raise UnderpaintError(f"style_weights: {given} given for {count} style pictures; give one each")
    if (pictures.content_mask is None) != (pictures.style_mask is None):
        raise UnderpaintError("masks: one is missing; give both --content-mask and --style-mask, or neither")
    if pictures.style_mask is not None and count > 1:
        raise UnderpaintError(f"--style-mask: {count} style pictures; masks work with one style picture")
    if (recipe.start == "file") != (pictures.start is not None):
        raise UnderpaintError("start: 'file' goes with a picture to start from; give --start FILE")
    if pictures.protect is None and recipe.protect_weight != Recipe.model_fields["protect_weight"].default:
        raise UnderpaintError(PROTECT_WEIGHT_ALONE)
    for picture in pictures.styles:
        if picture.alpha is not None and float(picture.alpha.mean()) < 0.01:
            raise UnderpaintError(f"style {picture.name}: is fully transparent; use a picture of which something is seen")
    if pictures.style_mask is not None:
        _covers(seen(recipe, pictures), recipe.size)


def seen(recipe: Recipe, pictures: Pictures) -> Pictures:
    """The pictures as the recipe looks at them: unless `crop` is false, styles, and their mask, lose their borders."""
    return _without(_margins(recipe, pictures), pictures)


def _margins(recipe: Recipe, pictures: Pictures) -> list[Margins]:
    """The border of each style picture that the recipe crops."""
    return [borders.find(opaque(style)) if recipe.crop else Margins() for style in pictures.styles]


def _without(margins: Sequence[Margins], pictures: Pictures) -> Pictures:
    styles = tuple(_cropped(style, m) for style, m in zip(pictures.styles, margins, strict=True))
    mask = pictures.style_mask
    if mask is not None:
        (height, width), (own_height, own_width) = mask.rgb.shape[:2], pictures.styles[0].rgb.shape[:2]
        mask = _cropped(mask, margins[0].scaled(height / own_height, width / own_width))
    return replace(pictures, styles=styles, style_mask=mask)


def _cropped(picture: Picture, margins: Margins) -> Picture:
    if not any(margins):
        return picture
    alpha = None if picture.alpha is None else margins.off(picture.alpha)
    return replace(picture, rgb=margins.off(picture.rgb), alpha=alpha, path=None, data=None)


def soft(mask: Picture, size: Sequence[int]) -> torch.Tensor:
    """A mask's white share at each of a layer's positions, (h, w) float32, 0..1: the mean of the position's area, then of it
    and its neighbours, so that no edge is sharper than the layer sees."""
    grey = torch.from_numpy(mask.rgb.mean(2))[None, None]
    area = F.adaptive_avg_pool2d(grey, (size[0], size[1]))
    return F.avg_pool2d(area, 3, stride=1, padding=1, count_include_pad=False)[0, 0]


def _extent(picture: Picture) -> str:
    height, width = picture.rgb.shape[:2]
    return f"{width}×{height} px"


def opaque(picture: Picture) -> np.ndarray:
    """Transparent parts take the mean colour of what is seen: no edge, no colour of their own."""
    if picture.alpha is None:
        return picture.rgb
    alpha = picture.alpha[..., None]
    mean = (picture.rgb * alpha).sum((0, 1)) / max(float(alpha.sum()), 1e-6)
    return np.asarray(picture.rgb * alpha + mean * (1 - alpha), np.float32)


def _recolour(recipe: Recipe, style: np.ndarray, content: np.ndarray) -> np.ndarray:
    if recipe.keep_color == "histogram":
        return color.match_histogram(style, content)
    if recipe.keep_color == "covariance":
        return color.match_covariance(style, content)
    if recipe.keep_color == "luminance":
        return color.match_luminance(style, content)
    return style


def _covers(pictures: Pictures, longest: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Where each region lies in the content and in the style: float32 (h, w) pictures of 0 and 1; empty without masks."""
    if pictures.content_mask is None or pictures.style_mask is None:
        return []
    content, style = (_levels(mask, longest) for mask in (pictures.content_mask, pictures.style_mask))
    inside, offered = _shown(content), _shown(style)
    if missing := sorted(set(inside) - set(offered)):
        grey = ", ".join(str(round(255 * level / (LEVELS - 1))) for level in missing)
        raise UnderpaintError(
            f"--style-mask {pictures.style_mask.name}: has no region of grey {grey}, which "
            f"{pictures.content_mask.name} has; paint both masks with the same greys (0, 64, 128, 191, 255)"
        )
    nearest = [np.abs(levels[..., None] - np.array(inside)).argmin(2) for levels in (content, style)]
    return [((nearest[0] == i).astype(np.float32), (nearest[1] == i).astype(np.float32)) for i in range(len(inside))]


def _levels(mask: Picture, longest: int) -> np.ndarray:
    """The mask's greys as whole numbers, 0 … LEVELS − 1, at most `longest` pixels wide or high (nearest neighbours)."""
    height, width = mask.rgb.shape[:2]
    h, w = images.size_for((height, width), min(longest, max(height, width)))
    grey = mask.rgb[np.arange(h)[:, None] * height // h, np.arange(w) * width // w].mean(2)
    return np.asarray(np.rint(grey * (LEVELS - 1)), np.int64)


def _shown(levels: np.ndarray) -> list[int]:
    shares = np.bincount(levels.ravel(), minlength=LEVELS) / levels.size
    return [int(level) for level in np.flatnonzero(shares >= SMALLEST_REGION)]


def _at_layer(part: np.ndarray, size: Sequence[int], device: torch.device) -> torch.Tensor:
    """Weights (n,) of the layer's positions: the share of each one's area, summing to 1."""
    area = F.adaptive_avg_pool2d(torch.from_numpy(part.copy())[None, None], (size[0], size[1])).flatten().double()
    return (area / area.sum().clamp_min(1e-12)).float().to(device)
