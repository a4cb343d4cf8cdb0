"""Line integrals of gradients along a straight move, shared out among its parts and checked by the values at the ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

TOLERANCE, NEGLIGIBLE = 0.002, 2e-5
"""A rule is refined where it misses more than this share of the sum of all functions' changes along the move, and more than
this much."""

DEPTH = 5
"""How often a move is halved at most."""


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
    depth: int = DEPTH,
) -> torch.Tensor:
    """(T, P): Σ_t ∫ ∇f_t · d(part p) along the straight line from `start` by the sum of the parts.

    The trapezoid where it meets the values of the ends, else Simpson's rule, else both halves.

    Args:
        a, b: the functions at both ends.
        moved: (P, N), the parts of the move.
        start: (N,), where it begins.
        at: the functions at another picture (N,).
        depth: how often it may still be halved.
    """
    change = b.values - a.values
    ends = (a.gradients + b.gradients) @ moved.T / 2
    if _meets(ends, change):
        return ends
    half = moved / 2
    second = start + half.sum(0)
    middle = at(second)
    simpson = ends / 3 + middle.gradients @ moved.T * (2 / 3)
    if depth == 0 or _meets(simpson, change):
        return simpson
    return integral(a, middle, half, start, at, depth - 1) + integral(middle, b, half, second, at, depth - 1)


def _meets(found: torch.Tensor, change: torch.Tensor) -> bool:
    missed = float((found.sum(1) - change).abs().sum())
    return missed <= max(TOLERANCE * float(change.abs().sum()), NEGLIGIBLE)
