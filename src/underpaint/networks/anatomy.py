"""Anatomy: what a network says of itself: how deep its layers lie, which of them paint by default, and which judge.

All that the other rooms know of a network's layers they read here: no name of a layer means anything by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from underpaint.errors import UnderpaintError

Depth = Literal["shallow", "middle", "deep"]

DEPTHS: tuple[Depth, ...] = ("shallow", "middle", "deep")
"""Fine texture and colour, strokes, forms: for judges and for groups of layers alike."""


@dataclass(frozen=True)
class Layer:
    """A layer whose features can be asked for.

    Attributes:
        name: as a recipe spells it: letters, digits, `_`, `.` and `/`.
        depth: "shallow", "middle" or "deep".
        block: the group that it belongs to, 1 the shallowest; sanity checks shuffle whole ones.
        stride: how many pixels of the picture one position stands for, along one side.
        channels: how many features a position has; 0 where that is as many as there are positions, so that only the content
            itself compares with it.
        short: its name where there is little room; the name itself where it is empty.
    """

    name: str
    depth: Depth
    block: int
    stride: int
    channels: int
    short: str = ""


PIXELS = Layer("pixels", "shallow", 1, 1, 27, "px")
"""The layer before the first, of networks that see little of single pixels: see `underpaint.networks.pixels`."""


@dataclass(frozen=True)
class Anatomy:
    """A network's.

    Attributes:
        name: as a recipe spells it.
        told: as people do.
        layers: shallow to deep.
        content_layers, style_layers: weight by layer, where a recipe names none.
        recipe: other fields of a recipe that this network paints better with than with a recipe's own defaults.
        judges: groups of layers, shallow to deep; of each the first that no term looks at is held out to judge.
        similarity_layers: whose likeness of places is compared (`quality.structure`); none where no such measure is known.
        cfsd_layer: the one that content feature structural distance looks at.
        approximates: the network whose features this one was made to have: a run may end with that (`Recipe.polish`).
    """

    name: str
    told: str
    layers: tuple[Layer, ...]
    content_layers: Mapping[str, float]
    style_layers: Mapping[str, float]
    judges: tuple[tuple[str, ...], ...]
    similarity_layers: tuple[str, ...] = ()
    cfsd_layer: str | None = None
    approximates: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def _by_name(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    @property
    def names(self) -> tuple[str, ...]:
        """Of all layers, shallow to deep."""
        return tuple(self._by_name)

    @property
    def blocks(self) -> int:
        """How many there are."""
        return max(layer.block for layer in self.layers)

    def blocks_at(self, depth: Depth) -> tuple[int, ...]:
        """Those of a depth."""
        return tuple(dict.fromkeys(layer.block for layer in self.layers if layer.depth == depth))

    def layer(self, name: str) -> Layer:
        """The layer of this name.

        Raises:
            UnderpaintError: there is none.
        """
        if name not in self._by_name:
            raise UnderpaintError(f"layer: {self.name} has no {name!r}; it has {', '.join(self.names)}")
        return self._by_name[name]

    def depth(self, name: str) -> Depth:
        """Of a layer. `layer`'s error."""
        return self.layer(name).depth

    def short(self, name: str) -> str:
        """A layer's name where there is little room; what is no layer keeps its name."""
        return self._by_name[name].short or name if name in self._by_name else name

    def until(self, layers: Collection[str]) -> tuple[str, ...]:
        """All layers up to the deepest of these. `layer`'s error."""
        places = [self.layers.index(self.layer(name)) for name in layers]
        return self.names[: max(places) + 1]

    def held_out(self, optimised: Collection[str], among: Collection[str] | None = None) -> dict[str, tuple[str, ...]]:
        """The layers that judge, by depth: of each group one that no term looks at.

        Args:
            optimised: those that a term looks at.
            among: those that are open; all when left out.

        Raises:
            UnderpaintError: the terms look at all of a depth's layers.
        """
        found: dict[Depth, list[str]] = {depth: [] for depth in DEPTHS}
        for group in self.judges:
            free = [name for name in group if name not in optimised and (among is None or name in among)]
            found[self.depth(group[0])] += free[:1]
        for depth, layers in found.items():
            if not layers:
                raise UnderpaintError(f"layers: every {depth} layer is optimised and none is left to judge by; leave one out")
        return {depth: tuple(layers) for depth, layers in found.items()}
