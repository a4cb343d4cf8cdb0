"""A program of torch.export as a network."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch

from underpaint.networks.anatomy import Anatomy
from underpaint.networks.autograd import Differentiable, permuted
from underpaint.networks.sources.beside import Preprocess
from underpaint.networks.sources.program import Program
from underpaint.networks.specification import Opening


class ProgramNetwork(Differentiable):
    """See `underpaint.networks.base.Network`.

    Args:
        program: its graph.
        weights: by the graph's names, on the device.
        steps: the layers' steps, by name, shallow to deep.
        preprocess: makes its input of pictures (N, 3, H, W), sRGB, 0..1.
        anatomy, device, precision: see `AutogradNetwork`.
    """

    def __init__(
        self,
        program: Program,
        weights: Mapping[str, torch.Tensor],
        steps: Mapping[str, str],
        preprocess: Preprocess,
        anatomy: Anatomy,
        device: torch.device,
        precision: torch.dtype,
    ) -> None:
        self.anatomy, self.device, self.precision = anatomy, device, precision
        self.layers, self._steps, self._preprocess = tuple(steps), dict(steps), preprocess
        self._program, self._weights = program, dict(weights)

    @classmethod
    def opened(
        cls, anatomy: Anatomy, steps: Mapping[str, str], preprocess: Preprocess, opening: Opening, path: Path
    ) -> ProgramNetwork:
        """Of a file. `Program`'s errors."""
        program = Program(path)
        weights = {
            name: tensor.to(opening.device, opening.precision if tensor.is_floating_point() else tensor.dtype)
            for name, tensor in program.weights.items()
        }
        weights = {n: w.contiguous(memory_format=torch.channels_last) if w.ndim == 4 else w for n, w in weights.items()}
        return cls(program, weights, steps, preprocess, anatomy, opening.device, opening.precision)

    def run(self, image: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
        """See `Differentiable.run`; the program runs no further than the last of the layers."""
        found = self._program.run(self._preprocess(image), self._weights, {self._steps[layer] for layer in layers})
        return {layer: found[self._steps[layer]] for layer in layers}

    def shuffled(self, layers: Collection[str], seed: int = 0) -> ProgramNetwork:
        """See `Network.shuffled`; a layer's weights are those that the steps take by which it is made, from the layer
        before."""
        generator, weights = torch.Generator().manual_seed(seed), dict(self._weights)
        ends = {step: layer for layer, step in self._steps.items()}
        waiting: list[str] = []
        for step in self._program.steps:
            used = [argument["as_tensor"]["name"] for _, argument in step.inputs if "as_tensor" in argument]
            waiting += [name for name in used if name in weights and name not in waiting]
            if step.name in ends:
                for name in waiting if ends[step.name] in layers else ():
                    weights[name] = permuted(weights[name], generator)
                waiting = []
        given = self._steps, self._preprocess, self.anatomy, self.device, self.precision
        return ProgramNetwork(self._program, weights, *given)
