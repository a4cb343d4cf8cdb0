"""What follows a run that is to be explained: the cross matrix, the judge's path and κ, together in its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from underpaint.explanation.account.cross_matrix import CrossMatrix
from underpaint.explanation.account.judge_path import JudgePath
from underpaint.optimizers.ledger import START, Ledger
from underpaint.optimizers.loop import Step


def kappa(ledger: Ledger) -> float:
    """κ = Σ_terms ‖column‖ / ‖picture − start‖: 1 or a little more when the columns pull one way, large when they cancel."""
    account = ledger.result
    change = torch.stack([c for name, c in account.items() if name != START]).sum(0)
    return sum(float(account[term].norm()) for term in ledger.terms) / max(float(change.norm()), 1e-12)


@dataclass
class Account:
    """A `Watch` of three.

    Attributes:
        halfway: the place and the step count of the last size after which κ is taken the first time.
        kappa_half: κ then.
    """

    cross: CrossMatrix
    path: JudgePath
    halfway: tuple[int, int]
    kappa_half: float = float("nan")

    def see(self, step: Step) -> None:
        """Takes in a step."""
        self.cross.see(step)
        self.path.see(step)
        if (step.scale, step.iteration + 1) == self.halfway and step.state.ledger is not None:
            self.kappa_half = kappa(step.state.ledger)

    def state(self) -> dict[str, torch.Tensor]:
        """For a checkpoint, or to come back to; what is in it is never written to."""
        kept = {f"cross/{name}": t for name, t in self.cross.state().items()}
        kept |= {f"path/{name}": t for name, t in self.path.state().items()}
        return kept | {"kappa_half": torch.tensor(self.kappa_half, dtype=torch.float64)}

    def restore(self, kept: Mapping[str, torch.Tensor], terms: tuple[str, ...]) -> None:
        """Back to such a state; from nothing, as it was before the first step."""
        self.cross.restore({n[6:]: t for n, t in kept.items() if n.startswith("cross/")}, terms)
        self.path.restore({n[5:]: t for n, t in kept.items() if n.startswith("path/")}, terms)
        self.kappa_half = float(kept.get("kappa_half", float("nan")))
