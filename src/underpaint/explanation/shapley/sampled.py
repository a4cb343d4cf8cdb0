"""Sampled: Shapley values estimated from some orders of the players, where all subsets would be too many.

In a random order of arrival the mean of what a player adds to those before it is its Shapley value (Castro, Gómez & Tejada
2009, "Polynomial calculation of the Shapley value based on sampling"). Orders are drawn in pairs, each with its reverse
(antithetic sampling: Mitchell, Cooper, Frank & Holmes 2022, "Sampling permutations for Shapley value estimation"): a player
that comes early in one comes late in the other, and where players interact only two by two each pair is exact.

What orders sample is what a `surrogate` misses, fitted to the coalitions that are painted in any case.

An order is a chain of n + 1 coalitions, from none to all; chains share coalitions, and none is painted twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain
from math import comb, sqrt

import numpy as np
from scipy.special import stdtrit

from underpaint.errors import UnderpaintError
from underpaint.explanation.shapley.exact import INCOMPLETE, Estimate, Game, shapley_weights, tabulated
from underpaint.explanation.shapley.noise import measure
from underpaint.explanation.shapley.players import EXACT, mask_of
from underpaint.explanation.shapley.surrogate import fit
from underpaint.optimizers.loop import draw

PERMUTATIONS = 16
"""Where none are asked for: eight pairs."""

Order = tuple[int, ...]


def check_permutations(layers: Sequence[str], permutations: int | None) -> int | None:
    """How many orders to draw for these players; None where all subsets are painted.

    Raises:
        UnderpaintError: asked for where there is nothing to sample, an odd number, or too few for an error.
    """
    if len(layers) <= EXACT:
        if permutations is not None:
            raise UnderpaintError(
                f"--permutations {permutations}: of {len(layers)} style layers every subset is painted and nothing sampled; "
                f"leave it out, or name more than {EXACT} layers"
            )
        return None
    if permutations is None:
        return PERMUTATIONS
    if permutations < 4 or permutations % 2:
        raise UnderpaintError(
            f"--permutations {permutations}: they are drawn in pairs, and the pairs' spread is the error; name an even "
            "number from 4 up"
        )
    return permutations


def orders(seed: int, n: int, permutations: int) -> tuple[Order, ...]:
    """So many orders of n players, each second one the reverse of the one before. The first of more are the same."""
    found: list[Order] = []
    for number in range(permutations // 2):
        # Sorted by hashes, which are the same on every machine and in every version of every library.
        order = tuple(sorted(range(n), key=lambda i: draw(seed, -3 - number, i)))
        found += [order, order[::-1]]
    return tuple(found)


def arrivals(order: Order) -> list[int]:
    """The coalitions as players arrive in this order: n + 1, from none to all."""
    return list(accumulate((1 << i for i in order), lambda mask, bit: mask | bit, initial=0))


def plan(players: Sequence[str], drawn: Sequence[Order], groups: Mapping[str, Sequence[str]]) -> list[int]:
    """The coalitions to paint, each once: the named groups (all and none, each player left out and alone, ...), then the
    orders' own, pair by pair."""
    known = (mask_of(group, players) for group in groups.values())
    return list(dict.fromkeys(chain(known, *(arrivals(order) for order in drawn))))


