"""The networks that this package opens itself: what they say of themselves, and how they are opened. Without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from underpaint.networks.anatomy import Anatomy, Depth, Layer
from underpaint.networks.specification import Opening, Specification, WeightsFile

if TYPE_CHECKING:
    from underpaint.networks.base import Network

_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"

_DEPTHS: tuple[Depth, ...] = ("shallow", "shallow", "middle", "deep", "deep")
"""Of VGG's five blocks."""

_JUDGES = ((2,), (2,), (3, 4, 2), (3, 4, 2), (2, 3, 4))
"""Which convolutions of each block judge: the first of these that the network has and no term looks at."""

CHANNELS = (64, 128, 256, 512, 512)
"""Of VGG's five blocks (Simonyan & Zisserman 2014, table 1)."""

CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


def _layers(convolutions: tuple[int, ...], kept: dict[str, int] | None = None) -> tuple[Layer, ...]:
    """`relu1_1` and so on; `kept` has the channels of layers that lost some."""
    found = []
    for block, count in enumerate(convolutions, 1):
        for place in range(1, count + 1):
            name = f"relu{block}_{place}"
            channels = (kept or {}).get(name, CHANNELS[block - 1])
            found.append(Layer(name, _DEPTHS[block - 1], block, 1 << (block - 1), channels, f"{block}_{place}"))
    return tuple(found)


def _anatomy(name: str, told: str, layers: tuple[Layer, ...], approximates: str | None = None) -> Anatomy:
    names = {layer.name for layer in layers}
    judges = [[f"relu{block}_{place}" for place in order] for block, order in enumerate(_JUDGES, 1)]
    there = [tuple(layer for layer in group if layer in names) for group in judges]
    return Anatomy(
        name,
        told,
        layers,
        content_layers={"relu4_2": 1.0},
        style_layers={"relu1_1": 4.0, "relu2_1": 2.0, "relu3_1": 1.0, "relu4_1": 0.5, "relu5_1": 0.25},
        judges=tuple(group for group in there if group),
        similarity_layers=("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
        cfsd_layer="relu3_1",
        approximates=approximates,
    )


def _vgg(opening: Opening, file: Path) -> Network:
    from underpaint.networks import vgg

    return vgg.opened(opening, file)


def _compact(opening: Opening, file: Path) -> Network:
    from underpaint.networks import compact

    return compact.opened(opening, file)


# Names, addresses and hashes as in keras.applications.vgg19 and .vgg16.
VGG19 = Specification(
    _anatomy("vgg19", "VGG-19", _layers(CONVOLUTIONS["vgg19"])),
    WeightsFile(
        "vgg19",
        "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        f"{_KERAS}/vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "253f8cb515780f3b799900260a226db6",
        80,
        ("vgg19_imagenet_conv.safetensors",),
    ),
    _vgg,
    cost=1.3,
)
VGG16 = Specification(
    _anatomy("vgg16", "VGG-16", _layers(CONVOLUTIONS["vgg16"])),
    WeightsFile(
        "vgg16",
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        f"{_KERAS}/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "6d6bbae143d832006294945121d1f1fc",
        59,
        ("vgg16_imagenet_conv.safetensors",),
    ),
    _vgg,
    cost=1.3,
)

_KEPT = {"relu1_2": 32, "relu2_2": 64, "relu3_2": 128, "relu3_3": 128, "relu3_4": 128, "relu4_3": 256, "relu4_4": 256}
COMPACT = Specification(
    _anatomy("compact", "the compact network", _layers((2, 2, 4, 4, 1), _KEPT), approximates="vgg19"),
    Path(__file__).with_name("compact.safetensors"),
    _compact,
    cost=1.5,
)
