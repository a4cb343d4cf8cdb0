"""What follows a run that is to be explained: its ledger, and from that the cross matrix, the judge's path and κ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from underpaint.explanation.account.cross_matrix import CrossMatrix
from underpaint.explanation.account.judge_path import JudgePath
from underpaint.explanation.account.ledger import START, Ledger
from underpaint.optimizers.loop import Step
from underpaint.runs.observer import Memory, Observer


def kappa(ledger: Ledger) -> float:
    """κ = Σ_terms ‖column‖ / ‖picture − start‖: 1 or a little more when the columns pull one way, large when they cancel."""
    account = ledger.result
    change = torch.stack([c for name, c in account.items() if name != START]).sum(0)
    return sum(float(account[term].norm()) for term in ledger.terms) / max(float(change.norm()), 1e-12)


@dataclass
class Account:
    """An `Observer` of what the ledger tells: the ledger itself sees each step first, as an observer of its own.

    Attributes:
        halfway: the place and the step count of the last size after which κ is taken the first time.
        kappa_half: κ then.
    """

    apart: ClassVar[bool] = True

    ledger: Ledger
    cross: CrossMatrix
    path: JudgePath
    halfway: tuple[int, int]
    kappa_half: float = float("nan")

    def see(self, step: Step) -> None:
        """Takes in a step."""
        self.cross.see(step)
        self.path.see(step)
        if (step.scale, step.iteration + 1) == self.halfway:
            self.kappa_half = kappa(self.ledger)

    def observers(self) -> dict[str, Observer]:
        """Itself and the ledger, by the names that their checkpoints have for them, in the order in which they see a step."""
        return {"ledger": self.ledger, "watch": self}

    def state(self) -> Memory:
        """See `Observer.state`."""
        kept = {f"cross/{name}": t for name, t in self.cross.state().items()}
        kept |= {f"path/{name}": t for name, t in self.path.state().items()}
        return Memory(kept | {"kappa_half": torch.tensor(self.kappa_half, dtype=torch.float64)})

    def restore(self, memory: Memory, image: torch.Tensor | None) -> None:
        """See `Observer.restore`; the ledger has been restored before."""
        kept = memory.tensors
        self.cross.restore({n[6:]: t for n, t in kept.items() if n.startswith("cross/")})
        self.path.restore({n[5:]: t for n, t in kept.items() if n.startswith("path/")})
        self.kappa_half = float(kept.get("kappa_half", float("nan")))
