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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from underpaint.optimizers.adam import Adam
from underpaint.optimizers.lbfgs import Move

START, CLAMP = "start", "clamp"


def resample(image: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """The linear map that carries pictures (N, C, H, W) to the next size: bicubic, not clamped."""
    return F.interpolate(image, tuple(size), mode="bicubic", align_corners=False)


@dataclass
class Ledger:
    """The account of the iterate, and of the running average where there is one. Tensors are replaced, never written to: a
    shallow copy keeps the account as it was.

    Attributes:
        terms: names, in the objective's order.
        entries: (T + 2, 3, H, W) float64: start, the terms' columns, clamp.
        average: the same of the average of the iterates; None before it begins.
        moments: (T, 3, H, W) float64, Adam's first moment of each term; None for L-BFGS.
        last: (T + 1, 3, H, W) float64, what the last step added to the columns and to clamp; not kept in checkpoints.
    """

    terms: tuple[str, ...]
    entries: torch.Tensor
    average: torch.Tensor | None = None
    moments: torch.Tensor | None = None
    last: torch.Tensor | None = None

    @classmethod
    def begin(cls, terms: Sequence[str], image: torch.Tensor) -> Ledger:
        """Nothing painted yet: the picture (1, 3, H, W) is all start."""
        entries = image.new_zeros((len(terms) + 2, *image.shape[1:]), dtype=torch.float64)
        entries[0] = image[0]
        return cls(tuple(terms), entries)

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

    def moved_by_adam(self, adam: Adam, rate: float, parts: Mapping[str, torch.Tensor], clamped: torch.Tensor) -> None:
        """Enters a step of Adam, which has taken in the total gradient already.

        Args:
            parts: the terms' weighted gradients, (1, 3, H, W) each.
            clamped: clip(y) − y of the picture y that the step led to.
        """
        gradients = self._stack(parts)
        if self.moments is None:
            self.moments = torch.zeros_like(gradients)
        self.moments = self.moments.lerp(gradients, 1 - adam.betas[0])
        self._enter(adam.update(self.moments, rate), clamped)

    def moved_by_lbfgs(self, move: Move, parts: Mapping[str, torch.Tensor]) -> None:
        """Enters a step of L-BFGS."""
        self._enter(move.of(self._stack(parts)), move.image - move.target)

    def averaged(self, weight: float) -> None:
        """Follows the running average: average += weight · (iterate − average)."""
        if self.average is None:
            self.average = self.entries.clone()
        else:
            self.average = self.average.lerp(self.entries, weight)

    def resized(self, size: Sequence[int], clamped: torch.Tensor, carry_moments: bool) -> None:
        """Goes on at another size from the result; `clamped` is clip(y) − y of the resized picture y."""
        self.entries = resample(self.entries if self.average is None else self.average, size)
        self.entries[-1] += clamped[0]
        self.moments = resample(self.moments, size) if carry_moments and self.moments is not None else None
        self.average, self.last = None, None

    def _stack(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([parts[name] for name in self.terms]).double()

    def _enter(self, updates: torch.Tensor, clamped: torch.Tensor) -> None:
        self.last = torch.cat([updates, clamped.double()])
        entries = self.entries.clone()
        entries[1:] += self.last
        self.entries = entries
