"""How long a run will take and how much memory it will need, before it starts."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from underpaint.execution import device
from underpaint.imaging import images
from underpaint.networks.base import Network
from underpaint.networks.registry import specification
from underpaint.recipe import Recipe
from underpaint.runs.scene import Scene

PROBE = 128
"""Side of the picture that the estimate times the network on, pixels: a tenth of a second on two cores."""

LINE_SEARCH = 1.1
"""Evaluations that a step of L-BFGS takes, on average."""

BASE_BYTES = 420_000_000
"""Python, PyTorch and a network's weights."""

BYTES_PER_PIXEL = {"auto": 2300, "float32": 2300, "bf16": 1200}
"""Activations and gradients of VGG up to relu5_1, and the optimiser's pictures, at the finest size; before `auto` is
settled, the larger."""


@dataclass(frozen=True)
class Estimate:
    """Seconds and bytes, both rough: what a user wants to know before starting. `benchmarks/stylize.py memory` measures."""

    seconds: float
    bytes: int


def estimate(scene: Scene) -> Estimate:
    """Times the networks on a small picture and scales by the pixels of the schedule."""
    networks = {network.name: network for network in map(scene.network_at, range(len(scene.recipe.sizes())))}
    paces = {name: pace(scene.recipe, network) for name, network in networks.items()}
    return forecast(scene.recipe, scene.pictures.content.rgb.shape[:2], paces)


def forecast(recipe: Recipe, extent: tuple[int, ...], paces: Mapping[str, float]) -> Estimate:
    """The same where the networks' pace is known.

    Args:
        extent: height and width of the content picture, pixels.
        paces: seconds a pixel by network, see `pace`.
    """
    trials = 1.0 if recipe.optimizer == "adam" else LINE_SEARCH
    seconds = 0.0
    for scale, (size, count) in enumerate(zip(recipe.sizes(), recipe.schedule(), strict=True)):
        network = recipe.networks()[recipe.polishes(scale)]
        seconds += specification(network).cost * trials * paces[network] * count * math.prod(images.size_for(extent, size))
    finest = math.prod(images.size_for(extent, recipe.size))
    return Estimate(seconds, BASE_BYTES + finest * BYTES_PER_PIXEL[recipe.precision])


@device.own_settings()
def pace(recipe: Recipe, network: Network) -> float:
    """Seconds a pixel of a network's way there and back."""
    image = torch.full((1, 3, PROBE, PROBE), 0.5, device=network.device)
    layers = list(dict.fromkeys([*recipe.content_layers, *recipe.style_layers]))
    deepest = max(layers, key=network.layers.index)
    return min(_once(network, image, deepest) for _ in range(3)) / PROBE**2


def _ones(g: torch.Tensor) -> None:
    g.fill_(1.0)


def _once(network: Network, image: torch.Tensor, layer: str) -> float:
    begun = time.perf_counter()
    tape = network.tape(image, [layer])
    tape.pullback({layer: _ones}).sum().item()  # .item() waits for a GPU
    return time.perf_counter() - begun


def duration(seconds: float) -> str:
    """Rough, as people say it: `40 s`, `4 min`; never under a second."""
    return f"{max(seconds, 1):.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
