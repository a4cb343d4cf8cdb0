"""A lens: what a network is shown instead of the picture itself: the picture enlarged, or moved by a few pixels.

Networks that halve their input at once see too little of fine strokes; they are shown a larger picture. The grid of strides
and patches leaves its print on what is painted through it; a picture that is moved by another few pixels at every step does
not keep it (the jitter of Olah et al. 2017, "Feature Visualization").
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
import torch.nn.functional as F

from underpaint.networks.base import Network, Seed, Tape

OFFSETS = 8
"""How many ways there are to be moved: few enough for the content's features to be kept for each."""


def offset(draw: int, reach: int) -> tuple[int, int]:
    """Pixels down and to the right that a picture is moved by, each from -reach to reach: one of `OFFSETS`, spread evenly
    over the square (the first points of Roberts' R2 sequence), that the number `draw` decides."""
    if not reach:
        return 0, 0
    down, right = ((0.5 + draw % OFFSETS * step) % 1 for step in (0.7548776662466927, 0.5698402909980532))
    return round((2 * down - 1) * reach), round((2 * right - 1) * reach)


def offsets(reach: int) -> tuple[tuple[int, int], ...]:
    """All ways, but for no move at all."""
    found = dict.fromkeys(offset(draw, reach) for draw in range(OFFSETS))
    return tuple(by for by in found if by != (0, 0))


def moved(image: torch.Tensor, by: tuple[int, int]) -> torch.Tensor:
    """A picture (1, 3, H, W) moved by (down, right) pixels; what comes in at the edges is the picture mirrored."""
    (down, right), (height, width) = by, image.shape[2:]
    if not (down or right):
        return image
    reach = max(abs(down), abs(right))
    padded = F.pad(image, (reach, reach, reach, reach), mode="reflect" if reach < min(height, width) else "replicate")
    return padded[..., reach - down : reach - down + height, reach - right : reach - right + width]


def enlarged(image: torch.Tensor, factor: float) -> torch.Tensor:
    """A picture (N, 3, H, W) on `factor` times as many pixels a side, bilinear: nothing in it is sharper than it was."""
    size = [round(side * factor) for side in image.shape[2:]]
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False)


class _Through:
    """See `underpaint.networks.base.Tape`."""

    def __init__(
        self, image: torch.Tensor, seen: Callable[[torch.Tensor], torch.Tensor], look: Callable[[torch.Tensor], Tape]
    ):
        with torch.enable_grad():
            self._leaf = image.detach().requires_grad_()
            self._seen = seen(self._leaf)
        self._tape = look(self._seen.detach())

    @property
    def features(self) -> Mapping[str, torch.Tensor]:
        """See `Tape.features`."""
        return self._tape.features

    def pullback(self, seeds: Mapping[str, Seed]) -> torch.Tensor:
        """See `Tape.pullback`."""
        back = self._tape.pullback(seeds)
        (gradient,) = torch.autograd.grad(self._seen, self._leaf, back, retain_graph=True)
        return gradient


def tape_moved(network: Network, image: torch.Tensor, layers: Sequence[str], by: tuple[int, int]) -> Tape:
    """`network.tape` of the picture moved by (down, right) pixels; gradients are by the picture itself."""
    if by == (0, 0):
        return network.tape(image, layers)
    return _Through(image, lambda leaf: moved(leaf, by), lambda seen: network.tape(seen, layers))


class Enlarging:
    """A network that is shown pictures `factor` times as large: see `underpaint.networks.base.Network`."""

    def __init__(self, network: Network, factor: float) -> None:
        self._network, self.factor = network, factor
        self.anatomy, self.layers = network.anatomy, network.layers
        self.precision, self.device = network.precision, network.device

    @property
    def name(self) -> str:
        """See `Network.name`."""
        return self._network.name

    def tape(self, image: torch.Tensor, layers: Sequence[str]) -> Tape:
        """See `Network.tape`."""
        return _Through(image, lambda leaf: enlarged(leaf, self.factor), lambda seen: self._network.tape(seen, layers))

    def features(self, image: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
        """See `Network.features`."""
        return self._network.features(enlarged(image, self.factor), layers)

    def shuffled(self, layers: Collection[str], seed: int = 0) -> Enlarging:
        """See `Network.shuffled`."""
        return Enlarging(self._network.shuffled(layers, seed), self.factor)
