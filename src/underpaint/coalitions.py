"""Coalitions: the same run with every subset of the style layers, and what game theory reads off that table.

The players are the style layers. Whatever a coalition, these stay as they are: sizes, steps, start, perturbation, random
directions, the weights of content and smoothness, and each layer's own weight and normaliser (never renormalised over the
coalition: a mean over the active layers would be another game). The value of a coalition S is v(S) = −J(the pastiche that S
paints), J a judge; v(∅) is a run too, with content and smoothness alone.

A coalition is a whole number whose bit i says whether player i takes part. Every figure is linear in v, so it is a vector of
2ⁿ weights, and its standard error under independent noise of standard deviation σ is σ times the vector's length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb, factorial, sqrt

import numpy as np
import torch
from scipy import stats

from underpaint.errors import UnderpaintError
from underpaint.judges import DEPTHS, depth
from underpaint.objective import Objective, StyleTerm
from underpaint.images import Picture
from underpaint.optimise import Stage, draw, optimise
from underpaint.recipe import Recipe
from underpaint.scene import Pictures

EXACT = 8
"""Players of which all subsets are run; more would be more than 256 runs."""


def check_players(layers: Sequence[str]) -> tuple[str, ...]:
    """The players of an exact table.

    Raises:
        UnderpaintError: fewer than two or too many.
    """
    if len(layers) < 2:
        raise UnderpaintError(f"style_layers: {len(layers)} given; an explanation compares at least two")
    if len(layers) > EXACT:
        raise UnderpaintError(
            f"style_layers: {len(layers)} would take {2 ** len(layers)} runs; name at most {EXACT} layers, or use "
            "`underpaint ablate` with the groups that you want"
        )
    return tuple(layers)


def mask_of(members: Sequence[str], players: Sequence[str]) -> int:
    """The coalition of these players."""
    return sum(1 << players.index(name) for name in members)


def members(mask: int, players: Sequence[str]) -> tuple[str, ...]:
    """The players of a coalition, in their order."""
    return tuple(name for i, name in enumerate(players) if mask >> i & 1)


def label(mask: int, players: Sequence[str]) -> str:
    """A coalition's name, fit for a file: `none`, `all`, or its layers with `+` between them."""
    if mask == (1 << len(players)) - 1:
        return "all"
    return "+".join(members(mask, players)) or "none"


