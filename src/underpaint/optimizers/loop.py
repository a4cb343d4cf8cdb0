"""The optimiser: from the coarsest size to the finest, one `Step` at a time.

It knows nothing of files, progress bars or pages. Whoever iterates decides what to do with a step, and may stop at
any of them; `State` is all that is needed to resume later. A step makes a new `State` and leaves the one before as it was, so
that whoever is interrupted in the middle of a step still has that.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from underpaint.errors import UnderpaintError
from underpaint.losses.objective import Evaluation, Objective, TermValue
from underpaint.optimizers.base import Here, Move, Optimizer, optimizer, resample
from underpaint.recipe import Recipe

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
    did not change.

    Attributes:
        scale: place in the recipe's sizes, 0 the smallest.
        iteration: steps done at this scale.
        step: steps done in all.
        image: the iterate, (1, 3, H, W), float32.
        average: the running average of the iterates; `averaged` says of how many.
        optimizer: the optimiser's own state.
        totals: the total of each step at this scale.
    """

    scale: int
    iteration: int
    step: int
    image: torch.Tensor
    average: torch.Tensor
    optimizer: Optimizer
    averaged: int = 0
    totals: tuple[float, ...] = ()

    def __repr__(self) -> str:
        return f"State(scale {self.scale}, iteration {self.iteration}, step {self.step})"

    @property
    def result(self) -> torch.Tensor:
        """The picture as it stands, (1, 3, H, W): the average once there is one."""
        return self.average if self.averaged else self.image


@dataclass(frozen=True)
class Arrival:
    """A size being begun.

    Attributes:
        image: the picture that it begins from, (1, 3, H, W), 0..1.
        target: the size before's picture, resized, before the bounds; None where the run itself begins.
        carried: whether the optimiser took its state along.
    """

    image: torch.Tensor
    target: torch.Tensor | None = None
    carried: bool = False


@dataclass(frozen=True)
class Step:
    """What one step did. The last step of a run has `final`: nothing moved, its terms are those of the pastiche itself.

    Attributes:
        terms: the objective before it.
        image: the picture after it, (1, 3, H, W), not a copy.
        parts: the terms' own gradients before it, where a run keeps them apart.
        arrival: of the first step at a size.
        move: how it moved the iterate; None of the last.
        averaging: average += averaging · (iterate − average), after it; None where the iterates are not averaged.
    """

    step: int
    scale: int
    iteration: int
    size: tuple[int, int]
    terms: tuple[TermValue, ...]
    image: torch.Tensor
    state: State
    parts: Mapping[str, torch.Tensor] = field(default_factory=dict)
    arrival: Arrival | None = None
    move: Move | None = None
    averaging: float | None = None
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
    apart: bool = False,
    norms_every: int = NORMS_EVERY,
) -> Iterator[Step]:
    """Runs the recipe's schedule.

    Args:
        recipe: see `Recipe`.
        stage: makes the objective at a scale; called once a scale, in order.
        state: where to resume; None to begin.
        apart: keep the terms' gradients apart: every step then has its `parts`.
        norms_every: the terms' gradients are measured at every so many steps; 0 for never.

    Raises:
        NotFinite: the loss is infinite or not a number; the state still holds the last good picture.
    """
    schedule, here = recipe.schedule(), None
    for scale in range(state.scale if state else 0, len(schedule)):
        here = stage(scale)
        state, arrival = _enter(recipe, state, here, scale)
        for step in _run_scale(recipe, here.objective, state, schedule[scale], apart, norms_every):
            state = step.state
            yield replace(step, arrival=arrival)
            arrival = None
    assert state is not None
    assert here is not None
    evaluation = _evaluate(recipe, here.objective, state, state.result, apart=bool(norms_every) or apart)
    yield Step(state.step, state.scale, state.iteration, _size(state), evaluation.terms, state.result, state, final=True)


def _size(state: State) -> tuple[int, int]:
    return state.image.shape[2], state.image.shape[3]


