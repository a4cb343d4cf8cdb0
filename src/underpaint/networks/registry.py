"""The networks by name: what they say of themselves, whether their weights are available, and how to open one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from underpaint import extensions
from underpaint.errors import UnderpaintError
from underpaint.extensions import Registry
from underpaint.networks.anatomy import Anatomy
from underpaint.networks.specification import Opening, Pooling, Specification, WeightsFile

if TYPE_CHECKING:
    import torch

    from underpaint.networks.base import Network

NETWORKS: Registry[Specification] = extensions.NETWORKS
"""This package's own (the weights of `compact` come with it), and those of others."""


@dataclass(frozen=True)
class Opened:
    """A network with where its weights came from: `sha256` is the weights file's."""

    network: Network
    path: Path
    sha256: str


@dataclass(frozen=True)
class Entry:
    """A line of `underpaint networks`: `available` is where the weights are, None if they would be downloaded from `url`;
    `problem` why another package's network cannot be had at all."""

    name: str
    layers: tuple[str, ...]
    available: Path | None
    url: str | None
    problem: str | None = None


def entries(given: Path | None = None) -> list[Entry]:
    """All networks. Looks at this machine's disk only."""
    found = []
    for name in NETWORKS:
        try:
            specification = NETWORKS[name]
        except UnderpaintError as error:
            found.append(Entry(name, (), None, None, str(error)))
            continue
        url = None if specification.file is None else specification.file.url
        found.append(Entry(name, specification.anatomy.names, _available(specification, given), url))
    return found


def available(name: str, given: Path | None = None) -> bool:
    """Whether a network can be opened without a download.

    Raises:
        UnderpaintError: see `weights.find`.
    """
    return _available(NETWORKS[name], given) is not None


def _available(specification: Specification, given: Path | None) -> Path | None:
    from underpaint.networks import weights

    if isinstance(specification.weights, Path):
        return specification.weights
    place = weights.find(specification.weights, given)
    return None if place is None else place.path


def file_of(name: str) -> WeightsFile | None:
    """The weights' file of a network that does not come with its own."""
    return NETWORKS[name].file


def anatomy(name: str) -> Anatomy:
    """A network's.

    Raises:
        UnderpaintError: there is no such network.
    """
    return NETWORKS[name].anatomy


def check_layers(name: str, layers: Sequence[str]) -> None:
    """Raises an `UnderpaintError` that names the first layer that the network does not have."""
    own = anatomy(name)
    for layer in layers:
        own.layer(layer)


def open_network(
    name: str,
    layers: Sequence[str],
    *,
    pooling: Pooling = "max",
    device: torch.device | str = "cpu",
    precision: torch.dtype | None = None,
    enlarge: float | None = None,
    given: Path | None = None,
    announce: Callable[[str], None] | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Opened:
    """The network up to the deepest of `layers`, its weights found or fetched.

    Args:
        name: one of `NETWORKS`.
        layers: all that will be asked for.
        precision: float32 when left out.
        enlarge: how many times as large it is shown pictures; as the network's own recipe has it when left out.
        given: a weights file or folder that the user names; a network that comes with its own takes no notice.
        announce, progress: told about a download, in words and in bytes.

    Raises:
        UnderpaintError: unknown network or layer; no weights to be had, or not the right ones.
    """
    import torch

    from underpaint.networks import lens, weights

    specification = NETWORKS[name]
    wanted = specification.anatomy.until(layers)
    if isinstance(specification.weights, Path):
        path = specification.weights
    else:
        path = weights.locate(specification.weights, given, announce=announce, progress=progress).path
    opening = Opening(name, wanted, pooling, torch.device(device), precision or torch.float32)
    factor = specification.anatomy.recipe.get("enlarge", 1) if enlarge is None else enlarge
    network = specification.open(opening, path)
    return Opened(network if factor == 1 else lens.Enlarging(network, factor), path, weights.sha256(path))