def groups(players: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The named coalitions: `all`, `none`, `shallow`, `mid` and `deep` (by block: 1-2, 3, 4-5), `drop:L` and `only:L`."""
    found = {"all": tuple(players), "none": ()}
    for name in DEPTHS:
        found["mid" if name == "middle" else name] = tuple(p for p in players if depth(p) == name)
    found |= {f"drop:{p}": tuple(q for q in players if q != p) for p in players}
    return found | {f"only:{p}": (p,) for p in players}


def shapley_weights(n: int) -> np.ndarray:
    """(n, 2ⁿ): φ = W v (Shapley 1953): φ_i = Σ_{S∌i} |S|! (n−|S|−1)! / n! · (v(S∪i) − v(S))."""
    weights = np.zeros((n, 1 << n))
    for i in range(n):
        for mask in range(1 << n):
            size = mask.bit_count()
            if mask >> i & 1:
                weights[i, mask] = factorial(size - 1) * factorial(n - size) / factorial(n)
            else:
                weights[i, mask] = -factorial(size) * factorial(n - size - 1) / factorial(n)
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
class Noise:
    """σ of a coalition's value between perturbations, and its degrees of freedom."""

    sigma: float
    freedom: int

    @property
    def reach(self) -> float:
        """How many standard errors half of a 95 % interval is."""
        return float(stats.t.ppf(0.975, self.freedom))


@dataclass(frozen=True)
class Game:
    """Values of all coalitions, of one or several perturbations.

    Attributes:
        players: the style layers.
        values: (2ⁿ,) the mean over complete tables of v, by coalition.
        tables: how many complete tables that is.
        noise: None where nothing was repeated.
    """

    players: tuple[str, ...]
    values: np.ndarray
    tables: int = 1
    noise: Noise | None = None

    @classmethod
    def of(cls, players: Sequence[str], outcomes: Mapping[tuple[int, int], float]) -> Game:
        """From a judge's outcomes J by (perturbation, coalition): complete tables, and single repeated coalitions.

        σ is of what is left of the repetitions after each perturbation's own mean and each coalition's: a perturbation
        that shifts every coalition alike changes no figure.
        """
        count = 1 << len(players)
        seeds = sorted({seed for seed, _ in outcomes})
        table = np.full((len(seeds), count), np.nan)
        for (seed, mask), outcome in outcomes.items():
            table[seeds.index(seed), mask] = -outcome
        whole = table[~np.isnan(table).any(1)]
        if not len(whole):
            raise UnderpaintError("coalitions: the table is not complete; run `underpaint explain` again to go on with it")
        return cls(tuple(players), whole.mean(0), len(whole), _noise(table))

    def estimate(self, weights: np.ndarray) -> Estimate:
        """Of a figure given by its 2ⁿ weights."""
        value = float(weights @ self.values)
        if self.noise is None:
            return Estimate(value)
        error = self.noise.sigma * float(np.linalg.norm(weights)) / sqrt(self.tables)
        reach = self.noise.reach * error
        return Estimate(value, error, value - reach, value + reach)

    def shapley(self) -> list[Estimate]:
        """By player; they sum to v(all) − v(∅)."""
        return [self.estimate(w) for w in shapley_weights(len(self.players))]

    def interactions(self) -> dict[tuple[int, int], Estimate]:
        """By pair of players."""
        return {pair: self.estimate(w) for pair, w in interaction_weights(len(self.players)).items()}

    def fall(self) -> Estimate:
        """v(all) − v(∅): what there is to share."""
        weights = np.zeros(len(self.values))
        weights[-1], weights[0] = 1, -1
        return self.estimate(weights)

    def resolved(self) -> list[tuple[int, int]]:
        """Pairs (i, j) with φ_i − φ_j over two standard errors: i's is the larger for sure."""
        w = shapley_weights(len(self.players))
        found = []
        for i, j in combinations(range(len(self.players)), 2):
            difference = self.estimate(w[i] - w[j])
            if difference.error is not None and abs(difference.value) > 2 * difference.error:
                found.append((i, j) if difference.value > 0 else (j, i))
        return found


def _noise(table: np.ndarray) -> Noise | None:
    """Of (perturbations, coalitions) with gaps: residuals of an additive fit of both."""
    seen = ~np.isnan(table)
    repeated = seen.sum(0) > 1
    if not repeated.any():
        return None
    part, mask = table[:, repeated], seen[:, repeated]
    rows, columns = np.nonzero(mask)
    design = np.zeros((len(rows), part.shape[0] + part.shape[1]))
    design[np.arange(len(rows)), rows] = 1
    design[np.arange(len(rows)), part.shape[0] + columns] = 1
    values = part[mask]
    fitted = design @ np.linalg.lstsq(design, values, rcond=None)[0]
    freedom = len(values) - int(np.linalg.matrix_rank(design))
    if freedom < 1:
        return None
    return Noise(float(sqrt(((values - fitted) ** 2).sum() / freedom)), freedom)


def repeated(n: int, count: int = 8) -> list[int]:
    """Coalitions to repeat for σ: none, all, then one left out and one alone in turn."""
    whole = (1 << n) - 1
    found = [0, whole]
    for i in range(n):
        found.append(whole - (1 << i) if i % 2 == 0 else 1 << i)
    found += [1 << i if i % 2 == 0 else whole - (1 << i) for i in range(n)]
    return list(dict.fromkeys(found))[:count]


START_NOISE = 0.02
SHIFT = 4


def perturbed(recipe: Recipe, pictures: Pictures, number: int) -> tuple[Recipe, Pictures]:
    """The same run begun a little differently: noise on the start (σ = 0.02) and the content picture moved by up to 4 px,
    its border mirrored. Number 0 is the run itself. Of equal numbers all coalitions have the same perturbation."""
    if number == 0:
        return recipe, pictures
    random = np.random.default_rng(draw(recipe.seed, -2, number))
    shift = random.integers(-SHIFT, SHIFT + 1, 2) / recipe.size
    moved = {
        name: None if picture is None else _moved(picture, shift)
        for name in ("content", "content_mask", "start")
        for picture in [getattr(pictures, name)]
    }
    noise = max(recipe.start_noise, START_NOISE)
    return recipe.model_copy(update={"start_noise": noise, "seed": (recipe.seed + number) % 2**31}), replace(
        pictures, **moved
    )


def _moved(picture: Picture, shift: np.ndarray) -> Picture:
    """By `shift`, (down, right) in units of the longest side."""
    longest = max(picture.rgb.shape[:2])
    down, right = (int(round(float(s) * longest)) for s in shift)

    def move(array: np.ndarray) -> np.ndarray:
        widths = [(max(down, 0), max(-down, 0)), (max(right, 0), max(-right, 0))] + [(0, 0)] * (array.ndim - 2)
        height, width = array.shape[:2]
        padded = np.pad(array, widths, mode="reflect")
        return np.ascontiguousarray(padded[max(-down, 0) :][:height, max(-right, 0) :][:, :width])

    alpha = None if picture.alpha is None else move(picture.alpha)
    return replace(picture, rgb=move(picture.rgb), alpha=alpha, path=None)


@dataclass(frozen=True)
class Painted:
    """What a coalition painted: the picture (1, 3, H, W), and by how much its total still fell over the last tenth of its
    steps at the last size, relative to its fall from the start of that size."""

    image: torch.Tensor
    last_fall: float


def paint(recipe: Recipe, stage: Callable[[int], Stage], active: Sequence[str]) -> Iterator[Painted | None]:
    """Paints with the named style layers alone, all else as the recipe has it; None after each step, then the result."""

    def restricted(scale: int) -> Stage:
        whole = stage(scale)
        return Stage(_without(whole.objective, active), whole.start)

    totals: list[float] = []
    for step in optimise(recipe.model_copy(update={"stop": 0.0}), restricted, norms_every=0):
        totals = [step.total] if step.iteration == 0 else [*totals, step.total]
        if step.final:
            tenth = max(1, len(totals) // 10)
            fall = totals[0] - totals[-1]
            yield Painted(step.image.clone(), (totals[-1 - tenth] - totals[-1]) / fall if fall > 0 else 0.0)
        else:
            yield None


def _without(objective: Objective, active: Sequence[str]) -> Objective:
    return objective.only([t.name for t in objective.terms if not isinstance(t, StyleTerm) or t.layer in active])
