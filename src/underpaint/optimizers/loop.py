"""The optimiser: from the coarsest size to the finest, one `Step` at a time.

It knows nothing of files, progress bars or pages. Whoever iterates decides what to do with a step, and may stop at
any of them; `State` is all that is needed to go on later. A step makes a new `State` and leaves the one before as it was, so
that whoever is interrupted in the middle of a step still has that.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F

from underpaint.errors import UnderpaintError
from underpaint.losses.objective import Evaluation, Objective, TermValue
from underpaint.optimizers.adam import Adam
from underpaint.optimizers.lbfgs import LBFGS, InverseHessian
from underpaint.optimizers.ledger import Ledger, resample
from underpaint.recipe import Recipe

NOISE = {"bf16": 2.0**-7}
"""How far the objective may be off, relative to itself, by precision: the spacing of bf16's numbers."""

NORMS_EVERY = 10


class NotFinite(UnderpaintError):
    """The loss became infinite or not a number."""


@dataclass(frozen=True)
class Stage:
    """One size: the objective there, and the picture that a run starts from if this is its first size."""

    objective: Objective
    start: torch.Tensor


@dataclass(frozen=True)
class State:
    """Everything that the optimiser carries from step to step. Nothing in it is written to once it is made; states share what
    did not change (L-BFGS's pairs).

    Attributes:
        scale: place in the recipe's sizes, 0 the smallest.
        iteration: steps done at this scale.
        step: steps done in all.
        image: the iterate, (1, 3, H, W), float32.
        average: the running average of the iterates; `averaged` says of how many.
        adam, lbfgs: the optimiser's own state, whichever is in use.
        totals: the total of each step at this scale.
        ledger: the account of the pixels, where one is kept.
    """

    scale: int
    iteration: int
    step: int
    image: torch.Tensor
    average: torch.Tensor
    averaged: int = 0
    adam: Adam | None = None
    lbfgs: LBFGS | None = None
    totals: tuple[float, ...] = ()
    ledger: Ledger | None = None

    def __repr__(self) -> str:
        return f"State(scale {self.scale}, iteration {self.iteration}, step {self.step})"

    @property
    def result(self) -> torch.Tensor:
        """The picture as it stands, (1, 3, H, W): the average once there is one."""
        return self.average if self.averaged else self.image


@dataclass(frozen=True)
class Step:
    """What one step did. `image` is the picture after it, (1, 3, H, W), not a copy; the terms are those before it, and so
    are `parts`, the terms' own gradients, which a run with a ledger has.

    The last step of a run has `final`: nothing moved, its terms are those of the pastiche itself.
    """

    step: int
    scale: int
    iteration: int
    size: tuple[int, int]
    terms: tuple[TermValue, ...]
    image: torch.Tensor
    state: State
    parts: Mapping[str, torch.Tensor] = field(default_factory=dict)
    scale_done: bool = False
    final: bool = False

    @property
    def total(self) -> float:
        """Σ weighted."""
        return sum(term.weighted for term in self.terms)

    def __repr__(self) -> str:
        height, width = self.size
        last = ", final" if self.final else ""
        return f"Step({self.step}, {width}×{height} px, iteration {self.iteration}, total {self.total:.4g}{last})"


def draw(seed: int, scale: int, step: int) -> int:
    """The number that all randomness of a step depends on, 0 … 2⁶³ − 1; (scale, step) = (−1, 0) is the start."""
    text = f"underpaint/{seed}/{scale}/{step}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def optimise(
    recipe: Recipe,
    stage: Callable[[int], Stage],
    state: State | None = None,
    *,
    ledger: bool = False,
    norms_every: int = NORMS_EVERY,
) -> Iterator[Step]:
    """Runs the recipe's schedule.

    Args:
        recipe: see `Recipe`.
        stage: makes the objective at a scale; called once a scale, in order.
        state: where to go on; None to begin.
        ledger: keep the account of the pixels (`State.ledger`); every step then has its `parts`.
        norms_every: the terms' gradients are measured at every so many steps; 0 for never.

    Raises:
        NotFinite: the loss is infinite or not a number; the state still holds the last good picture.
    """
    schedule = recipe.schedule()
    first = state.scale if state else 0
    here: Stage | None = None
    for scale in range(first, len(schedule)):
        here = stage(scale)
        state = _enter(recipe, state, here, scale)
        if ledger and state.ledger is None:
            state = replace(state, ledger=Ledger.begin([term.name for term in here.objective.terms], state.image))
        for step in _run_scale(recipe, here.objective, state, schedule[scale], norms_every):
            state = step.state
            yield step
    assert state is not None
    assert here is not None
    evaluation = _evaluate(recipe, here.objective, state, state.result, apart=bool(norms_every) or ledger)
    yield _step(state, evaluation, final=True)


def _enter(recipe: Recipe, state: State | None, stage: Stage, scale: int) -> State:
    """The state at the first step of a scale, or the given one if that is in mid-scale already."""
    if state is None:
        image = stage.start.clone()
        state = State(scale, 0, 0, image, image.clone())
    elif state.scale < scale:
        size = stage.start.shape[-2:]
        target = resample(state.result, size)
        image = target.clamp(0, 1)
        adam, ledger = None, None
        if state.ledger is not None:
            ledger = replace(state.ledger)
            ledger.resized(size, image - target, recipe.carry_moments)
        if state.adam is not None and recipe.carry_moments:
            v = F.interpolate(state.adam.v, size, mode="bilinear").clamp_(min=0)
            adam = Adam(resample(state.adam.m, size), v, state.adam.t, recipe.betas)
        state = State(scale, 0, state.step, image, image.clone(), adam=adam, ledger=ledger)
    if recipe.optimizer == "adam" and state.adam is None:
        state = replace(state, adam=Adam.start(state.image, recipe.betas))
    if recipe.optimizer == "lbfgs" and state.lbfgs is None:
        state = replace(state, lbfgs=LBFGS(InverseHessian(), 0.0, 1.0))
    return state


