"""How near the student is to its teacher: features on held-out pictures, and style gradients on held-out runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from training.states import Moment, style_gradient
from training.student import TAPS
from underpaint.networks.base import Network


def residuals(teacher: Network, student: Network, pictures: Sequence[torch.Tensor]) -> dict[str, float]:
    """‖F_student − F_teacher‖² / ‖F_teacher‖² at each tap, sums over all pictures (3, h, w)."""
    error, energy = dict.fromkeys(TAPS, 0.0), dict.fromkeys(TAPS, 0.0)
    for picture in pictures:
        ours, theirs = (network.features(picture[None].to(network.device), TAPS) for network in (student, teacher))
        for layer in TAPS:
            error[layer] += float((ours[layer] - theirs[layer]).square().sum())
            energy[layer] += float(theirs[layer].square().sum())
    return {layer: error[layer] / energy[layer] for layer in TAPS}


def cosines(teacher: Network, student: Network, moments: Sequence[Moment]) -> list[tuple[float, float]]:
    """For each moment the cosine of the two networks' style gradients, at full and at half resolution (2×2 means)."""
    found = []
    for moment in moments:
        ours, theirs = (style_gradient(network, moment) for network in (student, teacher))
        half = [F.avg_pool2d(g[None], 2) for g in (ours, theirs)]
        found.append((_cosine(ours, theirs), _cosine(*half)))
    return found


def _cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(F.cosine_similarity(a.flatten(), b.flatten(), dim=0))
