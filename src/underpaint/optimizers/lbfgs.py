"""L-BFGS with a strong Wolfe line search, whose operator can be applied to any vector.

Nocedal & Wright, "Numerical Optimization", 2nd ed.: algorithm 7.4 (two-loop recursion), algorithms 3.5 and 3.6 (line search),
eq. 7.20 (initial scaling).
`torch.optim.LBFGS` hides its operator; a ledger of terms needs H·g for every term's own gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch

from underpaint.losses.objective import Evaluation
from underpaint.optimizers.base import Advance, Here
from underpaint.recipe import Recipe

NOISE = {"bf16": 2.0**-7}
"""How far the objective may be off, relative to itself, by precision: the spacing of bf16's numbers."""

MEMORY = 10
SUFFICIENT_DECREASE, CURVATURE = 1e-4, 0.9
MAX_TRIALS = 20


class Pair(NamedTuple):
    """A step s and the change y of the gradient over it, with sᵀy and yᵀy, which every use of the pair needs."""

    s: torch.Tensor
    y: torch.Tensor
    curvature: float
    square: float

    @classmethod
    def of(cls, s: torch.Tensor, y: torch.Tensor) -> Pair:
        """The pair with its products."""
        return cls(s, y, _dot(s, y), _dot(y, y))


@dataclass
class InverseHessian:
    """The inverse Hessian's estimate H ≈ (∇²f)⁻¹ as an operator: linear, symmetric, positive definite.

    `pairs` are (s, y): steps and changes of the gradient, oldest first. A pair with sᵀy ≤ 1e-10 ‖s‖‖y‖ is not
    taken in: it would make H indefinite.
    """

    pairs: list[Pair] = field(default_factory=list)
    memory: int = MEMORY

    def update(self, s: torch.Tensor, y: torch.Tensor) -> bool:
        """Takes in a pair; false if it was skipped."""
        pair = Pair.of(s, y)
        if pair.curvature <= 1e-10 * math.sqrt(_dot(s, s) * pair.square):
            return False
        self.pairs.append(pair)
        del self.pairs[: -self.memory]
        return True

    def copy(self) -> InverseHessian:
        """H as it is now; the pairs themselves are shared and never written to."""
        return InverseHessian(list(self.pairs), self.memory)

    def apply(self, vector: torch.Tensor) -> torch.Tensor:
        """H·vector, of the vector's shape. Without pairs, the vector itself."""
        q = vector.clone()
        alphas: list[float] = []
        for pair in reversed(self.pairs):
            alphas.append(_dot(pair.s, q) / pair.curvature)
            q.sub_(pair.y, alpha=alphas[-1])
        if self.pairs:
            q.mul_(self.pairs[-1].curvature / self.pairs[-1].square)
        for pair, alpha in zip(self.pairs, reversed(alphas), strict=True):
            q.add_(pair.s, alpha=alpha - _dot(pair.y, q) / pair.curvature)
        return q

    def apply_each(self, vectors: torch.Tensor) -> torch.Tensor:
        """H·v of every row of (T, N), float64: the same recursion on coefficients of the pairs (Chen, Wang & Zhou 2014,
        "Large-scale L-BFGS using MapReduce", section 3), which needs two products of matrices for all rows."""
        if not self.pairs:
            return vectors.clone()
        s = torch.stack([pair.s.flatten() for pair in self.pairs]).double()
        y = torch.stack([pair.y.flatten() for pair in self.pairs]).double()
        sy, yy, b, c = s @ y.T, y @ y.T, s @ vectors.T, y @ vectors.T
        alpha, keep = torch.zeros_like(b), torch.zeros_like(b)
        for i in reversed(range(len(s))):
            alpha[i] = (b[i] - sy[i, i + 1 :] @ alpha[i + 1 :]) / sy[i, i]
        gamma = float(sy[-1, -1] / yy[-1, -1])
        for i in range(len(s)):
            keep[i] = alpha[i] - (gamma * (c[i] - yy[i] @ alpha) + sy[:i, i] @ keep[:i]) / sy[i, i]
        return gamma * (vectors - alpha.T @ y) + keep.T @ s


@dataclass(frozen=True)
class Trial:
    """The function along the line at step length `length`: value, slope, and the gradient there."""

    length: float
    value: float
    slope: float
    gradient: torch.Tensor


