"""Validation: does an attribution say what happens when layers are taken away, and may it be trusted here?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations

import numpy as np

from underpaint.attribution import TIE, Attribution
from underpaint.game import Game

CLOSURE_LIMIT = 1e-4
CROSS_LIMIT = 0.01
PATH_LIMIT = 0.05
KAPPA_LIMIT = 3.0
KAPPA_GROWTH = 0.2
FALL_ERRORS = 3.0
UNSETTLED = 0.05
"""A coalition whose total falls by more than this share over its last tenth has not come to rest."""


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
        left_out_agreement: concordance with the order of leave-one-out over all pairs, ties a half.
    """

    concordance: float | None
    pairs: int
    deletion: float | None
    percentile: float | None
    left_out_agreement: float


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


def faithfulness(attribution: Attribution, game: Game) -> Faithfulness:
    """Of one attribution, against the coalitions that are known."""
    names = game.players
    resolved = [(names[i], names[j]) for i, j in game.resolved()]
    own = _deletion(game, attribution.order())
    whole = (1 << len(names)) - 1
    lost = {name: float(game.values[whole] - game.values[whole & ~(1 << i)]) for i, name in enumerate(names)}
    pairs = [(a, b) if lost[a] >= lost[b] else (b, a) for i, a in enumerate(names) for b in names[i + 1 :]]
    agreement = concordance(attribution.values, pairs, TIE) or 0.0
    agrees = concordance(attribution.values, resolved, TIE)
    return Faithfulness(agrees, len(resolved), own, _percentile(game, own), agreement)


def _deletion(game: Game, order: Sequence[str]) -> float | None:
    """Mean of the deletion curve, None where it is not known whole."""
    curve = deletion_curve(game, order)
    return None if curve is None else float(np.mean(curve))


def _percentile(game: Game, own: float | None) -> float | None:
    """Of a deletion among those of all n! orders; None where these are not known."""
    if own is None or not game.whole:
        return None
    every = np.array([_deletion(game, order) for order in permutations(game.players)], float)
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
    def enough(self) -> bool:
        """Whether the style changed enough for shares of it to mean something."""
        return self.fall > 0 and (self.fall_error is None or self.fall >= FALL_ERRORS * self.fall_error)

    @property
    def bookkeeping(self) -> bool:
        """Whether the columns cancel too much, or still grow, to be looked at one by one."""
        return self.kappa > KAPPA_LIMIT or self.kappa > (1 + KAPPA_GROWTH) * self.kappa_half

    def facts(self) -> dict[str, object]:
        """For validation.json."""
        return asdict(self) | {"enough_fall": self.enough, "columns_are_bookkeeping": self.bookkeeping}


def verdict(game: Game, checks: Checks, faithful: Mapping[str, Faithfulness]) -> list[str]:
    """The findings in plain words, one sentence each; only orderings that are resolved are named.

    Args:
        faithful: of the attributions that a single run gives, by method.
    """
    said = [*_shares(game, checks), *_orders(game, checks), *_account(checks), *_attributions(faithful)]
    if checks.unsettled:
        worst = max(checks.unsettled, key=lambda name: checks.unsettled[name])
        said.append(
            f"{len(checks.unsettled)} coalitions were still falling at their end ({worst}: {checks.unsettled[worst]:.0%} of "
            "its fall in its last tenth): more steps may change their figures."
        )
    return said


def _attributions(faithful: Mapping[str, Faithfulness]) -> list[str]:
    """What the usual attribution is worth here.

    Which of the others comes nearest is not said: the best of ten, picked afterwards, does well by chance.
    """
    known = {name: f for name, f in faithful.items() if f.concordance is not None}
    if not known:
        return []
    said = []
    if (usual := known.get("final_loss")) is not None and usual.concordance is not None:
        warning = "; do not rank layers by it here" * (usual.concordance < 0.9)
        said.append(
            f"The usual attribution, each layer's final loss, orders {usual.concordance:.0%} of the {usual.pairs} pairs of "
            f"layers that are told apart as Shapley values do{warning}."
        )
    return said


def _shares(game: Game, checks: Checks) -> list[str]:
    """What there is to share, and who has most of it."""
    if not checks.enough:
        return [
            f"The style layers bring the judge down by {checks.fall:.3f} in all, which is under {FALL_ERRORS:.0f} standard "
            "errors: there is nothing to share out, and no share is given."
        ]
    told = [
        f"Together the style layers bring the judge from {-game.values[0]:.2f} to {-game.values[-1]:.2f} (1: the content, "
        f"0: the style), at a content distance of {checks.content:.2f}."
    ]
    values = game.shapley()
    total = sum(e.value for e in values)
    parts = ", ".join(f"{name} {e.value / total:.0%}" for name, e in zip(game.players, values, strict=True))
    return [*told, f"Shapley values share that fall out so: {parts}.", *([game.caveat] if game.caveat else [])]


def _orders(game: Game, checks: Checks) -> list[str]:
    """Which layers did more than which, as far as that is resolved."""
    if all(e.error is None for e in game.shapley()):
        return ["Nothing was repeated, so it is not known which of the differences between layers are real."]
    resolved = game.resolved()
    if not checks.enough or not resolved:
        return [f"No two layers can be told apart ({game.criterion})."]
    n = len(game.players)
    more = [
        f"{game.players[i]} did more than {' and '.join(game.players[j] for a, j in resolved if a == i)}"
        for i in range(n)
        if any(a == i for a, _ in resolved)
    ]
    ties = n * (n - 1) // 2 - len(resolved)
    pairs = f"{ties} of {n * (n - 1) // 2} pairs are ties"
    return [f"For this run, size, network and judge ({game.criterion}): {'; '.join(more)}. {pairs}."]


def _account(checks: Checks) -> list[str]:
    said = []
    if checks.closure > CLOSURE_LIMIT:
        said.append(f"The ledger does not close ({checks.closure:.1e}, limit {CLOSURE_LIMIT:.0e}): do not use its columns.")
    if checks.bookkeeping:
        said.append(
            f"The ledger's columns cancel each other or still grow (κ = {checks.kappa:.1f}, half way "
            f"{checks.kappa_half:.1f}): they are bookkeeping, an exact account but not pictures of what a layer paints."
        )
    if checks.cross_residual > CROSS_LIMIT:
        said.append(f"The cross matrix misses {checks.cross_residual:.1%} of the terms' changes (limit {CROSS_LIMIT:.0%}).")
    if checks.path_residual > PATH_LIMIT:
        said.append(f"The judge's path misses {checks.path_residual:.1%} of the judge's fall: read it with care.")
    return said