def _run_scale(recipe: Recipe, objective: Objective, state: State, count: int, norms_every: int) -> Iterator[Step]:
    known: Evaluation | None = None
    while not _done(recipe, state, count):
        apart = state.ledger is not None or (norms_every > 0 and state.step % norms_every == 0)
        if known is None or (apart and not known.parts):
            known = _evaluate(recipe, objective, state, state.image, apart)
        evaluation = known
        if state.adam is not None:
            state, known = _adam(recipe, state, evaluation, count), None
        else:
            state, known = _lbfgs(recipe, objective, state, evaluation)
        yield _step(state, evaluation, scale_done=_done(recipe, state, count))


def _done(recipe: Recipe, state: State, count: int) -> bool:
    """Whether a scale's steps are all made, or the total has come to rest."""
    if state.iteration >= count:
        return True
    if not recipe.stop or state.iteration <= recipe.patience:
        return False
    before, now = state.totals[-1 - recipe.patience], state.totals[-1]
    return before - now < recipe.stop * abs(before)


def _moved(state: State, total: float, **changes: Any) -> State:
    """The state after a step from a picture of this total."""
    totals = *state.totals, total
    return replace(state, iteration=state.iteration + 1, step=state.step + 1, totals=totals, **changes)


def _adam(recipe: Recipe, state: State, here: Evaluation, count: int) -> State:
    assert state.adam is not None
    rate = _rate(recipe, state.iteration, count)
    adam = replace(state.adam)
    target = state.image.add(adam.step(here.gradient, rate))
    image, ledger = target.clamp(0, 1), None
    if state.ledger is not None:
        ledger = replace(state.ledger)
        ledger.moved_by_adam(adam, rate, here.parts, image - target)
    average, averaged = state.average, state.averaged
    # Uniform over the first iterates, then exponential.
    if recipe.average_from < 1 and state.iteration + 1 > recipe.average_from * count:
        averaged += 1
        weight = max(1 / averaged, 1 - recipe.average_decay)
        average = average.lerp(image, weight)
        if ledger is not None:
            ledger.averaged(weight)
    return _moved(state, here.total, image=image, average=average, averaged=averaged, adam=adam, ledger=ledger)


def _rate(recipe: Recipe, iteration: int, count: int) -> float:
    """Falls from `rate` to `final_rate` along half a cosine within each size."""
    share = iteration / max(count - 1, 1)
    return recipe.final_rate + (recipe.rate - recipe.final_rate) * (1 + math.cos(math.pi * share)) / 2


def _lbfgs(recipe: Recipe, objective: Objective, state: State, here: Evaluation) -> tuple[State, Evaluation | None]:
    """The state after a step, and the evaluation at the new picture when the line search made it. Iterates do not jitter and
    are not averaged."""
    assert state.lbfgs is not None
    seen: list[tuple[torch.Tensor, Evaluation]] = []

    def evaluate(image: torch.Tensor) -> tuple[float, torch.Tensor]:
        seen.append((image, objective.evaluate(image, draw(recipe.seed, state.scale, 0), state.ledger is not None)))
        del seen[:-1]
        total, gradient = seen[-1][1].total, seen[-1][1].gradient
        # The line search backs away from what is not finite, whether in the value or in the slope.
        return total if bool(torch.isfinite(gradient).all()) else math.inf, gradient

    lbfgs, ledger = state.lbfgs.copy(), None
    move = lbfgs.step(state.image, here.total, here.gradient, evaluate, recipe.rate, NOISE.get(recipe.precision, 0.0))
    if state.ledger is not None:
        ledger = replace(state.ledger)
        ledger.moved_by_lbfgs(move, here.parts)
    after = _moved(state, here.total, image=move.image, lbfgs=lbfgs, ledger=ledger)
    return after, next((found for image, found in seen if torch.equal(image, move.image)), None)


def _evaluate(recipe: Recipe, objective: Objective, state: State, image: torch.Tensor, apart: bool) -> Evaluation:
    # A line search needs one function, so L-BFGS keeps a scale's first draw.
    number = draw(recipe.seed, state.scale, state.iteration if recipe.optimizer == "adam" else 0)
    evaluation = objective.evaluate(image, number, apart)
    if not math.isfinite(evaluation.total) or not bool(torch.isfinite(evaluation.gradient).all()):
        bad = [term.name for term in evaluation.terms if not math.isfinite(term.weighted)]
        raise NotFinite(
            f"the loss is not finite at step {state.step} ({', '.join(bad) or 'its gradient'}): the last good picture "
            "is kept; lower --style-weight or a --layer-weight, or use --precision float32"
        )
    return evaluation


def _step(state: State, evaluation: Evaluation, scale_done: bool = False, final: bool = False) -> Step:
    return Step(
        step=state.step if final else state.step - 1,
        scale=state.scale,
        iteration=state.iteration if final else state.iteration - 1,
        size=(state.image.shape[2], state.image.shape[3]),
        terms=evaluation.terms,
        image=state.result,
        state=state,
        parts=evaluation.parts if state.ledger is not None else {},
        scale_done=scale_done,
        final=final,
    )
