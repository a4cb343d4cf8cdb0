"""The strongest public tool's objective, minimised by this package's optimiser, beside this package's own pictures.

    python benchmarks/rival.py paint                # twelve pairs: 60 and 200 of the tool's own steps a size
    python benchmarks/rival.py sheet                # numbered sheets for a blind comparison, the sides in random order
    python benchmarks/rival.py key --better FILE    # who won: a line a pair in FILE, its number and `left`, `right` or `same`

The tool is crowsonkb/style-transfer-pytorch. Its objective, as its source states it: Wasserstein-2 distance of Gaussians at
relu1_1 … relu5_1, weights 256, 64, 16, 4, 1 over their sum, each divided by the layer's channels; mean squared difference at
relu4_2, weight 0.015; squared total variation, weight 2; 128 px up to the size by √2; Adam 0.02 (0.9, 0.99), its moments
carried along, the result an average of the iterates with decay 0.99. It takes 1,000 and then 500 steps at each size.

Departures: VGG-19's weights are Keras', not torchvision's, whose activations have other magnitudes; each layer is scaled to a
mean activation of 1 over the two pictures. Gaussians are compared as `underpaint.losses.statistics.Wasserstein` does. Needs
the project's shared folder, as benchmarks/yardstick.py does.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import yardstick
from underpaint.execution import device
from underpaint.imaging import images
from underpaint.losses.terms import ContentTerm, StyleTerm, Term
from underpaint.networks import registry
from underpaint.networks.base import Network
from underpaint.optimizers.loop import Stage, optimise
from underpaint.recipe import Recipe, make
from underpaint.runs.scene import Pictures, Scene

WEIGHTS = {"relu1_1": 256, "relu2_1": 64, "relu3_1": 16, "relu4_1": 4, "relu5_1": 1}

TOOL: dict[str, Any] = {
    "network": "vgg19",
    "statistic": "wasserstein",
    "style_layers": {layer: float(weight) for layer, weight in WEIGHTS.items()},
    "smallest": 128,
    "smoothness": 2.0,
    "smoothness_growth": 0.0,
    "diagonals": 0.0,
    "color_weight": 0.0,
    "palette_weight": 0.0,
    "crop": False,
    "optimizer": "adam",
    "average_decay": 0.99,
    "carry_moments": True,
}
RECIPES: dict[str, dict[str, Any]] = {"tool60": TOOL | {"iterations": (60,)}, "tool": TOOL | {"iterations": (200,)}}
"""Steps a size: the tool's own 1,000 and 500 take 24 minutes a picture here."""


def as_the_tool(term: Term, means: Mapping[str, float]) -> Term:
    """A term with the tool's weight and without this package's normaliser; `means` are the layers' mean activations."""
    if isinstance(term, StyleTerm):
        channels = len(term.goals[0].mean)
        return replace(term, weight=WEIGHTS[term.layer] / sum(WEIGHTS.values()), normaliser=channels * means[term.layer] ** 2)
    if isinstance(term, ContentTerm):
        return replace(term, weight=0.015, normaliser=term.features.numel() * means[term.layer] ** 2)
    return term


def activations(scene: Scene, scale: int) -> dict[str, float]:
    """Mean activation of each layer over content and style at a size."""
    layers = [*scene.recipe.content_layers, *scene.recipe.style_layers]
    both = [scene.network.features(picture, layers) for picture in (scene.content(scale), scene.style(0, scale))]
    return {layer: sum(float(found[layer].float().mean()) for found in both) / 2 for layer in layers}


def paint(pair: yardstick.Pair, recipe: Recipe, network: Network, png: Path) -> None:
    """Paints a pair into `png` unless it is there."""
    if png.with_suffix(".json").exists():
        return
    scene = Scene(recipe, Pictures(images.read(pair.content), (images.read(pair.style),)), network)

    def stage(scale: int) -> Stage:
        own = scene.stage(scale)
        means = activations(scene, scale)
        return Stage(replace(own.objective, terms=tuple(as_the_tool(t, means) for t in own.objective.terms)), own.start)

    begun = time.perf_counter()
    *_, last = optimise(recipe, stage, norms_every=0)
    png.parent.mkdir(parents=True, exist_ok=True)
    images.write(png, scene.finish(last.image)[0])
    png.with_suffix(".json").write_text(json.dumps({"seconds": time.perf_counter() - begun}))


