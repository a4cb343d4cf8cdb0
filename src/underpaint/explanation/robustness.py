"""Robustness: which orders of layers hold by the eyes of every network that judged, and which are a matter of the judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from underpaint.explanation.shapley.exact import Game
from underpaint.quality.panel import HEADLINE


@dataclass(frozen=True)
class Robust:
    """What several networks say of the same paintings.

    Attributes:
        judges: the networks, the headline's first.
        agreed: pairs (more, less) of layers that each of them tells apart, and in this order.
        disputed: pairs (more, less) by the eyes of the first that another one tells apart the other way round.
    """

    judges: tuple[str, ...]
    agreed: tuple[tuple[str, str], ...]
    disputed: tuple[tuple[str, str], ...]

    def facts(self) -> dict[str, Any]:
        """As validation.json has it."""
        pairs = {name: [list(pair) for pair in getattr(self, name)] for name in ("agreed", "disputed")}
        return {"judges": list(self.judges), **pairs}


def robust(judged: Mapping[str, Game], first: str) -> Robust | None:
    """Of the headline and the same by further networks; None where one network judged.

    Args:
        judged: games by judge (columns of coalitions.csv).
        first: the headline's network.
    """
    games = {name.partition(":")[2] or first: game for name, game in judged.items() if name.partition(":")[0] == HEADLINE}
    if len(games) < 2:
        return None
    told = {name: {(game.players[i], game.players[j]) for i, j in game.resolved()} for name, game in games.items()}
    others = [pairs for name, pairs in told.items() if name != first]
    pairs = sorted(told[first], key=lambda pair: [games[first].players.index(layer) for layer in pair])
    agreed = tuple(pair for pair in pairs if all(pair in other for other in others))
    disputed = tuple(pair for pair in pairs if any(pair[::-1] in other for other in others))
    return Robust((first, *(name for name in games if name != first)), agreed, disputed)


def sentence(found: Robust) -> str:
    """In plain words."""
    judges = ", ".join(found.judges)
    if not found.agreed and not found.disputed:
        return f"Robust over judges ({judges}): no two layers are told apart by all of them."
    more = {a: [b for x, b in found.agreed if x == a] for a, _ in found.agreed}
    agreed = "; ".join(f"{a} did more than {' and '.join(less)}" for a, less in more.items()) or "no order of two layers"
    turned = "; ".join(f"{a} over {b}" for a, b in found.disputed)
    disputed = f". The judges contradict each other on {turned}" if turned else ""
    return f"Robust over judges ({judges}): {agreed}{disputed}."
