"""Line integrals of gradients along a straight move, shared out among its parts and checked by the values at the ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Care:
    """How exact an integral has to be: a rule is refined where it misses more than `share` of the sum of all functions'
    changes along the move and more than `negligible`, and a move is halved `depth` times at most."""

    share: float
    negligible: float
    depth: int


@dataclass(frozen=True)
class Point:
    """Some functions at one picture: values (T,) and gradients (T, N), float64."""

    values: torch.Tensor
    gradients: torch.Tensor


def integral(
    a: Point,
    b: Point,
    moved: torch.Tensor,
    start: torch.Tensor,
    at: Callable[[torch.Tensor], Point],
    care: Care,
) -> torch.Tensor:
    """(T, P): Σ_t ∫ ∇f_t · d(part p) along the straight line from `start` by the sum of the parts.

    The trapezoid where it meets the values of the ends, else Simpson's rule, else both halves.

    Args:
        a, b: the functions at both ends.
        moved: (P, N), the parts of the move.
        start: (N,), where it begins.
        at: the functions at another picture (N,).
        care: how exact it has to be.
    """
    change = b.values - a.values
    ends = (a.gradients + b.gradients) @ moved.T / 2
    if _meets(ends, change, care):
        return ends
    half = moved / 2
    second = start + half.sum(0)
    middle = at(second)
    simpson = ends / 3 + middle.gradients @ moved.T * (2 / 3)
    if care.depth == 0 or _meets(simpson, change, care):
        return simpson
    less = replace(care, depth=care.depth - 1)
    return integral(a, middle, half, start, at, less) + integral(middle, b, half, second, at, less)


def _meets(found: torch.Tensor, change: torch.Tensor, care: Care) -> bool:
    missed = float((found.sum(1) - change).abs().sum())
    return missed <= max(care.share * float(change.abs().sum()), care.negligible)
