"""Coalitions: the same run with every subset of the style layers.

The players are the style layers. Whatever a coalition, these stay as they are: sizes, steps, start, perturbation, random
directions, the terms on content, colours and smoothness, and each layer's own weight and normaliser (never renormalised
over the coalition: a mean over the active layers would be another game). The value of a coalition S is v(S) = −J(the pastiche
that S paints), J a judge; v(∅) is a run too, with content, colours and smoothness alone.

A coalition is a number (`underpaint.explanation.shapley.players`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from underpaint.optimizers.loop import Stage, optimise
from underpaint.recipe import Recipe


@dataclass(frozen=True)
class Painted:
    """What a coalition painted: the picture (1, 3, H, W), and the share of its total's fall, at the last size, that came in
    the last tenth of the steps."""

    image: torch.Tensor
    last_fall: float


def paint(recipe: Recipe, stage: Callable[[int], Stage], active: Sequence[str]) -> Iterator[Painted | float]:
    """Paints with the named style layers alone, all else as the recipe has it, and never stops early.

    Yields how far it is, 0..1, after each step, and at the end what came of it.
    """

    def restricted(scale: int) -> Stage:
        whole = stage(scale)
        return Stage(whole.objective.painted_by(active), whole.start)

    totals: list[float] = []
    for step in optimise(recipe.model_copy(update={"stop": 0.0}), restricted, norms_every=0):
        totals = [step.total] if step.iteration == 0 else [*totals, step.total]
        if step.final:
            yield Painted(step.image.clone(), last_fall(totals))
        else:
            yield recipe.share_done(step.scale, step.iteration + 1)


def last_fall(totals: Sequence[float]) -> float:
    """The share of the fall from the first to the last total that came in the last tenth of them, 0 without a fall."""
    fall = totals[0] - totals[-1]
    tenth = max(1, len(totals) // 10)
    return (totals[-1 - tenth] - totals[-1]) / fall if fall > 0 and len(totals) > tenth else 0.0