def paint_all(args: argparse.Namespace) -> None:
    """Prints a row a picture, then the means."""
    results = []
    for pair in chosen(args):
        pngs = {name: args.out / name / f"{pair.name}.png" for name in args.recipe}
        for name, png in pngs.items():
            recipe = make(RECIPES[name] | {"size": args.size, "precision": args.precision})
            layers = [*recipe.content_layers, *recipe.style_layers]
            number = device.precision(args.precision, device.choose("cpu"))
            opened = registry.open_network("vgg19", layers, precision=number, given=args.shared / "weights")
            paint(pair, recipe, opened.network, png)
        notes = [png.with_suffix(".json") for png in pngs.values()]
        if any("weave" not in json.loads(note.read_text()) for note in notes):
            for note, figures in zip(notes, yardstick.judge(args.shared, pair, list(pngs.values())), strict=True):
                note.write_text(json.dumps(json.loads(note.read_text()) | figures))
        results.append({name: json.loads(note.read_text()) for name, note in zip(pngs, notes, strict=True)})
        for name, figures in results[-1].items():
            print(f"{pair.name:45} {name:8} " + " ".join(f"{k} {v:.3f}" for k, v in figures.items()), flush=True)
    print("\n" + yardstick.table(results, args.recipe))


def chosen(args: argparse.Namespace) -> list[yardstick.Pair]:
    """The pairs that were asked for."""
    every = yardstick.pairs(args.shared, "tune") + yardstick.pairs(args.shared, "confirm")
    return [pair for pair in every if pair.number in args.only]


def sides(args: argparse.Namespace) -> dict[int, bool]:
    """Whether a pair's left picture is ours, by number: a fair coin that `--seed` throws."""
    random = np.random.default_rng(args.seed)
    return {pair.number: bool(random.integers(2)) for pair in chosen(args)}


def sheets(args: argparse.Namespace) -> None:
    """For each pair a picture: content and style above, the two pastiches below, three times as large."""
    args.sheets.mkdir(parents=True, exist_ok=True)
    for pair in chosen(args):
        both = [args.ours / f"{pair.name}.png", args.out / "tool" / f"{pair.name}.png"]
        left, right = both if sides(args)[pair.number] else both[::-1]
        row = [Image.open(path).convert("RGB") for path in (left, right)]
        wide, high = row[0].width * 3, row[0].height * 3
        sheet = Image.new("RGB", (2 * wide + 12, high + 230), "white")
        for place, path in enumerate((pair.content, pair.style)):
            small = Image.open(path).convert("RGB")
            small.thumbnail((wide, 220))
            sheet.paste(small, (place * (wide + 12), 0))
        for place, picture in enumerate(row):
            sheet.paste(picture.resize((wide, high), Image.Resampling.BICUBIC), (place * (wide + 12), 230))
        sheet.save(args.sheets / f"{pair.number:02}.png")


def key(args: argparse.Namespace) -> None:
    """The score, from what was written down before the sides were known."""
    won: dict[str, list[int]] = {"ours": [], "same": [], "tool": []}
    ours_left = sides(args)
    for line in args.better.read_text().split("\n"):
        if line.strip():
            number, side = line.split()[:2]
            which = "same" if side == "same" else "ours" if (side == "left") == ours_left[int(number)] else "tool"
            won[which].append(int(number))
    print({which: (len(numbers), numbers) for which, numbers in won.items()})


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("paint", "sheet", "key"))
    parser.add_argument("--only", type=int, nargs="*", default=list(range(9, 21)), help="numbers of pairs")
    parser.add_argument("--recipe", nargs="*", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shared", type=Path, default=yardstick.SHARED)
    parser.add_argument("--out", type=Path, default=Path("out/rival"))
    parser.add_argument("--ours", type=Path, default=Path("out/yardstick/256-float32/compact"), help="our pictures")
    parser.add_argument("--sheets", type=Path, default=Path("out/rival/sheets"))
    parser.add_argument("--better", type=Path, help="what was written down")
    args = parser.parse_args(arguments)
    {"paint": paint_all, "sheet": sheets, "key": key}[args.part](args)


if __name__ == "__main__":
    main()
