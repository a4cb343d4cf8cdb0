"""A surrogate: a game that is like the one that was played, and whose Shapley values are known.

Of many layers only some coalitions are painted. A surrogate is fitted to those that always are (none, all, each alone and
each left out), and orders then sample what it misses: a control variate, which leaves an estimate unbiased whatever the
surrogate, and the surer the nearer it comes.

Its form is what style does: layers add up, and what they have in common saturates,
    u(S) = Σ_{i ∈ S} a_i + A (1 − Π_{i ∈ S} (1 − q_i)), 0 < q_i < 1,
as many unknowns as there are values. It is made only where those values say that layers stand in for each other. (Games of
second order need none: a pair of an order and its reverse is exact for them.)
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit

SLACK = 0.05
"""Of the whole fall: by how much a layer may be missed more than it does alone, for noise's sake."""

RIDGE = 1e-3
"""How strongly the q_i are held together, where the values leave them open."""


def fit(values: np.ndarray) -> np.ndarray | None:
    """(2ⁿ,): u of every coalition, u(∅) = 0; None where one of the values that it is fitted to is not known, or where they do
    not saturate.

    Args:
        values: (2ⁿ,) v; NaN where it is not known.
    """
    n = len(values).bit_length() - 1
    single, whole = 1 << np.arange(n), len(values) - 1
    alone, left_out, fall = values[single] - values[0], values[whole] - values[whole - single], values[whole] - values[0]
    if not np.isfinite([*alone, *left_out, fall]).all():
        return None
    if not (alone.sum() > fall > left_out.sum() and (alone - left_out).min() >= -SLACK * fall):
        return None

    def misses(unknown: np.ndarray) -> np.ndarray:
        q, common = expit(unknown[:n]), unknown[n]
        own, rest = alone - common * q, np.prod(1 - q)
        last = own + common * q * rest / (1 - q) - left_out
        held = RIDGE * abs(fall) * (unknown[:n] - unknown[:n].mean())
        return np.array([*last, own.sum() + common * (1 - rest) - fall, *held])

    found = least_squares(misses, np.array([*np.full(n, -1.5), fall])).x
    q, common = expit(found[:n]), found[n]
    takes = (np.arange(len(values))[:, None] >> np.arange(n) & 1).astype(bool)
    game: np.ndarray = takes @ (alone - common * q) + common * (1 - np.where(takes, 1 - q, 1).prod(1))
    return game
