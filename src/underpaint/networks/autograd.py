"""Any PyTorch module as a network: autograd finds the way back to the pixels."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress

import torch
from torch import nn

from underpaint.execution.device import ieee_float32
from underpaint.networks.anatomy import Anatomy
from underpaint.networks.base import Network, Seed


class _Enough(Exception):
    """All layers that were asked for have been seen."""


class AutogradTape:
    """See `underpaint.networks.base.Tape`."""

    def __init__(self, image: torch.Tensor, outputs: Mapping[str, torch.Tensor]) -> None:
        self._image, self._outputs = image, outputs
        self.features: Mapping[str, torch.Tensor] = {layer: output.detach() for layer, output in outputs.items()}

    def pullback(self, seeds: Mapping[str, Seed]) -> torch.Tensor:
        """See `Tape.pullback`."""
        cotangents = []
        for layer, seed in seeds.items():
            cotangent = torch.zeros_like(self.features[layer], memory_format=torch.channels_last)
            seed(cotangent)
            cotangents.append(cotangent)
        with ieee_float32(self._image.device):
            outputs = [self._outputs[layer] for layer in seeds]
            (gradient,) = torch.autograd.grad(outputs, self._image, cotangents, retain_graph=True)
        return gradient


class Differentiable(Network):
    """A network that PyTorch finds the way back of: see `underpaint.networks.base.Network`. What is left to say is `run`."""

    @property
    def name(self) -> str:
        """See `Network.name`."""
        return self.anatomy.name

    @abstractmethod
    def run(self, image: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
        """The features (N, C, h, w) of some layers at pictures (N, 3, H, W), sRGB, 0..1, in the precision; differentiable."""

    @abstractmethod
    def shuffled(self, layers: Collection[str], seed: int = 0) -> Differentiable:
        """See `Network.shuffled`."""

    def tape(self, image: torch.Tensor, layers: Sequence[str]) -> AutogradTape:
        """See `Network.tape`."""
        # Within a caller's no_grad, and within the package's own, a graph is wanted all the same.
        with torch.enable_grad(), ieee_float32(self.device):
            image = image.detach().clone().requires_grad_()
            return AutogradTape(image, self.run(image.to(self.precision), layers))

    def features(self, image: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
        """See `Network.features`."""
        with torch.no_grad(), ieee_float32(self.device):
            return self.run(image.to(self.precision), layers)


Reshape = Callable[[str, torch.Tensor, torch.Tensor], torch.Tensor]
"""Makes features (N, C, h, w) of a layer's name, what its submodule gave, and the preprocessed pictures."""


class AutogradNetwork(Differentiable):
    """A frozen module: see `underpaint.networks.base.Network`.

    Args:
        module: is put on the device and into evaluation mode, and its parameters are frozen; it is not copied.
        layers: by name, as the anatomy has them, the submodule whose output is the layer's features, (N, C, h, w); shallow
            to deep.
        preprocess: makes the module's input of pictures (N, 3, H, W), sRGB, 0..1; differentiable.
        anatomy: what the network says of itself.
        device, precision: where it runs, and in what type; `preprocess` is given that type.
        reshape: makes features of what the submodules give, where that is something else.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Mapping[str, str],
        preprocess: Callable[[torch.Tensor], torch.Tensor],
        anatomy: Anatomy,
        device: torch.device | str = "cpu",
        precision: torch.dtype = torch.float32,
        reshape: Reshape | None = None,
    ) -> None:
        self.anatomy, self.device, self.precision = anatomy, torch.device(device), precision
        self.layers, self._places, self._preprocess = tuple(layers), dict(layers), preprocess
        self._module, self._reshape = module.to(self.device, precision).eval().requires_grad_(False), reshape

    def run(self, image: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
        """See `Differentiable.run`; the module runs no further than the last of the layers."""
        found: dict[str, torch.Tensor] = {}
        shown = self._preprocess(image)

        def keep(layer: str, output: torch.Tensor) -> torch.Tensor:
            found[layer] = output if self._reshape is None else self._reshape(layer, output, shown)
            if len(found) == len(set(layers)):
                raise _Enough
            return output.clone()  # which the next submodule may write to, as a ReLU in place does

        with ExitStack() as hooks:
            for layer in layers:
                module = self._module.get_submodule(self._places[layer])
                handle = module.register_forward_hook(lambda _module, _inputs, output, layer=layer: keep(layer, output))
                hooks.callback(handle.remove)
            hooks.enter_context(suppress(_Enough))
            self._module(shown)
        return found

    def shuffled(self, layers: Collection[str], seed: int = 0) -> AutogradNetwork:
        """See `Network.shuffled`; a layer's weights are those of the submodules that it is made by, from the layer before."""
        module, generator = copy.deepcopy(self._module), torch.Generator().manual_seed(seed)
        owner = _owners(module, self._places)
        for name, parameter in module.named_parameters():
            if owner.get(name) in layers:
                parameter.data = permuted(parameter.data, generator)
        given = self._places, self._preprocess, self.anatomy, self.device, self.precision, self._reshape
        return AutogradNetwork(module, *given)


def permuted(weights: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The same values in another order, (...)."""
    order = torch.randperm(weights.numel(), generator=generator).to(weights.device)
    return weights.flatten()[order].view(weights.shape)


def _owners(module: nn.Module, places: Mapping[str, str]) -> dict[str, str]:
    """The layer that each parameter belongs to: the first one, in the modules' own order, at or after it."""
    order = [name for name, _ in module.named_modules()]
    found: dict[str, str] = {}
    ends = sorted((order.index(place), layer, place) for layer, place in places.items())
    for name, _ in module.named_parameters():
        home = order.index(name.rpartition(".")[0])
        owner = next((layer for end, layer, place in ends if home <= end or order[home].startswith(f"{place}.")), None)
        if owner is not None:
            found[name] = owner
    return found
