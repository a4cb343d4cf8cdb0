"""A network's graph, whoever built it: which steps give features, how far they have shrunk the picture, which end a block."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from underpaint.networks.sources.taps import Tap

SIDE = 256
"""Side of the picture by which strides are told, pixels."""

Kind = Literal["convolution", "depthwise", "merge", "norm", "activation", "padding", "other"]
"""What a step does. A merge adds or joins several; norms and activations change each position by itself; pooling, squeezing,
gates and all the rest are other."""

POINTWISE = ("norm", "activation")
SOURCES = ("convolution", "depthwise", "merge")

EXPANSION = 2
"""A pointwise convolution that a depthwise one follows is a block's beginning when it makes so many times its channels."""


@dataclass(eq=False)
class Node:
    """A step.

    Attributes:
        place: among all steps, in their order.
        shape: of its output for a square picture of `SIDE` px: (h, w, channels); None where that is no feature map.
        narrow: of a convolution: whether it looks at one position at a time (1×1).
        step: what its network calls it, where that is another name.
        before, after: steps that it takes from, and gives to.
    """

    place: int
    name: str
    kind: Kind
    shape: tuple[int, int, int] | None
    narrow: bool = False
    step: str = ""
    before: list[Node] = field(default_factory=list)
    after: list[Node] = field(default_factory=list)

    def takes(self, other: Node) -> None:
        """Another step's output goes in."""
        self.before.append(other)
        other.after.append(self)


def taps(graph: Sequence[Node]) -> dict[int, Tap]:
    """The steps that give features, by place, shallow to deep."""
    alone = _alone(graph)
    return {
        node.place: Tap(node.name, stride(node), node.shape[2], node.place in alone and not _inner(node))
        for node in graph
        if node.shape is not None and _is_feature(node)
    }


def stride(node: Node) -> int:
    """Pixels to a position, along one side, as a power of 2: unpadded convolutions lose some at the edges."""
    assert node.shape is not None
    return 1 << max(0, round(math.log2(SIDE / node.shape[0])))


def _is_feature(node: Node) -> bool:
    """Padding, pooling, squeezed and gated maps are none, and neither is what a norm or an activation alone follows."""
    assert node.shape is not None
    if min(node.shape[:2]) < 2 or _source(node) is None:
        return False
    unfinished = ("activation",) if node.kind == "merge" else POINTWISE
    return not (len(node.after) == 1 and node.after[0].kind in unfinished)


def _source(node: Node) -> Node | None:
    """What made the features, before the pointwise steps; None where that is the picture itself, or a gate, or pooling."""
    while node.kind in POINTWISE and node.before:
        node = node.before[0]
    return node if node.kind in SOURCES and node.before else None


def _inner(node: Node) -> bool:
    """Whether it is a step within a separable or an inverted block: a depthwise convolution, or an expansion before one."""
    source, following = _source(node), _next(node)
    if source is None or source.kind != "convolution":
        return source is not None and source.kind == "depthwise"
    if following is None or following.kind != "depthwise" or not source.narrow:
        return False
    taken, maker = source.before[0].shape, _source(source.before[0])
    if maker is not None and maker.kind == "depthwise":
        return False  # the second half of a separable convolution
    return taken is not None and source.shape is not None and source.shape[2] >= EXPANSION * taken[2]


def _next(node: Node) -> Node | None:
    """The step that takes it, behind padding and pointwise steps."""
    while node.after:
        node = node.after[0]
        if node.kind not in (*POINTWISE, "padding"):
            return node
    return None


def _alone(graph: Sequence[Node]) -> set[int]:
    """The places of steps through which every way from the picture to the end leads: ways are counted to each and on from
    each, and their product is the number of all ways."""
    to, on = _ways(graph, "before"), _ways(list(reversed(graph)), "after")
    every = sum(to[node.place] for node in graph if not node.after)
    return {node.place for node in graph if to[node.place] * on[node.place] == every}


def _ways(order: Iterable[Node], side: str) -> dict[int, int]:
    ways: dict[int, int] = {}
    for node in order:
        neighbours: list[Node] = getattr(node, side)
        ways[node.place] = sum(ways.get(each.place, 0) for each in neighbours) or 1
    return ways
