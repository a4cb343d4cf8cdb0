"""VGG-16 and VGG-19 (Simonyan & Zisserman 2014, arXiv:1409.1556): their layers, and the chain that they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from underpaint.networks import weights
from underpaint.networks.chain import Chain, Convolution, Link, Pool
from underpaint.networks.own import VGG16, VGG19
from underpaint.networks.specification import Opening, Pooling

SPECIFICATIONS = {"vgg16": VGG16, "vgg19": VGG19}

AVERAGE_POOL_GAIN = (1.171, 1.616, 1.395, 1.935)
"""What average pooling is multiplied by, block by block: see `Vgg`."""


def layer_names(name: str) -> tuple[str, ...]:
    """`relu1_1` … `relu5_4` of "vgg19" (or `relu5_3` of "vgg16"), shallow to deep."""
    return SPECIFICATIONS[name].anatomy.names


def keras_name(layer: str) -> str:
    """`relu4_2` is fed by the convolution that Keras calls `block4_conv2`."""
    block, index = layer.removeprefix("relu").split("_")
    return f"block{block}_conv{index}"


def pool_before(layer: str) -> list[Link]:
    """The pooling that the layer's convolution is fed by: one `Pool` at the start of blocks 2 to 5, else nothing."""
    block, index = int(layer[4]), int(layer[6:])
    return [Pool(AVERAGE_POOL_GAIN[block - 2])] if index == 1 and block > 1 else []


class Vgg(Chain):
    """VGG-16 or VGG-19 up to the deepest layer that a run needs, frozen.

    Departures from the paper: the first convolution pads by replicating the border (see `Chain`); pooling rounds sizes
    up, so that no row of an odd-sized picture is dropped; pooling may be `average`. Average pooling gives smaller
    values than max pooling, so each pooling layer's output is multiplied by a constant, the ratio of the
    root mean squares of max-pooled and average-pooled activations (`benchmarks/pooling.py` measures it on the sample
    pictures), to keep deeper layers in the range that they were trained on.

    The weights want BGR, 0..255: the order of the channels and the scale are folded into the first convolution.

    Args:
        name: "vgg16" or "vgg19".
        tensors: `block1_conv1.weight` (O, I, 3, 3) and `block1_conv1.bias` (O,), and so on, float32.
        deepest: the last layer that will be asked for.
        pooling, device, precision: see `Chain`.
    """

    def __init__(
        self,
        name: str,
        tensors: Mapping[str, torch.Tensor],
        deepest: str,
        pooling: Pooling = "max",
        device: torch.device | str = "cpu",
        precision: torch.dtype = torch.float32,
    ) -> None:
        names = layer_names(name)
        links: list[Link] = []
        for layer in names[: names.index(deepest) + 1]:
            links += pool_before(layer)
            weight, bias = (tensors[f"{keras_name(layer)}.{part}"] for part in ("weight", "bias"))
            first = not links
            links.append(Convolution(layer, weight.flip(1) * 255 if first else weight, bias, pad=0 if first else 1))
        super().__init__(SPECIFICATIONS[name].anatomy, links, pooling, device, precision)


def opened(opening: Opening, file: Path) -> Vgg:
    """The network of a weights file, see `Specification.open`.

    Raises:
        UnderpaintError: see `weights.load`.
    """
    tensors = weights.load(file, [keras_name(layer) for layer in opening.layers])
    return Vgg(opening.name, tensors, opening.layers[-1], opening.pooling, opening.device, opening.precision)
