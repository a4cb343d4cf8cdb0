"""Adam on the pixels (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

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
