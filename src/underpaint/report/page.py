"""Builds report.html from an explanation's folder.

The canvas of *recompose* shows pastiche + Σ (w − 1) · column: at all ones it is the pastiche to the last bit, however
coarsely the columns are kept.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from underpaint import explaining, images, quality, records
from underpaint.coalitions import groups, mask_of
from underpaint.errors import UnderpaintError
from underpaint.explanation import SPATIAL, Explanation
from underpaint.files import write_bytes
from underpaint.judges import HEADLINE
from underpaint.ledger import CLAMP, START
from underpaint.recipe import Recipe, make
from underpaint.records import COLOUR, PASTICHE
from underpaint.report import charts
from underpaint.run import read_inputs

FILE = "report.html"
LIMIT = 40_000_000
"""A page over this is of no use to a browser."""

FLAGS = ("size", "network", "preset", "optimizer", "seed", "strength", "statistic", "precision")
"""Fields of a recipe that the command has flags for."""

SHOWN = ("shapley", "left_out", "alone", "judge_path", "ledger", "cross", "column_removed", "final_loss")


def picture(rgb: np.ndarray, longest: int | None = None, lossless: bool = False, quality: int = 88) -> str:
    """(H, W, 3) in 0..1 as a data address: WebP, at most `longest` pixels wide or high."""
    if longest is not None and max(rgb.shape[:2]) > longest:
        rgb = images.resize(rgb, images.size_for(rgb.shape[:2], longest))
    buffer = io.BytesIO()
    Image.fromarray(np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)).save(
        buffer, "WEBP", lossless=lossless, quality=quality, exact=True
    )
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def columns(ledger: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Each column of the ledger as a grey-centred picture and its reach: value = (byte − 127.5) / 127.5 · reach."""
    found = []
    for name, column in ledger.items():
        if name in (START, PASTICHE, COLOUR):
            continue
        reach = max(float(np.abs(column).max()), 1e-6)
        found.append(
            {"name": name, "reach": reach, "data": picture(0.5 + 0.5 * column.transpose(1, 2, 0) / reach, quality=97)}
        )
    return found


def without(ledger: Mapping[str, np.ndarray], layer: str) -> np.ndarray:
    """(H, W, 3): the pastiche with a layer's column taken off, clipped."""
    return np.asarray(np.clip(ledger[PASTICHE] - ledger[f"style/{layer}"], 0, 1).transpose(1, 2, 0))


def _apart(a: np.ndarray, b: np.ndarray, weights: Path | None) -> str:
    """How far apart two pictures are, in words: LPIPS where its weights are at hand, else 1 − SSIM."""
    import torch

    tensors = [torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1))).float()[None] for x in (a, b)]
    lpips = quality.find_lpips(weights)
    if lpips is not None:
        return f"LPIPS {lpips(*tensors):.2f}"
    return f"1 − SSIM {1 - quality.ssim(*tensors):.2f}"


def _cards(e: Explanation) -> list[dict[str, Any]]:
    """The ablation gallery: name, layers, picture and outcomes of each named group."""
    cards = []
    for name, layers in groups(e.players).items():
        if not layers and name != "none":
            continue
        row = e.table.rows[0, mask_of(layers, e.players)]
        shown = images.read(e.folder / row.picture, min_side=1).rgb
        cards.append({"name": name, "layers": layers, "data": picture(shown, 384), "outcomes": row.outcomes})
    return cards


def _layers(e: Explanation, ledger: Mapping[str, np.ndarray], weights: Path | None) -> list[dict[str, Any]]:
    """By layer: the pastiche that was painted without it, and how far the recomposed one is from that."""
    found = []
    for layer in e.players:
        others = tuple(p for p in e.players if p != layer)
        row = e.table.rows[0, mask_of(others, e.players)]
        left = images.read(e.folder / row.picture, min_side=1).rgb
        apart = _apart(without(ledger, layer), left, weights)
        found.append({"name": layer, "left_out": picture(left), "apart": apart})
    return found


def _sources(e: Explanation, style: np.ndarray) -> dict[str, Any]:
    """For pointing: by layer, for each cell of the pastiche the cell's centre in the style picture."""
    kept = records.read_arrays(e.folder / SPATIAL)
    maps = {}
    for layer in e.players:
        rows, across = kept[f"rows/{layer}"], kept[f"columns/{layer}"]
        stride = int(kept[f"stride/{layer}"])
        maps[layer] = {"stride": stride, "rows": rows.tolist(), "columns": across.tolist()}
    height, width = (int(side) for side in kept["style_size"])
    small = images.resize(style, (height, width))
    return {"maps": maps, "width": width, "height": height, "data": picture(small)}


