"""The game: what game theory reads off the values of coalitions.

`v` has 2ⁿ values, one for each coalition: bit i of its place says whether player i takes part. Every figure is linear in
v, so it is a vector of 2ⁿ weights; `underpaint.explanation.shapley.noise` makes its standard error of them.

`Exact` has all values. With many players only some are known: `underpaint.explanation.shapley.sampled` estimates from those.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from math import comb, factorial, sqrt
from typing import ClassVar

import numpy as np
from scipy.special import stdtr

from underpaint.errors import UnderpaintError
from underpaint.explanation.shapley.noise import Noise, measure

FAMILY_WISE = 0.05
ROUNDING = 1e-9
"""Of the largest value: a smaller difference may be the order of summation."""

INCOMPLETE = "coalitions: the table is not complete; run `underpaint explain` again to resume it"


@cache
def shapley_weights(n: int) -> np.ndarray:
    """(n, 2ⁿ): φ = W v (Shapley 1953): φ_i = Σ_{S∌i} |S|! (n−|S|−1)! / n! · (v(S∪i) − v(S))."""
    takes = np.arange(1 << n) >> np.arange(n)[:, None] & 1
    size = takes.sum(0)
    # By how many others are there already.
    share = np.array([factorial(k) * factorial(n - k - 1) / factorial(n) for k in range(n)])
    weights: np.ndarray = np.where(takes, share[size - 1], -share[np.minimum(size, n - 1)])
    weights.setflags(write=False)  # one array for all who ask
    return weights


def interaction_weights(n: int) -> dict[tuple[int, int], np.ndarray]:
    """By pair, (2ⁿ,): the Shapley interaction index (Grabisch & Roubens 1999, "An axiomatic approach to the concept of
    interaction", eq. 3): I_ij = Σ_{S∌i,j} |S|! (n−|S|−2)! / (n−1)! · (v(S∪ij) − v(S∪i) − v(S∪j) + v(S)).

    Positive: the two do more together than apart. Negative: one can stand in for the other.
    """
    found = {}
    for i, j in combinations(range(n), 2):
        weights = np.zeros(1 << n)
        for mask in range(1 << n):
            size = (mask & ~(1 << i) & ~(1 << j)).bit_count()
            sign = 1 if (mask >> i & 1) == (mask >> j & 1) else -1
            weights[mask] = sign / ((n - 1) * comb(n - 2, size))
        found[i, j] = weights
    return found


def left_out_weights(n: int) -> np.ndarray:
    """(n, 2ⁿ): v(all) − v(all but i)."""
    weights = np.zeros((n, 1 << n))
    for i in range(n):
        weights[i, -1], weights[i, (1 << n) - 1 - (1 << i)] = 1, -1
    return weights


def alone_weights(n: int) -> np.ndarray:
    """(n, 2ⁿ): v(i) − v(∅)."""
    weights = np.zeros((n, 1 << n))
    for i in range(n):
        weights[i, 1 << i], weights[i, 0] = 1, -1
    return weights


@dataclass(frozen=True)
class Estimate:
    """A figure with its standard error and a 95 % t-interval; those are None where no noise was measured."""

    value: float
    error: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Game(ABC):
    """Values of coalitions, of one or several perturbations.

    Attributes:
        players: the style layers.
        values: (2ⁿ,) the mean over complete tables of v, by coalition; NaN where it is not known.
        tables: how many complete tables that is.
        noise: of one table; None where nothing was repeated.
        copies: (2ⁿ,) the coalition whose value each has, where a layer of weight 0 makes some the same run; None: each its
            own.
    """

    players: tuple[str, ...]
    values: np.ndarray
    tables: int = 1
    noise: Noise | None = None
    copies: np.ndarray | None = None

    whole: ClassVar[bool]
    """Whether every coalition's value is known."""
    source: ClassVar[str]
    """What Shapley values come from, in a word."""
    criterion: ClassVar[str] = "resolved at 95 % over all pairs, Holm"
    """What tells two players apart, in words."""

    def __repr__(self) -> str:
        known = int(np.isfinite(self.values).sum())
        return f"{type(self).__name__}({len(self.players)} players, {known} coalitions, {self.tables} table(s))"

    @abstractmethod
    def shapley(self) -> list[Estimate]:
        """By player; they sum to v(all) − v(∅)."""

    @abstractmethod
    def difference(self, i: int, j: int) -> Estimate:
        """φ_i − φ_j: surer than its parts, for they share their noise."""

    @property
    @abstractmethod
    def freedom(self) -> int:
        """Degrees of freedom of a difference's standard error; 0 where no noise was measured."""

    @property
    def caveat(self) -> str:
        """What must be said of the Shapley values, in a sentence; nothing where they are exact."""
        return ""

    @abstractmethod
    def interactions(self) -> dict[tuple[int, int], Estimate]:
        """By pair of players.

        Raises:
            UnderpaintError: not every coalition's value is known.
        """

    def estimate(self, weights: np.ndarray) -> Estimate:
        """Of a figure given by its 2ⁿ weights, all of known coalitions or 0."""
        used = np.flatnonzero(weights)
        value = float(weights[used] @ self.values[used])
        if self.noise is None:
            return Estimate(value)
        error = self.noise.error(self.folded(weights)) / sqrt(self.tables)
        reach = self.noise.reach * error
        return Estimate(value, error, value - reach, value + reach)

    def folded(self, weights: np.ndarray) -> np.ndarray:
        """(2ⁿ,): the weights on the coalitions that were painted."""
        if self.copies is None:
            return weights
        found = np.zeros(len(weights))
        np.add.at(found, self.copies, weights)
        return found

    def left_out(self) -> list[Estimate]:
        """v(all) − v(all but one), by player."""
        return [self.estimate(w) for w in left_out_weights(len(self.players))]

    def alone(self) -> list[Estimate]:
        """v(one) − v(∅), by player."""
        return [self.estimate(w) for w in alone_weights(len(self.players))]

    def fall(self) -> Estimate:
        """v(all) − v(∅): what there is to share."""
        weights = np.zeros(len(self.values))
        weights[-1], weights[0] = 1, -1
        return self.estimate(weights)

    def probability(self, difference: Estimate) -> float:
        """Two-sided p of Student's t for a difference of 0; 1 where no noise was measured.

        Without any noise (σ = 0) a difference is one where it is more than rounding.
        """
        if difference.error is None:
            return 1.0
        if difference.error == 0:
            return float(abs(difference.value) <= ROUNDING * float(np.nanmax(np.abs(self.values))))
        return 2 * float(stdtr(self.freedom, -abs(difference.value) / difference.error))

    def resolved(self) -> list[tuple[int, int]]:
        """Pairs (i, j) of which φ_i is the larger, in their own order.

        Holm's steps (1979, "A simple sequentially rejective multiple test procedure") keep the chance that any one pair
        is named wrongly at `FAMILY_WISE`, over all pairs of the players.
        """
        differences = {(i, j): self.difference(i, j) for i, j in combinations(range(len(self.players)), 2)}
        chances = {pair: self.probability(found) for pair, found in differences.items()}
        kept: set[tuple[int, int]] = set()
        for pair in sorted(chances, key=lambda pair: chances[pair]):
            if chances[pair] > FAMILY_WISE / (len(chances) - len(kept)):
                break
            kept.add(pair)
        return [(i, j) if found.value > 0 else (j, i) for (i, j), found in differences.items() if (i, j) in kept]


@dataclass(frozen=True, repr=False)
class Exact(Game):
    """Values of all coalitions."""

    whole = True
    source = "coalitions"

    @classmethod
    def of(
        cls,
        players: Sequence[str],
        outcomes: Mapping[tuple[int, int], float],
        ratios: Sequence[float] = (),
        copies: np.ndarray | None = None,
    ) -> Exact:
        """From a judge's outcomes J by (perturbation, coalition): complete tables, and single repeated coalitions.

        Args:
            ratios: how much of the noise goes by layer (`underpaint.explanation.shapley.noise`).
            copies: see `Game`.

        Raises:
            UnderpaintError: no table is complete.
        """
        table = tabulated(len(players), outcomes)
        whole = table[~np.isnan(table).any(1)]
        if not len(whole):
            raise UnderpaintError(INCOMPLETE)
        return cls(tuple(players), whole.mean(0), len(whole), measure(table, ratios, copies), copies)

    def shapley(self) -> list[Estimate]:
        return [self.estimate(w) for w in shapley_weights(len(self.players))]

    def difference(self, i: int, j: int) -> Estimate:
        w = shapley_weights(len(self.players))
        return self.estimate(w[i] - w[j])

    @property
    def freedom(self) -> int:
        return 0 if self.noise is None else self.noise.freedom

    def interactions(self) -> dict[tuple[int, int], Estimate]:
        return {pair: self.estimate(w) for pair, w in interaction_weights(len(self.players)).items()}


def tabulated(n: int, outcomes: Mapping[tuple[int, int], float]) -> np.ndarray:
    """(perturbations, 2ⁿ): v = −J by perturbation and coalition, NaN where there is none."""
    seeds = sorted({seed for seed, _ in outcomes})
    table = np.full((len(seeds), 1 << n), np.nan)
    for (seed, mask), outcome in outcomes.items():
        table[seeds.index(seed), mask] = -outcome
    return table
