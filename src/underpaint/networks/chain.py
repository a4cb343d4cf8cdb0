"""A network that is a chain of convolutions, ReLUs and pooling, with an explicit way back to the pixels.

Autograd would do the same sums; writing the chain out lets activations and gradients be changed in
place, which is what brings an iteration near the time of its bare convolutions (benchmarks/stylize.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from underpaint.errors import UnderpaintError
from underpaint.execution.device import ieee_float32
from underpaint.networks.anatomy import Anatomy
from underpaint.networks.base import Seed
from underpaint.networks.specification import Pooling

MEAN_RGB = (123.68, 116.779, 103.939)
"""Means of ImageNet's training pictures on 0..255, subtracted by VGG's authors."""


@dataclass(frozen=True)
class Convolution:
    """A convolution: followed by a ReLU, whose output is feature map `layer`, or linear where that is None."""

    layer: str | None
    weight: torch.Tensor
    bias: torch.Tensor | None
    pad: int


@dataclass(frozen=True)
class Pool:
    """2×2 pooling with stride 2; an odd last row or column makes a window of its own.

    Average pooling is multiplied by `gain`, max pooling is not.
    """

    gain: float


Link = Convolution | Pool


def _forward(link: Link, pooling: Pooling, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One link's output, and where each maximum came from if it pools by them."""
    if isinstance(link, Convolution):
        out = F.conv2d(x, link.weight, link.bias, padding=link.pad)
        return (out if link.layer is None else out.relu_()), None
    if pooling == "max":
        out, windows = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
        return out, windows
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False).mul_(link.gain), None


def _input_gradient(link: Convolution, x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """The convolution's way back to its input x; weights are frozen and get no gradient."""
    pad = [link.pad, link.pad]
    gradients = torch.ops.aten.convolution_backward(
        g, x, link.weight, None, [1, 1], pad, [1, 1], False, [0, 0], 1, [True, False, False]
    )
    back: torch.Tensor = gradients[0]
    return back


class ChainTape:
    """See `underpaint.networks.base.Tape`. Keeps every activation of the pass, channels last.

    The picture comes with a border of one replicated pixel, whose gradient is folded back onto the edge.
    """

    def __init__(self, links: Sequence[Link], pooling: Pooling, padded: torch.Tensor, layers: Sequence[str]):
        self._links, self._pooling = links, pooling
        self._activations: list[torch.Tensor] = [padded]
        self._indices: dict[int, torch.Tensor] = {}
        features: dict[str, torch.Tensor] = {}
        for place, link in enumerate(links):
            x, windows = _forward(link, pooling, self._activations[-1])
            if windows is not None:
                self._indices[place] = windows
            if isinstance(link, Convolution) and link.layer is not None and link.layer in layers:
                features[link.layer] = x
            self._activations.append(x)
        self.features: Mapping[str, torch.Tensor] = features

    def _unpool(self, place: int, link: Pool, g: torch.Tensor) -> torch.Tensor:
        x, window = self._activations[place], [2, 2]
        if self._pooling == "max":
            back: torch.Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
                g, x, window, window, [0, 0], [1, 1], True, self._indices[place]
            )
        else:
            back = torch.ops.aten.avg_pool2d_backward(g * link.gain, x, window, window, [0, 0], True, False, None)
        return back

    @torch.no_grad()
    def pullback(self, seeds: Mapping[str, Seed]) -> torch.Tensor:
        """See `Tape.pullback`. Starts at the deepest layer that has a seed."""
        with ieee_float32(self._activations[0].device):
            return self._pullback(seeds)

    def _pullback(self, seeds: Mapping[str, Seed]) -> torch.Tensor:
        g: torch.Tensor | None = None
        for place in range(len(self._links) - 1, -1, -1):
            link, out = self._links[place], self._activations[place + 1]
            if isinstance(link, Pool):
                g = g if g is None else self._unpool(place, link, g)
                continue
            if link.layer is not None and link.layer in seeds:
                g = torch.zeros_like(out) if g is None else g
                seeds[link.layer](g)
            if g is not None:
                if link.layer is not None:
                    # The ReLU's derivative, in place: 0 where its output is 0.
                    torch.ops.aten.threshold_backward.grad_input(g, out, 0, grad_input=g)
                g = _input_gradient(link, self._activations[place], g)
        if g is None:
            raise ValueError("pullback needs at least one seed at a layer of this tape")
        return _fold_border(g)


