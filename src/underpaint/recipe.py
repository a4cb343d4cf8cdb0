"""The recipe: everything that determines a pastiche besides the pictures and the weights."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from underpaint.captions import short
from underpaint.errors import UnderpaintError
from underpaint.extensions import OPTIMIZERS, STATISTICS, TERMS, Registry
from underpaint.networks.anatomy import Anatomy
from underpaint.networks.registry import anatomy, specification


def _known(registry: Registry[Any]) -> AfterValidator:
    """Refuses a name that nothing has, in the words of pydantic's own choices."""

    def check(name: str) -> str:
        if name not in registry:
            *most, last = map(repr, registry)
            raise ValueError(f"Input should be {', '.join(most)} or {last}")
        return name

    return AfterValidator(check)


def _network(name: str) -> str:
    """Refuses a network that there is not, in the words of what it would come from."""
    try:
        specification(name)
    except UnderpaintError as error:
        raise ValueError(str(error).removeprefix("network: ")) from None
    return name


NetworkName = Annotated[str, AfterValidator(_network)]
Pooling = Literal["max", "average"]
Preset = Literal["draft", "standard", "fine", "gatys"]
Optimizer = Annotated[str, _known(OPTIMIZERS)]
Statistic = Annotated[str, _known(STATISTICS)]
TermName = Annotated[str, _known(TERMS)]
KeepColor = Literal["no", "luminance", "histogram", "covariance"]
Start = Literal["content", "noise", "file"]
Precision = Literal["auto", "float32", "bf16"]
Weight = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Layer = Annotated[str, Field(pattern=r"^[A-Za-z0-9_./]+$")]

GATYS: dict[str, Any] = {
    "statistic": "gram",
    "content_weight": 0.12,
    "color_weight": 0.0,
    "palette_weight": 0.0,
    "smoothness": 2.0,
    "smoothness_growth": 2.0,
    "diagonals": 0.0,
    "crop": False,
    "smallest": 64,
}
"""The objective that was the default before: Gram terms (Gatys et al. 2016), of equal weight, no terms on colours."""

OF_OPTIMIZERS = ("iterations", "rate", "final_rate", "betas")
"""Fields that mean something else for another optimiser."""

EQUAL = ("gatys",)
"""Presets whose style layers weigh the same."""

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "lbfgs": {
        "draft": {"iterations": (3, 3, 3, 4, 8)},
        "standard": {"iterations": (17, 18, 24, 32, 44)},
        "fine": {"iterations": (80,), "stop": 0.01},
        "gatys": GATYS | {"iterations": (17, 18, 24, 32, 44)},
    },
    "adam": {
        "draft": {"iterations": (6, 8, 9, 10)},
        "standard": {"iterations": (24, 32, 36, 40)},
        "fine": {"iterations": (100, 140, 160), "stop": 0.01},
        "gatys": GATYS | {"iterations": (24, 32, 36, 40)},
    },
}
"""What a preset stands for, by optimiser. `draft` costs about a quarter of `standard` (benchmarks/stylize.py curve)."""

FIRST: dict[str, Any] = {
    "network": "compact",
    "polish": 0,
    "pooling": "max",
    "size": 512,
    "smallest": 91,
    "preset": "standard",
    "iterations": [],
    "optimizer": "lbfgs",
    "rate": 0.02,
    "final_rate": 0.02,
    "betas": [0.9, 0.99],
    "average_from": 0.0,
    "average_decay": 0.98,
    "carry_moments": False,
    "stop": 0.0,
    "patience": 20,
    "content_layers": {"relu4_2": 1.0},
    "style_layers": {"relu1_1": 4.0, "relu2_1": 2.0, "relu3_1": 1.0, "relu4_1": 0.5, "relu5_1": 0.25},
    "content_weight": 0.14,
    "style_weight": 1.0,
    "protect_weight": 20.0,
    "color_weight": 0.0,
    "palette_weight": 0.0,
    "smoothness": 4.0,
    "diagonals": 0.0,
    "smoothness_growth": 2.0,
    "strength": 0.5,
    "statistic": "gram",
    "terms": {},
    "style_weights": [],
    "style_scale": 1.0,
    "crop": False,
    "keep_color": "no",
    "start": "content",
    "start_noise": 0.0,
    "seed": 0,
    "precision": "float32",
    "chroma_smoothness": 1.0,
    "enlarge": 1.0,
    "shift": 0,
}
"""Of every field, what a kept recipe that lacks it stands for: one from before there was the field painted so. A new field
joins with that value, and nothing else here ever changes: `Recipe.digest` leaves out what is as it is here, so that it stays
the same when defaults change and fields come."""