@dataclass(frozen=True, repr=False)
class Sampled(Game):
    """Values of the coalitions of some orders, and what they say of Shapley values.

    A figure has two errors, which add up by the law of total variance. The spread of the pairs' means says how far the mean
    over the drawn orders is from that over all n! of them, of the values as they were painted, noise and all. And that
    mean, the exact Shapley value of the painted values, differs from that of other perturbations' by the noise that an exact
    table has, whose weights are known without painting it. Degrees of freedom are the fewer of the two: pairs less one, as a
    rule (with few pairs the spread's own estimate is rough, and counting on more makes intervals too short).

    Attributes:
        orders: an even number, each second one the reverse of the one before.
    """

    orders: tuple[Order, ...] = ()

    whole = False
    source = "permutations"

    @classmethod
    def of(
        cls,
        players: Sequence[str],
        outcomes: Mapping[tuple[int, int], float],
        drawn: Sequence[Order],
        ratios: Sequence[float] = (),
        copies: np.ndarray | None = None,
    ) -> Sampled:
        """From a judge's outcomes J by (perturbation, coalition); as many pairs of orders count, from the first on, as
        some perturbation has whole.

        Raises:
            UnderpaintError: those are fewer than two pairs.
        """
        table = tabulated(len(players), outcomes)
        masks = np.array([arrivals(order) for order in drawn]).reshape(len(drawn) // 2, -1)
        painted = ~np.isnan(table)[:, masks].any(2)  # (perturbations, pairs)
        first = np.logical_and.accumulate(painted, 1).sum(1)  # whole pairs before the first that is not
        pairs = int(first.max(initial=0))
        if pairs < 2:
            raise UnderpaintError(INCOMPLETE)
        whole = table[first == pairs]
        noise = measure(table, ratios, copies)
        return cls(tuple(players), whole.mean(0), len(whole), noise, copies, tuple(drawn[: 2 * pairs]))

    def shapley(self) -> list[Estimate]:
        means, n = self._means, len(self.players)
        return [self._sampled(means[:, i], _length(n), [i]) for i in range(n)]

    def difference(self, i: int, j: int) -> Estimate:
        means = self._means
        return self._sampled(means[:, i] - means[:, j], _length_of_difference(len(self.players)), [i, j])

    @property
    def freedom(self) -> int:
        pairs = len(self.orders) // 2 - 1
        return pairs if self.noise is None else min(pairs, self.noise.freedom)

    def interactions(self) -> dict[tuple[int, int], Estimate]:
        raise UnderpaintError(
            f"pairs of layers need every subset painted, and of {len(self.players)} layers {len(self.orders)} permutations "
            f"were; name at most {EXACT} style layers"
        )

    @property
    def caveat(self) -> str:
        return (
            f"They are estimates: from {len(self.orders)} permutations of the {len(self.players)} layers, not from all "
            f"{len(self.values)} subsets. Their intervals allow for that."
        )

    @cached_property
    def _means(self) -> np.ndarray:
        """(pairs, n): each player's Shapley value in the surrogate, and what it added to what that misses, mean over a
        pair of orders."""
        surrogate = fit(self.values)
        missed = self.values if surrogate is None else self.values - surrogate
        added = np.zeros((len(self.orders), len(self.players)))
        for row, order in zip(added, self.orders, strict=True):
            row[list(order)] = np.diff(missed[arrivals(order)])
        means: np.ndarray = added.reshape(-1, 2, len(self.players)).mean(1)
        return means if surrogate is None else means + shapley_weights(len(self.players)) @ surrogate

    def _sampled(self, means: np.ndarray, length: float, along: Sequence[int]) -> Estimate:
        """Of a figure: its mean by pair of orders, the length of its weights in an exact table, and the players whose effect
        it holds, once each."""
        value, pairs = float(means.mean()), len(means)
        variance = float(means.var(ddof=1)) / pairs
        if self.noise is not None:
            effects = [float(i in along) for i in range(len(self.noise.ratios))]
            variance += self.noise.of(length, effects) ** 2 / self.tables
        error = sqrt(variance)
        reach = float(stdtrit(self.freedom, 0.975)) * error
        return Estimate(value, error, value - reach, value + reach)


def _length(n: int) -> float:
    """‖w‖ of a Shapley value's 2ⁿ weights, √Σ w²: C(n−1, k) coalitions of k others have ±1 / (n C(n−1, k))."""
    return sqrt(2 * sum(1 / comb(n - 1, k) for k in range(n))) / n


def _length_of_difference(n: int) -> float:
    """‖w_i − w_j‖: coalitions of one of the two and k of the others have ±1 / ((n−1) C(n−2, k)), the rest 0."""
    return sqrt(2 * sum(1 / comb(n - 2, k) for k in range(n - 1))) / (n - 1)
