"""Half-painted pictures: where a style gradient has to be right, and photographs and paintings never go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from underpaint.imaging import images
from underpaint.networks.base import Network
from underpaint.optimizers.loop import Stage, optimise
from underpaint.recipe import make
from underpaint.runs.scene import Pictures, Scene

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


OBJECTIVE: dict[str, Any] = {"preset": "gatys", "content_weight": 0.12, "smoothness_growth": 2.0, "crop": False}
"""What the network was trained on; the recipe's own defaults may change."""


@dataclass(frozen=True)
class Moment:
    """A state of a run: the picture (3, h, w), with the content (3, h, w) and the style (3, h', w') that it is between."""

    image: torch.Tensor
    content: torch.Tensor
    style: torch.Tensor


def paint(
    network: Network, content: torch.Tensor, style: torch.Tensor, iterations: int, keep: int, seed: int
) -> Iterator[Moment]:
    """`keep` states of a run at the last size, spread evenly on a logarithmic scale from its start to its end."""
    side = max(content.shape[1:])
    recipe = make({"size": side, "smallest": min(64, side), "iterations": [iterations], "seed": seed} | OBJECTIVE)
    pictures = Pictures(*_pictures(content, style))
    scene = Scene(recipe, pictures, network)
    last = len(recipe.sizes()) - 1
    wanted = {round(n) for n in np.geomspace(1, iterations, keep)}
    for step in optimise(recipe, scene.stage, None):
        if step.scale == last and step.iteration + (0 if step.final else 1) in wanted:
            wanted.discard(step.iteration + (0 if step.final else 1))
            yield Moment(step.state.image[0].clamp(0, 1).clone().cpu(), content, style)


def stage(network: Network, moment: Moment) -> Stage:
    """The objective at a moment's size, as this network sees it."""
    side = max(moment.content.shape[1:])
    recipe = make({"size": side, "smallest": side} | OBJECTIVE)
    content, styles = _pictures(moment.content, moment.style)
    return Scene(recipe, Pictures(content, styles), network).stage(0)


def style_gradient(network: Network, moment: Moment) -> torch.Tensor:
    """The gradient of the style terms alone by the pixels at a moment, (3, h, w)."""
    whole = stage(network, moment).objective
    style = whole.only([term.name for term in whole.terms if term.style_layer])
    return style.evaluate(moment.image[None].to(network.device)).gradient[0].cpu()


def _pictures(content: torch.Tensor, style: torch.Tensor) -> tuple[images.Picture, tuple[images.Picture, ...]]:
    one, other = (images.read(np.ascontiguousarray(p.permute(1, 2, 0).numpy()), min_side=8) for p in (content, style))
    return one, (other,)
