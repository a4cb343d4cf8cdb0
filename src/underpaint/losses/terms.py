"""Terms: what an objective is the sum of. Each reads its own value off a picture, and says what it sends back.

A term looks at the pixels, at a network's layers, or at both. It is given a `Look`, the picture with the feature maps of the
layers that it named, and answers with a `Reading`: its value, its gradient by the pixels, and cotangents at layers, which
the network's way back carries to the pixels. Any class with the attributes of `Term` is one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Protocol, TypeVar

import torch

from underpaint.losses.statistics import Statistic, matrix

T = TypeVar("T")

FLOOR = 0.01
"""Least normaliser of a style term, as a share of the style's own size: see `underpaint.losses.objective`."""


@dataclass(frozen=True)
class Look:
    """One look at a picture, shared by all terms.

    Attributes:
        image: (1, 3, H, W), float32, 0..1.
        features: (1, C, h, w) by layer: those that any term named.
        draw: what random directions are drawn from.
        offset: pixels down and to the right that the network was shown it moved by.
    """

    image: torch.Tensor
    features: Mapping[str, torch.Tensor] = field(default_factory=dict)
    draw: int = 0
    offset: tuple[int, int] = (0, 0)
    _found: dict[Hashable, Any] = field(default_factory=dict)

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What several terms need, computed for the first of them."""
        if key not in self._found:
            self._found[key] = compute()
        found: T = self._found[key]
        return found


@dataclass(frozen=True)
class Cotangent:
    """What a term sends back into a layer, its weight included.

    Attributes:
        add: adds to a gradient of the layer's shape, in place, given the parts of all terms that share this way.
        part: this term's own, whatever `add` makes of it.
        shared: terms with the same key, which read the same thing, go back together: `add` is called once, with the
            parts of all of them. None goes alone.
    """

    layer: str
    add: Callable[[torch.Tensor, Sequence[Any]], None]
    part: Any = None
    shared: Hashable = None


@dataclass(frozen=True)
class Reading:
    """What a term has to say of a picture: its unweighted value, and its weighted gradient: by the pixels, (1, 3, H, W), and
    at layers."""

    value: float
    gradient: torch.Tensor | None = None
    cotangents: tuple[Cotangent, ...] = ()


class Term(Protocol):
    """See the module's text."""

    @property
    def name(self) -> str:
        """As in the history."""
        ...

    @property
    def weight(self) -> float:
        """What its value and gradient are multiplied by."""
        ...

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that it looks at; none where it looks at the pixels alone."""
        ...

    @property
    def style_layer(self) -> str | None:
        """The style layer whose paint it is: without that layer the term goes too. None where it always stays."""
        ...

    def read(self, look: Look) -> Reading:
        """Its value and what it sends back; a weight of 0 sends nothing."""
        ...


@dataclass(frozen=True)
class Region:
    """A part of the picture that is painted by a part of a style, at one layer.

    Attributes:
        weights: (n,) over the positions of the layer, summing to 1; None for all of it alike.
        share: this region's part of the picture's area, 0..1.
    """

    weights: torch.Tensor | None
    share: float


@dataclass(frozen=True)
class StyleTerm:
    """Distance to one style picture at one layer. The terms of a layer, one for each style picture, share the pastiche's
    summary and the way back.

    Attributes:
        regions: which positions of the pastiche are painted by what; those of all terms of a layer are the same.
        goals: one entry a region, as `statistic.goal` makes them.
    """

    name: str
    layer: str
    weight: float
    statistic: Statistic
    regions: tuple[Region, ...]
    goals: tuple[Any, ...]
    normaliser: float

    @property
    def layers(self) -> tuple[str, ...]:
        """One."""
        return (self.layer,)

    @property
    def style_layer(self) -> str:
        """Its own."""
        return self.layer

    def read(self, look: Look) -> Reading:
        """See `Term.read`."""
        value, cotangents = 0.0, []
        x = matrix(look.features[self.layer])
        for place, region in enumerate(self.regions):
            key = self.layer, place, self.statistic.name
            summary = look.once(key, partial(self.statistic.summary, x, region.weights, look.draw))
            distance, by_summary = self.statistic.distance(summary, self.statistic.target(self.goals[place], look.draw))
            value += float(distance) * region.share / self.normaliser
            factor = self.weight * region.share / self.normaliser
            if factor:
                cotangents.append(Cotangent(self.layer, self._back(x, region), (factor, by_summary), key))
        return Reading(value, cotangents=tuple(cotangents))

    def _back(self, x: torch.Tensor, region: Region) -> Callable[[torch.Tensor, Sequence[Any]], None]:
        def add(g: torch.Tensor, parts: Sequence[Any]) -> None:
            gradient = self.statistic.combine(list(parts))
            self.statistic.seed(g.permute(0, 2, 3, 1).view(x.shape), x, region.weights, gradient)

        return add


@dataclass(frozen=True)
class ContentTerm:
    """Σ_i p_i ‖F_i − F_i(content)‖² / ‖F(content)‖² at one layer (Gatys et al. 2016, eq. 1, made relative).

    Attributes:
        features: the content's feature map, (1, c, h, w).
        moved: the same of the content moved by the offset of a look, where there are any but (0, 0).
        positions: p, (h, w), ≥ 0: how many times each position counts; None for 1 everywhere. The normaliser knows nothing of
            it, so that where p is 1 nothing changes.
    """

    name: str
    layer: str
    weight: float
    features: torch.Tensor
    normaliser: float
    positions: torch.Tensor | None = None
    moved: Mapping[tuple[int, int], torch.Tensor] = field(default_factory=dict)

    style_layer: ClassVar[str | None] = None

    @property
    def layers(self) -> tuple[str, ...]:
        """One."""
        return (self.layer,)

    def read(self, look: Look) -> Reading:
        """See `Term.read`."""
        f = look.features[self.layer]
        here = replace(self, features=self.moved[look.offset]) if look.offset in self.moved else self
        if not self.weight:
            return Reading(here.value(f))

        def add(g: torch.Tensor, _: Sequence[Any]) -> None:
            g.add_(here.direction(f), alpha=2 * self.weight / self.normaliser)

        return Reading(here.value(f), cotangents=(Cotangent(self.layer, add),))

    def value(self, features: torch.Tensor) -> float:
        """At a feature map (1, c, h, w)."""
        d = features - self.features
        squares = d.to(torch.promote_types(d.dtype, torch.float32)).square()
        return float((squares if self.positions is None else squares * self.positions).sum()) / self.normaliser

    def direction(self, features: torch.Tensor) -> torch.Tensor:
        """p · (F − F(content)), (1, c, h, w): the value's gradient by F is 2 / normaliser times that."""
        # The difference first: at the content picture it is 0, and rounding errors must not become steps.
        d = features - self.features
        return d if self.positions is None else d * self.positions.to(d.dtype)


