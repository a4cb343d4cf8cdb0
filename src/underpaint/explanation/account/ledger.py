"""The ledger: an exact additive account of the pixels.

For a given state of the optimiser a step is linear in the gradient, and the gradient is the sum of the terms' own; sizes
change and iterates are averaged by linear maps. So the picture is, at every step and up to rounding,

    picture = start + Σ_terms column + clamp,

where `start` is the first picture carried through the resizes, a column adds up all that a term's gradients moved, and
`clamp` all that the bounds 0..1 took away. This is an account of the run that happened (through the optimiser's state the
step of a term depends on all others), not of what would have happened without a term; for that see
`underpaint.explanation.coalitions.paint`.

Per step, with g_l the gradient of term l:

- Adam: m_l ← β₁ m_l + (1 − β₁) g_l, u_l = −rate · m̂_l / (√v̂ + ε), with v of the total gradient;
- L-BFGS: u_l = −t P' H P g_l, with the total's pairs, step length t and free pixels P.

All sums are kept in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from underpaint.optimizers.base import Move, resample, shaped
from underpaint.optimizers.loop import Arrival, Step
from underpaint.runs.observer import Memory

START, CLAMP = "start", "clamp"


def _nothing() -> torch.Tensor:
    return torch.zeros(0, dtype=torch.float64)


@dataclass
class Ledger:
    """Follows a run whose steps have their `parts` (an `Observer`): the account of the iterate, and of the running average
    where there is one. Tensors are replaced, never written to: who holds one keeps the account as it was.

    Attributes:
        terms: names, in the objective's order; none before the first step.
        entries: (T + 2, 3, H, W) float64: start, the terms' columns, clamp.
        average: the same of the average of the iterates; None before it begins.
        moments: (T, 3, H, W) float64, what `Move.follow` remembers (Adam's first moment of each term); None for L-BFGS.
        last: (T + 1, 3, H, W) float64, what the last step added to the columns and to clamp; not kept in checkpoints.
    """

    apart: ClassVar[bool] = True

    terms: tuple[str, ...] = ()
    entries: torch.Tensor = field(default_factory=_nothing)
    average: torch.Tensor | None = None
    moments: torch.Tensor | None = None
    last: torch.Tensor | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the entries: `start`, the terms, `clamp`."""
        return START, *self.terms, CLAMP

    @property
    def result(self) -> dict[str, torch.Tensor]:
        """The account of the picture as it stands (the average once there is one), (3, H, W) float64 by name."""
        return dict(zip(self.names, self.entries if self.average is None else self.average, strict=True))

    def closure(self, picture: torch.Tensor) -> float:
        """max |picture − (start + Σ columns + clamp)|, of (1, 3, H, W) on 0..1."""
        total = (self.entries if self.average is None else self.average).sum(0)
        return float((picture[0].double() - total).abs().max())

    def see(self, step: Step) -> None:
        """Enters a step."""
        if step.move is None:
            return
        if step.arrival is not None:
            self._arrive(step.arrival, [term.name for term in step.terms])
        self._enter(step.move, torch.cat([step.parts[name] for name in self.terms]).double())
        if step.averaging is not None:
            # A copy at first: a checkpoint's file takes no two tensors that share their memory.
            self.average = self.entries.clone() if self.average is None else self.average.lerp(self.entries, step.averaging)

    def _arrive(self, arrival: Arrival, terms: Sequence[str]) -> None:
        """Where the run begins, the picture is all start; else the account is resized as the picture was, and what the bounds
        took from that is clamp."""
        image = arrival.image
        if arrival.target is None:
            entries = image.new_zeros((len(terms) + 2, *image.shape[1:]), dtype=torch.float64)
            entries[0] = image[0]
            self.terms, self.entries, self.moments = tuple(terms), entries, None
        else:
            size = image.shape[-2:]
            self.entries = resample(self.entries if self.average is None else self.average, size)
            self.entries[-1] += (image - arrival.target)[0]
            self.moments = resample(self.moments, size) if arrival.carried and self.moments is not None else None
        self.average, self.last = None, None

    def _enter(self, move: Move, gradients: torch.Tensor) -> None:
        updates, self.moments = move.follow(gradients, self.moments)
        self.last = torch.cat([updates, (move.image - move.target).double()])
        entries = self.entries.clone()
        entries[1:] += self.last
        self.entries = entries

    def state(self) -> Memory:
        """See `Observer.state`."""
        kept = {"entries": self.entries, "average": self.average, "moments": self.moments} if self.terms else {}
        return Memory({name: tensor for name, tensor in kept.items() if tensor is not None}, self.terms)

    def restore(self, memory: Memory, image: torch.Tensor | None) -> None:
        """See `Observer.restore`."""
        self.terms, self.last, count = memory.names, None, len(memory.names)
        if image is None or not count:
            self.terms, self.entries, self.average, self.moments = (), _nothing(), None, None
            return
        own = {
            name: shaped(memory.tensors[name], (count + more, *image.shape[1:])).to(image.device)
            for name, more in (("entries", 2), ("average", 2), ("moments", 0))
            if name == "entries" or name in memory.tensors
        }
        self.entries, self.average, self.moments = own["entries"], own.get("average"), own.get("moments")
