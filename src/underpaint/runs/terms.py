"""The terms that a recipe asks for, kind by kind: each maker is given a view of the scene at one size, and makes its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from underpaint import extensions
from underpaint.extensions import Registry
from underpaint.losses import palette
from underpaint.losses.statistics import matrix, statistic
from underpaint.losses.terms import FLOOR, ContentTerm, Region, SmoothnessTerm, StyleTerm, Term
from underpaint.networks.base import Network
from underpaint.optimizers.loop import draw
from underpaint.recipe import Recipe

if TYPE_CHECKING:  # which makes views
    from underpaint.runs.scene import Scene


@dataclass(frozen=True)
class View:
    """A scene at one size.

    Attributes:
        scale: place in the recipe's sizes.
        network: the one that paints there.
        content: the content picture, (1, 3, H, W).
        features: its features at the recipe's content and style layers, (1, C, h, w).
        moved: those at the content layers of the content moved by each offset that a draw may bring.
    """

    scene: Scene
    scale: int
    network: Network
    content: torch.Tensor
    features: Mapping[str, torch.Tensor]
    moved: Mapping[tuple[int, int], Mapping[str, torch.Tensor]] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        """The scene's."""
        return self.scene.recipe

    @property
    def style_weight(self) -> float:
        """Of all style terms together, and of those on colours: by `strength`, the knob from content to style."""
        return self.recipe.style_weight * (2 * self.recipe.strength) ** 2


Maker = Callable[[View], Sequence[Term]]

TERMS: Registry[Maker] = extensions.TERMS
"""By kind. Another package's is made where the recipe's `terms` has a weight for it."""

OWN = ("style", "content", "color", "palette", "smoothness")
"""The kinds that every recipe has, each with weights of its own fields, in the order of a history."""


def style(view: View) -> list[Term]:
    """A term for each style picture and style layer, `style/LAYER`; of several pictures `style1/LAYER` and so on."""
    scene, regions = (
        view.scene,
        {layer: view.scene.regions(view.features[layer].shape[2:]) for layer in view.recipe.style_layers},
    )
    return [term for place in range(len(scene.shares)) for term in _of_style(view, place, regions)]


def _of_style(view: View, place: int, regions: Mapping[str, Sequence[Region]]) -> list[Term]:
    recipe, kind, shares = view.recipe, statistic(view.recipe.statistic), view.scene.shares
    features = view.network.features(view.scene.style(place, view.scale), list(recipe.style_layers))
    prefix = "style" if len(shares) == 1 else f"style{place + 1}"
    own = view.style_weight * shares[place] / len(recipe.style_layers)
    number = draw(recipe.seed, view.scale, -1)
    terms: list[Term] = []
    for layer, weight in recipe.style_layers.items():
        x, c = matrix(features[layer]), matrix(view.features[layer])
        goals = [kind.goal(x, w) for w in view.scene.style_regions(place, features[layer].shape[2:])]
        normaliser = 0.0
        for goal, region in zip(goals, regions[layer], strict=True):
            target = kind.target(goal, number)
            value, _ = kind.distance(kind.summary(c, region.weights, number), target)
            normaliser += region.share * max(float(value), FLOOR * float(kind.size(target)), 1e-12)
        where = tuple(regions[layer])
        terms.append(StyleTerm(f"{prefix}/{layer}", layer, own * weight, kind, where, tuple(goals), normaliser))
    return terms


def content(view: View) -> list[Term]:
    """A term for each content layer, `content/LAYER`."""
    recipe, terms = view.recipe, list[Term]()
    for layer, weight in recipe.content_layers.items():
        goal = view.features[layer]
        weight *= recipe.content_weight * (2 - 2 * recipe.strength) ** 2
        normaliser = max(float(goal.float().square().sum()), 1e-12)
        protected = view.scene.protected(goal.shape[2:])
        moved = {by: each[layer] for by, each in view.moved.items()}
        terms.append(ContentTerm(f"content/{layer}", layer, weight, goal, normaliser, protected, moved))
    return terms


def color(view: View) -> list[Term]:
    """A term for each style picture on the pixels' own colours; none where their weight is 0."""
    scene, terms = view.scene, list[Term]()
    if not view.recipe.color_weight:
        return terms
    for place, share in enumerate(scene.shares):
        name = "color" if len(scene.shares) == 1 else f"color{place + 1}"
        pixels, weight = scene.style_pixels(place, view.scale), view.recipe.color_weight * view.style_weight * share
        terms.append(palette.color_term(name, weight, view.content, pixels, scene.covers))
    return terms


def colors_of_the_style(view: View) -> list[Term]:
    """One term, `palette`, for no colour that the styles do not have; none where its weight is 0."""
    if not view.recipe.palette_weight:
        return []
    weight = view.recipe.palette_weight * view.style_weight
    return [palette.palette_term("palette", weight, view.content, view.scene.colors, view.scene.covers)]


def smoothness(view: View) -> list[Term]:
    """One term, `smoothness`; at small sizes its weight is another."""
    recipe = view.recipe
    smaller = recipe.sizes()[view.scale] / recipe.size
    weight = recipe.smoothness * smaller**recipe.smoothness_growth
    return [SmoothnessTerm("smoothness", weight, recipe.diagonals, recipe.chroma_smoothness)]
