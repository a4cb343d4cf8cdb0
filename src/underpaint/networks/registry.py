"""The networks by name: what they say of themselves, whether their weights are available, and how to open one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from underpaint import extensions
from underpaint.errors import UnderpaintError
from underpaint.extensions import Registry
from underpaint.networks.anatomy import PIXELS, Anatomy
from underpaint.networks.specification import Opening, Pooling, Source, Specification, WeightsFile

if TYPE_CHECKING:
    import torch

    from underpaint.networks.base import Network

NETWORKS: Registry[Specification] = extensions.NETWORKS
"""This package's own (the weights of `compact` come with it), and those of others."""

SOURCES: Registry[Source] = extensions.NETWORK_SOURCES
FILES: Registry[Callable[[Path], Specification]] = extensions.NETWORK_FILES


def specification(name: str) -> Specification:
    """Of a network: one of `NETWORKS`, `PREFIX:REST` of a source, or the path of a file.

    Raises:
        UnderpaintError: there is no such network, or it cannot be described: what it comes from says why.
    """
    prefix, colon, rest = name.partition(":")
    if colon and prefix in SOURCES:
        return SOURCES[prefix].specification(rest)
    if (ending := Path(name).suffix.lower()) in FILES:
        return FILES[ending](Path(name))
    if name not in NETWORKS:
        forms = ", ".join([*NETWORKS, *(f"{prefix}:NAME" for prefix in SOURCES), *(f"FILE{end}" for end in FILES)])
        near = get_close_matches(name, NETWORKS, 1)
        raise UnderpaintError(
            f"network: {name!r} is not known{f'; did you mean {near[0]}' if near else ''}; there are {forms}"
        )
    return NETWORKS[name]


@dataclass(frozen=True)
class Opened:
    """A network with where its weights came from: `sha256` is the weights file's."""

    network: Network
    path: Path
    sha256: str


@dataclass(frozen=True)
class Entry:
    """What is known of a network.

    Attributes:
        specification: None where another package's network cannot be had; `problem` says why.
        available: where its weights are; None if they would be downloaded.
    """

    name: str
    specification: Specification | None
    available: Path | None
    problem: str | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """Of all of it, shallow to deep."""
        return () if self.specification is None else self.specification.anatomy.names

    @property
    def url(self) -> str | None:
        """Where its weights would come from; None where they come with it."""
        return None if self.specification is None or self.specification.file is None else self.specification.file.url


def entry(name: str, given: Path | None = None) -> Entry:
    """A network. Looks at this machine's disk only. `specification`'s errors."""
    found = specification(name)
    return Entry(found.anatomy.name, found, _available(found, given))


def entries(given: Path | None = None) -> list[Entry]:
    """The networks by name alone: this package's own, and those of other packages. Looks at this machine's disk only."""
    found = []
    for name in NETWORKS:
        try:
            found.append(entry(name, given))
        except UnderpaintError as error:
            found.append(Entry(name, None, None, str(error)))
    return found


def fetch(
    name: str,
    given: Path | None = None,
    *,
    announce: Callable[[str], None],
    progress: Callable[[int, int | None], None] | None = None,
) -> Path:
    """Downloads a network's weights unless they are here; where they are.

    Raises:
        UnderpaintError: there is no such network, or it cannot be downloaded.
    """
    from underpaint.networks import weights

    prefix, colon, rest = name.partition(":")
    ahead = SOURCES[prefix].fetch if colon and prefix in SOURCES else None
    if ahead is not None:
        return ahead(rest, announce)
    found = specification(name)
    if isinstance(found.weights, Path):
        return found.weights
    return weights.locate(found.weights, given, announce=announce, progress=progress).path


def available(name: str, given: Path | None = None) -> bool:
    """Whether a network can be opened without a download.

    Raises:
        UnderpaintError: see `weights.find`.
    """
    return _available(specification(name), given) is not None


def _available(found: Specification, given: Path | None) -> Path | None:
    from underpaint.networks import weights

    if isinstance(found.weights, Path):
        return found.weights
    place = weights.find(found.weights, given)
    return None if place is None else place.path


def file_of(name: str) -> WeightsFile | None:
    """The weights' file of a network that does not come with its own."""
    return specification(name).file


def anatomy(name: str) -> Anatomy:
    """A network's.

    Raises:
        UnderpaintError: there is no such network.
    """
    return specification(name).anatomy


def check_layers(name: str, content: Iterable[str], style: Iterable[str]) -> None:
    """Raises an `UnderpaintError` that names the first layer that the network does not have, or that has no style."""
    own = anatomy(name)
    for layer in content:
        own.layer(layer)
    for layer in style:
        if not own.layer(layer).channels:
            raise UnderpaintError(
                f"style_layers: {layer} compares places with places, not features; name it as a content layer"
            )


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
        name: see `specification`.
        layers: all that will be asked for.
        precision: float32 when left out.
        enlarge: how many times as large it is shown pictures; as the network's own recipe has it when left out.
        given: a weights file or folder that the user names; a network that comes with its own takes no notice.
        announce, progress: told about a download, in words and in bytes.

    Raises:
        UnderpaintError: unknown network or layer; no weights to be had, or not the right ones.
    """
    import torch

    from underpaint.networks import lens, pixels, weights

    found = specification(name)
    wanted = found.anatomy.until(layers)
    if isinstance(found.weights, Path):
        path = found.weights
    else:
        path = weights.locate(found.weights, given, announce=announce, progress=progress).path
    own = tuple(layer for layer in wanted if layer != PIXELS.name) or found.anatomy.names[1:2]
    opening = Opening(name, own, pooling, torch.device(device), precision or torch.float32)
    factor = found.anatomy.recipe.get("enlarge", 1) if enlarge is None else enlarge
    network = found.open(opening, path)
    network = network if factor == 1 else lens.Enlarging(network, factor)
    if PIXELS.name in found.anatomy.names:
        network = pixels.Pixels(network, found.anatomy)
    return Opened(network, path, weights.sha256(path, *found.beside))
