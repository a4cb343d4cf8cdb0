"""Attributions: from one run, or from the table of all coalitions, to a figure for each style layer.

Each says what it measures (unit), against what (baseline), how far it fails to add up (residual, where it should) and
how sure it is (an interval, or why there is none). Values are raw; `shares` normalises, for those who need it, and only
where that has a meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from underpaint.captions import listed
from underpaint.explanation.account.cross_matrix import CrossMatrix
from underpaint.explanation.account.judge_path import Differentiable, JudgePath
from underpaint.explanation.account.ledger import CLAMP, START
from underpaint.explanation.shapley.exact import ROUNDING, Estimate, Game
from underpaint.extensions import Registry
from underpaint.losses.objective import Objective
from underpaint.losses.terms import StyleTerm
from underpaint.runs.folder import Row

SINGLE = "a single deterministic run: nothing was repeated"
"""Why most attributions have no interval."""

FALL, NOTHING = "fall of J", "the run without any style layer"
"""Unit and baseline of what coalitions say."""

TIE = 0.01
"""Values nearer to each other than this share of the largest one's size are a tie."""


@dataclass(frozen=True)
class Attribution:
    """One method's figure for each style layer.

    Attributes:
        method: its name in attribution.csv.
        values: by layer, raw; more is more of the picture made by the layer.
        unit, baseline: what a value is, and what it is counted from.
        low, high: 95 % intervals by layer, or None and then `why` says why.
        residual: how far the method misses what its values should add up to, relative; None where nothing is claimed.
        kind: "run" if a single run gives it, "coalitions" if it takes many, "permutations" if it is estimated from the
            coalitions of some orders.
    """

    method: str
    values: Mapping[str, float]
    unit: str
    baseline: str
    low: Mapping[str, float] | None = None
    high: Mapping[str, float] | None = None
    why: str = SINGLE
    residual: float | None = None
    kind: str = "run"

    def __repr__(self) -> str:
        return f"Attribution({self.method}: {listed(self.values)})"

    def shares(self) -> dict[str, float] | None:
        """The values divided by their sum; None where some are negative and a share means nothing."""
        total = sum(self.values.values())
        if total <= 0 or min(self.values.values()) < -ROUNDING * total:
            return None
        return {layer: max(value, 0.0) / total for layer, value in self.values.items()}

    def order(self) -> list[str]:
        """The layers, the largest value first."""
        return sorted(self.values, key=lambda layer: -self.values[layer])


@dataclass(frozen=True)
class RunFacts:
    """What single-run attributions are made of.

    Attributes:
        history: one row per step and term.
        objective: at the last size.
        content: the content picture there, (1, 3, H, W).
        account: the ledger's pictures, (3, H, W) float64 by name.
    """

    history: Sequence[Row]
    objective: Objective
    content: torch.Tensor
    account: Mapping[str, torch.Tensor]


def layer_of(term: str) -> str | None:
    """The style layer of a term's name (`style/relu3_1`, `style2/relu3_1`), or None."""
    kind, _, layer = term.partition("/")
    return layer if kind.startswith("style") and layer else None


def by_layer(values: Mapping[str, float], layers: Sequence[str]) -> dict[str, float]:
    """Sums of the style terms of each layer."""
    return {layer: sum(v for term, v in values.items() if layer_of(term) == layer) for layer in layers}


def final_loss(history: Sequence[Row], layers: Sequence[str]) -> Attribution:
    """The usual one: each layer's weighted style loss of the pastiche. It measures the scale and the residual of a term."""
    last = history[-1].step
    values = by_layer({row.term: row.weighted for row in history if row.step == last}, layers)
    return Attribution("final_loss", values, "weighted loss left", "a perfect match (0)")


def gatys_loss(objective: Objective, history: Sequence[Row], layers: Sequence[str]) -> Attribution | None:
    """The same as it is usually published: Gatys et al. 2016, eq. 4, with equal weights: Σ (G − A)² / (4 C² M²), where G is
    not divided by the number of positions M and C is the number of channels. None where a style term is of another statistic:
    it has no such loss."""
    styles = [term for term in objective.terms if isinstance(term, StyleTerm)]
    if any(term.statistic.name != "gram" for term in styles):
        return None
    last = history[-1].step
    raw = {row.term: row.raw for row in history if row.step == last}
    values = {term.name: raw[term.name] * term.normaliser / (4 * term.goals[0].shape[0] ** 2) for term in styles}
    return Attribution("gatys_loss", by_layer(values, layers), "Gatys' layer loss left", "a perfect match (0)")


