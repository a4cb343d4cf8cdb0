"""Distance to a style on layers that nobody optimised.

The headline judge compares held-out layers (no term looks at them) by the sliced Wasserstein distance, which no default term
uses, at full, half and quarter size, each relative to the content picture's own: 1 is the untouched content, 0 a picture
whose features are distributed as the style's. It is a mean over three depths, which are given apart as well, since a judge
praises the layers that it can see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from underpaint.losses.statistics import Sliced, matrix
from underpaint.losses.terms import FLOOR
from underpaint.networks.base import Network, Seed
from underpaint.quality.sliced import DRAW, SLICES, ascending, ranked, shrunk

SHRINK = (1, 2, 4)
HEADLINE = "heldout"
SMALLEST = 12
"""Short side, pixels, under which a smaller size is not looked at."""


@dataclass(frozen=True)
class _Goal:
    """The style at one layer and size: unit directions (P, C), its quantiles along them at the pastiche's positions (P, n),
    and the content picture's distance to it."""

    directions: torch.Tensor
    quantiles: torch.Tensor
    whole: float

    def _seen(self, x: torch.Tensor) -> torch.Tensor:
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        return self.directions.to(x.dtype) @ x.T

    def distance(self, x: torch.Tensor) -> float:
        """Of features (n, C), relative to the content's."""
        return float((ascending(self._seen(x)) - self.quantiles).square().mean()) / self.whole

    def distance_and_gradient(self, x: torch.Tensor) -> tuple[float, torch.Tensor]:
        """The same, and its gradient (n, C) by the features."""
        values, order = ranked(self._seen(x))
        difference = values - self.quantiles
        scaled = difference * (2 / (difference.numel() * self.whole))
        by_projection = torch.empty_like(scaled).scatter_(1, order, scaled)
        gradient = by_projection.T @ self.directions.to(scaled.dtype)
        return float(difference.square().mean()) / self.whole, gradient


class StyleJudge:
    """Distance to a style on held-out layers.

        J(x) = mean over depths, their layers l, and sizes of SW_l(x, style) / max(SW_l(content, style), 0.01 · ‖style‖²_l)

        SW_l(x, y) = mean over 64 fixed random directions θ of ∫₀¹ (F_θ⁻¹(q) − G_θ⁻¹(q))² dq

    where F_θ and G_θ are the cumulative histograms of the two pictures' feature vectors at layer l projected onto the unit
    vector θ, ‖style‖²_l is SW_l from features that are all zero, and the sizes are full, half and quarter. A distance, 0
    upwards: 0 is the style's features in its shares, lower is nearer; 1 is the content picture (less where the floor of 0.01
    holds: it is as good as the style there); no fixed top. Not symmetric.

    Source: Heitz et al. 2021, "A Sliced Wasserstein Loss for Neural Texture Synthesis", eqs. 4-6. Departures: fixed
    directions; the style's quantiles, linear between its samples, at as many places as the pastiche has; the divisor; several
    sizes.

    Args:
        network: where the layers are.
        content, style: (1, 3, H, W) and (1, 3, h, w), 0..1, at the pastiche's size and the style's beside it.
        layers: by depth, from `held_out`.
    """

    def __init__(
        self, network: Network, content: torch.Tensor, style: torch.Tensor, layers: Mapping[str, Sequence[str]]
    ) -> None:
        self.network, self.layers = network, {name: tuple(each) for name, each in layers.items()}
        self._all = [layer for each in self.layers.values() for layer in each]
        self._factors = [f for f in SHRINK if f == 1 or min(*content.shape[2:], *style.shape[2:]) // f >= SMALLEST]
        self._goals: dict[tuple[int, str], _Goal] = {}
        statistic = Sliced(slices=SLICES)
        for factor in self._factors:
            ours, theirs = (network.features(shrunk(p, factor).clamp(0, 1), self._all) for p in (content, style))
            for layer in self._all:
                target = statistic.summary(matrix(theirs[layer]), None, DRAW)
                own = statistic.summary(matrix(ours[layer]), None, DRAW)
                value, _ = statistic.distance(own, target)
                floor = FLOOR * float(statistic.size(target))
                quantiles = target.at(own.middles)
                self._goals[factor, layer] = _Goal(target.directions, quantiles, max(float(value), floor, 1e-12))

    @torch.no_grad()
    def __call__(self, image: torch.Tensor) -> dict[str, float]:
        """By depth (`heldout_shallow`, ...) and their mean (`heldout`), of (1, 3, H, W): 1 as the content, 0 as the style."""
        found: dict[tuple[int, str], float] = {}
        for factor in self._factors:
            features = self.network.features(shrunk(image, factor).clamp(0, 1), self._all)
            for layer in self._all:
                found[factor, layer] = self._goals[factor, layer].distance(matrix(features[layer]))
        depths = {
            f"{HEADLINE}_{name}": sum(found[f, layer] for f in self._factors for layer in layers)
            / (len(layers) * len(self._factors))
            for name, layers in self.layers.items()
        }
        return {HEADLINE: sum(depths.values()) / len(depths)} | depths

    @torch.no_grad()
    def gradient(self, image: torch.Tensor) -> tuple[float, torch.Tensor]:
        """The headline's value and gradient by (1, 3, H, W). (Smaller sizes are not clamped here.)"""
        total, gradient = 0.0, torch.zeros_like(image)
        for factor in self._factors:
            with torch.enable_grad():
                leaf = image.detach().requires_grad_()
                small = shrunk(leaf, factor)
            tape = self.network.tape(small.detach(), self._all)
            seeds: dict[str, Seed] = {}
            for layers in self.layers.values():
                share = 1 / (len(self.layers) * len(layers) * len(self._factors))
                for layer in layers:
                    value, by_features = self._goals[factor, layer].distance_and_gradient(matrix(tape.features[layer]))
                    total += share * value
                    seeds[layer] = partial(_seed, share * by_features)
            back = tape.pullback(seeds)
            gradient += back if factor == 1 else torch.autograd.grad(small, leaf, back)[0]
        return total, gradient


def _seed(by_features: torch.Tensor, g: torch.Tensor) -> None:
    rows = g.permute(0, 2, 3, 1).view(by_features.shape)
    rows.add_(by_features.to(rows.dtype))
