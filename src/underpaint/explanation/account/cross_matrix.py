"""Who moved what: A[j, l] = Σ_t ∫ ∇L_j · dx_l, how much of the change of term j was painted by column l, at each size.

The path is the run's own: straight from iterate to iterate, along it each column's share of the move as the ledger has it.
Row sums are known exactly, L_j(end) − L_j(start), so the quadrature is checked by segment and refined where it misses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from underpaint.explanation.account.ledger import CLAMP, Ledger
from underpaint.explanation.account.quadrature import Care, Point, integral
from underpaint.losses.objective import Evaluation, Objective
from underpaint.optimizers.loop import Step, draw

CARE = Care(share=0.01, negligible=1e-4, depth=5)
"""A hundredth of a segment's changes, as the whole may miss; weighted losses are of the order of 1."""


def point(evaluation: Evaluation | Step) -> Point:
    """The terms' weighted values and gradients, of an evaluation with parts or a step of a run with a ledger."""
    values = torch.tensor([term.weighted for term in evaluation.terms], dtype=torch.float64)
    return Point(values, torch.cat([evaluation.parts[t.name] for t in evaluation.terms]).flatten(1).double().cpu())


@dataclass
class CrossMatrix:
    """Follows a run with a ledger; see the module's text. All values are weighted, so that they add up to the total's change.

    Attributes:
        ledger: the run's, which has seen each step first.
        objective: gives the objective at a scale (for the last point of each, and for refinement).
        matrices: by scale, (T, T + 1) float64: rows the terms j, columns the terms l and clamp.
        changes: by scale, (T,): L_j(end) − L_j(start), weighted.
        terms: their names.
    """

    objective: Callable[[int], Objective]
    ledger: Ledger
    seed: int = 0
    terms: tuple[str, ...] = ()
    matrices: dict[int, torch.Tensor] = field(default_factory=dict)
    changes: dict[int, torch.Tensor] = field(default_factory=dict)
    _before: tuple[Point, torch.Tensor, torch.Tensor] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return *self.terms, CLAMP

    def see(self, step: Step) -> None:
        """Takes in a step; the segment before it is complete with its gradients."""
        if step.final:
            return
        ledger = self.ledger
        assert ledger.last is not None
        here = point(step)
        self._complete(here, step.scale)
        moved = ledger.last.flatten(1).cpu()
        # Each segment is straight, from `before` by the sum of what the columns moved.
        before = step.state.image.double().cpu() - moved.sum(0).view_as(step.state.image)
        self.terms = ledger.terms
        self._before = here, moved, before
        if step.scale_done:
            number = draw(self.seed, step.scale, 0)
            end = self.objective(step.scale).evaluate(step.state.image, number, apart=True)
            self._complete(point(end), step.scale)

    def _complete(self, here: Point, scale: int) -> None:
        if self._before is None:
            return
        before, moved, start = self._before
        self._before = None
        segment = integral(before, here, moved, start.flatten(), lambda x: self._at(x.view_as(start), scale), CARE)
        change = here.values - before.values
        zero = torch.zeros_like(segment)
        self.matrices[scale] = self.matrices.get(scale, zero) + segment
        self.changes[scale] = self.changes.get(scale, torch.zeros_like(change)) + change

    def _at(self, image: torch.Tensor, scale: int) -> Point:
        objective = self.objective(scale)
        picture = image.float().to(objective.network.device)
        return point(objective.evaluate(picture, draw(self.seed, scale, 0), apart=True))

    def residual(self) -> float:
        """Σ |row sum − L_j's change| / Σ |L_j's change|, over all sizes; 0 for an exact account."""
        missed = sum(float((self.matrices[s].sum(1) - self.changes[s]).abs().sum()) for s in self.matrices)
        return missed / max(sum(float(c.abs().sum()) for c in self.changes.values()), 1e-12)

    def state(self) -> dict[str, torch.Tensor]:
        """What it has to remember; none of it is written to later."""
        kept = {f"cross.{s}": m for s, m in self.matrices.items()} | {f"change.{s}": c for s, c in self.changes.items()}
        if self._before is not None:
            point, moved, start = self._before
            kept |= {"values": point.values, "gradients": point.gradients, "moved": moved, "before": start}
        return kept

    def restore(self, kept: Mapping[str, torch.Tensor]) -> None:
        """Back to such a state; from nothing, as it was before the first step."""
        self.terms = self.ledger.terms
        self.matrices, self.changes = (
            {int(name.partition(".")[2]): tensor for name, tensor in kept.items() if name.startswith(f"{kind}.")}
            for kind in ("cross", "change")
        )
        begun = "values" in kept
        self._before = (Point(kept["values"], kept["gradients"]), kept["moved"], kept["before"]) if begun else None
