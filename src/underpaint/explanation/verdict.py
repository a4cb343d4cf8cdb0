"""The verdict: an explanation's findings in plain words, one sentence each. What may be said follows from one state."""

from __future__ import annotations

from collections.abc import Mapping

from underpaint.explanation.robustness import Robust, sentence
from underpaint.explanation.shapley.exact import ROUNDING, Game
from underpaint.explanation.validation import (
    CLOSURE_LIMIT,
    CROSS_LIMIT,
    FALL_ERRORS,
    PATH_LIMIT,
    UNSETTLED,
    Checks,
    Faithfulness,
    State,
)

WITHHELD = "No share, ranking or agreement is given"

BANNERS: Mapping[State, str] = {
    "settled": "Settled: every run came to rest, and the style changed by more than its noise.",
    "not settled": f"Not settled: the runs had not come to rest. {WITHHELD}.",
    "no effect": f"No effect: the style layers changed the judge by no more than its noise. {WITHHELD}.",
    "worse": f"Worse: with the style layers the picture is farther from the style. {WITHHELD}.",
}
"""The state in a sentence, for the top of a page."""


def verdict(game: Game, checks: Checks, faithful: Mapping[str, Faithfulness], over: Robust | None = None) -> list[str]:
    """The findings; only orderings that are resolved are named, and only of a settled explanation.

    Args:
        faithful: of the attributions that a single run gives, by method.
        over: what the judges agree on, where several networks judged.
    """
    told = [_state(game, checks)]
    if checks.state == "settled":
        agreed = [] if over is None else [sentence(over)]
        told += [*_shares(game), *_orders(game), *agreed, *_attributions(faithful)]
    elif checks.unsettled and checks.state != "not settled":
        told.append(f"{_falling(checks)}: more steps may change this.")
    return [*told, *_account(checks)]


def _state(game: Game, checks: Checks) -> str:
    """How far the judge came, and what that allows to be said."""
    before, after = -game.values[0], -game.values[-1]
    judge = f"the judge from {before:.2f} to {after:.2f} (1: the content, 0: the style)"
    if checks.state == "settled":
        return f"Together the style layers bring {judge}, at a content distance of {checks.content:.2f}."
    if checks.state == "not settled":
        return (
            f"Not settled: {_falling(checks)}. {WITHHELD}: more steps would change them (--preset standard, or iterations in "
            f"a recipe). So far the style layers bring {judge}."
        )
    if checks.state == "no effect":
        return (
            f"No effect: the style layers change the judge by {checks.fall:.3f} in all, which is under {FALL_ERRORS:.0f} "
            f"standard errors: there is nothing to share out. {WITHHELD}."
        )
    return f"Worse: the style layers bring {judge}, away from the style: there is no fall to share out. {WITHHELD}."


def _falling(checks: Checks) -> str:
    """Which coalitions had not come to rest."""
    worst = max(checks.unsettled, key=lambda name: checks.unsettled[name])
    count = len(checks.unsettled)
    what = "1 coalition was" if count == 1 else f"{count} coalitions were"
    return (
        f"{what} still falling at the end (most of all {worst}: {checks.unsettled[worst]:.0%} of its fall in its last tenth, "
        f"limit {UNSETTLED:.0%})"
    )


def _attributions(faithful: Mapping[str, Faithfulness]) -> list[str]:
    """What the usual attribution is worth here.

    Which of the others comes nearest is not said: the best of ten, picked afterwards, does well by chance.
    """
    usual = faithful.get("final_loss")
    if usual is None or usual.concordance is None:
        return []
    warning = "; do not rank layers by it here" * (usual.concordance < 0.9)
    return [
        f"The usual attribution, each layer's final loss, orders {usual.concordance:.0%} of the {usual.pairs} pairs of "
        f"layers that are told apart as Shapley values do{warning}."
    ]


def _shares(game: Game) -> list[str]:
    """Who has most of the fall: in percent, or where some value is negative, and a share means nothing, as it is."""
    values = {name: e.value for name, e in zip(game.players, game.shapley(), strict=True)}
    total = sum(values.values())
    if min(values.values()) < -ROUNDING * total:
        parts = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
        said = f"Shapley values of that fall: {parts}; some layer pulls the other way, so they are no shares."
    else:
        parts = ", ".join(f"{name} {max(value, 0) / total:.0%}" for name, value in values.items())
        said = f"Shapley values share that fall out so: {parts}."
    return [said, *([game.caveat] if game.caveat else [])]


def _orders(game: Game) -> list[str]:
    """Which layers did more than which, as far as that is resolved."""
    if all(e.error is None for e in game.shapley()):
        return ["Nothing was repeated, so it is not known which of the differences between layers are real."]
    resolved = game.resolved()
    if not resolved:
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
    """What must be known of the ledger and the paths."""
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
