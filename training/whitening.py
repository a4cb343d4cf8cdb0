"""Coordinates in which a step is of the same size for every direction of a layer's inputs.

What a convolution sees is never negative and highly correlated: one direction, near the mean, holds most of the energy,
and a small step of every weight moves the response by much more than all that a step could learn. So weights are learnt as
V = W L, with L Lᵀ the second moments of the layer's inputs (Desjardins et al. 2015, "Natural Neural Networks",
arXiv:1507.00210, with fixed factors): V's inputs are white.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F

from training.student import Student
from underpaint.networks.compact import LAYERS
from underpaint.networks.vgg import keras_name

POSITIONS = 100
"""Positions a picture gives to a layer's moments, at most."""

DAMPING = 1e-3
"""Of the mean of the diagonal, added to it."""

BATCH = 16


class Whitening:
    """Both ways between a student's tensors and the coordinates that they are learnt in.

    Args:
        student: where the moments are taken.
        pictures: (N, 3, h, w), 0..1.
        device: where the coordinates lie; the moments are taken on the CPU.
    """

    def __init__(self, student: Student, pictures: torch.Tensor, seed: int = 0, device: torch.device | str = "cpu") -> None:
        self._device = device
        sums: dict[str, torch.Tensor] = {}
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for batch in torch.split(pictures, BATCH):
                for name, x in _inputs(student, batch, generator):
                    sums[name] = sums.get(name, torch.zeros(())) + x.T @ x
        self._factors: dict[str, torch.Tensor] = {}
        self._inverses: dict[str, torch.Tensor] = {}
        for name, moments in sums.items():
            damped = moments.double()
            damped.diagonal().add_(DAMPING * float(damped.diagonal().mean()))
            factor = torch.linalg.cholesky(damped / (len(pictures) * POSITIONS))
            unit = torch.eye(len(factor), dtype=torch.float64)
            self._factors[name] = factor.float().to(device)
            self._inverses[name] = torch.linalg.solve_triangular(factor, unit, upper=False).float().to(device)

    def enter(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The coordinates of a student's tensors."""
        here = {n: t.to(self._device) for n, t in tensors.items()}
        return {n: t.flatten(1) @ self._factors[n] if n in self._factors else t.clone() for n, t in here.items()}

    def leave(self, coordinates: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """A student's tensors, open to autograd."""
        return {n: self._shaped(n, v @ self._inverses[n]) if n in self._inverses else v for n, v in coordinates.items()}

    @staticmethod
    def _shaped(name: str, weight: torch.Tensor) -> torch.Tensor:
        side = 1 if ".expand" in name or ".project" in name else 3
        return weight.view(len(weight), -1, side, side)


def _inputs(student: Student, pictures: torch.Tensor, generator: torch.Generator) -> Iterator[tuple[str, torch.Tensor]]:
    """What each convolution sees at random positions, rows of its flattened weights' order."""
    x = student.prepared(pictures)
    for layer in LAYERS:
        name = keras_name(layer)
        if layer == LAYERS[0]:
            yield f"{name}.weight", _patches(x, generator)
        else:
            x = F.max_pool2d(x, 2, ceil_mode=True) if layer.endswith("_1") else x
            seen = x
            if f"{name}.project.weight" in student.tensors:
                yield f"{name}.project.weight", _points(seen, generator)
                seen = F.conv2d(seen, student.tensors[f"{name}.project.weight"])
            yield f"{name}.reduce.weight", _patches(F.pad(seen, (1, 1, 1, 1)), generator)
            yield (
                f"{name}.expand.weight",
                _points(F.conv2d(seen, student.tensors[f"{name}.reduce.weight"], padding=1), generator),
            )
        x = student.layer(layer, x)


def _points(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(N · POSITIONS, C), positions drawn with replacement."""
    flat = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
    return flat[torch.randint(len(flat), (len(x) * POSITIONS,), generator=generator)]


def _patches(padded: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(N · POSITIONS, 9 · C), positions drawn with replacement, the same for all pictures."""
    height, width = padded.shape[2] - 2, padded.shape[3] - 2
    rows = torch.randint(height, (POSITIONS,), generator=generator)
    columns = torch.randint(width, (POSITIONS,), generator=generator)
    patches = torch.stack([padded[:, :, rows + i, columns + j] for i in range(3) for j in range(3)], 2)
    return patches.permute(0, 3, 1, 2).reshape(-1, 9 * padded.shape[1])
