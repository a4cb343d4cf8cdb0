"""Anatomy: what a network's layers are: how deep, in which block, by which short name; and which are held out to judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from underpaint.errors import UnderpaintError

if TYPE_CHECKING:  # which brings PyTorch along
    from underpaint.networks.base import Network

DEPTHS: Mapping[str, tuple[int, ...]] = {"shallow": (1, 2), "middle": (3,), "deep": (4, 5)}
"""Blocks of convolutions by depth, for judges and for groups of layers alike."""


PREFERRED = {1: (2,), 2: (2,), 3: (3, 4, 2), 4: (3, 4, 2), 5: (2, 3, 4)}
"""Which convolution of a block is held out: the first of these that the network has and no term looks at."""


def depth(layer: str) -> str:
    """ "shallow", "middle" or "deep", by the block in a layer's name (`relu3_1` is in block 3)."""
    return next((name for name, blocks in DEPTHS.items() if block(layer) in blocks), "deep")


def block(layer: str) -> int:
    """The block of convolutions that a layer is in, 0 where its name does not say: 3 of `relu3_1`."""
    return int(layer[4]) if layer[:4] == "relu" and layer[4:5].isdigit() else 0


def brief(layer: str) -> str:
    """A layer's name where there is little room: `3_1` for `relu3_1`."""
    return layer.removeprefix("relu")


def held_out(network: Network, optimised: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The layers that judge, by depth: of each block one that no term looks at.

    Raises:
        UnderpaintError: the terms look at all of a depth's layers.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, blocks in DEPTHS.items():
        layers = []
        for block in blocks:
            candidates = [f"relu{block}_{number}" for number in PREFERRED[block]]
            layers += [c for c in candidates if c in network.layers and c not in optimised][:1]
        if not layers:
            raise UnderpaintError(f"layers: every {name} layer is optimised and none is left to judge by; leave one out")
        found[name] = tuple(layers)
    return found
