"""A Keras model's graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from underpaint.errors import UnderpaintError
from underpaint.networks.sources.graph import SIDE, Kind, Node

KINDS: dict[Kind, tuple[str, ...]] = {
    "convolution": ("Conv2D", "SeparableConv2D", "Conv2DTranspose", "Dense", "EinsumDense", "Sequential", "Functional"),
    "depthwise": ("DepthwiseConv2D",),
    "merge": ("Add", "Concatenate", "Average", "Maximum"),
    "norm": ("BatchNormalization", "LayerNormalization", "GroupNormalization", "UnitNormalization", "LayerScale"),
    "activation": (
        "Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax", "Dropout", "SpatialDropout2D", "StochasticDepth",
    ),
    "padding": ("ZeroPadding2D",),
}  # fmt: skip
"""What Keras' classes of layers and operations do; a model within a model counts as a convolution."""

BY_CLASS: dict[str, Kind] = {name: kind for kind, names in KINDS.items() for name in names}


def nodes(model: Any) -> list[Node]:
    """Of a functional model, in its own order; places are among `model.operations`.

    Raises:
        UnderpaintError: it is none that takes one picture, or its layers are shared.
    """
    import keras

    shapes, makers, found, named = _shapes(model), dict[int, Node](), list[Node](), "input"
    for place, step in enumerate(model.operations):
        # What is no layer but a plain sum or product of two has no name that stays the same.
        named = step.name if isinstance(step, keras.Layer) else f"{named.removesuffix('.out')}.out"
        kind = type(step).__name__
        narrow = kind == "Dense" or (kind == "Conv2D" and tuple(step.kernel_size) == (1, 1))
        node = Node(place, named, BY_CLASS.get(kind, "other"), shapes[place], narrow)
        for tensor in _flat(step.input):
            maker = makers.get(id(tensor))
            if maker is not None and maker is not node:
                node.takes(maker)
        makers |= {id(tensor): node for tensor in _flat(step.output)}
        found.append(node)
    return found


def _flat(tensors: Any) -> list[Any]:
    if isinstance(tensors, Mapping):
        return [each for tensor in tensors.values() for each in _flat(tensor)]
    return [each for tensor in tensors for each in _flat(tensor)] if isinstance(tensors, list | tuple) else [tensors]


def _shapes(model: Any) -> list[tuple[int, int, int] | None]:
    """Each operation's output for a picture of `SIDE` px; nothing is computed."""
    import keras

    first = channels_first(model)
    shape = (1, 3, SIDE, SIDE) if first else (1, SIDE, SIDE, 3)
    try:
        outputs = [step.output for step in model.operations]
    except (AttributeError, ValueError):
        raise UnderpaintError("network: one of its layers is used twice, or it is not a functional Keras model") from None
    plain = [each if not isinstance(each, list | tuple | dict) else None for each in outputs]
    probe = keras.Model(model.inputs, [each for each in plain if each is not None])
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
