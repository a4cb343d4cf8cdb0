"""What every network is to the rest of the package: feature maps by layer name, and their pullback."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import torch

from underpaint.networks.anatomy import Anatomy

Seed = Callable[[torch.Tensor], None]
"""Adds a layer's cotangent, in place, to a gradient of the layer's shape (N, C, h, w)."""


class Tape(Protocol):
    """One forward pass: the feature maps asked for, and what the way back to the pixels needs."""

    @property
    def features(self) -> Mapping[str, torch.Tensor]:
        """Feature maps by layer name, each (N, C, h, w), never negative after a ReLU. Do not write to them."""
        ...

    def pullback(self, seeds: Mapping[str, Seed]) -> torch.Tensor:
        """The gradient by the pixels, (N, 3, H, W) float32, of Σ_layers ⟨cotangent, features⟩.

        `seeds` gives the cotangent of each layer. May be called again with other seeds: a tape is
        not used up.
        """
        ...


class Network(Protocol):
    """A frozen, pretrained network. Preprocessing is inside: pictures go in as sRGB, 0..1.

    Attributes:
        anatomy: of the whole network.
        layers: those up to which it was opened, shallow to deep.
        precision, device: of its weights and features.
    """

    anatomy: Anatomy
    layers: tuple[str, ...]
    precision: torch.dtype
    device: torch.device

    @property
    def name(self) -> str:
        """As a recipe spells it."""
        ...

    def tape(self, image: torch.Tensor, layers: Sequence[str]) -> Tape:
        """Runs `image` (N, 3, H, W), float32 sRGB in 0..1, as far as the deepest of `layers`."""
        ...

    def features(self, image: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
        """The feature maps alone, (N, C, h, w) each, nothing kept for a way back."""
        ...

    def shuffled(self, layers: Collection[str], seed: int = 0) -> Network:
        """The same network with the weights of these layers permuted (for sanity checks)."""
        ...
