"""The objective: named terms, each with its layer, weight and formula, and their sum.

    total = Σ_style  a_k · w_l/n · D_l(pastiche, style k) / N_l   (style terms)
          + Σ_content  w_l · Σ_i p_i ‖F_l,i − F_l,i(content)‖² / ‖F_l(content)‖²   (content terms; p_i is 1 unless protected)
          + w_color · sliced distance of the pixels' colours / N_color   (color)
          + w_palette · distance to the style's nearest colours / N_palette   (palette)
          + w_smooth · (mean of squared differences of neighbouring pixels)   (smoothness)

`D_l` is the statistic's distance at layer l (`underpaint.losses.statistics`), n the number of style layers and a_k the share
of style picture k. The normaliser N_l is the distance between the content and the style at this size,

    N_l = max(D_l(content, style), FLOOR · ‖style‖²_l),

so that every style term starts at 1 from the content picture, whatever the magnitude of its layer, and equal
weights mean equal say; the floor keeps a layer at which the two pictures are alike from being blown up. n counts every layer
of the recipe, so a weight of 0 takes a layer's paint away and leaves the others' say as it was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from underpaint.captions import short
from underpaint.losses.statistics import Statistic, matrix
from underpaint.networks.base import Network, Seed, Tape

FLOOR = 0.01


@dataclass(frozen=True)
class TermValue:
    """One term at one step: its raw value, its weight times that, and perhaps its gradient's norm by the pixels."""

    name: str
    raw: float
    weighted: float
    gradient_norm: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """The objective at one picture: every term's values, and the total's `gradient` by the pixels, (1, 3, H, W) float32.

    `parts` are the terms' own weighted gradients, of that shape each, where they were asked for: they add up to it.
    """

    terms: tuple[TermValue, ...]
    gradient: torch.Tensor
    parts: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Σ weighted."""
        return sum(term.weighted for term in self.terms)


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
    """Distance to one style picture at one layer; `goals` has one entry a region."""

    name: str
    layer: str
    weight: float
    statistic: Statistic
    goals: tuple[Any, ...]
    normaliser: float


@dataclass(frozen=True)
class ContentTerm:
    """Σ_i p_i ‖F_i − F_i(content)‖² / ‖F(content)‖² at one layer (Gatys et al. 2016, eq. 1, made relative).

    Attributes:
        features: the content's feature map, (1, c, h, w).
        positions: p, (h, w), ≥ 0: how many times each position counts; None for 1 everywhere. The normaliser knows nothing of
            it, so that where p is 1 nothing changes.
    """

    name: str
    layer: str
    weight: float
    features: torch.Tensor
    normaliser: float
    positions: torch.Tensor | None = None

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
class SmoothnessTerm:
    """Mean squared difference of neighbouring pixels, over all channels (total variation, squared: Johnson et al. 2016 use
    the same to keep single pixels from standing out).

    Attributes:
        diagonals: weight of each of the two kinds of diagonal neighbours, 0..½; upright and level ones weigh
            1 − 2 · diagonals each, so that a gentle slope costs the same whatever it is. With 0, as usual, fine detail along
            the axes is held back less than slanted detail and stands out as a weave; at about 0.2 all directions are alike.
    """

    name: str
    weight: float
    diagonals: float = 0.0

    def value_and_gradient(self, image: torch.Tensor) -> tuple[float, torch.Tensor]:
        """Of (1, 3, H, W); a float and the unweighted gradient."""
        g = torch.zeros_like(image)
        value = torch.zeros((), device=image.device, dtype=image.dtype)
        for here, there, g_here, g_there, share in self._neighbours(image, g):
            d = here - there
            if not d.numel():  # a picture one pixel wide has no neighbours across
                continue
            value = value + share * d.square().mean()
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


class PixelTerm(Protocol):
    """A term that looks at the pixels themselves: smoothness, colours."""

    @property
    def name(self) -> str:
        """As in the history."""
        ...

    @property
    def weight(self) -> float:
        """What its value and gradient are multiplied by."""
        ...

    def value_and_gradient(self, image: torch.Tensor) -> tuple[float, torch.Tensor]:
        """Of (1, 3, H, W); a float and the unweighted gradient."""
        ...


Term = StyleTerm | ContentTerm | PixelTerm


@dataclass
class _Pass:
    """What one evaluation collects: values in the order of the terms, and each term's seed."""

    values: dict[str, float] = field(default_factory=dict)
    seeds: dict[str, tuple[str, Seed]] = field(default_factory=dict)
    layers: dict[str, list[Seed]] = field(default_factory=dict)


