"""Adam on the pixels (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from underpaint.optimizers.base import Advance, Here, resample, shaped
from underpaint.recipe import Recipe

EPSILON = 1e-3
"""Of a gradient of 1 over the number of values: the terms are means over the picture, so that their gradients shrink as it
grows. At 256×192 px this is 7e-9 (the paper: 1e-8); rounding errors, far below it, do not become steps."""


@dataclass
class Adam:
    """The state of Adam at one size. `step` returns the update; nothing is changed in the picture. Tensors are replaced,
    never written to: a shallow copy keeps the state as it was.

    For a given state the update is linear in the gradient that entered `m`: u = −lr · m̂ / (√v̂ + ε).

    Attributes:
        m: first moment, (1, 3, H, W).
        v: second moment, (1, 3, H, W).
        t: how many gradients it has seen.
        betas: decay of both moments. 0.99 for the second follows crowsonkb/style-transfer-pytorch: Adam's own 0.999
            remembers longer than a size lasts.
    """

    name: ClassVar[str] = "adam"
    told: ClassVar[str] = "Adam"
    one_draw: ClassVar[bool] = False
    averages: ClassVar[bool] = True

    m: torch.Tensor
    v: torch.Tensor
    t: int = 0
    betas: tuple[float, float] = (0.9, 0.99)

    @classmethod
    def start(cls, image: torch.Tensor, betas: tuple[float, float]) -> Adam:
        """No gradient seen yet."""
        return cls(torch.zeros_like(image), torch.zeros_like(image), 0, betas)

    def step(self, gradient: torch.Tensor, rate: float) -> torch.Tensor:
        """The update (1, 3, H, W) for this gradient at learning rate `rate` (in units of 0..1 pixels)."""
        self.t += 1
        b1, b2 = self.betas
        self.m = self.m.mul(b1).add_(gradient, alpha=1 - b1)
        self.v = self.v.mul(b2).addcmul_(gradient, gradient, value=1 - b2)
        return self.update(self.m, rate)

    def update(self, m: torch.Tensor, rate: float) -> torch.Tensor:
        """What a first moment (..., 3, H, W), the total's or a term's own, moves: linear in it."""
        b1, b2 = self.betas
        root = self.v.div(1 - b2**self.t).sqrt_().add_(EPSILON / self.v.numel())
        return m.div(root).mul_(-rate / (1 - b1**self.t))

    @classmethod
    def begin(cls, recipe: Recipe, image: torch.Tensor) -> Adam:
        """See `Optimizer.begin`."""
        return cls.start(image, recipe.betas)

    def resized(self, recipe: Recipe, size: Sequence[int]) -> Adam | None:
        """Its moments, where the recipe carries them."""
        if not recipe.carry_moments:
            return None
        v = F.interpolate(self.v, tuple(size), mode="bilinear").clamp_(min=0)
        return Adam(resample(self.m, size), v, self.t, recipe.betas)

    def advance(self, here: Here) -> Advance:
        """See `Optimizer.advance`."""
        rate, adam = _rate(here), replace(self)
        target = here.image.add(adam.step(here.evaluation.gradient, rate))
        return Advance(adam, AdamMove(target.clamp(0, 1), target, adam, rate))

    def kept(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Both moments, the count and the decays."""
        return {"m": self.m, "v": self.v}, {"t": self.t, "betas": list(self.betas)}

    @classmethod
    def restored(cls, tensors: Mapping[str, torch.Tensor], numbers: Mapping[str, Any], image: torch.Tensor) -> Adam:
        """See `Optimizer.restored`."""
        b1, b2 = (float(beta) for beta in numbers["betas"])
        t = numbers["t"]
        if type(t) is not int or t < 0 or not (0 <= b1 < 1 and 0 <= b2 < 1):
            raise ValueError("the optimiser's count or decays are none")
        m, v = (shaped(tensors[name], image.shape) for name in ("m", "v"))
        return cls(m, v, t, (b1, b2))


@dataclass(frozen=True)
class AdamMove:
    """A step of Adam: see `Move`.

    Attributes:
        adam: as it is after it took in the total gradient.
        rate: of this step.
    """

    image: torch.Tensor
    target: torch.Tensor
    adam: Adam
    rate: float

    def follow(self, gradients: torch.Tensor, memory: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The memory are the gradients' own first moments; the second one is the total's."""
        moments = torch.zeros_like(gradients) if memory is None else memory
        moments = moments.lerp(gradients, 1 - self.adam.betas[0])
        return self.adam.update(moments, self.rate), moments


def _rate(here: Here) -> float:
    """Falls from `rate` to `final_rate` along half a cosine within each size."""
    recipe, share = here.recipe, here.iteration / max(here.count - 1, 1)
    return recipe.final_rate + (recipe.rate - recipe.final_rate) * (1 + math.cos(math.pi * share)) / 2
