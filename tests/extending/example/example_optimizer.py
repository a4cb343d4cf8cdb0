"""An optimiser of another package: steps of a fixed mean length along the gradient. See docs/extending.md."""

from dataclasses import dataclass, replace

import torch

from underpaint.optimizers.base import Advance


@dataclass(frozen=True)
class DescentMove:
    """A step, which is linear in the gradient once its slope is known."""

    image: torch.Tensor
    target: torch.Tensor
    slope: torch.Tensor

    def follow(self, gradients, memory):
        return gradients * self.slope, memory


@dataclass(frozen=True)
class Descent:
    """How many steps it has made."""

    name = "descent"
    told = "gradient descent"
    one_draw = False
    averages = False

    made: int = 0

    @classmethod
    def begin(cls, recipe, image):
        return cls()

    def resized(self, recipe, size):
        return self

    def advance(self, here):
        g = here.evaluation.gradient
        slope = -here.recipe.rate / (g.square().mean().sqrt() + 1e-12) / (1 + self.made) ** 0.5
        target = here.image + g * slope
        return Advance(replace(self, made=self.made + 1), DescentMove(target.clamp(0, 1), target, slope))

    def kept(self):
        return {}, {"made": self.made}

    @classmethod
    def restored(cls, tensors, numbers, image):
        return cls(int(numbers["made"]))
