"""Perturbations: the same run begun a little differently."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from underpaint.imaging.images import Picture
from underpaint.optimizers.loop import draw
from underpaint.recipe import Recipe
from underpaint.runs.scene import Pictures

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