def reproduce(e: Explanation) -> str:
    """The one command that makes the same explanation; what no flag says goes into a recipe file, whose lines follow."""
    recipe, settings = e.run.recipe.model_dump(mode="json"), explaining.read_settings(e.folder)
    flags = {name: recipe[name] for name in FLAGS}
    plain = make(flags).model_dump(mode="json")
    inputs = {entry["role"]: entry["name"] for entry in e.run.facts["inputs"]}
    words = ["underpaint explain", inputs["content"], inputs["style1"], f"--size {recipe['size']}"]
    words += [f"--{name} {value}" for name, value in flags.items() if name != "size" and value != Recipe().model_dump()[name]]
    words += [f"--seeds {settings.seeds}"] * (settings.seeds > 1) + ["--sanity"] * settings.sanity
    words += [f"--judge {settings.judge}"] * (settings.judge != recipe["network"])
    rest = [
        f"{name} = {json.dumps(value)}" for name, value in recipe.items() if value != plain[name] and name != "style_layers"
    ]
    if recipe["style_layers"] != plain["style_layers"]:
        rest += ["[style_layers]", *(f'"{layer}" = {weight}' for layer, weight in recipe["style_layers"].items())]
    return " ".join(words) + ("" if not rest else " --recipe recipe.toml\n\n# recipe.toml\n" + "\n".join(rest))


def build(folder: str | Path, weights: Path | None = None) -> Path:
    """Writes report.html into an explanation's folder and returns it.

    Args:
        folder: of a finished explanation.
        weights: where LPIPS's weights may be.

    Raises:
        UnderpaintError: not the folder of a finished explanation.
    """
    from jinja2 import Environment, StrictUndefined

    e = Explanation.load(folder)
    ledger, inputs = e.ledger(), read_inputs(e.folder, e.run.facts)
    size = e.run.pastiche.shape[:2]
    content, style = images.resize(inputs.content.rgb, size), inputs.styles[0].rgb
    recompose = {"width": size[1], "height": size[0], "columns": columns(ledger)}
    recompose["pastiche"] = picture(ledger[PASTICHE].transpose(1, 2, 0), lossless=True)
    curves = e.validation["deletion_curves"]
    here = files("underpaint.report")
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string((here / "page.html").read_text("utf-8"))
    text = page.render(
        style_sheet=(here / "page.css").read_text("utf-8"),
        script=(here / "page.js").read_text("utf-8"),
        data=json.dumps({"recompose": recompose, "sources": _sources(e, style)}),
        content=picture(content),
        pastiche=picture(e.run.pastiche, lossless=True),
        style=picture(style, 512),
        names={entry["role"]: entry["name"] for entry in e.run.facts["inputs"]},
        verdict=e.verdict,
        convergence=charts.convergence(e.run.history, e.run.recipe),
        layers=_layers(e, ledger, weights),
        columns=[c["name"] for c in recompose["columns"] if c["name"] != CLAMP],
        ledger=picture(images.read(e.folder / "ledger.png").rgb, 1600),
        cooperation=charts.cooperation(e.validation["columns"]["cosines_smoothed_2px"]),
        attributions=charts.attributions([e.attributions[m] for m in SHOWN]),
        methods=[(a, e.validation["faithfulness"].get(a.method)) for a in e.attributions.values()],
        cards=_cards(e),
        headline=HEADLINE,
        shapley={m: a.values for m, a in e.attributions.items() if m.startswith("shapley")},
        sees=e.validation["judges_see"],
        players=e.players,
        interactions=charts.interactions(e.game()),
        deletion=charts.deletion(curves),
        checks=e.validation["checks"],
        recipe=json.dumps(e.run.recipe.model_dump(mode="json"), indent=1),
        environment=e.run.facts["environment"],
        networks=e.run.facts["networks"],
        command=reproduce(e),
        size=size,
        judge=e.validation["judge_network"],
        steps=len({row.step for row in e.run.history}) - 1,  # the last rows are the pastiche's own
    )
    data = text.encode()
    if len(data) > LIMIT:
        raise UnderpaintError(f"{folder}: its page would be {len(data) / 1e6:.0f} MB; explain a smaller picture")
    write_bytes(e.folder / FILE, data)
    return e.folder / FILE
