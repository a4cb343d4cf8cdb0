"""A Keras model as a network, on Keras' PyTorch backend."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import keras
import torch

from underpaint.errors import UnderpaintError, first_line
from underpaint.networks.anatomy import Anatomy
from underpaint.networks.autograd import Differentiable, permuted
from underpaint.networks.sources.keras_graph import channels_first


class KerasNetwork(Differentiable):
    """A functional Keras model, frozen: see `underpaint.networks.base.Network`.

    Args:
        model: on the device already.
        places: of the layers, by name, shallow to deep, among the model's operations.
        preprocess: makes the model's input, channels first, of pictures (N, 3, H, W), sRGB, 0..1.
        anatomy: of the whole model.
        device, precision: where it runs, and in what type; its weights stay in float32, and bf16 is PyTorch's autocast.
    """

    def __init__(
        self,
        model: Any,
        places: Mapping[str, int],
        preprocess: Callable[[torch.Tensor], torch.Tensor],
        anatomy: Anatomy,
        device: torch.device,
        precision: torch.dtype,
    ) -> None:
        self.anatomy, self.device, self.precision = anatomy, device, precision
        self.layers, self._places, self._preprocess = tuple(places), dict(places), preprocess
        self._model, self._first = model, channels_first(model)
        self._parts: dict[tuple[str, ...], Any] = {}
        for variable in model.variables:
            variable.value.requires_grad_(False)

    def run(self, image: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
        """See `Differentiable.run`; the model runs no further than the last of the layers."""
        wanted = tuple(dict.fromkeys(layers))
        if wanted not in self._parts:
            outputs = [self._model.operations[self._places[layer]].output for layer in wanted]
            self._parts[wanted] = keras.Model(self._model.inputs, outputs)
        with keras.device(str(self.device)), self._numbers():
            shown = self._preprocess(image.float())
            found = self._parts[wanted](shown if self._first else shown.permute(0, 2, 3, 1), training=False)
        maps = found if isinstance(found, list | tuple) else [found]
        maps = [each if self._first else each.permute(0, 3, 1, 2) for each in maps]
        return {layer: each.to(self.precision) for layer, each in zip(wanted, maps, strict=True)}

    def _numbers(self) -> AbstractContextManager[Any]:
        if self.precision == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.precision)

    def shuffled(self, layers: Collection[str], seed: int = 0) -> KerasNetwork:
        """See `Network.shuffled`; a layer's weights are those of the operations that it is made by, from the layer before."""
        with keras.device(str(self.device)):
            model = keras.models.clone_model(self._model)
        model.set_weights(self._model.get_weights())
        generator = torch.Generator().manual_seed(seed)
        ends = sorted((place, layer) for layer, place in self._places.items())
        for place, step in enumerate(model.operations):
            owner = next((layer for end, layer in ends if place <= end), None)
            for variable in getattr(step, "variables", ()) if owner in layers else ():
                variable.assign(permuted(variable.value.detach(), generator))
        return KerasNetwork(model, self._places, self._preprocess, self.anatomy, self.device, self.precision)


def load(model: Any, path: Path) -> None:
    """A file's weights into a model: Keras' HDF5, or safetensors with Keras' names, `conv1/kernel`.

    Raises:
        UnderpaintError: they are another network's, damaged or not finite, or the file is neither.
    """
    if path.suffix == ".safetensors":
        _load_safetensors(model, path)
    elif path.suffix in (".h5", ".hdf5"):
        try:
            model.load_weights(path)
        except Exception as error:  # whatever Keras and h5py raise
            raise UnderpaintError(
                f"weights {path}: are not those of {model.name}, or damaged ({first_line(error)})"
            ) from None
    else:
        raise UnderpaintError(f"weights {path}: neither .h5 nor .safetensors; use the file that Keras publishes")
    if not all(bool(torch.isfinite(variable.value).all()) for variable in model.variables):
        raise UnderpaintError(f"weights {path}: holds values that are not finite; fetch the file again")


OTHER_NAMES = {"kernel": ("kernel", "depthwise_kernel")}


def _load_safetensors(model: Any, path: Path) -> None:
    from underpaint.networks import weights

    held = weights.names_in(path)
    wanted: dict[str, Any] = {}
    for layer in model.layers:
        for variable in layer.weights:
            spelt = [f"{layer.name}/{name}" for name in OTHER_NAMES.get(variable.name, (variable.name,))]
            wanted[next((name for name in spelt if name in held), spelt[0])] = variable
    for name, tensor in weights.read_tensors(path, list(wanted)).items():
        if tuple(tensor.shape) != tuple(wanted[name].shape):
            shapes = f"{tuple(tensor.shape)}, not {tuple(wanted[name].shape)}"
            raise UnderpaintError(f"weights {path}: {name} has shape {shapes}; is it another network's?")
        wanted[name].assign(tensor)