def _enter(recipe: Recipe, state: State | None, stage: Stage, scale: int) -> tuple[State, Arrival | None]:
    """The state at the first step of a scale, and what became of the picture on the way; the given one, and None, if that is
    in mid-scale already."""
    kind = optimizer(recipe.optimizer)
    if state is None:
        image = stage.start.clone()
        return State(scale, 0, 0, image, image.clone(), kind.begin(recipe, image)), Arrival(image)
    if state.scale == scale:
        return state, None
    size = stage.start.shape[-2:]
    target = resample(state.result, size)
    image = target.clamp(0, 1)
    carried = state.optimizer.resized(recipe, size)
    arrival = Arrival(image, target, carried is not None)
    return State(scale, 0, state.step, image, image.clone(), carried or kind.begin(recipe, image)), arrival


def _run_scale(
    recipe: Recipe, objective: Objective, state: State, count: int, whole: bool, norms_every: int
) -> Iterator[Step]:
    known: Evaluation | None = None
    while not _done(recipe, state, count):
        apart = whole or (norms_every > 0 and state.step % norms_every == 0)
        if known is None or (apart and not known.parts):
            known = _evaluate(recipe, objective, state, state.image, apart)
        step, known = _advance(recipe, objective, state, known, count, whole)
        state = step.state
        yield replace(step, scale_done=_done(recipe, state, count))


def _done(recipe: Recipe, state: State, count: int) -> bool:
    """Whether a scale's steps are all made, or the total has come to rest."""
    if state.iteration >= count:
        return True
    if not recipe.stop or state.iteration <= recipe.patience:
        return False
    before, now = state.totals[-1 - recipe.patience], state.totals[-1]
    return before - now < recipe.stop * abs(before)


def _advance(
    recipe: Recipe, objective: Objective, state: State, known: Evaluation, count: int, whole: bool
) -> tuple[Step, Evaluation | None]:
    """A step, and the evaluation at the new picture where the optimiser has it already."""

    def evaluate(image: torch.Tensor) -> Evaluation:
        return objective.evaluate(image, _draw(recipe, state), whole)

    made = state.optimizer.advance(Here(recipe, state.image, known, evaluate, state.iteration, count))
    changes: dict[str, Any] = {"optimizer": made.optimizer, "image": made.move.image, "totals": (*state.totals, known.total)}
    averaging = None
    # Uniform over the first iterates, then exponential.
    if made.optimizer.averages and recipe.average_from < 1 and state.iteration + 1 > recipe.average_from * count:
        averaging = max(1 / (state.averaged + 1), 1 - recipe.average_decay)
        changes |= {"averaged": state.averaged + 1, "average": state.average.lerp(made.move.image, averaging)}
    after = replace(state, iteration=state.iteration + 1, step=state.step + 1, **changes)
    step = Step(
        step=state.step,
        scale=state.scale,
        iteration=state.iteration,
        size=_size(state),
        terms=known.terms,
        image=after.result,
        state=after,
        parts=known.parts if whole else {},
        move=made.move,
        averaging=averaging,
    )
    return step, made.evaluation


def _draw(recipe: Recipe, state: State) -> int:
    return draw(recipe.seed, state.scale, 0 if state.optimizer.one_draw else state.iteration)


def _evaluate(recipe: Recipe, objective: Objective, state: State, image: torch.Tensor, apart: bool) -> Evaluation:
    evaluation = objective.evaluate(image, _draw(recipe, state), apart)
    if not math.isfinite(evaluation.total) or not bool(torch.isfinite(evaluation.gradient).all()):
        bad = [term.name for term in evaluation.terms if not math.isfinite(term.weighted)]
        raise NotFinite(
            f"the loss is not finite at step {state.step} ({', '.join(bad) or 'its gradient'}): the last good picture "
            "is kept; lower --style-weight or a --layer-weight, or use --precision float32"
        )
    return evaluation
