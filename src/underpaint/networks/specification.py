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
    """A published file. `md5` is the hash that its publisher states; `aliases` are other names for the same weights."""

    network: str
    filename: str
    url: str
    md5: str
    megabytes: int
    aliases: tuple[str, ...] = ()


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
    """

    anatomy: Anatomy
    weights: WeightsFile | Path
    open: Callable[[Opening, Path], Network]
    cost: float = 1.5

    @property
    def file(self) -> WeightsFile | None:
        """The weights' file where it is one that has to be found or fetched."""
        return self.weights if isinstance(self.weights, WeightsFile) else None