def loss_removed(begun: Mapping[str, float], history: Sequence[Row], layers: Sequence[str]) -> Attribution:
    """How much of each layer's weighted loss went, from the content picture to the pastiche, at the last size.

    Args:
        begun: the terms' weighted losses at the content picture.
    """
    last = history[-1].step
    left = {row.term: row.weighted for row in history if row.step == last}
    values = by_layer({term: begun[term] - left[term] for term in begun}, layers)
    return Attribution("loss_removed", values, "weighted loss removed", "the content picture at the last size")


def gradient_norm(history: Sequence[Row], layers: Sequence[str]) -> Attribution:
    """Mean over the last size's steps of the norm of each layer's weighted gradient by the pixels."""
    scale = max(row.scale for row in history)
    rows = [row for row in history if row.scale == scale and row.gradient_norm is not None]
    steps = len({row.step for row in rows})
    sums: dict[str, float] = {}
    for row in rows:
        sums[row.term] = sums.get(row.term, 0.0) + float(row.gradient_norm or 0.0) / steps
    return Attribution("gradient_norm", by_layer(sums, layers), "weighted loss per pixel value", "no gradient (0)")


def projection(account: Mapping[str, torch.Tensor], layers: Sequence[str]) -> Attribution:
    """⟨c_l, Δ⟩ / ‖Δ‖² of the ledger's columns, Δ = Σ columns + clamp: the part of the way that a column went.

    All columns' and clamp's sum to 1.
    """
    change = torch.stack([c for name, c in account.items() if name != START]).sum(0)
    energy = max(float(change.square().sum()), 1e-30)
    values = {name: float((c * change).sum()) / energy for name, c in account.items() if name != START}
    residual = abs(sum(values.values()) - 1)
    return Attribution(
        "ledger", by_layer(values, layers), "share of the pixels' change", "the start, resized", residual=residual
    )


def cross_sums(cross: CrossMatrix, layers: Sequence[str]) -> Attribution:
    """How much of the fall of all style terms, at all sizes, each column painted."""
    rows = [i for i, name in enumerate(cross.terms) if layer_of(name)]
    whole = torch.stack([matrix[rows].sum(0) for matrix in cross.matrices.values()]).sum(0)
    values = dict(zip(cross.columns, (-whole).tolist(), strict=True))
    unit, baseline = "weighted style loss removed, all sizes", "each size's first picture"
    return Attribution("cross", by_layer(values, layers), unit, baseline, residual=cross.residual())


def judge_path(falls: Mapping[str, float], residual: float, layers: Sequence[str]) -> Attribution:
    """How much of the judge's fall along the run each column brought (`underpaint.explanation.account.judge_path`)."""
    return Attribution("judge_path", by_layer(falls, layers), "fall of J", "the start, resized", residual=residual)


def judge_cosine(
    products: Sequence[tuple[np.ndarray, np.ndarray]], terms: Sequence[str], layers: Sequence[str]
) -> Attribution:
    """Mean over the first pictures of all sizes of the cosine of ∇J with each term's gradient: what a layer would do for J by
    itself, before anyone has done anything. A layer of weight 0 gets 0.

    Args:
        products: at marks, ((scale, iteration), inner products), as
        `underpaint.explanation.account.judge_path.JudgePath.products` has them. terms: the ledger's terms, in their order.
    """
    found = [np.zeros(len(terms))]
    for place, inner in products:
        if int(place[1]) == 0:
            lengths = np.sqrt(np.diag(inner)[1 : len(terms) + 1] * inner[0, 0])
            cosines = np.divide(inner[0, 1 : len(terms) + 1], lengths, out=np.zeros(len(terms)), where=lengths > 0)
            found.append(cosines)
    means = np.sum(found, axis=0) / max(len(found) - 1, 1)
    values = dict(zip(terms, means.tolist(), strict=True))
    return Attribution("judge_cosine", by_layer(values, layers), "cosine, -1..1", "no gradient (0)")


def judge_slope(account: Mapping[str, torch.Tensor], judge: Differentiable, layers: Sequence[str]) -> Attribution:
    """−⟨∇J(pastiche), c_l⟩: what J says of each column at the end, to first order."""
    device = next(iter(account.values())).device
    _, gradient = judge.gradient(torch.stack(list(account.values())).sum(0)[None].float().to(device))
    values = {name: -float((gradient[0].double() * c).sum()) for name, c in account.items() if name not in (START, CLAMP)}
    return Attribution("judge_slope", by_layer(values, layers), "fall of J, first order", "the pastiche")


def column_removed(account: Mapping[str, torch.Tensor], judge: Differentiable, layers: Sequence[str]) -> Attribution:
    """J(pastiche − the layer's columns) − J(pastiche), clipped to 0..1: paint taken off the finished picture, re-judged."""
    pastiche = torch.stack(list(account.values())).sum(0)
    whole, _ = judge.gradient(pastiche[None].float().clamp(0, 1))
    values = {}
    for layer in layers:
        without = pastiche - torch.stack([c for name, c in account.items() if layer_of(name) == layer]).sum(0)
        values[layer] = judge.gradient(without[None].float().clamp(0, 1))[0] - whole
    return Attribution("column_removed", values, "rise of J", "the pastiche")


