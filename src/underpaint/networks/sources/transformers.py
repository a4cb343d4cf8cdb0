"""Vision transformers by the transformers library: `hf:FOLDER`, or `hf:ID` of what lies in its cache.

A transformer's tokens are feature maps once they lie where their patches do. Three kinds of layers:

    patches              the patches' linear embeddings, before positions are added
    block1, block2, ...  the tokens after a block; class and register tokens are left out
    blockN.keys          the keys of its attention (Tumanyan et al. 2022, "Splicing ViT Features for Semantic Appearance
                         Transfer", CVPR)
    blockN.similarity    how alike the keys of each two places are, by cosines: (1, n, h, w) for n places; structure without
                         looks (ibid., eq. 3). For content: a style of it means little

Departure: patches overlap by half, which a network that was trained on patches side by side takes well (Amir et al. 2021,
"Deep ViT Features as Dense Visual Descriptors"), and positions are resampled to match.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from underpaint.errors import UnderpaintError, first_line
from underpaint.networks.anatomy import DEPTHS, PIXELS, Anatomy, Layer
from underpaint.networks.sources import beside, taps
from underpaint.networks.sources.beside import Preprocess
from underpaint.networks.specification import Announce, Opening, Source, Specification
from underpaint.storage import documents

if TYPE_CHECKING:
    from underpaint.networks.base import Network

PREFIX = "hf"
EXTRA = "pip install 'underpaint[transformers]'"
HOST = "huggingface.co"
CONFIGURATION, WEIGHTS, PREPROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"

COST = 1.5

MODELS = {
    "vit": "ViTModel",
    "dinov2": "Dinov2Model",
    "dinov2_with_registers": "Dinov2WithRegistersModel",
    "clip": "CLIPVisionModel",
    "clip_vision_model": "CLIPVisionModel",
}
"""The library's classes, by what config.json calls a model's type."""

_HALF, _IMAGENET = ((0.5,) * 3, (0.5,) * 3), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
MEANS = {"vit": _HALF, "dinov2": _IMAGENET, "dinov2_with_registers": _IMAGENET, "clip": _CLIP, "clip_vision_model": _CLIP}
"""Mean and deviation of values from 0 to 1, where there is no preprocessor_config.json."""

RECIPE: Mapping[str, Any] = {
    **taps.RECIPE,
    "content_weight": 0.55,
    "color_weight": 0.5,
    "palette_weight": 0.4,
    "smoothness": 3.0,
    "chroma_smoothness": 12.0,
}
"""What a transformer brings along: as networks that halve the picture, with more against foreign colours."""

STYLE = (2.0, 1.0, 1.0, 1.0, 0.5)
"""Weights of the style layers: the pixels, and blocks at these twelfths of the depth: ..."""

AT = (1, 3, 5, 7)
"""... later blocks paste coloured blots into corners."""


@dataclass(frozen=True)
class Shape:
    """What config.json says.

    Attributes:
        kind: of `MODELS`.
        blocks, channels: how many blocks, and features of a token.
        patch: side of a patch, pixels.
        extra: tokens that are no patches: the class and the registers.
        step: pixels from one patch to the next.
    """

    kind: str
    blocks: int
    channels: int
    patch: int
    extra: int
    step: int


def source(rest: str) -> Specification:
    """The specification of a transformer in a folder, or in the library's cache.

    Raises:
        UnderpaintError: it is not on this machine, of a kind that is not known, or its weights are pickles.
    """
    folder = find(rest)
    return _source(rest, folder, beside.stamp(*(folder / name for name in (CONFIGURATION, PREPROCESSOR, WEIGHTS))))


@lru_cache(16)
def _source(rest: str, folder: Path, _: object) -> Specification:
    configuration = _read(folder / CONFIGURATION)
    shape = _shape(configuration, folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise UnderpaintError(f"network: {folder}: has no {WEIGHTS}; other formats can carry code and are not opened")
    others = [folder / CONFIGURATION]
    if (folder / PREPROCESSOR).is_file():
        others.append(folder / PREPROCESSOR)
    told = describe(f"{PREFIX}:{rest}", Path(rest).name, shape)
    return Specification(told, path, partial(_open, told, shape, _preprocess(folder, shape)), COST, beside=tuple(others))


def find(rest: str) -> Path:
    """The folder of a transformer: as named, or in the library's cache. Contacts no host.

    Raises:
        UnderpaintError: it is not on this machine.
    """
    if (Path(rest) / CONFIGURATION).is_file():
        return Path(rest)
    if Path(rest).is_dir():
        raise UnderpaintError(
            f"network: {rest}: has no {CONFIGURATION}; name the folder of a model of the transformers library"
        )
    missing = f"hf:{rest} is not on this machine; `underpaint networks --fetch hf:{rest}` gets it from {HOST}"
    try:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        raise UnderpaintError(f"network: {missing}; it needs {EXTRA}") from None
    try:
        found = try_to_load_from_cache(rest, CONFIGURATION)
    except HFValidationError:
        raise UnderpaintError(f"network: hf:{rest}: neither a folder nor an ID, OWNER/NAME") from None
    if not isinstance(found, str):
        raise UnderpaintError(f"network: {missing}")
    return Path(found).parent


def fetch(rest: str, announce: Announce) -> Path:
    """A transformer's three files into the library's cache, unless it is a folder's name; its folder.

    Raises:
        UnderpaintError: the library is not installed, or the host has no such model, or none as safetensors.
    """
    if Path(rest).is_dir():
        return find(rest)
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError
    except ImportError:
        raise UnderpaintError(f"network: hf:{rest} needs {EXTRA}") from None
    announce(f"Downloading hf:{rest} ({CONFIGURATION}, {PREPROCESSOR}, {WEIGHTS}) from {HOST} to its library's cache")
    folder = Path()
    for name in (CONFIGURATION, PREPROCESSOR, WEIGHTS):
        try:
            folder = Path(hf_hub_download(rest, name)).parent
        except EntryNotFoundError:
            if name != PREPROCESSOR:
                raise UnderpaintError(f"network: hf:{rest}: has no {name}; models without it are not opened") from None
        except Exception as error:  # whatever the library raises where it cannot fetch
            raise UnderpaintError(f"network: hf:{rest}: cannot be fetched from {HOST} ({first_line(error)})") from None
    return folder


def _read(path: Path) -> dict[str, Any]:
    with documents.told(path, "fetch the model again"):
        found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise UnderpaintError(f"{path}: is no configuration of a model; fetch the model again")
    return found


def _shape(configuration: Mapping[str, Any], folder: Path) -> Shape:
    kind = configuration.get("model_type")
    if kind not in MODELS:
        raise UnderpaintError(f"network: {folder}: is a {kind!r}, not one of {', '.join(MODELS)}")
    own = configuration.get("vision_config", {}) if kind == "clip" else configuration
    defaults = {"num_hidden_layers": 12, "hidden_size": 768, "patch_size": 32 if kind.startswith("clip") else 16}
    numbers = {name: own.get(name, default) for name, default in defaults.items()}
    wrong = next((name for name, value in numbers.items() if type(value) is not int or not 0 < value < 100_000), None)
    if wrong is not None:
        raise UnderpaintError(f"{folder / CONFIGURATION}: {wrong}: a whole number above 0 is needed")
    registers = own.get("num_register_tokens", 4) if kind == "dinov2_with_registers" else 0
    patch = numbers["patch_size"]
    return Shape(kind, numbers["num_hidden_layers"], numbers["hidden_size"], patch, 1 + int(registers), max(1, patch // 2))


def _preprocess(folder: Path, shape: Shape) -> Preprocess:
    """(x − mean) / std as the model's own files have it."""
    told = _read(folder / PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else {}
    default = MEANS[shape.kind]
    mean, std = (
        tuple(255 * float(v) for v in told.get(n, d)) for n, d in zip(("image_mean", "image_std"), default, strict=True)
    )
    return Preprocess.model_validate({"mean": mean, "std": std})


def describe(name: str, told: str, shape: Shape) -> Anatomy:
    """A transformer's anatomy. Of its five style layers two are shallow, one is middle and two are deep, as of other
    networks.

    Raises:
        UnderpaintError: it has too few blocks.
    """
    stride = max(1, round(shape.step / RECIPE["enlarge"]))
    at = [-(-share * shape.blocks // 12) for share in AT]
    if len(set(at)) < len(at) or shape.blocks <= at[-1]:
        raise UnderpaintError(f"network: {name} has {shape.blocks} blocks; six at least are needed to paint and to judge")
    layers = [PIXELS, Layer("patches", "shallow", 1, stride, shape.channels, "patches")]
    judges: list[list[str]] = [["patches"], [f"block{at[1]}.keys"], []]
    for number in range(1, shape.blocks + 1):
        block = 2 + sum(number >= each for each in at[1:])
        depth = taps.depth(block)
        for kind in ("keys", "similarity", ""):
            layer = f"block{number}" + (f".{kind}" if kind else "")
            layers.append(Layer(layer, depth, block, stride, 0 if kind == "similarity" else shape.channels, layer[5:]))
        if number not in at:
            judges[DEPTHS.index(depth)].insert(0 if depth != "deep" else len(judges[2]), f"block{number}")
    style = [PIXELS.name, *(f"block{number}" for number in at)]
    found = Anatomy(
        name,
        told,
        tuple(layers),
        content_layers={f"block{at[1]}": 1.0},
        style_layers=dict(zip(style, STYLE, strict=True)),
        judges=tuple(tuple(group) for group in judges),
        recipe=RECIPE,
    )
    found.held_out([*found.style_layers, *found.content_layers])
    return found


def _open(told: Anatomy, shape: Shape, preprocess: Preprocess, opening: Opening, path: Path) -> Network:
    from underpaint.networks.sources.transformer_network import opened

    return opened(told, shape, preprocess, opening, path)


SOURCE = Source(source, fetch)