@dataclass(frozen=True)
class PixelTerm:
    """A term that looks at the pixels alone: what is left to say is `value_and_gradient`."""

    name: str
    weight: float

    layers: ClassVar[tuple[str, ...]] = ()
    style_layer: ClassVar[str | None] = None

    def value_and_gradient(self, image: torch.Tensor) -> tuple[float, torch.Tensor]:
        """Of (1, 3, H, W); a float and the unweighted gradient, a tensor of its own."""
        raise NotImplementedError

    def read(self, look: Look) -> Reading:
        """See `Term.read`."""
        value, g = self.value_and_gradient(look.image)
        return Reading(value, g.mul_(self.weight))


@dataclass(frozen=True)
class SmoothnessTerm(PixelTerm):
    """Mean squared difference of neighbouring pixels, over all channels (total variation, squared: Johnson et al. 2016 use
    the same to keep single pixels from standing out).

    Attributes:
        diagonals: weight of each of the two kinds of diagonal neighbours, 0..½; upright and level ones weigh
            1 − 2 · diagonals each, so that a gentle slope costs the same whatever it is. With 0, as usual, fine detail along
            the axes is held back less than slanted detail and stands out as a weave; at about 0.2 all directions are alike.
        chroma: how many times the differences in colour count, those that leave the mean of the channels as it is: an eye
            sees fine detail of brightness, and single pixels of another colour as noise.
    """

    diagonals: float = 0.0
    chroma: float = 1.0

    def value_and_gradient(self, image: torch.Tensor) -> tuple[float, torch.Tensor]:
        """Of (1, 3, H, W); a float and the unweighted gradient."""
        g = torch.zeros_like(image)
        value = torch.zeros((), device=image.device, dtype=image.dtype)
        for here, there, g_here, g_there, share in self._neighbours(image, g):
            d = here - there
            if not d.numel():  # a picture one pixel wide has no neighbours across
                continue
            value = value + share * d.square().mean()
            if self.chroma != 1:
                colour = (self.chroma - 1) * (d - d.mean(1, keepdim=True))
                value = value + share * (colour * d).mean()
                d = d + colour
            d = d * (2 * share / d.numel())
            g_here.add_(d)
            g_there.sub_(d)
        return float(value), g

    def _neighbours(
        self, image: torch.Tensor, g: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, float]]:
        """Views of the picture one pixel apart, the same of g, and what each kind counts."""
        after, before, whole = slice(1, None), slice(None, -1), slice(None)
        straight = [((after, whole), (before, whole)), ((whole, after), (whole, before))]
        slanted = [((after, after), (before, before)), ((after, before), (before, after))] if self.diagonals else []
        for here, there in straight + slanted:
            share = 1 - 2 * self.diagonals if (here, there) in straight else self.diagonals
            yield image[..., *here], image[..., *there], g[..., *here], g[..., *there], share
