"""The networks by name: what layers they have, whether their weights are at hand, and how to open one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from underpaint.errors import UnderpaintError
from underpaint.networks import compact, vgg, weights
from underpaint.networks.base import Network
from underpaint.networks.chain import Pooling

FILES = {"vgg19": weights.VGG19, "vgg16": weights.VGG16}
"""Networks whose weights are found on disk or fetched."""

NAMES = ("compact", *FILES)
"""All networks. `compact` comes with the package."""


@dataclass(frozen=True)
class Opened:
    """A network with where its weights came from: `sha256` is the weights file's."""

    network: Network
    path: Path
    sha256: str


@dataclass(frozen=True)
class Entry:
    """A line of `underpaint networks`: `at_hand` is where the weights are, None if they would be downloaded from `url`."""

    name: str
    layers: tuple[str, ...]
    at_hand: Path | None
    url: str | None


def entries(given: Path | None = None) -> list[Entry]:
    """All networks. Looks at this machine's disk only."""
    found = {name: weights.find(file, given) for name, file in FILES.items()}
    own = Entry("compact", compact.LAYERS, compact.path(), None)
    return [own] + [
        Entry(name, vgg.layer_names(name), None if place is None else place.path, FILES[name].url)
        for name, place in found.items()
    ]


def at_hand(name: str, given: Path | None = None) -> bool:
    """Whether a network can be opened without a download.

    Raises:
        UnderpaintError: see `weights.find`.
    """
    return name not in FILES or weights.find(FILES[name], given) is not None


def layers_of(name: str) -> tuple[str, ...]:
    """All layers of a network, shallow to deep."""
    return compact.LAYERS if name == "compact" else vgg.layer_names(name)


def check_layers(name: str, layers: Sequence[str]) -> None:
    """Raises an `UnderpaintError` that names the first layer that the network does not have."""
    if name not in NAMES:
        raise UnderpaintError(f"network: {name!r} is not known; choose {' or '.join(NAMES)}")
    for layer in layers:
        if layer not in layers_of(name):
            raise UnderpaintError(f"layer: {name} has no {layer!r}; it has {', '.join(layers_of(name))}")


def open_network(
    name: str,
    layers: Sequence[str],
    *,
    pooling: Pooling = "max",
    device: torch.device | str = "cpu",
    precision: torch.dtype = torch.float32,
    given: Path | None = None,
    announce: Callable[[str], None] | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Opened:
    """The network up to the deepest of `layers`, its weights found or fetched.

    Args:
        name: one of `NAMES`.
        layers: all that will be asked for.
        given: a weights file or folder that the user names; `compact` has its own.
        announce, progress: told about a download, in words and in bytes.

    Raises:
        UnderpaintError: unknown network or layer; no weights to be had, or not the right ones.
    """
    check_layers(name, layers)
    names = layers_of(name)
    deepest = max(layers, key=names.index)
    wanted = names[: names.index(deepest) + 1]
    if name == "compact":
        own = compact.path()
        network: Network = compact.Compact(compact.load(own, wanted), deepest, pooling, device, precision)
        return Opened(network, own, weights.sha256(own))
    place = weights.locate(FILES[name], given, announce=announce, progress=progress)
    tensors = weights.load(place.path, [vgg.keras_name(layer) for layer in wanted])
    network = vgg.Vgg(name, tensors, deepest, pooling, device, precision)
    return Opened(network, place.path, weights.sha256(place.path))
