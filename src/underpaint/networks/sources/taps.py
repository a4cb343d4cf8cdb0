"""Taps: which layers of a network that nobody has tuned paint, and which judge.

What is known of each layer is how far it has shrunk the picture, and whether it ends a block. Networks with pictures'
pyramids inside are much alike in that: a stem, then stages whose strides double. The five style layers are the stages' last
outputs, strides 1 to 16; where the first stride is 2 or more, the pixels themselves (`networks.pixels`) and strides 2 to 16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from underpaint.errors import UnderpaintError
from underpaint.networks.anatomy import PIXELS, Anatomy, Depth, Layer

WEIGHTS = (4.0, 2.0, 1.0, 0.5, 0.25)
"""Of the style layers, shallow to deep, of a network that sees every pixel: those of VGG (see `networks.own`)."""

EQUAL = (1.0,) * len(WEIGHTS)
"""The same of one that halves the picture at once: weights that fall leave it without large strokes."""

DEEPEST = 16
"""The largest stride that paints or judges by default: what comes after it, of a picture of 256 px, is hardly a picture."""

RECIPE: Mapping[str, Any] = {
    "optimizer": "adam",
    "iterations": (24, 40, 60, 80, 100),
    "final_rate": 0.004,
    "smallest": 45,
    "enlarge": 1.5,
    "shift": 4,
    "content_weight": 0.2,
    "color_weight": 3.0,
    "palette_weight": 0.1,
    "smoothness": 1.5,
    "chroma_smoothness": 10.0,
    "precision": "float32",
}
"""What networks that halve the picture at once bring along (`benchmarks/networks.py tricks` says what each part gives)."""


@dataclass(frozen=True)
class Tap:
    """A layer as its network has it.

    Attributes:
        name: as a recipe spells it.
        stride: pixels that the network was shown to a position, along one side.
        channels: how many features a position has.
        ends: whether all that comes later has it from here alone, and it is no step within a block: a block's output.
    """

    name: str
    stride: int
    channels: int
    ends: bool = True


def describe(name: str, told: str, taps: Sequence[Tap], own: Mapping[str, Any] | None = None) -> Anatomy:
    """A network's anatomy from its taps, shallow to deep.

    Args:
        own: fields of a recipe that this network paints best with, its layers too where they are among them; they lie over
            what networks with such strides bring along.

    Raises:
        UnderpaintError: there are too few to paint and to judge with.
    """
    halves = bool(taps) and taps[0].stride > 1
    recipe = dict(RECIPE if halves else {"precision": "float32"}) | dict(own or {})
    enlarged = float(recipe.get("enlarge", 1.0))
    blocks = _blocks(taps)
    style = [_last(block) for block in blocks if block[0].stride <= DEEPEST][: len(WEIGHTS)]
    blocks = _lent(blocks, style)
    layers = [
        Layer(tap.name, depth(number), number, max(1, round(tap.stride / enlarged)), tap.channels, f"{number}.{place}")
        for number, block in enumerate(blocks, 1)
        for place, tap in enumerate(block, 1)
    ]
    if len(style) < 3 or len({layer.depth for layer in layers}) < 3:
        raise UnderpaintError(f"network: {name} has no usable layers: three strides at least, of feature maps, are needed")
    content = style[min(3, len(style) - 1)]
    if halves:  # what the stem sees only in part is seen whole before it
        layers, style = [PIXELS, *layers], [PIXELS.name, *style[1:]]
    judges = [_judging(block, style) for block in blocks if block[0].stride <= DEEPEST]
    found = Anatomy(
        name,
        told,
        tuple(layers),
        content_layers=recipe.pop("content_layers", {content: 1.0}),
        style_layers=recipe.pop("style_layers", dict(zip(style, EQUAL if halves else WEIGHTS, strict=False))),
        judges=tuple(group for group in judges if group),
        recipe=recipe,
    )
    found.held_out([*found.style_layers, *found.content_layers])  # or no run of it could be judged
    return found


def depth(block: int) -> Depth:
    """Of five blocks the first two are shallow and the last two deep, as VGG's; further ones are deep."""
    return "shallow" if block <= 2 else "middle" if block == 3 else "deep"


def _blocks(taps: Sequence[Tap]) -> list[list[Tap]]:
    """Taps of a stride together; of four strides the first that has several block outputs is cut in two."""
    blocks = [list(group) for _, group in groupby(taps, lambda tap: tap.stride)]
    usable = [block for block in blocks if block[0].stride <= DEEPEST]
    if len(usable) >= len(WEIGHTS):
        return blocks
    for place, block in enumerate(usable):
        ends = [i for i, tap in enumerate(block) if tap.ends]
        if len(ends) > 1:
            # The stem by itself; of a stage that comes later its first half.
            cut = ends[0] if place == 0 else ends[(len(ends) - 1) // 2]
            return [*blocks[:place], block[: cut + 1], block[cut + 1 :], *blocks[place + 1 :]]
    return blocks


def _lent(blocks: Sequence[Sequence[Tap]], style: Sequence[str]) -> list[list[Tap]]:
    """Where all shallow, or all middle, layers paint, the first layer of the block behind joins them, to judge by."""
    found = [list(block) for block in blocks]
    for here in ("shallow", "middle"):
        own = [place for place in range(len(found)) if depth(place + 1) == here]
        behind = own[-1] + 1 if own else 0
        if own and behind < len(found) and all(tap.name in style for place in own for tap in found[place]):
            lent = next((tap for tap in found[behind][:-1] if tap.name not in style), None)
            if lent is not None:
                found[behind].remove(lent)
                found[own[-1]].append(lent)
    return found


def _last(block: Sequence[Tap]) -> str:
    """The last block output, else the last tap."""
    return next((tap.name for tap in reversed(block) if tap.ends), block[-1].name)


def _judging(block: Sequence[Tap], style: Sequence[str]) -> tuple[str, ...]:
    """Which layers of a block judge: block outputs before steps within them, the last ones first; then the one that
    paints."""
    order = sorted(block, key=lambda tap: (tap.name in style, not tap.ends, -block.index(tap)))
    return tuple(tap.name for tap in order)
