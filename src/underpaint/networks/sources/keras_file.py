"""Models of one's own that Keras saved: `FILE.keras` and `FILE.h5`, on Keras' PyTorch backend."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from underpaint.errors import UnderpaintError, first_line
from underpaint.networks.anatomy import Anatomy
from underpaint.networks.sources import beside, graph, taps
from underpaint.networks.sources.beside import Beside, Preprocess
from underpaint.networks.sources.keras import COST, library, on_device
from underpaint.networks.specification import Opening, Specification

if TYPE_CHECKING:
    from underpaint.networks.base import Network


def file(path: Path) -> Specification:
    """The specification of a model of one's own, `.keras` or `.h5`, with a TOML beside it (`networks.sources.beside`); it is
    remembered while its files stay as they are.

    Raises:
        UnderpaintError: it is missing, damaged, carries code, takes no picture, or its TOML does not fit it.
    """
    return _file(path, beside.stamp(path, path.with_suffix(".toml")))


@lru_cache(16)
def _file(path: Path, _: object) -> Specification:
    read = beside.read(path)
    model = load(path)
    found, places = _taps(model, read.beside, path)
    own = read.beside
    told = taps.describe(str(path), own.told or path.stem, found, own.recipe)
    preprocess = own.preprocess or _inside(model, path)
    files = () if read.path is None else (read.path,)
    return Specification(told, path, partial(_open, told, places, preprocess), COST, own.licence, files)


def _taps(model: Any, own: Beside, path: Path) -> tuple[list[taps.Tap], dict[str, int]]:
    """Of a model of one's own: those that its TOML names, or all. And their places."""
    from underpaint.networks.sources import keras_graph

    steps = keras_graph.nodes(model)
    found = graph.taps(steps)
    places = {tap.name: place for place, tap in found.items()}
    if not own.layers:
        return list(found.values()), places
    by_name = {node.name: node for node in steps}
    chosen: list[taps.Tap] = []
    for name, where in own.layers.items():
        node = by_name.get(where)
        if node is None or node.shape is None:
            near = get_close_matches(where, [n.name for n in steps if n.shape], 3, 0.3)
            raise UnderpaintError(
                f"{path.with_suffix('.toml')}: layers: {where!r} is no feature map; near: {', '.join(near)}"
            )
        chosen.append(taps.Tap(name, graph.stride(node), node.shape[2]))
        places[name] = node.place
    return chosen, places


def _inside(model: Any, path: Path) -> Preprocess:
    """A model that begins with its own preprocessing takes values of 0 to 255.

    Raises:
        UnderpaintError: it does not.
    """
    if any(type(layer).__name__ in ("Rescaling", "Normalization") for layer in model.layers[:4]):
        return Preprocess(std=(1.0, 1.0, 1.0))
    where = path.with_suffix(".toml").name
    raise UnderpaintError(f"{path}: how pictures go in is not known; put {where} beside it, with [preprocess] mean and std")


def _open(told: Anatomy, places: Mapping[str, int], preprocess: Preprocess, opening: Opening, path: Path) -> Network:
    library()
    from underpaint.networks.sources.keras_network import KerasNetwork

    model = on_device(opening, partial(load, path))
    wanted = {layer: places[layer] for layer in opening.layers}
    return KerasNetwork(model, wanted, preprocess, told, opening.device, opening.precision)


def load(path: Path) -> Any:
    """A model that Keras saved, once its configuration is known to name nothing but Keras' own layers.

    Raises:
        UnderpaintError: it is damaged, or carries code.
    """
    _check_safe(_configuration(path), path)
    keras = library()
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever Keras raises at what it cannot read
        raise UnderpaintError(f"{path}: Keras cannot load it ({first_line(error)})") from None


def _configuration(path: Path) -> Any:
    """What a model's file says of its layers."""
    import h5py

    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return json.loads(archive.read("config.json"))
        with h5py.File(path, "r") as archive:
            return json.loads(archive.attrs["model_config"])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UnderpaintError(f"{path}: not a model that Keras saved ({first_line(error)}); use model.save") from None


def _check_safe(found: Any, path: Path) -> None:
    """Raises an `UnderpaintError` where a configuration names code: Lambda layers, and what is not Keras' own."""
    if isinstance(found, Mapping):
        kind, module = str(found.get("class_name", "")), found.get("module")
        if kind.strip("_").lower() == "lambda":
            raise UnderpaintError(f"{path}: has a Lambda layer, which is code, and is not opened; use layers of Keras' own")
        foreign = isinstance(module, str) and module.split(".")[0] not in ("keras", "builtins")
        foreign |= ">" in kind and not kind.lower().startswith("keras>")  # as .h5 has registered names
        if foreign or found.get("registered_name") not in (None, kind, *_plain(kind)):
            raise UnderpaintError(f"{path}: {kind} is no layer of Keras' own, and is not opened: it would be code")
        for part in found.values():
            _check_safe(part, path)
    elif isinstance(found, list):
        for part in found:
            _check_safe(part, path)


def _plain(kind: str) -> tuple[str, ...]:
    return (f"keras>{kind}", f"Keras>{kind}")
