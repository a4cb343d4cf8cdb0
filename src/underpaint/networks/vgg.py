"""VGG-16 and VGG-19 (Simonyan & Zisserman 2014, arXiv:1409.1556), with an explicit way back to the pixels.

Autograd would do the same sums; writing the chain out lets activations and gradients be changed in
place, which is what brings an iteration near the time of its bare convolutions (benchmarks/stylize.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from underpaint.errors import UnderpaintError
from underpaint.networks.network import Seed

Pooling = Literal["max", "average"]

CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
MEAN_RGB = (123.68, 116.779, 103.939)
"""Means of ImageNet's training pictures on 0..255, subtracted by the authors."""

AVERAGE_POOL_GAIN = (1.171, 1.616, 1.395, 1.935)
"""What average pooling is multiplied by, block by block: see `Vgg`."""


def layer_names(name: str) -> tuple[str, ...]:
    """`relu1_1` … `relu5_4` of "vgg19" (or `relu5_3` of "vgg16"), shallow to deep."""
    return tuple(f"relu{block}_{index}" for block, count in enumerate(CONVOLUTIONS[name], 1) for index in range(1, count + 1))


def keras_name(layer: str) -> str:
    """`relu4_2` is fed by the convolution that Keras calls `block4_conv2`."""
    block, index = layer.removeprefix("relu").split("_")
    return f"block{block}_conv{index}"


@dataclass(frozen=True)
class _Convolution:
    """A 3×3 convolution with the ReLU after it."""

    layer: str
    weight: torch.Tensor
    bias: torch.Tensor
    pad: int


@dataclass(frozen=True)
class _Pool:
    """2×2 pooling with stride 2; an odd last row or column makes a window of its own."""

    gain: float


_Stage = _Convolution | _Pool


def _forward(stage: _Stage, pooling: Pooling, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One stage's output, and where each maximum came from if it pools by them."""
    if isinstance(stage, _Convolution):
        return F.conv2d(x, stage.weight, stage.bias, padding=stage.pad).relu_(), None
    if pooling == "max":
        out, windows = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
        return out, windows
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False).mul_(stage.gain), None


def _input_gradient(stage: _Convolution, x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """The convolution's way back to its input x; weights are frozen and get no gradient."""
    pad = [stage.pad, stage.pad]
    gradients = torch.ops.aten.convolution_backward(
        g, x, stage.weight, None, [1, 1], pad, [1, 1], False, [0, 0], 1, [True, False, False]
    )
    back: torch.Tensor = gradients[0]
    return back


class VggTape:
    """See `underpaint.networks.network.Tape`. Keeps every activation of the pass, channels last."""

    def __init__(self, chain: Sequence[_Stage], pooling: Pooling, image: torch.Tensor, layers: Sequence[str]):
        self._chain, self._pooling = chain, pooling
        self._activations: list[torch.Tensor] = [image]
        self._indices: dict[int, torch.Tensor] = {}
        self.features: Mapping[str, torch.Tensor] = {}
        features = {}
        for place, stage in enumerate(chain):
            x, windows = _forward(stage, pooling, self._activations[-1])
            if windows is not None:
                self._indices[place] = windows
            if isinstance(stage, _Convolution) and stage.layer in layers:
                features[stage.layer] = x
            self._activations.append(x)
        self.features = features

    def _unpool(self, place: int, stage: _Pool, g: torch.Tensor) -> torch.Tensor:
        x, window = self._activations[place], [2, 2]
        if self._pooling == "max":
            back: torch.Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
                g, x, window, window, [0, 0], [1, 1], True, self._indices[place]
            )
        else:
            back = torch.ops.aten.avg_pool2d_backward(g * stage.gain, x, window, window, [0, 0], True, False, None)
        return back

    @torch.no_grad()
    def pullback(self, seeds: Mapping[str, Seed]) -> torch.Tensor:
        """See `Tape.pullback`. Starts at the deepest layer that has a seed."""
        g: torch.Tensor | None = None
        for place in range(len(self._chain) - 1, -1, -1):
            stage, out = self._chain[place], self._activations[place + 1]
            if isinstance(stage, _Pool):
                g = g if g is None else self._unpool(place, stage, g)
                continue
            if stage.layer in seeds:
                g = torch.zeros_like(out) if g is None else g
                seeds[stage.layer](g)
            if g is not None:
                # The ReLU's derivative, in place: 0 where its output is 0.
                torch.ops.aten.threshold_backward.grad_input(g, out, 0, grad_input=g)
                g = _input_gradient(stage, self._activations[place], g)
        if g is None:
            raise ValueError("pullback needs at least one seed at a layer of this tape")
        return g


