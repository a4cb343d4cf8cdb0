"""What Keras Applications has, as the package ships it: layers, and where the weights would come from.

    python benchmarks/keras_zoo.py            # writes src/underpaint/networks/sources/keras.json
    python benchmarks/keras_zoo.py --check    # says what differs from it

Builds every model with random weights and asks Keras for its weights with a stand-in for the download, which notes the
address and the hash. Contacts no host. Takes three minutes on one core.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from underpaint.networks.sources import graph, keras_graph
from underpaint.networks.sources import keras as source

PREPROCESSING = {
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "ResNet50": "resnet",
    "ResNet101": "resnet",
    "ResNet152": "resnet",
    "ResNet50V2": "resnet_v2",
    "ResNet101V2": "resnet_v2",
    "ResNet152V2": "resnet_v2",
    "MobileNet": "mobilenet",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3Small": "mobilenet_v3",
    "MobileNetV3Large": "mobilenet_v3",
    **{f"EfficientNetB{number}": "efficientnet" for number in range(8)},
    **{f"EfficientNetV2{kind}": "efficientnet_v2" for kind in ("B0", "B1", "B2", "B3", "S", "M", "L")},
    **{f"DenseNet{number}": "densenet" for number in (121, 169, 201)},
    "InceptionV3": "inception_v3",
    "InceptionResNetV2": "inception_resnet_v2",
    "Xception": "xception",
    **{f"ConvNeXt{kind}": "convnext" for kind in ("Tiny", "Small", "Base", "Large", "XLarge")},
}
"""The functions of `keras.applications`, and the module of each. NASNet refuses the PyTorch backend."""

NARROWER: dict[str, tuple[float, ...]] = {"MobileNet": (0.75, 0.5, 0.25), "MobileNetV2": (1.4, 1.3, 0.75, 0.5, 0.35)}
"""Models that are published in other widths (`alpha`), `MobileNet-0.75`."""

LICENCES = {"VGG": "CC BY 4.0 (Visual Geometry Group, Oxford)", "ResNet50": "MIT (Kaiming He)"}
"""Of the weights, where Keras states one."""


class Noted(Exception):
    """Keras asked for its weights' file."""


def weights_of(keras: Any, function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Where Keras would fetch the weights."""
    from keras.src.utils import file_utils

    noted: dict[str, Any] = {}

    def note(filename: str, origin: str, file_hash: str | None = None, md5_hash: str | None = None, **_: Any) -> None:
        noted.update(filename=filename, url=origin, checksum=file_hash or md5_hash)
        raise Noted

    real, file_utils.get_file = file_utils.get_file, note
    try:
        getattr(keras.applications, function)(include_top=False, **arguments)
    except Noted:
        pass
    finally:
        file_utils.get_file = real
    return noted


def entry(keras: Any, function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A model's line of keras.json."""
    keras.utils.clear_session()  # the names of layers are numbered anew
    found = source.Entry(function, arguments, PREPROCESSING[function], licence(function), {}, (), ())
    model = source.build(found)
    taps = graph.taps(keras_graph.nodes(model))
    told = asdict(found)
    told["weights"] = weights_of(keras, function, arguments) | {"megabytes": round(model.count_params() * 4 / 1e6)}
    told["taps"] = [[tap.name, tap.stride, tap.channels, tap.ends] for tap in taps.values()]
    told["places"] = list(taps)
    return told


def licence(function: str) -> str:
    """As far as Keras states it."""
    return next((told for name, told in LICENCES.items() if function.startswith(name) and "V2" not in function), "")


def main() -> None:
    """Writes the table, or compares it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    keras, made = source.library(), dict[str, Any]()
    for function in PREPROCESSING:
        made[function] = entry(keras, function, {})
        for alpha in NARROWER.get(function, ()):
            made[f"{function}-{alpha}"] = entry(keras, function, {"alpha": alpha})
        print(function, len(made[function]["taps"]), made[function]["weights"]["filename"], flush=True)
    text = "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(told)}" for name, told in made.items()) + "\n}\n"
    if not args.check:
        source.TABLE.write_text(text, encoding="utf-8")
        return
    known = json.loads(source.TABLE.read_text(encoding="utf-8"))
    differ = [name for name in made.keys() | known.keys() if json.loads(text).get(name) != known.get(name)]
    print("differ:", ", ".join(sorted(differ)) or "none")


if __name__ == "__main__":
    main()