class Recipe(BaseModel):
    """One way to paint. Frozen; every field has a default; unknown fields are refused.

    Attributes:
        network: "compact" (comes with the package), "vgg19" or "vgg16", or one of another package.
        polish: this many steps more at `size` with the network that `network` approximates (VGG-19, of the compact one).
        pooling: "max" as trained, or "average" (smoother).
        size: longest side of the pastiche, pixels.
        smallest: sizes grow from at least this longest side by √2 up to `size`.
        iterations: optimiser steps at each size, from the finest down; the last number holds for all smaller ones.
        preset: "draft", "standard" or "fine": stands for `iterations` and `stop` where they are not given (`PRESETS`);
            "gatys" for the objective of Gatys et al. 2016 as well, in `standard`'s time.
        optimizer: "lbfgs" or "adam". Not given, it is "lbfgs", but "adam" for the sliced statistic, which draws new
            directions at every step and would have to keep them for a line search.
        rate, final_rate: Adam's learning rate at the start and the end of each size (half a cosine), 0..1 pixels. L-BFGS
            moves no pixel further than `rate` in the first trial of a size.
        betas: Adam's decays.
        average_from: the running average of the iterates starts after this share of each size, 0..1; 1 is the last
            iterate itself. Its decay is `average_decay` once it has seen that many.
        carry_moments: Adam's moments go along to the next size.
        stop: relative improvement of the total, over the last `patience` steps, under which a size ends; 0 never does.
        content_layers, style_layers: weight by layer name; equal weights count alike. Those of the style
            fall with depth by default: shallow layers set strokes and colours, deep ones paste the style's objects.
        content_weight, style_weight, color_weight, palette_weight, smoothness: weights of the kinds of terms.
        protect_weight: how many times the content's terms count where the mask of a protected part is white; needs that mask.
        smoothness_growth: at a smaller size, smoothness is multiplied by (that size / `size`) to this power: small sizes
            set strokes, which smoothing hinders, large ones fine texture, which it keeps clean.
        diagonals: share of diagonal neighbours in smoothness, see `underpaint.losses.terms.SmoothnessTerm`.
        strength: one knob from content (0) to style (1): content's weight times (2 − 2s)², style's and colours' times (2s)².
        statistic: "wasserstein" (of Gaussians), "gram", "moments" or "sliced".
        terms: weight by kind, of the terms that other packages add (docs/extending.md).
        style_weights: shares of the style pictures; empty for equal ones.
        style_scale: longest side of a style picture relative to the pastiche's.
        crop: whether a style picture's border (a frame, a scanner's margin; `borders.find`) is cut off.
        keep_color: "no", "luminance", "histogram" or "covariance".
        start: "content", "noise", or "file" (the picture given beside the recipe).
        start_noise: standard deviation of noise added to the start, 0..1.
        seed: what all randomness depends on.
        precision: "float32" or "bf16" (the network only; pixels and sums stay in float32); "auto" is the faster of the
            two on the machine that paints, and a run's own recipe has what was chosen. Explanations and ablations, which
            compare many runs, take "auto" for "float32".
        chroma_smoothness: how many times differences in colour count in smoothness, beside those in brightness.
        enlarge: how many times as large, along one side, the network is shown the picture.
        shift: the network is shown the picture moved by up to so many pixels, another way at every step (L-BFGS, which needs
        one
            function: at every size).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    network: NetworkName = "compact"
    polish: int = Field(0, ge=0, le=100_000)
    pooling: Pooling = "max"
    size: int = Field(512, ge=32, le=8192)
    smallest: int = Field(91, ge=32, le=8192)
    preset: Preset = "standard"
    iterations: tuple[Annotated[int, Field(ge=1, le=100_000)], ...] = Field(default=(), max_length=32)
    optimizer: Optimizer = "lbfgs"
    rate: float = Field(0.02, gt=0, le=1)
    final_rate: float = Field(0.02, gt=0, le=1)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.99)
    average_from: float = Field(0.0, ge=0, le=1)
    average_decay: float = Field(0.98, ge=0, lt=1)
    carry_moments: bool = False
    stop: float = Field(0.0, ge=0, lt=1)
    patience: int = Field(20, ge=2, le=10_000)
    content_layers: dict[Layer, Weight] = {"relu4_2": 1.0}
    style_layers: dict[Layer, Weight] = {
        "relu1_1": 4.0,
        "relu2_1": 2.0,
        "relu3_1": 1.0,
        "relu4_1": 0.5,
        "relu5_1": 0.25,
    }
    content_weight: Weight = 0.14
    style_weight: Weight = 1.0
    protect_weight: Weight = 20.0
    color_weight: Weight = 0.5
    palette_weight: Weight = 0.05
    smoothness: Weight = 4.0
    diagonals: float = Field(0.2, ge=0, le=0.5)
    smoothness_growth: float = Field(2.0, ge=-4, le=4)
    strength: float = Field(0.5, ge=0, le=1)
    statistic: Statistic = "wasserstein"
    terms: dict[TermName, Weight] = {}
    style_weights: tuple[Weight, ...] = ()
    style_scale: float = Field(1.0, ge=0.1, le=10)
    crop: bool = True
    keep_color: KeepColor = "no"
    start: Start = "content"
    start_noise: float = Field(0.0, ge=0, le=1)
    seed: int = Field(0, ge=0, lt=2**31)
    precision: Precision = "auto"
    chroma_smoothness: float = Field(1.0, ge=0, le=1000)
    enlarge: float = Field(1.0, ge=1, le=4)
    shift: int = Field(0, ge=0, le=64)

    @field_validator("style_layers", "iterations")
    @classmethod
    def _some(cls, given: Any) -> Any:
        if not given:
            raise ValueError("is empty; name at least one, or leave it out")
        return given

    @model_validator(mode="wrap")
    @classmethod
    def _fill(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Fields that were not given, as `preset` and `optimizer` say; they do not count as set."""
        if not isinstance(given, Mapping):
            return handler(given)
        given = {name: value for name, value in given.items() if name != "style_weights" or value != ()}
        own = dict(_own(given.get("network", "compact")))
        preferred = own.get("optimizer", "lbfgs")
        optimizer = given.get("optimizer", "adam" if given.get("statistic") == "sliced" else preferred)
        if optimizer != preferred:  # what a network paints best with is of its own optimiser
            own = {name: value for name, value in own.items() if name not in OF_OPTIMIZERS}
        presets = PRESETS.get(optimizer, PRESETS["adam"]) if isinstance(optimizer, str) else {}
        preset = given.get("preset", "standard")
        brought = presets.get(preset, {}) if isinstance(preset, str) else {}
        layers = _layers(given.get("network", "compact"), preset)
        # What a network paints best with is for `standard`; what another preset stands for comes over it.
        over = brought | own if preset == "standard" else own | brought
        filled = over | {"optimizer": optimizer} | layers | given
        recipe = handler(filled)
        recipe.model_fields_set.difference_update(filled.keys() - given.keys())
        return recipe

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.style_weights and not sum(self.style_weights):
            raise ValueError("style_weights: at least one must be above 0")
        if self.polish and anatomy(self.network).approximates is None:
            raise ValueError(f"polish: finishes a run of the compact network with VGG-19; {self.network} needs none")
        if own := [name for name in self.terms if name in TERMS.own]:
            raise ValueError(f"terms: {own[0]} has fields of its own; this one weighs the terms of other packages")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Terms of other packages are told where there are any: kept recipes stay as they were."""
        told: dict[str, Any] = handler(self)
        return told if self.terms else {name: value for name, value in told.items() if name != "terms"}

    def networks(self) -> tuple[str, ...]:
        """The network that paints and, of a run that is polished, the one that it approximates."""
        finer = anatomy(self.network).approximates
        return (self.network, finer) if self.polish and finer is not None else (self.network,)

    def sizes(self) -> tuple[int, ...]:
        """Longest sides, smallest first: `size` divided by powers of √2, none under `smallest`; `size` again to polish."""
        sizes = [self.size]
        while round(self.size / 2 ** (len(sizes) / 2)) >= self.smallest:
            sizes.append(round(self.size / 2 ** (len(sizes) / 2)))
        return (*reversed(sizes), *[self.size] * bool(self.polish))

    def schedule(self) -> tuple[int, ...]:
        """Steps at each of `sizes()`, smallest size first."""
        count = len(self.sizes()) - bool(self.polish)
        steps = [self.iterations[min(i, len(self.iterations) - 1)] for i in range(count)]
        return (*reversed(steps), *[self.polish] * bool(self.polish))

    def share_done(self, scale: int, count: int) -> float:
        """How much of a run's work is done, 0..1, after `count` steps at a scale: work goes by the pixels."""
        work = [size**2 * steps for size, steps in zip(self.sizes(), self.schedule(), strict=True)]
        return min(1.0, (sum(work[:scale]) + count * self.sizes()[scale] ** 2) / sum(work))

    def polishes(self, scale: int) -> bool:
        """Whether a place in `sizes()` is the polish."""
        return bool(self.polish) and scale % len(self.sizes()) == len(self.sizes()) - 1

    def __repr__(self) -> str:
        given = (f"{name}={getattr(self, name)!r}" for name in Recipe.model_fields if name in self.model_fields_set)
        return f"Recipe({short(', '.join(given), 180)})"

    def digest(self) -> str:
        """A stable hash, 64 hexadecimal digits: equal for equal recipes on every machine and, since it leaves out what is as
        `FIRST` has it, in every version that has the fields which differ."""
        fields = self.model_dump(mode="json")
        return _hash({name: value for name, value in fields.items() if name not in FIRST or value != FIRST[name]})


