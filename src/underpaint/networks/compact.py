"""The compact network: VGG-19 up to relu5_1 with its convolutions factored, small enough to come with the package.

A 3×3 convolution to a few channels, without a ReLU, and a 1×1 convolution back, then VGG's ReLU (Zhang et al. 2015,
"Accelerating Very Deep Convolutional Networks for Classification and Detection", section 3.1); before some, a 1×1 that
brings the input to fewer channels (Kim et al. 2015, arXiv:1511.06530). `training/` makes its weights. The feature maps
approximate VGG-19's own, channel by channel; layers that no default term looks at keep some of their channels only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from underpaint.errors import UnderpaintError
from underpaint.networks.chain import Chain, Convolution, Link
from underpaint.networks.own import COMPACT
from underpaint.networks.specification import Opening, Pooling
from underpaint.networks.vgg import keras_name, pool_before
from underpaint.storage.files import spelt

LAYERS = COMPACT.anatomy.names
"""`relu1_1` … `relu5_1`."""


def load(file: Path, layers: Sequence[str]) -> dict[str, torch.Tensor]:
    """The named layers' tensors, in the file's half precision.

    Raises:
        UnderpaintError: the file is missing or damaged: the installation is.
    """
    from safetensors import SafetensorError, safe_open

    stems = tuple(f"{keras_name(layer)}." for layer in layers)
    try:
        with spelt(file) as plain, safe_open(plain, "pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys() if name.startswith(stems)}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UnderpaintError(f"{file}: damaged ({error}); install underpaint again") from None


class Compact(Chain):
    """The compact network up to the deepest layer that a run needs, frozen.

    Args:
        tensors: `block1_conv1.weight` (O, 3, 3, 3) and `.bias` (O,); for each other convolution `.reduce.weight`
            (r, I, 3, 3), `.expand.weight` (O, r, 1, 1) and `.bias` (O,); where there is a `.project.weight` (s, I, 1, 1),
            `.reduce.weight` is (r, s, 3, 3). Of any floating type; they want RGB, 0..1 minus the mean.
        deepest: the last layer that will be asked for.
        pooling, device, precision: see `Chain`.
    """

    def __init__(
        self,
        tensors: Mapping[str, torch.Tensor],
        deepest: str = LAYERS[-1],
        pooling: Pooling = "max",
        device: torch.device | str = "cpu",
        precision: torch.dtype = torch.float32,
    ) -> None:
        links: list[Link] = []
        for layer in LAYERS[: LAYERS.index(deepest) + 1]:
            links += pool_before(layer)
            name = keras_name(layer)
            if not links:
                links.append(Convolution(layer, tensors[f"{name}.weight"], tensors[f"{name}.bias"], pad=0))
                continue
            if f"{name}.project.weight" in tensors:
                links.append(Convolution(None, tensors[f"{name}.project.weight"], None, pad=0))
            links.append(Convolution(None, tensors[f"{name}.reduce.weight"], None, pad=1))
            links.append(Convolution(layer, tensors[f"{name}.expand.weight"], tensors[f"{name}.bias"], pad=0))
        super().__init__(COMPACT.anatomy, links, pooling, device, precision)


def opened(opening: Opening, file: Path) -> Compact:
    """The network of the weights file that comes with the package, see `Specification.open`.

    Raises:
        UnderpaintError: see `load`.
    """
    tensors = load(file, opening.layers)
    return Compact(tensors, opening.layers[-1], opening.pooling, opening.device, opening.precision)
