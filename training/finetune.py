"""Fine-tuning: all numbers of the student at once, so that its features, Gram matrices and style gradients are VGG-19's.

The loss of a batch of half-painted pictures, each with its content and its style:

    Σ_layers ‖F − F_T‖² / ‖F_T − mean‖²        every feature map, those that no term looks at too (kept channels)
  + Σ_taps   ‖G − G_T‖² / ‖G_T − G_style‖²     Gram matrices, in units of the way that is left to the style
  + w (2 − cos(g, g_T) − cos(½g, ½g_T))        the style gradients by the pixels, at full and at half resolution

The last is a Sobolev term (Czarnecki et al. 2017, arXiv:1706.04859) for exactly that derivative that painting follows; it
needs the way back of the way back, for which the student is run under autograd. Crops of photographs and paintings take
part in the first sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from training.states import STYLE_LAYERS
from training.student import Student
from underpaint.losses.statistics import matrix
from underpaint.losses.terms import FLOOR
from underpaint.networks.base import Network
from underpaint.networks.compact import LAYERS


@dataclass(frozen=True)
class Weights:
    """Of the three parts of the loss; 0 leaves a part out, and its work."""

    features: float = 3.0
    gram: float = 0.1
    gradient: float = 0.2


@dataclass(frozen=True)
class Batch:
    """Pictures (N, 3, h, w); the first `len(gradients)` are states, with their styles' and contents' pictures.

    Attributes:
        gradients: VGG-19's style gradients by the states, (M, 3, h, w).
        contents, styles: (M, 3, h, w) each.
    """

    pictures: torch.Tensor
    contents: torch.Tensor
    styles: torch.Tensor
    gradients: torch.Tensor


def losses(student: Student, teacher: Network, batch: Batch, weights: Weights) -> dict[str, torch.Tensor]:
    """The parts of the loss by name, unweighted, each a mean over pictures and layers."""
    count = len(batch.gradients)
    with torch.no_grad():
        goals = teacher.features(batch.pictures, LAYERS)
        goals = {layer: goal.float() for layer, goal in goals.items()}
    pictures = batch.pictures.clone().requires_grad_(bool(weights.gradient))
    own = student.features(pictures)
    parts = {"features": _features(own, goals, student.channels)}
    if weights.gram or weights.gradient:
        with torch.no_grad():
            styles, contents = (student.features(p) for p in (batch.styles, batch.contents))
            targets = {layer: _grams(styles[layer]) for layer in STYLE_LAYERS}
            begun = {
                layer: torch.maximum(_squares(_grams(contents[layer]) - targets[layer]), FLOOR * _squares(targets[layer]))
                for layer in STYLE_LAYERS
            }
            wanted = {layer: _grams(goals[layer]) for layer in STYLE_LAYERS}
        grams = {layer: _grams(own[layer]) for layer in STYLE_LAYERS}
        parts["gram"] = _gram_error(grams, wanted, targets, count)
        if weights.gradient:
            distances = [
                (_squares(grams[layer][:count] - targets[layer]) / begun[layer].clamp_min(1e-12)).sum()
                for layer in STYLE_LAYERS
            ]
            total = torch.stack(distances).sum()
            (g,) = torch.autograd.grad(total, pictures, create_graph=True)
            parts["gradient"] = _apart(g[:count], batch.gradients)
    return parts


def _features(
    own: Mapping[str, torch.Tensor], goals: Mapping[str, torch.Tensor], channels: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    errors = []
    for layer in LAYERS:
        goal = goals[layer]
        if len(channels[layer]) < goal.shape[1]:
            goal = goal[:, channels[layer].to(goal.device)]
        energy = (goal - goal.mean((2, 3), keepdim=True)).square().sum((1, 2, 3)).clamp_min(1e-12)
        errors.append(((own[layer] - goal).square().sum((1, 2, 3)) / energy).clamp_max(4.0).mean())
    return torch.stack(errors).mean()


def _gram_error(
    grams: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], targets: Mapping[str, torch.Tensor], count: int
) -> torch.Tensor:
    errors = []
    for layer in STYLE_LAYERS:
        left = _squares(wanted[layer][:count] - targets[layer])
        # Near the end of a run nothing is left: the error is then measured by a hundredth of the style itself.
        left = torch.maximum(left, FLOOR * _squares(targets[layer])).clamp_min(1e-12)
        errors.append((_squares(grams[layer][:count] - wanted[layer][:count]) / left).mean())
    return torch.stack(errors).mean()


def _grams(features: torch.Tensor) -> torch.Tensor:
    """(N, C, C), divided by the number of positions."""
    flat = torch.stack([matrix(f[None]) for f in features])
    return flat.transpose(1, 2) @ flat / flat.shape[1]


def _squares(x: torch.Tensor) -> torch.Tensor:
    return x.square().sum((1, 2))


def _apart(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """2 − cos − cos at half resolution, mean over pictures."""
    full = F.cosine_similarity(ours.flatten(1), theirs.flatten(1), dim=1)
    small, goal = (F.avg_pool2d(g, 2).flatten(1) for g in (ours, theirs))
    half = F.cosine_similarity(small, goal, dim=1)
    return (2 - full - half).mean()


class Adam:
    """Adam (Kingma & Ba 2015) on tensors by name, with a running average of them (decay 0.998).

    A step is relative to a tensor's root mean square, since the layers' magnitudes span orders; a bias's to that of the
    weights that it is added to. torch.optim would do, but for that, and for a state of plain tensors that safetensors keeps.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor] | None = None) -> None:
        kinds = {"first": torch.zeros_like, "second": torch.zeros_like, "average": torch.clone, "value": torch.clone}
        begun = {f"{kind}.{name}": make(t.detach()) for name, t in tensors.items() for kind, make in kinds.items()}
        self.state = dict(state) if state else begun

    def part(self, kind: str) -> dict[str, torch.Tensor]:
        """ "value", or "average", "first", "second", by tensor."""
        return {n.removeprefix(f"{kind}."): t for n, t in self.state.items() if n.startswith(f"{kind}.")}

    @torch.no_grad()
    def step(self, gradients: Mapping[str, torch.Tensor], rate: float, number: int) -> None:
        """`number` counts from 1."""
        for name, g in gradients.items():
            first, second, average, value = (self.state[f"{kind}.{name}"] for kind in ("first", "second", "average", "value"))
            first.lerp_(g, 0.1)
            second.mul_(0.98).addcmul_(g, g, value=0.02)
            update = (first / (1 - 0.9**number)) / ((second / (1 - 0.98**number)).sqrt() + 1e-12)
            value.sub_(update, alpha=rate * self._scale(name))
            average.lerp_(value, 1 - min(0.998, number / (number + 10)))

    def _scale(self, name: str) -> float:
        weights = [name.replace(".bias", ending) for ending in (".expand.weight", ".weight")]
        known = next(w for w in (*weights, name) if f"value.{w}" in self.state)
        return float(self.state[f"value.{known}"].square().mean().sqrt())
