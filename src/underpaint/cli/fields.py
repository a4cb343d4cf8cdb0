"""Fields: what flags say, as fields of a recipe and as options."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from underpaint.cli.bars import download_bar
from underpaint.cli.terminal import note
from underpaint.errors import UnderpaintError


def given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def numbers_of(flag: str, text: str | None, kind: type) -> tuple[Any, ...] | None:
    if text is None:
        return None
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise UnderpaintError(f"{flag} {text}: give numbers with commas between them, e.g. 20,30,40") from None


def layers_of(text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise UnderpaintError(f"layers: {repeated} is named twice; name each once")
    return names


def networks_of(text: str | None, **of_layers: Any) -> list[str]:
    """The networks of `--network`, which has commas where it names several.

    Args:
        of_layers: flags that name layers, which several networks do not share.
    """
    names = list(dict.fromkeys(name for part in (text or "").split(",") if (name := part.strip())))
    if len(names) > 1 and (flag := next((flag for flag, value in of_layers.items() if value), None)):
        told = "layers have other names in each of several networks; leave it out, or explain one at a time"
        raise UnderpaintError(f"--{flag.replace('_', '-')}: {told}")
    return names


def content_layers_of(text: str | None) -> dict[str, float] | None:
    names = layers_of(text)
    return None if names is None else dict.fromkeys(names, 1.0)


def style_layers_of(
    text: str | None, pairs: list[str] | None, fields: Mapping[str, Any], base: Any = None
) -> dict[str, float] | None:
    """The style layers of `--style-layers`, or else the recipe's, with the weights of `--layer-weight` put in; a layer that
    was not there joins them. None where neither was given.

    Args:
        fields: those given beside them.
        base: the recipe that they stand over.
    """
    from underpaint import recipe as recipes

    names, over = layers_of(text), recipes.Recipe() if base is None else base
    chosen = {name: fields.get(name, getattr(over, name)) for name in ("preset", "network")}
    if names is None and not pairs:
        return None
    if names is not None:
        weights = recipes.weights_of(names, **chosen)
    elif base is not None and "style_layers" in base.model_fields_set:
        weights = dict(base.style_layers)
    else:
        weights = dict(recipes.make(chosen).style_layers)
    for pair in pairs or []:
        layer, _, weight = pair.partition("=")
        try:
            weights[layer] = float(weight)
        except ValueError:
            raise UnderpaintError(f"--layer-weight {pair}: write LAYER=W, e.g. relu1_1=0.5") from None
    return weights


def start_kind(start: str | None) -> str | None:
    return start if start in (None, "content", "noise") else "file"


def options_of(
    weights: Path | None, device: str, deterministic: bool, frames: int, quiet: bool, cores: Any = None, workers: int = 1
) -> Any:
    from underpaint.runs.options import Options

    announce = None if quiet else note
    download = None if quiet else download_bar()
    return Options(weights, device, deterministic, frames, announce, download, cores, workers)


def recipe_file(path: Path | None, fields: Mapping[str, Any], quiet: bool) -> Any:
    """The recipe of --recipe, `-` being standard input; told where it says itself what a preset beside it would bring."""
    from underpaint import recipe as recipes

    if path is None:
        return None
    where = "standard input" if str(path) == "-" else str(path)
    read = recipes.parse(sys.stdin.read(), where) if str(path) == "-" else recipes.read_toml(path)
    recipe = recipes.make(read, source=f"--recipe {where}: ")
    own = sorted({"iterations", "stop"} & recipe.model_fields_set - fields.keys())
    if "preset" in fields and own and not quiet:
        note(f"Note: --recipe {where} says {' and '.join(own)} itself, so that --preset {fields['preset']} does not")
    return recipe


def run_fields(
    recipe: Path | None, layer_weight: list[str] | None, style_layers: str | None, quiet: bool, **others: Any
) -> tuple[dict[str, Any], Any]:
    """A recipe's fields from flags, and the recipe of --recipe."""
    fields = given(**{name: getattr(value, "value", value) for name, value in others.items()})
    base = recipe_file(recipe, fields, quiet)
    fields |= given(style_layers=style_layers_of(style_layers, layer_weight, fields, base))
    return fields, base
