"""Keras Applications: `keras:NAME`, on Keras' PyTorch backend.

What is known of the models of Keras Applications lies in keras.json (`benchmarks/keras_zoo.py` makes it), so that recipes and
folders can be read without Keras.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from underpaint.errors import UnderpaintError
from underpaint.networks.anatomy import Anatomy
from underpaint.networks.sources import taps
from underpaint.networks.specification import Opening, Source, Specification, WeightsFile

if TYPE_CHECKING:
    import torch

    from underpaint.networks.base import Network

PREFIX = "keras"
EXTRA = "pip install 'underpaint[keras]'"
TABLE = Path(__file__).with_name("keras.json")

COST = 1.5

ALIASES = {"MobileNet-0.75": ("mobilenet_v1_075_224_keras.safetensors",)}
"""Other files with the same weights: tensors by Keras' names, `conv1/kernel`."""


@dataclass(frozen=True)
class Entry:
    """What keras.json says of a model.

    Attributes:
        function: in `keras.applications`.
        arguments: of it.
        preprocessing: the module whose `preprocess_input` makes its input.
        licence: of the weights, as their publisher states it.
        weights: filename, url, checksum (None where Keras states none), megabytes.
        taps: name, stride, channels, whether it ends a block; shallow to deep.
        places: of the taps among the model's operations.
    """

    function: str
    arguments: Mapping[str, Any]
    preprocessing: str
    licence: str
    weights: Mapping[str, Any]
    taps: Sequence[tuple[str, int, int, bool]]
    places: Sequence[int]


@cache
def table() -> Mapping[str, Entry]:
    """Every model by its name."""
    return {name: Entry(**entry) for name, entry in json.loads(TABLE.read_text(encoding="utf-8")).items()}


def names() -> list[str]:
    """As a recipe spells them."""
    return [f"{PREFIX}:{name}" for name in table()]


def find(rest: str) -> str:
    """A model's name as Keras spells it.

    Raises:
        UnderpaintError: there is none of this name.
    """
    known = {name.lower(): name for name in table()}
    if rest.lower() in known:
        return known[rest.lower()]
    if rest.lower().startswith("nasnet"):
        raise UnderpaintError(f"network: keras:{rest}: NASNet does not run on Keras' PyTorch backend; Keras itself says so")
    near = [known[name] for name in get_close_matches(rest.lower(), known, 3, 0.5)]
    raise UnderpaintError(f"network: keras:{rest} is not known; {'near it: ' if near else ''}{', '.join(near or table())}")


def source(rest: str) -> Specification:
    """The specification of a model of Keras Applications. `find`'s error."""
    name = find(rest)
    entry = table()[name]
    weights = entry.weights
    file = WeightsFile(
        f"{PREFIX}:{name}",
        weights["filename"],
        weights["url"],
        weights["checksum"],
        weights["megabytes"],
        ALIASES.get(name, ()),
        Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models",
    )
    return Specification(anatomy(name), file, partial(_open_own, name), COST, entry.licence)


@cache
def anatomy(name: str) -> Anatomy:
    """Of a model of Keras Applications."""
    entry = table()[name]
    found = [taps.Tap(tap, stride, channels, ends) for tap, stride, channels, ends in entry.taps]
    return taps.describe(f"{PREFIX}:{name}", f"{name} (Keras)", found, TUNED.get(name))


TUNED: Mapping[str, Mapping[str, Any]] = {
    name: {"content_weight": 0.42, "content_layers": {"conv_pw_7_relu": 1.0}}
    for name in ("MobileNet", "MobileNet-0.75", "MobileNet-0.5", "MobileNet-0.25")
}
"""Recipes of models that were tuned on real weights; the others bring along those of their strides."""


def library() -> Any:
    """Keras, on its PyTorch backend.

    Raises:
        UnderpaintError: it is not installed, or runs on another backend.
    """
    if "keras" not in sys.modules:
        asked = os.environ.get("KERAS_BACKEND")
        if asked not in (None, "torch"):
            raise UnderpaintError(f"$KERAS_BACKEND: is {asked}; unset it, or set it to torch")
        os.environ["KERAS_BACKEND"] = "torch"  # Keras reads it once, when it is imported
        try:
            import keras
        except ImportError:
            raise UnderpaintError(f"network: Keras is not installed; {EXTRA}") from None
        finally:
            if asked is None:
                del os.environ["KERAS_BACKEND"]
    import keras

    if keras.config.backend() != "torch":
        told = f"Keras runs on {keras.config.backend()} here; start Python with KERAS_BACKEND=torch"
        raise UnderpaintError(f"network: {told}")
    return keras


@contextmanager
def _data_format(keras: Any, kind: str) -> Iterator[None]:
    """Models are built for this order of axes; afterwards Keras' own setting is as it was."""
    before = keras.config.image_data_format()
    keras.config.set_image_data_format(kind)
    try:
        yield
    finally:
        keras.config.set_image_data_format(before)


def build(entry: Entry) -> Any:
    """A model of Keras Applications with random weights: channels first, which is faster, where Keras can."""
    keras = library()
    function = getattr(keras.applications, entry.function)
    arguments = dict(entry.arguments) | {"weights": None, "include_top": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the size is not the one that it was trained at
        try:
            with _data_format(keras, "channels_first"):
                return function(input_shape=(3, None, None), **arguments)
        except ValueError:  # DenseNet and ConvNeXt have channels last alone
            with _data_format(keras, "channels_last"):
                return function(input_shape=(None, None, 3), **arguments)


def _preprocess(entry: Entry) -> Callable[[torch.Tensor], torch.Tensor]:
    """Keras' own, of pictures (N, 3, H, W), 0..1."""
    module = getattr(library().applications, entry.preprocessing)

    def run(image: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = module.preprocess_input(image * 255, data_format="channels_first")
        return made

    return run


def _open_own(name: str, opening: Opening, file: Path) -> Network:
    library()
    from underpaint.networks.sources.keras_network import KerasNetwork, load

    entry = table()[name]
    model = on_device(opening, partial(build, entry))
    load(model, file)
    places = {tap[0]: place for tap, place in zip(entry.taps, entry.places, strict=True)}
    wanted = {layer: places[layer] for layer in opening.layers}
    return KerasNetwork(model, wanted, _preprocess(entry), anatomy(name), opening.device, opening.precision)


def on_device(opening: Opening, make: Callable[[], Any]) -> Any:
    """What is made on the opening's device: Keras would take a GPU wherever there is one."""
    with library().device(str(opening.device)):
        return make()


SOURCE = Source(source)
