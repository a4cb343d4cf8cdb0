"""Observers: what follows a run, step by step, and goes along in its checkpoints.

The ledger is one, so is what is read off it, and so is whoever keeps frames or shows progress.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch

from underpaint.optimizers.loop import Step


@dataclass(frozen=True)
class Memory:
    """What an observer has to remember: tensors by name, and names of what they are of. None of it is written to later."""

    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    names: tuple[str, ...] = ()


class Observer(Protocol):
    """Sees every step of a run.

    Attributes:
        apart: it needs the terms' gradients one by one (`Step.parts`), which costs a way back for each.
    """

    apart: ClassVar[bool]

    def see(self, step: Step) -> None:
        """A step that was just made."""
        ...

    def state(self) -> Memory:
        """What it has to remember. Asked after every step, so it costs next to nothing."""
        ...

    def restore(self, memory: Memory, image: torch.Tensor | None) -> None:
        """Back to such a state; to its own beginning where there is nothing in it.

        Args:
            image: the run's iterate then, (1, 3, H, W); None before the first step.

        Raises:
            ValueError, KeyError: it is no memory of this picture.
        """
        ...