def _own(network: object) -> Mapping[str, Any]:
    """The fields, but for layers, that a network's own anatomy brings along; none of a network that is not known."""
    own = _anatomy(network)
    return {} if own is None else own.recipe


def _anatomy(network: object) -> Anatomy | None:
    """None of a network that is not known: the field's own check says so."""
    try:
        return anatomy(network) if isinstance(network, str) else None
    except UnderpaintError:
        return None


def _layers(network: object, preset: object) -> dict[str, dict[str, float]]:
    """The layers that a network's own anatomy and the preset bring along; none of a network that is not known."""
    own = _anatomy(network)
    if own is None:
        return {}
    style = dict.fromkeys(own.style_layers, 1.0) if preset in EQUAL else dict(own.style_layers)
    return {"content_layers": dict(own.content_layers), "style_layers": style}


def make(fields: Mapping[str, Any], source: str = "") -> Recipe:
    """A recipe from its fields, with one line about the first thing that is wrong in them.

    Raises:
        UnderpaintError: names the field, and `source` (a file) when there is one.
    """
    try:
        return Recipe.model_validate(plain(fields))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "recipe"
        got = "" if isinstance(first["input"], Mapping) else f" (got {first['input']!r})"
        if first["type"] == "extra_forbidden":
            raise UnderpaintError(f"{source}{place}: no such field; a recipe has {', '.join(Recipe.model_fields)}") from None
        told = first["msg"].removeprefix("Value error, ")
        raise UnderpaintError(f"{source}{place}: {told}{got}") from None


