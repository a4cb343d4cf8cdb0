"""L-BFGS with a strong Wolfe line search, whose operator can be applied to any vector.

Nocedal & Wright, "Numerical Optimization", 2nd ed.: algorithm 7.4 (two-loop recursion), algorithms 3.5 and 3.6 (line search),
eq. 7.20 (initial scaling).
`torch.optim.LBFGS` hides its operator; a ledger of terms needs H·g for every term's own gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

MEMORY = 10
SUFFICIENT_DECREASE, CURVATURE = 1e-4, 0.9
MAX_TRIALS = 20


@dataclass
class InverseHessian:
    """The inverse Hessian's estimate H ≈ (∇²f)⁻¹ as an operator: linear, symmetric, positive definite.

    `pairs` are (s, y): steps and changes of the gradient, oldest first. A pair with sᵀy ≤ 1e-10 ‖s‖‖y‖ is not
    taken in: it would make H indefinite.
    """

    pairs: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    memory: int = MEMORY

    def update(self, s: torch.Tensor, y: torch.Tensor) -> bool:
        """Takes in a pair; false if it was skipped."""
        if _dot(s, y) <= 1e-10 * math.sqrt(_dot(s, s) * _dot(y, y)):
            return False
        self.pairs.append((s, y))
        del self.pairs[: -self.memory]
        return True

    def apply(self, vector: torch.Tensor) -> torch.Tensor:
        """H·vector, of the vector's shape. Without pairs, the vector itself."""
        q = vector.clone()
        alphas: list[float] = []
        for s, y in reversed(self.pairs):
            alphas.append(_dot(s, q) / _dot(s, y))
            q.sub_(y, alpha=alphas[-1])
        if self.pairs:
            s, y = self.pairs[-1]
            q.mul_(_dot(s, y) / _dot(y, y))
        for (s, y), alpha in zip(self.pairs, reversed(alphas), strict=True):
            q.add_(s, alpha=alpha - _dot(y, q) / _dot(s, y))
        return q


@dataclass(frozen=True)
class Trial:
    """The function along the line at step length `length`: value, slope, and the gradient there."""

    length: float
    value: float
    slope: float
    gradient: torch.Tensor


def wolfe(probe: Callable[[float], Trial], start: Trial, first: float) -> Trial:
    """A step length that meets the strong Wolfe conditions, or the best that 20 trials found (perhaps `start`).

    `probe(length)` evaluates along the line; `start` is the trial at 0, whose slope must be negative.
    """
    before, length = start, first
    best = start
    for count in range(MAX_TRIALS):
        here = probe(length)
        best = here if math.isfinite(here.value) and here.value < best.value else best
        if not _decreases(here, start) or (count and here.value >= before.value):
            return _zoom(probe, start, before, here, best, MAX_TRIALS - count - 1)
        if abs(here.slope) <= -CURVATURE * start.slope:
            return here
        if here.slope >= 0:
            return _zoom(probe, start, here, before, best, MAX_TRIALS - count - 1)
        before, length = here, 2 * length
    return best


def _zoom(probe: Callable[[float], Trial], start: Trial, low: Trial, high: Trial, best: Trial, trials: int) -> Trial:
    for _ in range(trials):
        here = probe(_between(low, high))
        best = here if math.isfinite(here.value) and here.value < best.value else best
        if not _decreases(here, start) or here.value >= low.value:
            high = here
        else:
            if abs(here.slope) <= -CURVATURE * start.slope:
                return here
            if here.slope * (high.length - low.length) >= 0:
                high = low
            low = here
        if abs(high.length - low.length) < 1e-9 * max(1.0, abs(low.length)):
            break
    return best


def _decreases(here: Trial, start: Trial) -> bool:
    return here.value <= start.value + SUFFICIENT_DECREASE * here.length * start.slope


def _between(low: Trial, high: Trial) -> float:
    """The minimum of the cubic through both trials (eq. 3.59), kept a tenth of the way from either end."""
    a, b = low.length, high.length
    middle = (a + b) / 2
    if not math.isfinite(high.value):
        return a + (b - a) / 10
    d1 = low.slope + high.slope - 3 * (low.value - high.value) / (a - b)
    square = d1 * d1 - low.slope * high.slope
    if not square >= 0:
        return middle
    d2 = math.copysign(math.sqrt(square), b - a)
    divisor = high.slope - low.slope + 2 * d2
    if divisor == 0:
        return middle
    guess = b - (b - a) * (high.slope + d2 - d1) / divisor
    margin = abs(b - a) / 10
    return min(max(guess, min(a, b) + margin), max(a, b) - margin)


def _dot(a: torch.Tensor, b: torch.Tensor) -> float:
    # In float64, which Apple's GPUs lack: sums over a picture's pixels lose several digits in float32.
    if a.device.type == "mps":
        a, b = a.cpu(), b.cpu()
    return float(torch.dot(a.flatten().double(), b.flatten().double()))


@dataclass
class LBFGS:
    """The minimiser at one size. Nothing is clamped in mid-run: it would break the pairs."""

    hessian: InverseHessian = field(default_factory=InverseHessian)

    def step(
        self,
        image: torch.Tensor,
        value: float,
        gradient: torch.Tensor,
        evaluate: Callable[[torch.Tensor], tuple[float, torch.Tensor]],
        first_move: float,
    ) -> torch.Tensor:
        """The update for the picture, all zero when no descent was found.

        Args:
            image: (1, 3, H, W).
            value, gradient: the function's there.
            evaluate: value and gradient at another picture.
            first_move: the largest change of a pixel that the first trial of a new history makes, 0..1.
        """
        direction = -self.hessian.apply(gradient)
        slope = _dot(direction, gradient)
        if slope >= 0:
            self.hessian.pairs.clear()
            direction, slope = -gradient, -_dot(gradient, gradient)
        if slope == 0 or not math.isfinite(slope):
            return torch.zeros_like(image)

        def probe(length: float) -> Trial:
            there, g = evaluate(image + length * direction)
            return Trial(length, there, _dot(g, direction), g)

        first = 1.0 if self.hessian.pairs else first_move / float(direction.abs().max())
        found = wolfe(probe, Trial(0.0, value, slope, gradient), first)
        update = found.length * direction
        if found.length:
            self.hessian.update(update, found.gradient - gradient)
        else:
            self.hessian.pairs.clear()
        return update
