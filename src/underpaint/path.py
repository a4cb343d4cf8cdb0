"""The judge's path: a single run's fall of a judge J, told apart by column.

J(end) − J(start) = Σ_l ∫ ∇J · dx_l. The judge looks at every iterate as it would be at the last size: pushed through the
resizes that are left, which are linear, so that there is no jump where the size changes. What clamping does after a resize is
clamp's. The path is followed at some steps only, more densely where it begins at each size, and the quadrature's residual is
kept: the difference between the sum of all columns and what the judge says of both ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from underpaint.ledger import CLAMP, Ledger, resample
from underpaint.optimise import Step


class Differentiable(Protocol):
    """A judge with a gradient, such as `underpaint.judges.StyleJudge`."""

    def gradient(self, image: torch.Tensor) -> tuple[float, torch.Tensor]:
        """Value and gradient at (1, 3, H, W)."""
        ...


@dataclass(frozen=True)
class Mark:
    """The judge's gradient, and the account, at one moment of a size: (3·H·W,) and (T + 1, 3·H·W) float64."""

    gradient: torch.Tensor
    columns: torch.Tensor


@dataclass
class JudgePath:
    """Follows a run with a ledger; see the module's text.

    Attributes:
        judge: looks at pictures of the last size.
        sizes: (height, width) at each scale.
        lengths: steps at each scale.
        falls: (T + 1,): −∫∇J·dx_l by column and clamp, so far; positive where a column brought the judge down.
        first, last: J at the start (carried to the last size) and at the latest mark.
    """

    judge: Differentiable
    sizes: Sequence[tuple[int, int]]
    lengths: Sequence[int]
    terms: tuple[str, ...] = ()
    falls: torch.Tensor | None = None
    first: float = float("nan")
    last: float = float("nan")
    _mark: Mark | None = field(default=None, repr=False)

    def see(self, step: Step) -> None:
        """Takes in a step."""
        ledger = step.state.ledger
        if step.final or ledger is None or ledger.last is None:
            return
        self.terms = ledger.terms
        if step.iteration == 0:
            self._begin(step, ledger)
        if step.scale_done or step.iteration + 1 in _moments(self.lengths[step.scale]):
            self._reach(self._look(step.state.image, step.scale), ledger.entries[1:])
        if step.scale_done and ledger.average is not None:
            self._reach(self._look(step.state.result, step.scale), ledger.average[1:])

    def _begin(self, step: Step, ledger: Ledger) -> None:
        """The first picture of a size: what a resize's clamp took is the only way from the last one's end."""
        assert ledger.last is not None
        columns = ledger.entries[1:] - ledger.last
        image = ledger.entries[0] + columns.sum(0)
        gradient = self._look(image[None].float(), step.scale)
        if self.falls is None:
            self.first, self.falls = self.last, torch.zeros(len(columns), dtype=torch.float64)
        elif self._mark is not None:
            before = resample(self._mark.columns[-1].view(1, 3, *self.sizes[step.scale - 1]), self.sizes[step.scale])
            self.falls[-1] -= gradient @ (columns[-1].flatten().cpu() - before.flatten())
        self._mark = Mark(gradient, columns.flatten(1).cpu().clone())  # the ledger goes on in place

    def _look(self, image: torch.Tensor, scale: int) -> torch.Tensor:
        """∇J by the pixels of this size, (3·H·W,) float64; keeps J."""
        with torch.enable_grad():
            leaf = image.detach().requires_grad_()
            carried = leaf
            for size in self.sizes[scale + 1 :]:
                carried = resample(carried, size)
        self.last, gradient = self.judge.gradient(carried.detach())
        if carried is not leaf:
            (gradient,) = torch.autograd.grad(carried, leaf, gradient)
        return gradient.flatten().double().cpu()

    def _reach(self, gradient: torch.Tensor, columns: torch.Tensor) -> None:
        assert self._mark is not None
        assert self.falls is not None
        mark = Mark(gradient, columns.flatten(1).cpu().clone())  # the ledger goes on in place
        self.falls -= (mark.columns - self._mark.columns) @ (mark.gradient + self._mark.gradient) / 2
        self._mark = mark

    @property
    def result(self) -> dict[str, float]:
        """The judge's fall by column, and `clamp`'s."""
        assert self.falls is not None
        return dict(zip((*self.terms, CLAMP), self.falls.tolist(), strict=True))

    def residual(self) -> float:
        """|Σ falls − (J(start) − J(end))| / |J(start) − J(end)|."""
        assert self.falls is not None
        fall = self.first - self.last
        return abs(float(self.falls.sum()) - fall) / max(abs(fall), 1e-12)

    def state(self) -> dict[str, torch.Tensor]:
        """For a checkpoint."""
        if self.falls is None or self._mark is None:
            return {}
        ends = torch.tensor([self.first, self.last], dtype=torch.float64)
        return {"falls": self.falls, "ends": ends, "gradient": self._mark.gradient, "columns": self._mark.columns}

    def restore(self, kept: Mapping[str, torch.Tensor], terms: tuple[str, ...]) -> None:
        """The other way."""
        if "falls" in kept:
            self.terms, self.falls = terms, kept["falls"]
            self.first, self.last = kept["ends"].tolist()
            self._mark = Mark(kept["gradient"], kept["columns"])


def _moments(length: int) -> set[int]:
    """Counts of steps at which the judge looks: 1, 2, 4, ... and the last."""
    return {1 << k for k in range(length.bit_length())} | {length}
