"""What every optimiser is to the loop: a state that makes the next one, and says how its step depends on the gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import torch
import torch.nn.functional as F

from underpaint.extensions import OPTIMIZERS
from underpaint.losses.objective import Evaluation
from underpaint.recipe import Recipe


def resample(image: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """The linear map that carries pictures (N, C, H, W) to the next size: bicubic, not clamped."""
    return F.interpolate(image, tuple(size), mode="bicubic", align_corners=False)


def shaped(tensor: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """A tensor that was read from a file, if it has this shape (N, C, H, W) and holds finite numbers.

    Raises:
        ValueError: it does not.
    """
    if tuple(tensor.shape) != tuple(shape) or len(shape) != 4 or not tensor.numel() or not tensor.is_floating_point():
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} stands where {tuple(shape)} belongs")
    if not bool(tensor.isfinite().all()):
        raise ValueError("a tensor is not finite")
    return tensor


@dataclass(frozen=True)
class Here:
    """Where an optimiser stands.

    Attributes:
        image: the iterate, (1, 3, H, W), 0..1.
        evaluation: the objective there.
        evaluate: the objective at another picture, of the same draw.
        iteration, count: steps made at this size, and to be made in all.
    """

    recipe: Recipe
    image: torch.Tensor
    evaluation: Evaluation
    evaluate: Callable[[torch.Tensor], Evaluation]
    iteration: int
    count: int


class Move(Protocol):
    """A step: `image` is the next picture, `target` where it led before the bounds 0..1, both (1, 3, H, W)."""

    @property
    def image(self) -> torch.Tensor:
        """The next picture."""
        ...

    @property
    def target(self) -> torch.Tensor:
        """The same without the bounds."""
        ...

    def follow(self, gradients: torch.Tensor, memory: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What each of several gradients moved.

        For the optimiser's given state a step is linear in the gradient, so what the parts of a gradient move adds up to
        `target` minus the picture before.

        Args:
            gradients: (T, 3, H, W), float64, that add up to the total's.
            memory: what this returned for the step before, of the gradients' own past; None at the first.

        Returns:
            (T, 3, H, W) float64, and the memory for the step after.
        """
        ...


@dataclass(frozen=True)
class Advance:
    """A step made: the optimiser after it, the move, and the objective at the new picture where that is known already."""

    optimizer: Optimizer
    move: Move
    evaluation: Evaluation | None = None


class Optimizer(Protocol):
    """A way to move the pixels, as it stands at one size. None is changed by its steps: each makes the next.

    Attributes:
        name: as a recipe spells it.
        told: its name in a paper's text.
        one_draw: it needs one and the same function at every step of a size: random directions are drawn once.
        averages: its iterates jitter, so that their average is the better picture (`Recipe.average_from`).
    """

    name: ClassVar[str]
    told: ClassVar[str]
    one_draw: ClassVar[bool]
    averages: ClassVar[bool]

    @classmethod
    def begin(cls, recipe: Recipe, image: torch.Tensor) -> Self:
        """Before the first step from a picture (1, 3, H, W)."""
        ...

    def resized(self, recipe: Recipe, size: Sequence[int]) -> Self | None:
        """What it takes along to the next size; None to begin anew."""
        ...

    def advance(self, here: Here) -> Advance:
        """Makes a step."""
        ...

    def kept(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """For a checkpoint: tensors, and what JSON can hold (at least one entry)."""
        ...

    @classmethod
    def restored(cls, tensors: Mapping[str, torch.Tensor], numbers: Mapping[str, Any], image: torch.Tensor) -> Self:
        """Back from what was kept, for a picture (1, 3, H, W).

        Raises:
            ValueError, KeyError, TypeError: it is not what was kept.
        """
        ...


def optimizer(name: str) -> type[Optimizer]:
    """The one of this name.

    Raises:
        UnderpaintError: there is none.
    """
    found: type[Optimizer] = OPTIMIZERS[name]
    return found