def wolfe(probe: Callable[[float], Trial], start: Trial, first: float, noise: float = 0.0) -> Trial:
    """A step length that meets the strong Wolfe conditions, or the best that 20 trials found (perhaps `start`).

    Args:
        probe: evaluates along the line.
        start: the trial at 0, whose slope must be negative.
        noise: how far values may be off. They may rise by so much: near a minimum the slopes alone say where it lies, and a
            search for a smaller value would look for a lucky error (Hager & Zhang 2005, "A new conjugate gradient method
            with guaranteed descent and an efficient line search", eq. 4.1, approximate Wolfe conditions).
    """
    before, length = start, first
    best = start
    for count in range(MAX_TRIALS):
        here = probe(length)
        best = here if math.isfinite(here.value) and here.value < best.value else best
        if not _decreases(here, start, noise) or (count and here.value >= before.value + noise):
            return _zoom(probe, start, before, here, best, MAX_TRIALS - count - 1, noise)
        if abs(here.slope) <= -CURVATURE * start.slope:
            return here
        if here.slope >= 0:
            return _zoom(probe, start, here, before, best, MAX_TRIALS - count - 1, noise)
        before, length = here, 2 * length
    return best


def _zoom(
    probe: Callable[[float], Trial], start: Trial, low: Trial, high: Trial, best: Trial, trials: int, noise: float
) -> Trial:
    for _ in range(trials):
        here = probe(_between(low, high))
        best = here if math.isfinite(here.value) and here.value < best.value else best
        if not _decreases(here, start, noise) or here.value >= low.value + noise:
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


def _decreases(here: Trial, start: Trial, noise: float) -> bool:
    return here.value <= start.value + SUFFICIENT_DECREASE * here.length * start.slope + noise


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


@dataclass(frozen=True)
class BoundedMove:
    """A step (see `Move`), and how it depends on the gradient: `image` = clip(`target`), `target` = x − length · P' H P g.

    Attributes:
        image, target: (1, 3, H, W), the next picture with and without the bounds.
        length: 0 when no descent was found.
        hessian: H as it was for this step.
        held, outward: where P and P' are zero.
    """

    image: torch.Tensor
    target: torch.Tensor
    length: float
    hessian: InverseHessian
    held: torch.Tensor
    outward: torch.Tensor

    def follow(self, gradients: torch.Tensor, memory: torch.Tensor | None = None) -> tuple[torch.Tensor, None]:
        """See `Move.follow`; nothing has to be remembered."""
        return self._each(gradients), None

    def _each(self, gradients: torch.Tensor) -> torch.Tensor:
        if not self.length:
            return torch.zeros_like(gradients)
        free = gradients.masked_fill(self.held, 0)
        moved = self.hessian.apply_each(free.flatten(1)).view_as(gradients)
        return moved.mul_(-self.length).masked_fill_(self.outward, 0)


