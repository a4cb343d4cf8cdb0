"""The judge's path: a single run's fall of a judge J, told apart by column.

J(end) − J(start) = Σ_l ∫ ∇J · dx_l. The judge looks at every iterate as it would be at the last size: pushed through the
resizes that are left, which are linear, so that there is no jump where the size changes. What clamping does after a resize is
clamp's. The path is followed at some steps only, more densely where it begins at each size, straight between them; the
quadrature is checked by what the judge says of both ends, and what it misses in all is the residual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from underpaint.explanation.account.ledger import CLAMP, Ledger
from underpaint.explanation.account.quadrature import Care, Point, integral
from underpaint.optimizers.base import resample
from underpaint.optimizers.loop import Step

CARE = Care(share=0.05, negligible=0.004, depth=1)
"""A look at the judge costs as much as three steps."""


class Differentiable(Protocol):
    """A judge with a gradient, such as `underpaint.quality.panel.StyleJudge`."""

    def gradient(self, image: torch.Tensor) -> tuple[float, torch.Tensor]:
        """Value and gradient at (1, 3, H, W)."""
        ...


@dataclass(frozen=True)
class Mark:
    """One moment of a size: J and its gradient there, the picture (N,) and the account's columns (T + 1, N), float64."""

    point: Point
    image: torch.Tensor
    columns: torch.Tensor


