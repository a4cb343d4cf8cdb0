"""The compact network as it learns: the same sums as `underpaint.networks.compact`, open to autograd."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

from underpaint.networks.chain import MEAN_RGB
from underpaint.networks.compact import LAYERS
from underpaint.networks.vgg import keras_name

TAPS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1")
"""Layers that the default objective looks at: they keep all of VGG-19's channels, in its order."""


class Width(NamedTuple):
    """Of a convolution: the rank r of its 3×3, how many of VGG-19's channels it keeps, and to how many a 1×1 brings its
    input first (None: the 3×3 sees all of them)."""

    rank: int
    kept: int
    inputs: int | None = None


@dataclass(frozen=True)
class Plan:
    """The widths of each convolution but the first."""

    name: str
    widths: Mapping[str, Width]


def _plan(name: str, *widths: tuple[int, ...]) -> Plan:
    return Plan(name, {layer: Width(*width) for layer, width in zip(LAYERS[1:], widths, strict=True)})


PLANS = {
    plan.name: plan
    for plan in (
        _plan("quarter", (16, 64), (32, 128), (32, 128), (64, 256), *[(64, 256)] * 3, *[(128, 512)] * 5),
        _plan(
            "narrow",
            *[(16, 32), (32, 128), (32, 64), (96, 256), (64, 128), (64, 128), (64, 128)],
            *[(144, 512), (128, 512), (96, 256), (128, 256), (192, 512)],
        ),
        _plan(
            "slim",
            *[(16, 32), (32, 128), (48, 64, 64), (112, 256), (80, 128, 112), (64, 128), (64, 128)],
            *[(144, 512), (144, 512, 192), (112, 256, 160), (128, 256), (224, 512)],
        ),
    )
}


class Student:
    """The tensors of a compact network, and its feature maps with a way back to them.

    Attributes:
        tensors: as `underpaint.networks.compact.Compact` wants them, float32; they may be results under autograd.
        channels: by layer, which of VGG-19's channels it keeps, in order.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], channels: Mapping[str, torch.Tensor]) -> None:
        self.tensors = dict(tensors)
        self.channels = dict(channels)
        # (The mean is subtracted in double precision by the package; here too.)
        self._mean = torch.tensor(MEAN_RGB, dtype=torch.float64).div(255).float().view(1, 3, 1, 1)

    def prepared(self, image: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) in 0..1 without its mean and with a replicated border."""
        x = F.pad(image - self._mean.to(image.device), (1, 1, 1, 1), mode="replicate")
        return x.contiguous(memory_format=torch.channels_last)

    def layer(self, layer: str, x: torch.Tensor) -> torch.Tensor:
        """A feature map from that before it, which is pooled already."""
        w, name = self.tensors, keras_name(layer)
        if layer == LAYERS[0]:
            return F.relu(F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"]))
        if f"{name}.project.weight" in w:
            x = F.conv2d(x, w[f"{name}.project.weight"])
        x = F.conv2d(x, w[f"{name}.reduce.weight"], padding=1)
        return F.relu(F.conv2d(x, w[f"{name}.expand.weight"], w[f"{name}.bias"]))

    def features(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """All thirteen feature maps of (N, 3, H, W) in 0..1."""
        x, found = self.prepared(image), {}
        for layer in LAYERS:
            if layer.endswith("_1") and layer != LAYERS[0]:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            x = self.layer(layer, x)
            found[layer] = x
        return found

    def operations(self) -> float:
        """Multiplications of a forward pass, per pixel of the picture."""
        stride = {layer: 1 << (int(layer[4]) - 1) for layer in LAYERS}
        return sum(
            t.numel() / stride[f"relu{name[5]}_{name[11]}"] ** 2
            for name, t in self.tensors.items()
            if name.endswith("weight")
        )
