"""Seconds of one iteration against its convolution floor, measured in turn in one process.

The floor is the bare forward and backward-to-input convolutions of the layers that the objective uses, on tensors that
lie ready, in the faster of two memory layouts. An iteration is one evaluation of the default objective (five Gram terms,
content, smoothness) with its gradient, and Adam's step.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from underpaint import samples
from underpaint.imaging import images
from underpaint.networks import registry, vgg
from underpaint.networks import weights as files
from underpaint.networks.vgg import layer_names
from underpaint.optimizers.adam import Adam
from underpaint.recipe import make
from underpaint.runs.scene import Pictures, Scene

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Convolution:
    """One convolution's input, output gradient, weights and padding."""

    x: torch.Tensor
    g: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor
    pad: int

    def run(self) -> None:
        """Forward, then back to the input."""
        F.conv2d(self.x, self.weight, self.bias, padding=self.pad)
        pad = [self.pad, self.pad]
        torch.ops.aten.convolution_backward(
            self.g, self.x, self.weight, None, [1, 1], pad, [1, 1], False, [0, 0], 1, [True, False, False]
        )


def floor(extent: tuple[int, int], dtype: torch.dtype, layout: torch.memory_format) -> list[Convolution]:
    """VGG-19's convolutions up to relu5_1 at (height, width)."""
    height, width = extent
    found: list[Convolution] = []
    channels = 3
    for layer in layer_names("vgg19"):
        block, index = int(layer[4]), int(layer[6:])
        if index == 1 and block > 1:
            height, width = (height + 1) // 2, (width + 1) // 2
        wide = min(64 * 2 ** (block - 1), 512)
        pad = 1 if found else 0
        x = torch.rand(1, channels, height + 2 - 2 * pad, width + 2 - 2 * pad)
        tensors = (x, torch.rand(1, wide, height, width), torch.rand(wide, channels, 3, 3) / channels)
        x, g, weight = (t.to(dtype).contiguous(memory_format=layout) for t in tensors)
        found.append(Convolution(x, g, weight, torch.rand(wide).to(dtype), pad))
        channels = wide
        if layer == "relu5_1":
            break
    return found


def iteration(size: int, precision: str, weights: Path) -> tuple[Callable[[], None], tuple[int, int]]:
    """One step of Adam at a longest side, on the objective of `plain` (`gatys`), and the picture's (height, width)."""
    recipe = make({"preset": "gatys", "size": size, "smallest": size, "precision": precision})
    content = images.read(samples.photograph("coffee"))
    # 4:3, as the figures that are quoted elsewhere.
    content = images.read(images.resize(content.rgb, (size * 3 // 4, size)))
    style = images.read(samples.style_path("gale"))
    layers = [*recipe.content_layers, *recipe.style_layers]
    network = registry.open_network("vgg19", layers, precision=PRECISIONS[precision], given=weights).network
    stage = Scene(recipe, Pictures(content, (style,)), network).stage(0)
    adam = Adam.start(stage.start, recipe.betas)
    state = {"image": stage.start}

    def step() -> None:
        gradient = stage.objective.evaluate(state["image"]).gradient
        state["image"] = state["image"].add(adam.step(gradient, 0.002)).clamp_(0, 1)

    return step, (stage.start.shape[2], stage.start.shape[3])


def seconds(action: Callable[[], object]) -> float:
    """Of one call."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def compare(size: int, precision: str, weights: Path, rounds: int) -> dict[str, float]:
    """Medians over rounds in which floor (both layouts) and iteration take turns; `ratio` is the median round's.

    A turn is three calls, of which the last two count. The floor's tensors are freed before the iteration's turn: a
    gigabyte of them beside a run would slow its allocations, which no run meets.
    """
    step, extent = iteration(size, precision, weights)
    taken = []
    for _ in range(rounds):
        floors = [bare(floor(extent, PRECISIONS[precision], c)) for c in (torch.contiguous_format, torch.channels_last)]
        taken.append((min(floors), turn(step)))
    return {
        "floor": statistics.median(f for f, _ in taken),
        "iteration": statistics.median(i for _, i in taken),
        "ratio": statistics.median(i / f for f, i in taken),
    }


def bare(convolutions: list[Convolution]) -> float:
    """Seconds of all of them."""

    def run() -> None:
        for convolution in convolutions:
            convolution.run()

    return turn(run)


def turn(action: Callable[[], object]) -> float:
    """Mean seconds of the last two of three calls."""
    return statistics.mean([seconds(action) for _ in range(3)][1:])


def plain(size: int, weights: Path, rounds: int) -> float:
    """Median seconds of the usual loop: autograd, contiguous tensors, nothing in place, the same objective but smoothness."""
    names = layer_names("vgg19")[:13]
    tensors = files.load(weights, [vgg.keras_name(name) for name in names])
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, size * 3 // 4, size, generator=generator).requires_grad_()

    def once() -> None:
        x, loss = image * 255 - 116.0, torch.zeros(())
        for name in names:
            if name.endswith("_1") and name != "relu1_1":
                x = F.max_pool2d(x, 2)
            key = vgg.keras_name(name)
            x = F.relu(F.conv2d(x, tensors[key + ".weight"], tensors[key + ".bias"], padding=1))
            if name.endswith("_1"):
                flat = x.flatten(2)[0]
                loss = loss + (flat @ flat.T / flat.shape[1] - 1).square().sum()
            if name == "relu4_2":
                loss = loss + (x - 1).square().sum()
        torch.autograd.grad(loss, image)

    once()
    return statistics.median(turn(once) for _ in range(rounds))