def _fold_border(g: torch.Tensor) -> torch.Tensor:
    """The gradient by the picture, (N, 3, H, W), of one by the picture with its replicated border."""
    g = g.to(torch.promote_types(g.dtype, torch.float32)).contiguous()
    g[..., 1] += g[..., 0]
    g[..., -2] += g[..., -1]
    g[..., 1, :] += g[..., 0, :]
    g[..., -2, :] += g[..., -1, :]
    return g[..., 1:-1, 1:-1].contiguous()


class Chain:
    """A frozen chain of links: see `underpaint.networks.base.Network`.

    Pictures lose their mean and gain a border of one replicated pixel, so the first convolution pads nothing
    (zero padding, a black frame after the mean is subtracted, shows in pastiches).

    Args:
        anatomy: of all its layers, of which `links` may have the first ones alone.
        links: their weights want RGB, 0..1 minus the mean.
        pooling: "max" or "average".
        device: where it runs.
        precision: float32, float64 (tests) or bfloat16.
    """

    def __init__(
        self,
        anatomy: Anatomy,
        links: Sequence[Link],
        pooling: Pooling = "max",
        device: torch.device | str = "cpu",
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.anatomy, self.pooling, self.precision, self.device = anatomy, pooling, precision, torch.device(device)
        self._links = [self._placed(link) for link in links]
        self.layers = tuple(link.layer for link in links if isinstance(link, Convolution) and link.layer is not None)
        # Centring in float32 keeps bfloat16's few digits for what differs between pictures.
        self._mean = torch.tensor(MEAN_RGB, dtype=torch.float64).div(255).view(1, 3, 1, 1)

    def _placed(self, link: Link) -> Link:
        if isinstance(link, Pool):
            return link
        weight = link.weight.to(self.precision).to(self.device).contiguous(memory_format=torch.channels_last)
        bias = None if link.bias is None else link.bias.to(self.precision).to(self.device)
        return Convolution(link.layer, weight, bias, link.pad)

    @property
    def name(self) -> str:
        """See `Network.name`."""
        return self.anatomy.name

    @torch.no_grad()
    def tape(self, image: torch.Tensor, layers: Sequence[str]) -> ChainTape:
        """See `Network.tape`."""
        with ieee_float32(self.device):
            return ChainTape(self._until(layers), self.pooling, self._padded(image), layers)

    @torch.no_grad()
    def features(self, image: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
        """See `Network.features`."""
        found: dict[str, torch.Tensor] = {}
        x = self._padded(image)
        with ieee_float32(self.device):
            for link in self._until(layers):
                x, _ = _forward(link, self.pooling, x)
                if isinstance(link, Convolution) and link.layer is not None and link.layer in layers:
                    found[link.layer] = x
        return found

    def shuffled(self, layers: Collection[str], seed: int = 0) -> Chain:
        """The same network with the weights of these layers' convolutions permuted: their values stay, what they say goes."""
        generator = torch.Generator().manual_seed(seed)
        links: list[Link] = []
        owner: str | None = None
        for link in reversed(self._links):
            if isinstance(link, Convolution):
                owner = link.layer or owner  # a linear convolution belongs to the ReLU after it
                if owner in layers:
                    order = torch.randperm(link.weight.numel(), generator=generator).to(link.weight.device)
                    weight = link.weight.flatten()[order].view(link.weight.shape)
                    link = Convolution(link.layer, weight, link.bias, link.pad)
            links.append(link)
        return Chain(self.anatomy, links[::-1], self.pooling, self.device, self.precision)

    def _until(self, layers: Sequence[str]) -> list[Link]:
        unknown = [layer for layer in layers if layer not in self.layers]
        if unknown or not layers:
            raise UnderpaintError(f"layer: {unknown or 'none given'}: {self.name} has {', '.join(self.layers)} here")
        deepest = max(layers, key=self.layers.index)
        last = next(i for i, s in enumerate(self._links) if isinstance(s, Convolution) and s.layer == deepest)
        return self._links[: last + 1]

    def _padded(self, image: torch.Tensor) -> torch.Tensor:
        dtype = torch.float64 if self.precision == torch.float64 else torch.float32
        padded = F.pad(image.to(dtype) - self._mean.to(dtype).to(self.device), (1, 1, 1, 1), mode="replicate")
        return padded.to(self.precision).contiguous(memory_format=torch.channels_last)