def _of_game(
    method: str, found: Mapping[str, Estimate], baseline: str, residual: float | None = None, kind: str = "coalitions"
) -> Attribution:
    """Of what coalitions say of each layer."""
    values = {layer: e.value for layer, e in found.items()}
    if any(e.error is None for e in found.values()):
        return Attribution(method, values, FALL, baseline, residual=residual, kind=kind)
    low, high = ({layer: float(getattr(e, side) or 0.0) for layer, e in found.items()} for side in ("low", "high"))
    return Attribution(method, values, FALL, baseline, low, high, "", residual, kind)


@dataclass(frozen=True)
class Basis:
    """What attributions are made of.

    Attributes:
        run: what a single run with its ledger gives.
        cross, path: its observers.
        layers: the style layers.
        game: the table of coalitions; None where a run alone is told of.
    """

    run: RunFacts
    cross: CrossMatrix
    path: JudgePath
    layers: Sequence[str]
    game: Game | None = None


@dataclass(frozen=True)
class Method:
    """A way to attribute.

    Attributes:
        of: its figures; None where it has none of such a basis.
        page, paper: which place it has among the charts of a page and of a paper, from 1 on; None where it is not drawn.
    """

    of: Callable[[Basis], Attribution | None]
    page: int | None = None
    paper: int | None = None


def _loss_removed(basis: Basis) -> Attribution:
    begun = {term.name: term.weighted for term in basis.run.objective.measure(basis.run.content)}
    return loss_removed(begun, basis.run.history, basis.layers)


def _judge_cosine(basis: Basis) -> Attribution:
    products = [(place.numpy(), inner.numpy()) for place, inner in basis.path.products]
    return judge_cosine(products, basis.path.terms, basis.layers)


def left_out(game: Game) -> Attribution:
    """What the run lacks without a layer."""
    return _of_game("left_out", dict(zip(game.players, game.left_out(), strict=True)), "the run without the layer")


def alone(game: Game) -> Attribution:
    """What a layer reaches by itself."""
    return _of_game("alone", dict(zip(game.players, game.alone(), strict=True)), NOTHING)


def shapley(game: Game) -> Attribution:
    """Shapley values; the residual says how far they miss the whole fall."""
    found = dict(zip(game.players, game.shapley(), strict=True))
    fall = game.fall().value
    missed = abs(sum(e.value for e in found.values()) - fall) / max(abs(fall), 1e-12)
    return _of_game("shapley", found, NOTHING, missed, game.source)


def _from_table(of: Callable[[Game], Attribution]) -> Callable[[Basis], Attribution | None]:
    """Of the table of coalitions, where there is one."""
    return lambda basis: None if basis.game is None else of(basis.game)


ATTRIBUTIONS: Registry[Method] = Registry(
    "attribution",
    {
        "final_loss": Method(lambda b: final_loss(b.run.history, b.layers), page=8, paper=7),
        "gatys_loss": Method(lambda b: gatys_loss(b.run.objective, b.run.history, b.layers)),
        "loss_removed": Method(_loss_removed),
        "gradient_norm": Method(lambda b: gradient_norm(b.run.history, b.layers), paper=8),
        "ledger": Method(lambda b: projection(b.run.account, b.layers), page=5, paper=5),
        "cross": Method(lambda b: cross_sums(b.cross, b.layers), page=6),
        "judge_path": Method(lambda b: judge_path(b.path.result, b.path.residual(), b.layers), page=4, paper=4),
        "judge_cosine": Method(_judge_cosine),
        "judge_slope": Method(lambda b: judge_slope(b.run.account, b.path.judge, b.layers)),
        "column_removed": Method(lambda b: column_removed(b.run.account, b.path.judge, b.layers), page=7, paper=6),
        "left_out": Method(_from_table(left_out), page=2, paper=2),
        "alone": Method(_from_table(alone), page=3, paper=3),
        "shapley": Method(_from_table(shapley), page=1, paper=1),
    },
)
"""By method, in the order of attribution.csv; those of other packages after them."""


def attribute(basis: Basis) -> list[Attribution]:
    """All that a basis gives."""
    found = (ATTRIBUTIONS[name].of(basis) for name in ATTRIBUTIONS)
    return [each for each in found if each is not None]


def drawn(where: Literal["page", "paper"]) -> list[str]:
    """The methods that have a chart there, in order."""
    places = {name: getattr(ATTRIBUTIONS[name], where) for name in ATTRIBUTIONS}
    return sorted((name for name in places if places[name] is not None), key=lambda name: places[name])