class Vgg:
    """VGG-16 or VGG-19 up to the deepest layer that a run needs, frozen.

    Departures from the paper: the first convolution pads by replicating the border (zero padding, a
    black frame after the mean is subtracted, shows in pastiches); pooling rounds sizes up, so that
    no row of an odd-sized picture is dropped; pooling may be `average`. Average pooling gives smaller
    values than max pooling, so each pooling layer's output is multiplied by a constant, the ratio of the
    root mean squares of max-pooled and average-pooled activations (`benchmarks/pooling.py` measures it on the sample
    pictures), to keep deeper layers in the range that they were trained on.

    The weights want BGR, 0..255: the order of the channels and the scale are folded into the first convolution.

    Args:
        name: "vgg16" or "vgg19".
        tensors: `block1_conv1.weight` (O, I, 3, 3) and `block1_conv1.bias` (O,), and so on, float32.
        deepest: the last layer that will be asked for.
        pooling: "max" as trained, or "average".
        device: where it runs.
        precision: float32, float64 (tests) or bfloat16.
    """

    def __init__(
        self,
        name: str,
        tensors: Mapping[str, torch.Tensor],
        deepest: str,
        pooling: Pooling = "max",
        device: torch.device | str = "cpu",
        precision: torch.dtype = torch.float32,
    ) -> None:
        names = layer_names(name)
        self.name, self.pooling, self.precision, self.device = name, pooling, precision, torch.device(device)
        self.layers = names[: names.index(deepest) + 1]
        self._chain = self._build(tensors)
        # Centring in float32 keeps bfloat16's few digits for what differs between pictures.
        self._mean = torch.tensor(MEAN_RGB, dtype=torch.float64).div(255).view(1, 3, 1, 1)

    def _build(self, tensors: Mapping[str, torch.Tensor]) -> list[_Stage]:
        chain: list[_Stage] = []
        for layer in self.layers:
            block, index = int(layer[4]), int(layer[6:])
            if index == 1 and block > 1:
                chain.append(_Pool(AVERAGE_POOL_GAIN[block - 2]))
            weight = tensors[keras_name(layer) + ".weight"]
            if not chain:
                weight = weight.flip(1) * 255
            weight = weight.to(self.precision).to(self.device).contiguous(memory_format=torch.channels_last)
            bias = tensors[keras_name(layer) + ".bias"].to(self.precision).to(self.device)
            chain.append(_Convolution(layer, weight, bias, pad=0 if not chain else 1))
        return chain

    def stride(self, layer: str) -> int:
        """1, 2, 4, 8 or 16 pixels: see `Network.stride`."""
        return 1 << (int(layer[4]) - 1)

    @torch.no_grad()
    def tape(self, image: torch.Tensor, layers: Sequence[str]) -> VggReplicatedTape:
        """See `Network.tape`."""
        return VggReplicatedTape(self._until(layers), self.pooling, self._padded(image), layers)

    @torch.no_grad()
    def features(self, image: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
        """See `Network.features`."""
        x, found = self._padded(image), {}
        for stage in self._until(layers):
            x, _ = _forward(stage, self.pooling, x)
            if isinstance(stage, _Convolution) and stage.layer in layers:
                found[stage.layer] = x
        return found

    def _until(self, layers: Sequence[str]) -> list[_Stage]:
        unknown = [layer for layer in layers if layer not in self.layers]
        if unknown or not layers:
            raise UnderpaintError(f"layer: {unknown or 'none given'}: {self.name} has {', '.join(self.layers)} here")
        deepest = max(layers, key=self.layers.index)
        last = next(i for i, s in enumerate(self._chain) if isinstance(s, _Convolution) and s.layer == deepest)
        return self._chain[: last + 1]

    def _padded(self, image: torch.Tensor) -> torch.Tensor:
        dtype = torch.float64 if self.precision == torch.float64 else torch.float32
        padded = F.pad(image.to(dtype) - self._mean.to(dtype).to(self.device), (1, 1, 1, 1), mode="replicate")
        return padded.to(self.precision).contiguous(memory_format=torch.channels_last)


class VggReplicatedTape(VggTape):
    """A tape whose pullback folds the gradient of the replicated border back onto the edge pixels."""

    @torch.no_grad()
    def pullback(self, seeds: Mapping[str, Seed]) -> torch.Tensor:
        """See `Tape.pullback`."""
        g = super().pullback(seeds)
        g = g.to(torch.promote_types(g.dtype, torch.float32)).contiguous()
        g[..., 1] += g[..., 0]
        g[..., -2] += g[..., -1]
        g[..., 1, :] += g[..., 0, :]
        g[..., -2, :] += g[..., -1, :]
        return g[..., 1:-1, 1:-1].contiguous()