def kept(fields: Mapping[str, Any], source: str = "") -> Recipe:
    """The recipe of a folder, from all fields that a recipe had when it was kept; what its preset brings along does not
    count as set. `make`'s errors."""
    return said(make(FIRST | dict(fields), source))


def digests(fields: Mapping[str, Any]) -> tuple[str, str]:
    """What a kept recipe's checkpoint may call it: its digest, or the hash of all fields, as before there was `FIRST`."""
    return kept(fields).digest(), _hash(fields)


def _hash(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def plain(value: Any) -> Any:
    """NumPy's and torch's numbers, arrays and the members of enumerations as Python's own, within containers too."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {plain(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return tuple(plain(part) for part in value)
    return value.tolist() if hasattr(value, "tolist") else value  # without an import of either


def said(recipe: Recipe) -> Recipe:
    """The same recipe, of which only those fields count as set that its preset and optimiser do not bring along: of a recipe
    that was kept whole, what somebody asked for."""
    named: dict[str, Any] = {"preset": recipe.preset}
    for name in ("network", "statistic", "optimizer"):  # each decides what the ones after it would be by themselves
        if getattr(make(named), name) != getattr(recipe, name):
            named[name] = getattr(recipe, name)
    plain = make(named)
    own = {name for name in Recipe.model_fields if getattr(plain, name) != getattr(recipe, name)} | named.keys()
    if recipe.preset == Recipe.model_fields["preset"].default:
        own.discard("preset")
    return Recipe.model_construct(own, **{name: getattr(recipe, name) for name in Recipe.model_fields})


def whole(value: Any, field: str, least: int) -> int:
    """A whole number, whichever library's it is.

    Raises:
        UnderpaintError: it is none, or under `least`.
    """
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise UnderpaintError(f"{field}: a whole number, {least} or more, is needed (got {short(repr(value))})")
    return number


def weights_of(layers: Iterable[str], preset: str = "standard", network: str = "compact") -> dict[str, float]:
    """Style layers given by name alone, each with the weight that the preset's own layer of its block has; 1 without one.

    Raises:
        UnderpaintError: no such network or layer.
    """
    own, default = anatomy(network), make({"preset": preset, "network": network}).style_layers
    by_block = {own.layer(layer).block: weight for layer, weight in default.items()}
    return {layer: by_block.get(own.layer(layer).block, 1.0) for layer in layers}


def read_toml(path: Path) -> dict[str, Any]:
    """The fields in a recipe file; `make` checks them.

    Raises:
        UnderpaintError: the file is missing, or not TOML.
    """
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise UnderpaintError(f"--recipe {path}: {error.strerror}; name a TOML file that can be read") from None
    except UnicodeDecodeError as error:
        raise UnderpaintError(f"--recipe {path}: not TOML: {error}") from None


def parse(text: str, where: str) -> dict[str, Any]:
    """The fields in a recipe's TOML.

    Raises:
        UnderpaintError: it is not TOML.
    """
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))  # some editors begin UTF-8 with a byte order mark
    except tomllib.TOMLDecodeError as error:
        raise UnderpaintError(f"--recipe {where}: not TOML: {error}") from None


def to_toml(fields: Mapping[str, Any]) -> str:
    """Fields of a recipe as TOML, one a line: what `parse` reads back as they were."""
    return "".join(f"{name} = {_toml(value)}\n" for name, value in fields.items())


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_toml(str(key))} = {_toml(part)}" for key, part in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(part) for part in value) + "]"
    if isinstance(value, str):  # JSON's strings are TOML's, but for DEL
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool | int | float):
        return str(value).lower()  # `true`, `1`, `0.5`, `1e-05`, `inf`
    raise TypeError(f"a {type(value).__name__} has no form in TOML")
