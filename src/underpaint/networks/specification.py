"""A network's specification: what a registry holds of it, without its weights and without PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from underpaint.networks.anatomy import Anatomy

if TYPE_CHECKING:  # which bring PyTorch along
    import torch

    from underpaint.networks.base import Network

Pooling = Literal["max", "average"]


@dataclass(frozen=True)
class WeightsFile:
    """A published file.

    Attributes:
        checksum: MD5 or SHA-256 as its publisher states it, 32 or 64 hexadecimal digits; None where it states none.
        megabytes: about.
        aliases: other names for the same weights.
        elsewhere: another program's folder, where it may lie already; nothing is put there.
    """

    network: str
    filename: str
    url: str
    checksum: str | None
    megabytes: int
    aliases: tuple[str, ...] = ()
    elsewhere: Path | None = None


Announce = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """Where networks come from that have a name with a prefix.

    Attributes:
        specification: of what comes after the prefix and its colon.
        fetch: downloads what even a specification needs, told whom to tell of it first; where it lies then. None where a
            specification needs nothing, and the weights alone are fetched.
    """

    specification: Callable[[str], Specification]
    fetch: Callable[[str, Announce], Path] | None = None


@dataclass(frozen=True)
class Opening:
    """How a network is to be opened.

    Attributes:
        name: the network's.
        layers: what will be asked for lies among these: all up to the deepest, shallow to deep.
        pooling: "max" as trained, or "average"; a network that has nothing to choose takes no notice.
        device, precision: where it runs, and in what type.
    """

    name: str
    layers: tuple[str, ...]
    pooling: Pooling
    device: torch.device
    precision: torch.dtype


@dataclass(frozen=True)
class Specification:
    """All there is to know of a network before it is opened.

    Attributes:
        anatomy: its layers, and what they are for.
        weights: the file that is found on disk or fetched; a path, where it comes with its package.
        open: makes the network from the weights' file.
        cost: what a step takes in units of the network's way there and back: besides these a step has statistics, and every
            tenth each term's norm. For forecasts alone.
        licence: of the weights, as their publisher states it.
        beside: other files that decide what the network is.
    """

    anatomy: Anatomy
    weights: WeightsFile | Path
    open: Callable[[Opening, Path], Network]
    cost: float = 1.5
    licence: str = ""
    beside: tuple[Path, ...] = ()

    @property
    def file(self) -> WeightsFile | None:
        """The weights' file where it is one that has to be found or fetched."""
        return self.weights if isinstance(self.weights, WeightsFile) else None
