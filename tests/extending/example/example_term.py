"""A term of another package: the picture's mean brightness is to be the content's. See docs/extending.md."""

from dataclasses import dataclass

import torch

from underpaint.losses.terms import PixelTerm


@dataclass(frozen=True)
class Brightness(PixelTerm):
    """The squared difference of mean values."""

    goal: float = 0.5

    def value_and_gradient(self, image):
        difference = float(image.mean()) - self.goal
        return difference**2, torch.full_like(image, 2 * difference / image.numel())


def brightness(view):
    """What a recipe with `terms = {brightness = 3.0}` is painted with."""
    return [Brightness("brightness", view.recipe.terms["brightness"], float(view.content.mean()))]
