"""Across networks: the same pair explained through several, and what is alike in them.

Layers of different networks are compared by their depth, which each network's anatomy gives in thirds (shallow, middle,
deep), and by their place among the layers that paint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from underpaint.errors import UnderpaintError
from underpaint.explanation.result import Explanation
from underpaint.explanation.shapley.exact import Estimate, Game, shapley_weights
from underpaint.networks import registry
from underpaint.networks.anatomy import DEPTHS, Anatomy, Depth
from underpaint.quality.panel import HEADLINE

SEEN = {"heldout_shallow": "fine texture and colour", "heldout_middle": "strokes", "heldout_deep": "forms and arrangements"}
"""What is asked of each depth's layers: the judge of each depth, and what it sees."""

DRAWS = 2000


@dataclass(frozen=True)
class Member:
    """One network's explanation of the pair.

    Attributes:
        name, told: the network's, and for people.
        explanation: of its folder.
        by_depth: by judge, what share of that judge's fall the layers of each depth have; empty where a judge saw none, and
            where the explanation is not settled.
    """

    name: str
    told: str
    explanation: Explanation
    by_depth: Mapping[str, Mapping[Depth, Estimate]]

    @classmethod
    def of(cls, explanation: Explanation) -> Member:
        """What an explanation says by depth."""
        anatomy = registry.anatomy(explanation.run.recipe.network)
        games = {judge: explanation.game(judge) for judge in (HEADLINE, *SEEN)}
        settled = explanation.state == "settled"
        shares = {judge: depth_shares(game, anatomy) if settled else {} for judge, game in games.items()}
        return cls(anatomy.name, anatomy.told, explanation, shares)

    @property
    def values(self) -> list[Estimate]:
        """Shapley values by layer, shallow to deep."""
        return list(self.explanation.shapley.values())


@dataclass(frozen=True)
class Across:
    """Several networks' explanations of one pair.

    Attributes:
        members: in the order asked for; the others are compared with the first.
        folder: where they lie.
    """

    members: tuple[Member, ...]
    folder: Path

    @classmethod
    def load(cls, folder: Path, folders: Sequence[Path]) -> Across:
        """From the folders of finished explanations.

        Raises:
            UnderpaintError: fewer than two, not of one pair, or one of them is not finished.
        """
        found = [Explanation.load(each) for each in folders]
        if len(found) < 2:
            raise UnderpaintError("--network: one network has nothing to stand beside; name two or more with commas")
        pairs = {tuple(entry["sha256"] for entry in each.run.facts["inputs"]) for each in found}
        if len(pairs) > 1:
            raise UnderpaintError(f"{folder}: holds explanations of different pictures; name another --out")
        return cls(tuple(Member.of(each) for each in found), folder)

    def concordance(self, other: Member) -> Estimate | None:
        """How many of the pairs of layers, by their places, the other network orders as the first does, 0..1; None where they
        have different numbers of layers, or one is not settled. The interval is that of draws from both networks' errors."""
        first = self.members[0]
        settled = all(member.explanation.state == "settled" for member in (first, other))
        if not settled or len(first.values) != len(other.values):
            return None
        return concordance(first.values, other.values)

    @property
    def sentences(self) -> list[str]:
        """What is alike and what differs, in plain words."""
        return [_sentence(judge, what, self.members) for judge, what in SEEN.items()]


def depth_shares(game: Game, anatomy: Anatomy) -> dict[Depth, Estimate]:
    """What share of the fall the layers of each depth have together; none where there is no fall, or subsets are missing."""
    fall = float(game.values[-1] - game.values[0])
    if not game.whole or fall <= 0:
        return {}
    weights = shapley_weights(len(game.players))
    found: dict[Depth, Estimate] = {}
    for depth in DEPTHS:
        rows = [weights[i] for i, player in enumerate(game.players) if anatomy.depth(player) == depth]
        if rows:
            found[depth] = game.estimate(np.sum(rows, axis=0) / fall)
    return found


def concordance(a: Sequence[Estimate], b: Sequence[Estimate]) -> Estimate:
    """The share of pairs of places that two lists order alike, and its 95 % interval over draws from normal errors."""
    generator = np.random.default_rng(0)

    def drawn(values: Sequence[Estimate]) -> np.ndarray:
        means, errors = (np.array([getattr(v, part) or 0.0 for v in values]) for part in ("value", "error"))
        return np.asarray(means + errors * generator.standard_normal((DRAWS, len(values))))

    def alike(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        pairs = list(combinations(range(x.shape[-1]), 2))
        same = [np.sign(x[..., i] - x[..., j]) == np.sign(y[..., i] - y[..., j]) for i, j in pairs]
        return np.asarray(np.mean(same, axis=0))

    value = float(alike(np.array([v.value for v in a]), np.array([v.value for v in b])))
    spread = alike(drawn(a), drawn(b))
    low, high = np.quantile(spread, [0.025, 0.975])
    return Estimate(value, float(spread.std()), min(float(low), value), max(float(high), value))


def _sentence(judge: str, what: str, members: Sequence[Member]) -> str:
    """Which depth has most of what a judge sees; one is named where its interval is above the others'."""
    said: dict[str, list[str]] = {}
    for member in members:
        shares = member.by_depth[judge]
        if not shares:
            state = member.explanation.state
            why = state if state != "settled" else "its judge saw no fall"
            said.setdefault("nothing is said", []).append(f"{member.told} ({why})")
            continue
        best = max(shares, key=lambda depth: shares[depth].value)
        others = [s.value if s.high is None else s.high for depth, s in shares.items() if depth != best]
        low = shares[best].value if shares[best].low is None else shares[best].low
        alone = low is not None and all(low > other for other in others)
        said.setdefault(f"the {best} layers" if alone else "no one depth", []).append(
            f"{member.told}, {shares[best].value:.0%}"
        )
    parts = [f"{each} ({'; '.join(names)})" for each, names in said.items()]
    return f"Most of {what}, by depth: {'; '.join(parts)}."
