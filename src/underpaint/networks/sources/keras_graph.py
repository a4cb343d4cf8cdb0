"""What a Keras model's graph says of its layers: which are features, how far they have shrunk the picture, which end a block."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from underpaint.errors import UnderpaintError
from underpaint.networks.sources.taps import Tap

SIDE = 256
"""Side of the picture by which strides are told, pixels."""

POINTWISE = {
    "BatchNormalization", "LayerNormalization", "GroupNormalization", "UnitNormalization", "LayerScale",
    "Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax", "Dropout", "SpatialDropout2D", "StochasticDepth",
}  # fmt: skip
"""What changes each position by itself: a layer that one of these alone follows is not done yet."""

ACTIVATIONS = POINTWISE - {
    "BatchNormalization", "LayerNormalization", "GroupNormalization", "UnitNormalization", "LayerScale",
}  # fmt: skip

CONVOLUTIONS = {"Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose", "Dense", "EinsumDense"}
MERGES = {"Add", "Concatenate", "Average", "Maximum"}
NESTED = {"Sequential", "Functional"}
EXPANSION = 2
"""A pointwise convolution that a depthwise one follows is a block's beginning when it makes so many times its channels."""


@dataclass
class Node:
    """A layer, or an operation, in its graph.

    Attributes:
        place: among the model's operations.
        shape: of its output for a square picture of `SIDE` px: (h, w, channels); None where it is no feature map.
        before, after: nodes that it takes from, and gives to.
    """

    place: int
    name: str
    kind: str
    layer: Any
    shape: tuple[int, int, int] | None
    before: list[Node] = field(default_factory=list)
    after: list[Node] = field(default_factory=list)


def nodes(model: Any) -> list[Node]:
    """Of a functional model, in its own order.

    Raises:
        UnderpaintError: it is none that takes one picture, or its layers are shared.
    """
    import keras

    shapes, makers, found, named = _shapes(model), dict[int, Node](), list[Node](), "input"
    for place, step in enumerate(model.operations):
        inputs, outputs = _flat(step.input), _flat(step.output)
        # What is no layer but a plain sum or product of two has no name that stays the same.
        named = step.name if isinstance(step, keras.Layer) else f"{named.removesuffix('.out')}.out"
        node = Node(place, named, type(step).__name__, step, shapes[place])
        for tensor in inputs:
            if id(tensor) in makers and makers[id(tensor)] is not node:
                node.before.append(makers[id(tensor)])
                makers[id(tensor)].after.append(node)
        makers |= {id(tensor): node for tensor in outputs}
        found.append(node)
    return found


def _flat(tensors: Any) -> list[Any]:
    if isinstance(tensors, Mapping):
        return [each for tensor in tensors.values() for each in _flat(tensor)]
    return [each for tensor in tensors for each in _flat(tensor)] if isinstance(tensors, list | tuple) else [tensors]


def _shapes(model: Any) -> list[tuple[int, int, int] | None]:
    """Each layer's output for a picture of `SIDE` px; nothing is computed."""
    import keras

    first = channels_first(model)
    shape = (1, 3, SIDE, SIDE) if first else (1, SIDE, SIDE, 3)
    try:
        outputs = [step.output for step in model.operations]
    except (AttributeError, ValueError):
        raise UnderpaintError("network: one of its layers is used twice, or it is not a functional Keras model") from None
    plain = [each if not isinstance(each, list | tuple | dict) else None for each in outputs]
    asked = [each for each in plain if each is not None]
    probe = keras.Model(model.inputs, asked)
    told = iter(_flat(probe.compute_output_spec(keras.KerasTensor(shape, dtype="float32"))))
    found: list[tuple[int, int, int] | None] = []
    for each in plain:
        size = None if each is None else tuple(next(told).shape)
        if size is None or len(size) != 4 or None in size:
            found.append(None)
        else:
            found.append((size[2], size[3], size[1]) if first else (size[1], size[2], size[3]))
    return found


def channels_first(model: Any) -> bool:
    """Whether pictures go in as (N, 3, H, W).

    Raises:
        UnderpaintError: it takes no single picture of three channels.
    """
    inputs = _flat(model.inputs)
    shape = tuple(inputs[0].shape) if len(inputs) == 1 else ()
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise UnderpaintError(f"network: takes {[tuple(i.shape) for i in inputs]}, not one picture of three channels")
    return bool(shape[1] == 3)


def taps(graph: Sequence[Node]) -> dict[int, Tap]:
    """The layers that are features, by place, shallow to deep."""
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
    """Padding, pooling, squeezed and gated maps are none, and neither is what is not done yet."""
    assert node.shape is not None
    if min(node.shape[:2]) < 2 or node.kind not in CONVOLUTIONS | MERGES | POINTWISE | NESTED:
        return False
    source = _source(node)
    if source is None or (source.kind in POINTWISE):
        return False
    follows = [n for n in node.after if n.kind in (ACTIVATIONS if node.kind in MERGES else POINTWISE)]
    return not (len(node.after) == 1 and follows)


def _source(node: Node) -> Node | None:
    """What made the features, before the pointwise steps; None where that is the picture itself."""
    while node.kind in POINTWISE and node.before:
        node = node.before[0]
    return node if node.before and node.kind in CONVOLUTIONS | MERGES | NESTED else None


def _inner(node: Node) -> bool:
    """Whether it is a step within a separable or an inverted block: a depthwise convolution, or an expansion before one."""
    source, following = _source(node), _next(node)
    if source is None or source.kind != "Conv2D":
        return source is not None and source.kind == "DepthwiseConv2D"
    if following is None or following.kind != "DepthwiseConv2D" or tuple(source.layer.kernel_size) != (1, 1):
        return False
    taken, maker = source.before[0].shape, _source(source.before[0])
    if maker is not None and maker.kind == "DepthwiseConv2D":
        return False  # the second half of a separable convolution
    return taken is not None and source.layer.filters >= EXPANSION * taken[2]


def _next(node: Node) -> Node | None:
    """The convolution that takes it, behind padding and pointwise steps."""
    while node.after:
        node = node.after[0]
        if node.kind not in POINTWISE | {"ZeroPadding2D"}:
            return node
    return None


def _alone(graph: Sequence[Node]) -> set[int]:
    """The places of layers through which every way from the picture to the end leads: ways are counted to each and on from
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