@dataclass(frozen=True)
class Objective:
    """The terms at one size.

    Attributes:
        regions: for each style layer, which positions of the pastiche are painted by what.
        grey: gradients are by the luminance alone, the same in all channels, so that a grey picture stays grey.
    """

    network: Network
    terms: tuple[Term, ...]
    regions: Mapping[str, Sequence[Region]]
    grey: bool = False

    def __repr__(self) -> str:
        return f"Objective({short(', '.join(term.name for term in self.terms), 150)})"

    @property
    def layers(self) -> list[str]:
        """Every layer that a term looks at."""
        return list(dict.fromkeys(t.layer for t in self.terms if isinstance(t, StyleTerm | ContentTerm)))

    def only(self, names: Collection[str]) -> Objective:
        """The same objective with these terms alone; their weights and normalisers stay as they are."""
        terms = tuple(t for t in self.terms if t.name in names)
        styled = {t.layer for t in terms if isinstance(t, StyleTerm)}
        return replace(self, terms=terms, regions={layer: r for layer, r in self.regions.items() if layer in styled})

    @torch.no_grad()
    def evaluate(self, image: torch.Tensor, draw: int = 0, apart: bool = False) -> Evaluation:
        """All terms' values and the total's gradient.

        Args:
            image: (1, 3, H, W), float32, 0..1.
            draw: what random directions are drawn from (the sliced statistic only).
            apart: also each term's own weighted gradient and its norm: one way back for each term.
        """
        tape, found = self._forward(image, draw)
        parts: dict[str, torch.Tensor] = {}
        gradient = torch.zeros_like(image)
        for term in self.terms:
            if not isinstance(term, StyleTerm | ContentTerm):
                found.values[term.name], g = term.value_and_gradient(image)
                parts[term.name] = g.mul_(term.weight)
                gradient += g
            elif apart and tape is not None:
                # The way back is linear: the terms' own gradients add up to the total's.
                seed = found.seeds.get(term.name)
                parts[term.name] = torch.zeros_like(image) if seed is None else tape.pullback({seed[0]: seed[1]})
                gradient += parts[term.name]
        if tape is not None and found.layers and not apart:
            gradient += tape.pullback({layer: _chain(seeds) for layer, seeds in found.layers.items()})
        if self.grey:
            gradient, parts = _by_luminance(gradient), {name: _by_luminance(g) for name, g in parts.items()}
        lengths = {name: float(g.norm()) for name, g in parts.items()} if apart else {}
        return Evaluation(self._values(found, lengths), gradient, parts if apart else {})

    @torch.no_grad()
    def measure(self, image: torch.Tensor, draw: int = 0) -> tuple[TermValue, ...]:
        """All terms' values alone, without the way back; the arguments are those of `evaluate`."""
        _, found = self._forward(image, draw)
        for term in self.terms:
            if not isinstance(term, StyleTerm | ContentTerm):
                found.values[term.name], _ = term.value_and_gradient(image)
        return self._values(found, {})

    def _forward(self, image: torch.Tensor, draw: int) -> tuple[Tape | None, _Pass]:
        found = _Pass()
        tape = self.network.tape(image, self.layers) if self.layers else None
        if tape is not None:
            self._content(tape, found)
            self._style(tape, found, draw)
        return tape, found

    def _values(self, found: _Pass, norms: Mapping[str, float]) -> tuple[TermValue, ...]:
        raw = found.values
        return tuple(TermValue(t.name, raw[t.name], raw[t.name] * t.weight, norms.get(t.name)) for t in self.terms)

    def _content(self, tape: Tape, found: _Pass) -> None:
        for term in self.terms:
            if not isinstance(term, ContentTerm):
                continue
            f = tape.features[term.layer]
            found.values[term.name] = term.value(f)
            if term.weight:
                alpha = 2 * term.weight / term.normaliser

                def seed(g: torch.Tensor, f: torch.Tensor = f, term: ContentTerm = term, a: float = alpha) -> None:
                    g.add_(term.direction(f), alpha=a)

                found.seeds[term.name] = (term.layer, seed)
                found.layers.setdefault(term.layer, []).append(seed)

    def _style(self, tape: Tape, found: _Pass, draw: int) -> None:
        for layer, regions in self.regions.items():
            terms = [t for t in self.terms if isinstance(t, StyleTerm) and t.layer == layer]
            x = matrix(tape.features[layer])
            for term in terms:
                found.values[term.name] = 0.0
            for place, region in enumerate(regions):
                self._region(found, terms, place, x, region, draw)

    def _region(
        self, found: _Pass, terms: Sequence[StyleTerm], place: int, x: torch.Tensor, region: Region, draw: int
    ) -> None:
        """One region of one layer: one summary, shared by every style picture."""
        statistic, layer = terms[0].statistic, terms[0].layer
        summary = statistic.summary(x, region.weights, draw)
        parts: list[tuple[float, Any]] = []
        for term in terms:
            value, by_summary = statistic.distance(summary, statistic.target(term.goals[place], draw))
            found.values[term.name] += float(value) * region.share / term.normaliser
            factor = term.weight * region.share / term.normaliser
            if factor:
                parts.append((factor, by_summary))
                single = _style_seed(statistic, x, region.weights, statistic.combine([(factor, by_summary)]))
                before = found.seeds.get(term.name)
                found.seeds[term.name] = (layer, single if before is None else _chain([before[1], single]))
        if parts:
            together = _style_seed(statistic, x, region.weights, statistic.combine(parts))
            found.layers.setdefault(layer, []).append(together)


def _by_luminance(gradient: torch.Tensor) -> torch.Tensor:
    """The gradient's projection on grey pictures: the mean over the channels (1, 3, H, W), in each of them."""
    return gradient.mean(1, keepdim=True).expand_as(gradient).contiguous()


def _style_seed(statistic: Statistic, x: torch.Tensor, w: torch.Tensor | None, gradient: Any) -> Seed:
    def seed(g: torch.Tensor) -> None:
        statistic.seed(g.permute(0, 2, 3, 1).view(x.shape), x, w, gradient)

    return seed


def _chain(seeds: Sequence[Seed]) -> Seed:
    def seed(g: torch.Tensor) -> None:
        for each in seeds:
            each(g)

    return seed