@dataclass
class LBFGS:
    """The minimiser at one size, within bounds.

    Clamping an iterate would break the pairs, and clamping only the last one loses what lies outside (in a dark picture, many
    pixels). So pixels that a bound holds take no part in a step, and the line search follows the clamped line
    (Bertsekas 1982, "Projected Newton methods for optimization problems with simple constraints").
    For a given state a step is still linear in the gradient up to the clamp: clip(x − t · P H P g), P the free pixels.

    Attributes:
        hessian: the operator H.
        low, high: the bounds, infinite for none.
    """

    name: ClassVar[str] = "lbfgs"
    told: ClassVar[str] = "L-BFGS"
    one_draw: ClassVar[bool] = True
    averages: ClassVar[bool] = False

    hessian: InverseHessian = field(default_factory=InverseHessian)
    low: float = -math.inf
    high: float = math.inf

    def copy(self) -> LBFGS:
        """The minimiser as it is now; a step of either changes nothing in the other."""
        return LBFGS(self.hessian.copy(), self.low, self.high)

    def direction(self, image: torch.Tensor, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """−P' H P g, zero where a bound holds the pixel and where the way leads out of the bounds; where either is so."""
        held = ((image <= self.low) & (gradient > 0)) | ((image >= self.high) & (gradient < 0))
        direction = self.hessian.apply(gradient.masked_fill(held, 0)).neg_()
        outward = held | ((image <= self.low) & (direction < 0)) | ((image >= self.high) & (direction > 0))
        return direction.masked_fill_(outward, 0), held, outward

    def step(
        self,
        image: torch.Tensor,
        value: float,
        gradient: torch.Tensor,
        evaluate: Callable[[torch.Tensor], tuple[float, torch.Tensor]],
        first_move: float,
        noise: float = 0.0,
    ) -> BoundedMove:
        """The way to the next picture, within the bounds; to the same one when no descent was found.

        Args:
            image: (1, 3, H, W), within the bounds.
            value, gradient: the function's there.
            evaluate: value and gradient at another picture.
            first_move: the largest change of a pixel that the first trial of a new history makes, 0..1.
            noise: how far values may be off, relative to `value`.
        """
        direction, held, outward = self.direction(image, gradient)
        slope = _dot(direction, gradient)
        if slope >= 0:
            self.hessian.pairs.clear()
            direction, held, outward = self.direction(image, gradient)
            slope = _dot(direction, gradient)

        def move(length: float) -> BoundedMove:
            target = image + length * direction if length else image
            return BoundedMove(target.clamp(self.low, self.high), target, length, self.hessian.copy(), held, outward)

        if slope >= 0 or not math.isfinite(slope):
            return move(0.0)

        def probe(length: float) -> Trial:
            point = (image + length * direction).clamp_(self.low, self.high)
            there, g = evaluate(point)
            moving = (point > self.low) & (point < self.high)
            return Trial(length, there, _dot(g.masked_fill(~moving, 0), direction), g)

        first = 1.0 if self.hessian.pairs else first_move / float(direction.abs().max())
        found = wolfe(probe, Trial(0.0, value, slope, gradient), first, noise * abs(value))
        moved = move(found.length)
        if not found.length:
            self.hessian.pairs.clear()
            return moved
        s = moved.image - image
        # Pixels that did not move say nothing of the curvature along the step.
        self.hessian.update(s, (found.gradient - gradient).masked_fill(s == 0, 0))
        return moved

    @classmethod
    def begin(cls, recipe: Recipe, image: torch.Tensor) -> LBFGS:
        """See `Optimizer.begin`."""
        return cls(InverseHessian(), 0.0, 1.0)

    def resized(self, recipe: Recipe, size: Sequence[int]) -> None:
        """Nothing: its pairs are of another function."""

    def advance(self, here: Here) -> Advance:
        """See `Optimizer.advance`. The line search's last look is the objective at the new picture, if it made it."""
        seen: list[tuple[torch.Tensor, Evaluation]] = []

        def evaluate(image: torch.Tensor) -> tuple[float, torch.Tensor]:
            seen.append((image, here.evaluate(image)))
            del seen[:-1]
            total, gradient = seen[-1][1].total, seen[-1][1].gradient
            # The line search backs away from what is not finite, whether in the value or in the slope.
            return total if bool(torch.isfinite(gradient).all()) else math.inf, gradient

        lbfgs, recipe, known = self.copy(), here.recipe, here.evaluation
        noise = NOISE.get(recipe.precision, 0.0)
        move = lbfgs.step(here.image, known.total, known.gradient, evaluate, recipe.rate, noise)
        return Advance(lbfgs, move, next((found for image, found in seen if torch.equal(image, move.image)), None))

    def kept(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """The pairs, oldest first."""
        tensors: dict[str, torch.Tensor] = {}
        for place, (s, y, *_) in enumerate(self.hessian.pairs):
            tensors |= {f"s{place}": s, f"y{place}": y}
        return tensors, {"pairs": len(self.hessian.pairs)}

    @classmethod
    def restored(cls, tensors: Mapping[str, torch.Tensor], numbers: Mapping[str, Any], image: torch.Tensor) -> LBFGS:
        """See `Optimizer.restored`."""
        count = numbers["pairs"]
        if type(count) is not int or not 0 <= count <= 1000:
            raise ValueError("the optimiser's pairs are not counted")
        found = [(tensors[f"s{i}"], tensors[f"y{i}"]) for i in range(count)]
        if any(tensor.numel() != image.numel() for pair in found for tensor in pair):
            raise ValueError("the optimiser's pairs are of another size")
        return cls(InverseHessian([Pair.of(s, y) for s, y in found]), 0.0, 1.0)
