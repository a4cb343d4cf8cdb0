"""The command that tells of networks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from underpaint.cli.options import AsJson, Weights
from underpaint.cli.terminal import answer, app, console, note

if TYPE_CHECKING:
    from underpaint.networks.anatomy import Anatomy
    from underpaint.networks.registry import Entry

FORMS = """
Any of these is a network too; `underpaint networks NAME` tells of one:
  keras:NAME      of Keras Applications: {keras}
  hf:FOLDER       a vision transformer (ViT, DINOv2, CLIP) of the transformers library; hf:OWNER/NAME of what is in its cache
  timm:NAME       a convolutional network of timm, where timm can be imported
  FILE.pt2        one of your own, as torch.export saves it (underpaint.register makes it of a module)
  FILE.keras, .h5 one of your own, as Keras saves it"""


@app.command()
def networks(
    name: Annotated[str | None, typer.Argument(help="A network, to be told its layers.", show_default=False)] = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Download NAME's weights, unless they are here.")] = False,
    weights: Weights = None,
    as_json: AsJson = False,
) -> None:
    """List the networks and whether their weights are available; of one, its layers and what it paints by."""
    from underpaint.networks import registry

    if name is None:
        _all(registry.entries(weights), as_json)
        return
    if fetch:
        from underpaint.cli.bars import download_bar

        registry.fetch(name, weights, announce=note, progress=download_bar())
    found = registry.entry(name, weights)
    if as_json:
        answer(json.dumps(_facts(found)))
    else:
        _one(found)


def _all(found: list[Entry], as_json: bool) -> None:
    from underpaint.networks.sources import keras

    if as_json:
        rows = [{"name": e.name, "layers": e.layers, "weights": e.available and str(e.available)} for e in found]
        answer(json.dumps(rows + [{"name": name} for name in keras.names()]))
        return
    for entry in found:
        answer(f"{entry.name}: {_place(entry)}\n  {' '.join(entry.layers)}")
    answer(FORMS.format(keras=", ".join(name.partition(":")[2] for name in keras.names())))


def _place(entry: Entry) -> str:
    if entry.problem is not None:
        return str(entry.problem)
    if entry.url is None:
        return "comes with the package (the default)" if entry.name == "compact" else f"weights at {entry.available}"
    return f"weights at {entry.available}" if entry.available else f"weights would be downloaded from {entry.url}"


def _facts(entry: Entry) -> dict[str, Any]:
    """What is known of a network, for JSON."""
    found = entry.specification
    assert found is not None
    anatomy, file = found.anatomy, found.file
    return {
        "name": entry.name,
        "told": anatomy.told,
        "licence": found.licence,
        "weights": None if entry.available is None else str(entry.available),
        "url": entry.url,
        "checksum": None if file is None else file.checksum,
        "megabytes": None if file is None else file.megabytes,
        "layers": [
            {"name": x.name, "depth": x.depth, "block": x.block, "stride": x.stride, "channels": x.channels}
            for x in anatomy.layers
        ],
        "content_layers": dict(anatomy.content_layers),
        "style_layers": dict(anatomy.style_layers),
        "judged_by": _judged(anatomy),
        "recipe": dict(anatomy.recipe),
    }


def _judged(anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
    return anatomy.held_out([*anatomy.style_layers, *anatomy.content_layers])


def _one(entry: Entry) -> None:
    """A table of a network's layers, and what it paints by."""
    from rich.console import Console
    from rich.table import Table

    facts = _facts(entry)
    size = f", {facts['megabytes']} MB" if facts["megabytes"] else ""
    proof = "" if facts["checksum"] or not entry.url else "; its publisher states no hash to prove it by"
    answer(f"{facts['told']}: {_place(entry)}{size}{proof}")
    answer(f"Licence of the weights: {facts['licence'] or 'as their publisher states it'}")
    table = Table("layer", "depth", "block", "stride, px", "channels", "", box=None, pad_edge=False)
    for layer in facts["layers"]:
        uses = [f"style {facts['style_layers'][layer['name']]:g}"] if layer["name"] in facts["style_layers"] else []
        uses += ["content"] if layer["name"] in facts["content_layers"] else []
        uses += [f"judges {depth}" for depth, judges in facts["judged_by"].items() if layer["name"] in judges]
        numbers = [str(layer[part]) for part in ("block", "stride", "channels")]
        table.add_row(layer["name"], layer["depth"], *numbers, ", ".join(uses))
    Console(markup=False, emoji=False, highlight=False, width=console.width).print(table)
    brought = ", ".join(f"{field} = {value}" for field, value in facts["recipe"].items())
    answer(f"Paints with: {brought or 'the defaults of a recipe'}")
