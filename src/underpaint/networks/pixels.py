"""The layer before the first: `pixels`, each position's 3×3 neighbourhood as it is.

VGG sees every pixel at its first layers; networks that halve the picture at once do not, and what they do not see is noise
in what they paint. With the neighbourhoods of pixels as a layer of their own, fine texture and its colours are matched too,
without any weights: it paints what needs no network.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
import torch.nn.functional as F

from underpaint.networks.anatomy import PIXELS, Anatomy
from underpaint.networks.base import Network, Seed, Tape

NAME = PIXELS.name
SIDE = 3


def neighbourhoods(image: torch.Tensor) -> torch.Tensor:
    """Of (N, 3, H, W): (N, 27, H, W); at the edges the last pixels are repeated."""
    reach, (height, width) = SIDE // 2, image.shape[2:]
    padded = F.pad(image, (reach,) * 4, mode="replicate")
    parts = [padded[..., i : i + height, j : j + width] for i in range(SIDE) for j in range(SIDE)]
    return torch.cat(parts, 1).contiguous(memory_format=torch.channels_last)


class _Tape:
    """See `underpaint.networks.base.Tape`."""

    def __init__(self, image: torch.Tensor, inner: Tape | None, asked: bool, precision: torch.dtype) -> None:
        self._inner, self._image = inner, image
        self.features: dict[str, torch.Tensor] = {} if inner is None else dict(inner.features)
        if asked:
            with torch.enable_grad():
                self._leaf = image.detach().requires_grad_()
                self._seen = neighbourhoods(self._leaf)
            self.features[NAME] = self._seen.detach().to(precision)

    def pullback(self, seeds: Mapping[str, Seed]) -> torch.Tensor:
        """See `Tape.pullback`."""
        others = {layer: seed for layer, seed in seeds.items() if layer != NAME}
        gradient = torch.zeros_like(self._image) if self._inner is None or not others else self._inner.pullback(others)
        if NAME in seeds:
            cotangent = torch.zeros_like(self.features[NAME], memory_format=torch.channels_last)
            seeds[NAME](cotangent)
            (own,) = torch.autograd.grad(self._seen, self._leaf, cotangent.to(self._seen.dtype), retain_graph=True)
            gradient = gradient + own
        return gradient


class Pixels:
    """A network with the layer `pixels`: see `underpaint.networks.base.Network`."""

    def __init__(self, network: Network, anatomy: Anatomy) -> None:
        self._network, self.anatomy = network, anatomy
        self.layers = (NAME, *network.layers)
        self.precision, self.device = network.precision, network.device

    @property
    def name(self) -> str:
        """See `Network.name`."""
        return self._network.name

    def tape(self, image: torch.Tensor, layers: Sequence[str]) -> Tape:
        """See `Network.tape`."""
        others = [layer for layer in layers if layer != NAME]
        return _Tape(image, self._network.tape(image, others) if others else None, NAME in layers, self.precision)

    def features(self, image: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
        """See `Network.features`."""
        others = [layer for layer in layers if layer != NAME]
        found = self._network.features(image, others) if others else {}
        return found | ({NAME: neighbourhoods(image).to(self.precision)} if NAME in layers else {})

    def shuffled(self, layers: Collection[str], seed: int = 0) -> Pixels:
        """See `Network.shuffled`; `pixels` has no weights."""
        return Pixels(self._network.shuffled([layer for layer in layers if layer != NAME], seed), self.anatomy)
