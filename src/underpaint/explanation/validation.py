"""Validation: does an attribution say what happens when layers are taken away, and may it be trusted here?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from typing import Any, Literal, get_args

import numpy as np

from underpaint.explanation.attribution import TIE, Attribution
from underpaint.explanation.shapley.exact import ROUNDING, Game

CLOSURE_LIMIT = 1e-4
CROSS_LIMIT = 0.01
PATH_LIMIT = 0.05
KAPPA_LIMIT = 3.0
KAPPA_GROWTH = 0.2
FALL_ERRORS = 3.0
UNSETTLED = 0.05
"""A coalition whose total falls by more than this share over its last tenth has not come to rest."""

State = Literal["settled", "not settled", "no effect", "worse"]
"""What may be said of an explanation. Only of a settled one are shares, rankings and agreement given."""

STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True)
class Faithfulness:
    """How an attribution agrees with the table of coalitions.

    Attributes:
        concordance: of the pairs of layers whose Shapley values are resolved, the share that it orders alike (ties a
            half); None where no pair is resolved.
        pairs: how many pairs that is.
        deletion: mean of v as layers are taken away, its largest first, from all to none: lower is better. None where not
            all of these coalitions were painted.
        percentile: the share of all n! orders that are no better than its own (ties a half), 0..1: 1 is the best order. None
            where not every subset was painted.
        left_out_agreement: concordance with the order of leave-one-out over the pairs that this tells apart, ties a half;
            None where it tells none apart.
    """

    concordance: float | None
    pairs: int
    deletion: float | None
    percentile: float | None
    left_out_agreement: float | None


def concordance(values: Mapping[str, float], pairs: Sequence[tuple[str, str]], tie: float = 0.0) -> float | None:
    """The share of pairs (larger, smaller) that values order alike; ties, within `tie` of the largest, count a half."""
    if not pairs:
        return None
    limit = tie * max(abs(v) for v in values.values())
    scores = [0.5 if abs(values[a] - values[b]) <= limit else float(values[a] > values[b]) for a, b in pairs]
    return sum(scores) / len(scores)


def deletion_curve(game: Game, order: Sequence[str]) -> list[float] | None:
    """v as players are taken away in this order: from v(all) to v(∅); None where one of these is not known."""
    mask = (1 << len(game.players)) - 1
    curve = [float(game.values[mask])]
    for player in order:
        mask &= ~(1 << game.players.index(player))
        curve.append(float(game.values[mask]))
    return None if np.isnan(curve).any() else curve


def deletions(game: Game) -> np.ndarray | None:
    """(n!,): the deletion (see `Faithfulness`) of every order of the players; None where not every subset was painted."""
    if not game.whole:
        return None
    n = len(game.players)
    taken = np.cumsum([[1 << player for player in order] for order in permutations(range(n))], axis=1)
    masks = (1 << n) - 1 - np.concatenate([np.zeros((len(taken), 1), int), taken], axis=1)
    found: np.ndarray = game.values[masks].mean(axis=1)
    return found


def faithfulness(attribution: Attribution, game: Game, every: np.ndarray | None) -> Faithfulness:
    """Of one attribution, against the coalitions that are known.

    Args:
        every: `deletions` of the game.
    """
    names = game.players
    resolved = [(names[i], names[j]) for i, j in game.resolved()]
    own = _deletion(game, attribution.order())
    whole = (1 << len(names)) - 1
    lost = {name: float(game.values[whole] - game.values[whole & ~(1 << i)]) for i, name in enumerate(names)}
    rounding = ROUNDING * float(np.nanmax(np.abs(game.values)))
    pairs = [(a, b) for a in names for b in names if lost[a] - lost[b] > rounding]
    agreement = concordance(attribution.values, pairs, TIE)
    agrees = concordance(attribution.values, resolved, TIE)
    return Faithfulness(agrees, len(resolved), own, _percentile(own, every), agreement)


def _deletion(game: Game, order: Sequence[str]) -> float | None:
    """Mean of the deletion curve, None where it is not known whole."""
    curve = deletion_curve(game, order)
    return None if curve is None else float(np.mean(curve))


def _percentile(own: float | None, every: np.ndarray | None) -> float | None:
    """Of a deletion among those of all n! orders; None where these are not known."""
    if own is None or every is None:
        return None
    close = np.isclose(every, own, rtol=0, atol=1e-12)
    return float((every > own)[~close].sum() + close.sum() / 2) / len(every)


@dataclass(frozen=True)
class Checks:
    """What a run's explanation was checked for; see schema.md.

    Attributes:
        closure: max |pastiche − (start + Σ columns + clamp)|, 0..1.
        cross_residual, path_residual: relative.
        kappa_half, kappa: Σ‖column‖ / ‖pastiche − start‖, half way through the last size and at the end.
        fall, fall_error: v(all) − v(∅) of the headline judge, and its standard error.
        content: the pastiche's relative distance to the content picture at the content layers.
        unsettled: coalitions that had not come to rest, by name, with their fall over the last tenth.
    """

    closure: float
    cross_residual: float
    path_residual: float
    kappa_half: float
    kappa: float
    fall: float
    fall_error: float | None
    content: float
    unsettled: Mapping[str, float]

    @property
    def state(self) -> State:
        """What may be said: everything else that is said follows from this."""
        noise = FALL_ERRORS * (self.fall_error or 0.0)
        if self.fall < -noise:
            return "worse"
        if self.fall < noise or self.fall == 0:
            return "no effect"
        return "not settled" if self.unsettled else "settled"

    @property
    def bookkeeping(self) -> bool:
        """Whether the columns cancel too much, or still grow, to be looked at one by one."""
        return self.kappa > KAPPA_LIMIT or self.kappa > (1 + KAPPA_GROWTH) * self.kappa_half

    def facts(self) -> dict[str, object]:
        """For validation.json."""
        return asdict(self) | {"columns_are_bookkeeping": self.bookkeeping}


def state_of(facts: Mapping[str, Any]) -> State:
    """What a validation.json says; of one by an older version, what it would say."""
    if "state" in facts:
        return next(state for state in STATES if state == facts["state"])
    known = {name: facts["checks"][name] for name in Checks.__annotations__}
    return Checks(**known).state
