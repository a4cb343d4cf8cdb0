"""Coalitions: the same run with every subset of the style layers.

The players are the style layers. Whatever a coalition, these stay as they are: sizes, steps, start, perturbation, random
directions, the terms on content, colours and smoothness, and each layer's own weight and normaliser (never renormalised
over the coalition: a mean over the active layers would be another game). The value of a coalition S is v(S) = −J(the pastiche
that S paints), J a judge; v(∅) is a run too, with content, colours and smoothness alone.

A coalition is a whole number whose bit i says whether player i takes part. `underpaint.explanation.shapley.exact` reads the
figures off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from underpaint.errors import UnderpaintError
from underpaint.imaging.images import Picture
from underpaint.losses.objective import Objective, StyleTerm
from underpaint.optimizers.loop import Stage, draw, optimise
from underpaint.quality.panel import DEPTHS, depth
from underpaint.recipe import Recipe
from underpaint.runs.scene import Pictures

EXACT = 8
"""Players of which all subsets are run; more would be more than 256 runs. Of more, some are (`underpaint.explanation.shapley.sampled`)."""

MOST = 16
"""Players that can be explained: as many layers as the largest network has."""


def check_players(layers: Sequence[str]) -> tuple[str, ...]:
    """The players of an explanation.

    Raises:
        UnderpaintError: fewer than two or too many.
    """
    if len(layers) < 2:
        raise UnderpaintError(f"style_layers: {len(layers)} given; an explanation compares at least two")
    if len(layers) > MOST:
        raise UnderpaintError(
            f"style_layers: {len(layers)} would take {2 ** len(layers)} runs; name at most {EXACT} layers for exact Shapley "
            f"values, at most {MOST} for estimates (--permutations), or use `underpaint ablate` with the groups that you want"
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


def repeated(n: int, count: int = 8) -> list[int]:
    """Coalitions to repeat for σ: none, all, then one left out and one alone in turn."""
    whole = (1 << n) - 1
    found = [0, whole]
    for i in range(n):
        found.append(whole - (1 << i) if i % 2 == 0 else 1 << i)
    found += [1 << i if i % 2 == 0 else whole - (1 << i) for i in range(n)]
    return list(dict.fromkeys(found))[:count]


def named(config: str, players: Sequence[str]) -> tuple[str, ...]:
    """The layers of a configuration: a name in `groups`, or layers with `+` between them.

    Raises:
        UnderpaintError: no such name or layer, a layer named twice, or a group without layers here.
    """
    known = groups(players)
    if config in known:
        if not known[config] and config != "none":
            raise UnderpaintError(f"--configs {config}: none of the style layers {', '.join(players)} is in that group")
        return known[config]
    layers = config.split("+")
    for layer in layers:
        if layer not in players:
            simple = ", ".join(name for name in known if ":" not in name)
            raise UnderpaintError(
                f"--configs {config}: {layer!r} is neither a group ({simple}, drop:LAYER, only:LAYER) nor one of the style "
                f"layers {', '.join(players)}"
            )
        if layers.count(layer) > 1:
            raise UnderpaintError(f"--configs {config}: {layer} is named twice; name each once")
    return tuple(p for p in players if p in layers)


START_NOISE = 0.02
SHIFT = 4
MOVED = ("content", "content_mask", "start", "protect")


def perturbed(recipe: Recipe, pictures: Pictures, number: int) -> tuple[Recipe, Pictures]:
    """The same run begun a little differently: noise on the start (σ = 0.02) and the content picture moved by up to 4 px,
    its border mirrored. Number 0 is the run itself. Of equal numbers all coalitions have the same perturbation."""
    if number == 0:
        return recipe, pictures
    random = np.random.default_rng(draw(recipe.seed, -2, number))
    shift = random.integers(-SHIFT, SHIFT + 1, 2) / recipe.size
    along: dict[str, Any] = {role: _moved(p, shift) for role, p in pictures.by_role().items() if role in MOVED}
    fields = {"start_noise": max(recipe.start_noise, START_NOISE), "seed": (recipe.seed + number) % 2**31}
    return recipe.model_copy(update=fields), replace(pictures, **along)


def _moved(picture: Picture, shift: np.ndarray) -> Picture:
    """By `shift`, (down, right) in units of the longest side."""
    longest = max(picture.rgb.shape[:2])
    down, right = (round(float(s) * longest) for s in shift)

    def move(array: np.ndarray) -> np.ndarray:
        widths = [(max(down, 0), max(-down, 0)), (max(right, 0), max(-right, 0))] + [(0, 0)] * (array.ndim - 2)
        height, width = array.shape[:2]
        padded = np.pad(array, widths, mode="reflect")
        return np.ascontiguousarray(padded[max(-down, 0) :][:height, max(-right, 0) :][:, :width])

    alpha = None if picture.alpha is None else move(picture.alpha)
    return replace(picture, rgb=move(picture.rgb), alpha=alpha, path=None)


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
        return Stage(_without(whole.objective, active), whole.start)

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


def _without(objective: Objective, active: Sequence[str]) -> Objective:
    return objective.only([t.name for t in objective.terms if not isinstance(t, StyleTerm) or t.layer in active])
