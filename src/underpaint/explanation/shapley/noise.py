"""Noise: how the values of coalitions scatter when a run is begun a little differently.

Noise is not independent from coalition to coalition. A perturbation acts by layer: where a layer did better, all coalitions
with it did. So a value's noise is ε(S) = a + Σ_{i ∈ S} b_i + e(S): a shift a of all coalitions alike, which changes no
figure, an effect b_i of each layer, with variance r_i σ², and a rest e of variance σ², independent. A figure whose weights w
sum to 0 has the variance σ² (Σ_S w_S² + Σ_i r_i (Σ_{S ∋ i} w_S)²): of a Shapley value of five layers σ² (0.21 + r_i), where
independent noise would say 0.21 σ².

The ratios r come with the package, from whole tables painted again (`noise.json`; `benchmarks/explain.py noise` makes it and
prints how often its intervals hold). σ is the picture's own, from coalitions that were repeated; where whole tables were, the
scatter of the figure itself counts as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from math import sqrt
from typing import Any

import numpy as np
from scipy.special import stdtrit

from underpaint.quality.panel import HEADLINE

FILE = "noise.json"

TRUST = 7
"""Degrees of freedom of what the ratios say of a figure, however often coalitions were repeated: another picture's layers
scatter in other proportions."""


@cache
def _kept() -> Mapping[str, Any]:
    """noise.json."""
    found: Mapping[str, Any] = json.loads((files("underpaint.explanation.shapley") / FILE).read_text("utf-8"))
    return found


def ratios(players: Sequence[str], judge: str = HEADLINE) -> tuple[float, ...]:
    """r_i of each player, for a judge; of a layer or judge that was not measured, the mean of the layers that were, for the
    headline judge if need be."""
    known: Mapping[str, Mapping[str, float]] = _kept()["ratios"]
    own = known.get(judge, known[HEADLINE])
    mean = sum(own.values()) / len(own)
    return tuple(own.get(player, mean) for player in players)


@dataclass(frozen=True)
class Noise:
    """What is known of the noise of one table.

    Attributes:
        sigma: σ, of what is independent from coalition to coalition.
        freedom: degrees of freedom of every error made of it.
        ratios: r_i by player; none: all noise is independent.
        whole: (tables, 2ⁿ) what each whole table is away from their mean; None where there is one.
        trust: degrees of freedom of what σ and the ratios say, beside those of `whole`.
    """

    sigma: float
    freedom: int
    ratios: tuple[float, ...] = ()
    whole: np.ndarray | None = field(default=None, compare=False, repr=False)
    trust: int = TRUST

    @property
    def reach(self) -> float:
        """How many standard errors half of a 95 % interval is."""
        return float(stdtrit(self.freedom, 0.975))

    @property
    def spread(self) -> float:
        """Standard deviation of one coalition's value, where any coalition is as likely as any other."""
        return self.sigma * sqrt(1 + sum(self.ratios) / 4)

    def error(self, weights: np.ndarray) -> float:
        """Standard error of a figure of one table, given by its 2ⁿ weights, which sum to 0."""
        along = [weights[_with(player, len(weights))].sum() for player in range(len(self.ratios))]
        told = self.of(float(np.linalg.norm(weights)), along)
        if self.whole is None:
            return told
        # The model's variance and the figure's own, each weighed by its degrees of freedom.
        own = float(((self.whole @ weights) ** 2).sum())
        return sqrt((self.trust * told**2 + own) / (self.trust + len(self.whole) - 1))

    def of(self, length: float, along: Sequence[float]) -> float:
        """What the model alone says, of ‖w‖ and Σ_{S ∋ i} w_S by player i."""
        squares = sum(r * a**2 for r, a in zip(self.ratios, along, strict=True)) if self.ratios else 0.0
        return self.sigma * sqrt(length**2 + squares)

    def facts(self) -> dict[str, Any]:
        """For validation.json."""
        return {"sigma": self.sigma, "spread": self.spread, "freedom": self.freedom, "by_layer": list(self.ratios)}


def _with(player: int, coalitions: int) -> np.ndarray:
    """(2ⁿ,) bool: the coalitions that a player is in."""
    found: np.ndarray = (np.arange(coalitions) >> player & 1).astype(bool)
    return found


def measure(table: np.ndarray, by_layer: Sequence[float] = (), copies: np.ndarray | None = None) -> Noise | None:
    """From (perturbations, 2ⁿ) values with gaps (NaN): generalised least squares, each perturbation's shift and each
    coalition's mean taken out. None where nothing was repeated.

    Args:
        by_layer: r_i by player.
        copies: (2ⁿ,) the coalition whose value each has; a value that was copied is no second observation.
    """
    own = np.ones(table.shape[1], bool) if copies is None else copies == np.arange(table.shape[1])
    seen = ~np.isnan(table) & own
    rows, masks = np.nonzero(seen & (seen.sum(0) > 1))
    if not len(rows):
        return None
    places = np.unique(masks, return_inverse=True)[1]
    design = np.zeros((len(rows), table.shape[0] + places.max() + 1))
    design[np.arange(len(rows)), rows] = 1
    design[np.arange(len(rows)), table.shape[0] + places] = 1
    freedom = len(rows) - int(np.linalg.matrix_rank(design))
    if freedom < 1:
        return None
    values, factor = table[rows, masks], _whitening(rows, masks, by_layer)
    fitted = np.linalg.lstsq(factor @ design, factor @ values, rcond=None)[0]
    square = float(((factor @ (values - design @ fitted)) ** 2).sum() / freedom)
    whole = table[~np.isnan(table).any(1)]
    away = whole - whole.mean(0) if len(whole) > 1 else None
    trust = min(freedom, TRUST)
    return Noise(sqrt(square), trust + (0 if away is None else len(away) - 1), tuple(by_layer), away, trust)


def _whitening(rows: np.ndarray, masks: np.ndarray, by_layer: Sequence[float]) -> np.ndarray:
    """L⁻¹ of LLᵀ, the covariance over σ² of observations: independent between perturbations."""
    takes = np.array([[mask >> i & 1 for i in range(len(by_layer))] for mask in masks], float).reshape(len(masks), -1)
    together = (takes * np.asarray(by_layer, float)) @ takes.T * (rows[:, None] == rows)
    found: np.ndarray = np.linalg.inv(np.linalg.cholesky(together + np.eye(len(rows))))
    return found
