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
weights count alike; the floor keeps a layer at which the two pictures are alike from being blown up. n counts every layer
of the recipe, so a weight of 0 takes a layer's paint away and leaves the others as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from underpaint.captions import short
from underpaint.losses.terms import Cotangent, Look, Reading, Term
from underpaint.networks import lens
from underpaint.networks.base import Network, Seed, Tape


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
class Objective:
    """The terms at one size.

    Attributes:
        network: what layers are looked at through.
        grey: gradients are by the luminance alone, the same in all channels, so that a grey picture stays grey.
        shift: the network is shown the picture moved by up to so many pixels, another way for another draw.
    """

    network: Network
    terms: tuple[Term, ...]
    grey: bool = False
    shift: int = 0

    def __repr__(self) -> str:
        return f"Objective({short(', '.join(term.name for term in self.terms), 150)})"

    @property
    def layers(self) -> list[str]:
        """Every layer that a term looks at."""
        return list(dict.fromkeys(layer for term in self.terms for layer in term.layers))

    def only(self, names: Collection[str]) -> Objective:
        """The same objective with these terms alone; their weights and normalisers stay as they are."""
        return replace(self, terms=tuple(term for term in self.terms if term.name in names))

    def painted_by(self, layers: Collection[str]) -> Objective:
        """The same objective without the terms of other style layers than these."""
        return replace(self, terms=tuple(t for t in self.terms if t.style_layer is None or t.style_layer in layers))

    @torch.no_grad()
    def evaluate(self, image: torch.Tensor, draw: int = 0, apart: bool = False) -> Evaluation:
        """All terms' values and the total's gradient.

        Args:
            image: (1, 3, H, W), float32, 0..1.
            draw: what random directions are drawn from (the sliced statistic only).
            apart: also each term's own weighted gradient and its norm: one way back for each term.
        """
        tape, readings = self._read(image, draw)
        if apart:
            # The way back is linear: the terms' own gradients add up to the total's.
            parts = {name: _pulled(tape, [reading], image) for name, reading in readings.items()}
            gradient = torch.zeros_like(image)
            for part in parts.values():
                gradient += part
        else:
            parts, gradient = {}, _pulled(tape, readings.values(), image)
        if self.grey:
            gradient, parts = _by_luminance(gradient), {name: _by_luminance(g) for name, g in parts.items()}
        return Evaluation(self._values(readings, {name: float(g.norm()) for name, g in parts.items()}), gradient, parts)

    @torch.no_grad()
    def measure(self, image: torch.Tensor, draw: int = 0) -> tuple[TermValue, ...]:
        """All terms' values alone, without the way back; the arguments are those of `evaluate`."""
        return self._values(self._read(image, draw)[1], {})

    def _read(self, image: torch.Tensor, draw: int) -> tuple[Tape | None, dict[str, Reading]]:
        by = lens.offset(draw, self.shift)
        tape = lens.tape_moved(self.network, image, self.layers, by) if self.layers else None
        look = Look(image, {} if tape is None else tape.features, draw, by)
        return tape, {term.name: term.read(look) for term in self.terms}

    def _values(self, readings: Mapping[str, Reading], norms: Mapping[str, float]) -> tuple[TermValue, ...]:
        raw = {name: reading.value for name, reading in readings.items()}
        return tuple(TermValue(t.name, raw[t.name], raw[t.name] * t.weight, norms.get(t.name)) for t in self.terms)


def _pulled(tape: Tape | None, readings: Iterable[Reading], image: torch.Tensor) -> torch.Tensor:
    """The gradient of some terms together by the pixels, (1, 3, H, W)."""
    gradient = torch.zeros_like(image)
    cotangents: list[Cotangent] = []
    for reading in readings:
        cotangents += reading.cotangents
        if reading.gradient is not None:
            gradient += reading.gradient
    if tape is not None and cotangents:
        gradient += tape.pullback(_seeds(cotangents))
    return gradient


def _seeds(cotangents: Iterable[Cotangent]) -> dict[str, Seed]:
    """One seed a layer. Those that go alone come first, so that sums of floats stay what they were in older runs."""
    groups: dict[Hashable, list[Cotangent]] = {}
    for place, cotangent in enumerate(cotangents):
        key = ("alone", place) if cotangent.shared is None else ("shared", cotangent.shared)
        groups.setdefault(key, []).append(cotangent)
    layers: dict[str, list[list[Cotangent]]] = {}
    for group in sorted(groups.values(), key=lambda group: group[0].shared is not None):
        layers.setdefault(group[0].layer, []).append(group)
    return {layer: _chain(together) for layer, together in layers.items()}


def _chain(groups: Sequence[Sequence[Cotangent]]) -> Callable[[torch.Tensor], None]:
    def seed(g: torch.Tensor) -> None:
        for group in groups:
            group[0].add(g, [cotangent.part for cotangent in group])

    return seed


def _by_luminance(gradient: torch.Tensor) -> torch.Tensor:
    """The gradient's projection on grey pictures: the mean over the channels (1, 3, H, W), in each of them."""
    return gradient.mean(1, keepdim=True).expand_as(gradient).contiguous()