@dataclass
class JudgePath:
    """Follows a run with a ledger; see the module's text.

    Attributes:
        judge: looks at pictures of the last size.
        ledger: the run's, which has seen each step first.
        sizes: (height, width) at each scale.
        lengths: steps at each scale.
        device: where the judge looks.
        falls: by scale, (T + 1,): −∫∇J·dx_l by column and clamp, so far; positive where a column brought the judge down.
        products: at marks, (scale, iteration) and the inner products (2T + 2, 2T + 2) of ∇J, the T terms' weighted gradients
            there, and the T + 1 moves (columns and clamp) of the step that follows.
        first, last: J at the start (carried to the last size) and at the latest mark.
    """

    judge: Differentiable
    ledger: Ledger
    sizes: Sequence[tuple[int, int]]
    lengths: Sequence[int]
    device: torch.device | str = "cpu"
    terms: tuple[str, ...] = ()
    falls: dict[int, torch.Tensor] = field(default_factory=dict)
    first: float = float("nan")
    last: float = float("nan")
    products: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    _mark: Mark | None = field(default=None, repr=False)
    _marked: tuple[int, int] = (-1, -1)

    def see(self, step: Step) -> None:
        """Takes in a step."""
        ledger = self.ledger
        if step.final:
            return
        assert ledger.last is not None
        self.terms = ledger.terms
        if step.iteration == 0:
            self._begin(step, ledger, ledger.last)
        if (step.scale, step.iteration) == self._marked and self._mark is not None:
            self._multiply(step, self._mark, ledger.last)
        if step.scale_done or step.iteration + 1 in _moments(self.lengths[step.scale]):
            self._reach(self._mark_of(ledger.entries, step.scale), step.scale)
            self._marked = step.scale, step.iteration + 1
        if step.scale_done and ledger.average is not None:
            self._reach(self._mark_of(ledger.average, step.scale), step.scale)

    def _begin(self, step: Step, ledger: Ledger, last: torch.Tensor) -> None:
        """The first picture of a size: what a resize's clamp took is the only way from the last one's end."""
        entries = torch.cat([ledger.entries[:1], ledger.entries[1:] - last])
        mark = self._mark_of(entries, step.scale)
        self.falls[step.scale] = torch.zeros(len(entries) - 1, dtype=torch.float64)
        if self._mark is None:
            self.first = self.last
        else:
            self._resized(self._mark, mark, step.scale)
        self._mark, self._marked = mark, (step.scale, 0)

    def _multiply(self, step: Step, mark: Mark, moved: torch.Tensor) -> None:
        """Keeps the inner products of ∇J, the terms' gradients at its picture, and what the step from there moved."""
        parts = torch.cat([step.parts[term] for term in self.terms]).flatten(1).double().cpu()
        vectors = torch.cat([mark.point.gradients, parts, moved.flatten(1).cpu()])
        place = torch.tensor([step.scale, step.iteration], dtype=torch.float64)
        self.products.append((place, vectors @ vectors.T))

    def _resized(self, before: Mark, after: Mark, scale: int) -> None:
        """Enters what clamping took after a resize: from the last size's picture, resized, to the first of this one."""
        shape = (-1, 3, *self.sizes[scale - 1])
        image = resample(before.image.view(shape), self.sizes[scale]).flatten()
        carried = resample(before.columns[-1].view(shape), self.sizes[scale]).flatten()
        moved = (after.columns[-1] - carried)[None]
        point = self._look(image, scale)
        lost = integral(point, after.point, moved, image, lambda x: self._look(x, scale), CARE)
        falls = self.falls[scale].clone()
        falls[-1] -= float(lost.sum())
        self.falls[scale] = falls

    def _mark_of(self, entries: torch.Tensor, scale: int) -> Mark:
        image = entries.sum(0).flatten().cpu()
        mark = Mark(self._look(image, scale), image, entries[1:].flatten(1).cpu().clone())  # its own: a checkpoint has both
        self.last = float(mark.point.values)
        return mark

    def _look(self, image: torch.Tensor, scale: int) -> Point:
        """J and its gradient by the pixels of this size, at (N,)."""
        with torch.enable_grad():
            leaf = image.view(1, 3, *self.sizes[scale]).float().requires_grad_()
            carried = leaf
            for size in self.sizes[scale + 1 :]:
                carried = resample(carried, size)
        value, gradient = self.judge.gradient(carried.detach().to(self.device))
        if carried is not leaf:
            (gradient,) = torch.autograd.grad(carried, leaf, gradient.to(leaf.device))
        return Point(torch.tensor([value], dtype=torch.float64), gradient.flatten()[None].double().cpu())

    def _reach(self, mark: Mark, scale: int) -> None:
        before = self._mark
        assert before is not None
        moved = mark.columns - before.columns
        found = integral(before.point, mark.point, moved, before.image, lambda x: self._look(x, scale), CARE)
        self.falls[scale] = self.falls[scale] - found[0]
        self._mark = mark

    @property
    def result(self) -> dict[str, float]:
        """The judge's fall by column, and `clamp`'s."""
        whole = torch.stack(list(self.falls.values())).sum(0)
        return dict(zip((*self.terms, CLAMP), whole.tolist(), strict=True))

    def residual(self) -> float:
        """|Σ falls − (J(start) − J(end))| / |J(start) − J(end)|."""
        fall = self.first - self.last
        return abs(sum(self.result.values()) - fall) / max(abs(fall), 1e-12)

    def state(self) -> dict[str, torch.Tensor]:
        """What it has to remember; none of it is written to later."""
        if self._mark is None:
            return {}
        ends = torch.tensor([self.first, self.last], dtype=torch.float64)
        mark = {"gradient": self._mark.point.gradients, "image": self._mark.image, "columns": self._mark.columns}
        falls = {f"falls.{scale}": each for scale, each in self.falls.items()}
        kept = mark | falls | {"ends": ends, "value": self._mark.point.values, "marked": torch.tensor(self._marked)}
        return kept | {f"products.{i}.{k}": t for i, both in enumerate(self.products) for k, t in enumerate(both)}

    def restore(self, kept: Mapping[str, torch.Tensor]) -> None:
        """Back to such a state; from nothing, as it was before the first step."""
        begun = "ends" in kept
        self.terms = self.ledger.terms
        self.falls = {int(name[6:]): each for name, each in kept.items() if name.startswith("falls.")}
        self.first, self.last = kept["ends"].tolist() if begun else (float("nan"), float("nan"))
        scale, iteration = kept["marked"].tolist() if begun else (-1, -1)
        self._marked = int(scale), int(iteration)
        count = sum(name.startswith("products.") for name in kept) // 2
        self.products = [(kept[f"products.{i}.0"], kept[f"products.{i}.1"]) for i in range(count)]
        self._mark = Mark(Point(kept["value"], kept["gradient"]), kept["image"], kept["columns"]) if begun else None


def _moments(length: int) -> set[int]:
    """Counts of steps at which the judge looks: 1, 2, 4, ... and the last."""
    return {1 << k for k in range(length.bit_length())} | {length}
