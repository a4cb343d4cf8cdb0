"""All networks side by side: how they paint, what a step costs, and how far their explanations are alike.

    python benchmarks/networks.py paint       # the 12 confirm pairs at 256 px: the yardstick's figures, VGG-19's beside them
    python benchmarks/networks.py cost        # seconds a step, peak memory, one pair, each in a process of its own
    python benchmarks/networks.py orders      # Shapley orders, by depth, beside VGG-19's: mean over pairs, with intervals
    python benchmarks/networks.py tricks      # what each part of the recipe gives, alone, one network and pair
    python benchmarks/networks.py sheet       # one picture of one pair painted by all, in --out

Needs the project's shared folder. Networks are made of its weights by `published.py`, into `--out`; what was painted is not
painted again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import published
import underpaint
import yardstick
from underpaint.explanation import across
from underpaint.networks.anatomy import DEPTHS

THREADS = 2
VGG = "VGG-19"


def networks(shared: Path, out: Path) -> dict[str, str]:
    """Every network's name in a recipe, by its own."""
    folder = out / "networks"
    if not (folder / "vit-tiny").is_dir():
        published.write(shared / "weights", folder)
    return {
        "compact": "compact",
        VGG: "vgg19",
        "MobileNet v1 0.75": "keras:MobileNet-0.75",
        "MobileNetV2": str(folder / "mobilenet_v2.pt2"),
        "EfficientNet-Lite0": str(folder / "efficientnet_lite0.pt2"),
        "ResNet-50 v2": str(folder / "resnet50_v2.pt2"),
        "ViT-Ti/16": f"hf:{folder / 'vit-tiny'}",
    }


def paint(shared: Path, out: Path, which: str = "confirm", only: Sequence[int] = ()) -> None:
    """Prints a row a pair and network, then the means."""
    recipes = {name: {"network": network, "size": 256} for name, network in networks(shared, out).items()}
    results = []
    for pair in yardstick.pairs(shared, which):
        if only and pair.number not in only:
            continue
        results.append(yardstick.measure(pair, recipes, shared, out / "256"))
        for name, row in results[-1].items():
            print(f"{pair.name:45} {name:20} " + " ".join(f"{k} {v:.3f}" for k, v in row.items()), flush=True)
    print(f"\nmeans over {len(results)} pairs, 256 px\n\n" + yardstick.table(results, list(recipes)))


STEP = """
import json, resource, sys
import torch, underpaint
torch.set_num_threads(int(sys.argv[4]))
options = underpaint.Options(weights=sys.argv[5] or None, device="cpu")
session = underpaint.start(sys.argv[1], sys.argv[2], network=sys.argv[3], size=256, smallest=256, iterations=(12,),
options=options) session.finish()
times = [row.seconds for row in session.history if row.term == "total"]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"step": (times[-2] - times[1]) / (len(times) - 3), "peak": peak}))
"""


def cost(shared: Path, out: Path) -> None:
    """Prints seconds a step at 256 px, line search and norms included, and the process' peak resident memory."""
    pair = yardstick.pairs(shared, "tune")[0]
    print("| network | s a step | peak resident memory, GiB |\n|---|---|---|")
    for name, network in networks(shared, out).items():
        weights = str(shared / "weights") if network == "vgg19" or network.startswith("keras:") else ""
        words = [sys.executable, "-c", STEP, str(pair.content), str(pair.style), network, str(THREADS), weights]
        told = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        print(f"| {name} | {told['step']:.2f} | {told['peak']:.2f} |", flush=True)


def orders(shared: Path, out: Path, which: str = "tune", size: int = 96, only: Sequence[int] = ()) -> None:
    """Prints, for each network, the share of pairs of layers that it orders as VGG-19 does, by their places, and what share
    of the fall each depth has: means over pairs, with 95 % intervals by resampling the pairs."""
    known = networks(shared, out)
    found: dict[str, list[underpaint.Explanation]] = {name: [] for name in known}
    for pair in yardstick.pairs(shared, which):
        if only and pair.number not in only:
            continue
        for name, network in known.items():
            folder = out / f"orders-{size}" / pair.name / name.replace("/", "-").replace(" ", "-")
            found[name].append(_explained(pair, network, size, folder, shared))
            state = found[name][-1].state
            print(f"{pair.name:45} {name:20} {state:12} {_values(found[name][-1])}", flush=True)
    print(f"\n{size} px, {len(found[VGG])} pairs\n")
    print("| network | settled | as VGG-19 orders | shallow, % | middle, % | deep, % |\n|---|---|---|---|---|---|")
    for name, each in found.items():
        settled = [(a, b) for a, b in zip(each, found[VGG], strict=True) if "settled" == a.state == b.state]
        alike = [across.concordance(list(b.shapley.values()), list(a.shapley.values())).value for a, b in settled]
        members = [across.Member.of(a) for a, _ in settled]
        shares = [[m.by_depth["heldout"][d].value for m in members if m.by_depth["heldout"]] for d in DEPTHS]
        cells = [_interval(alike), *(_interval([100 * v for v in values], 0) for values in shares)]
        print(f"| {name} | {len(settled)} of {len(each)} | " + " | ".join(cells) + " |")


def _explained(pair: yardstick.Pair, network: str, size: int, folder: Path, shared: Path) -> underpaint.Explanation:
    if (folder / "validation.json").exists():
        return underpaint.Explanation.load(folder)
    weights = shared / "weights" if network == "vgg19" or network.startswith("keras:") else None
    options = underpaint.Options(weights=weights, device="cpu")
    return underpaint.explain(
        pair.content, pair.style, out=folder, network=network, size=size, judge=network, options=options
    )


def _values(explanation: underpaint.Explanation) -> str:
    return " ".join(f"{layer} {e.value:.3f}" for layer, e in explanation.shapley.items())


def _interval(values: Sequence[float], digits: int = 2) -> str:
    """Mean and 95 % interval over resampled values."""
    if not values:
        return ""
    generator = np.random.default_rng(0)
    means = generator.choice(values, (10_000, len(values))).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{np.mean(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


TRICKS: Mapping[str, Mapping[str, Any]] = {
    "as it is": {},
    "not enlarged": {"enlarge": 1.0},
    "twice as large": {"enlarge": 2.0},
    "no shift": {"shift": 0},
    "L-BFGS, no shift": {
        "optimizer": "lbfgs",
        "shift": 0,
        "rate": 0.02,
        "final_rate": 0.02,
        "iterations": (17, 18, 24, 32, 44),
    },
    "colour smoothed as brightness": {"chroma_smoothness": 1.0},
    "Gram": {"statistic": "gram"},
    "moments": {"statistic": "moments"},
    "sliced": {"statistic": "sliced"},
    "no colour term": {"color_weight": 0.0, "palette_weight": 0.0},
    "from 91 px": {"smallest": 91},
    "weights falling with depth": {"falling": True},
    "no pixels layer": {"pixels": False},
}
"""One part at a time taken from the recipe, or exchanged."""


def tricks(shared: Path, out: Path, name: str = "EfficientNet-Lite0") -> None:
    """Prints the yardstick's figures of one network with each part of its recipe changed, means over three pairs."""
    network = networks(shared, out)[name]
    style = underpaint.Recipe(network=network).style_layers
    recipes = {trick: {"network": network, "size": 256} | _changed(dict(each), style) for trick, each in TRICKS.items()}
    pairs = [pair for pair in yardstick.pairs(shared, "tune") if pair.number in (1, 3, 5)]
    results = [yardstick.measure(pair, recipes, shared, out / "tricks") for pair in pairs]
    print(f"{name}, means over {len(results)} pairs, 256 px\n\n" + yardstick.table(results, list(recipes)))


def _changed(fields: dict[str, Any], style: Mapping[str, float]) -> dict[str, Any]:
    if fields.pop("falling", False):
        fields["style_layers"] = dict(zip(style, (4.0, 2.0, 1.0, 0.5, 0.25), strict=True))
    if not fields.pop("pixels", True):
        fields["style_layers"] = {"stem" if layer == "pixels" else layer: weight for layer, weight in style.items()}
    return fields


def sheet(shared: Path, out: Path) -> None:
    """Puts one pair, painted by all networks, into one picture, in the table's order, four to a row."""
    pair = yardstick.pairs(shared, "tune")[0]
    recipes = {name: {"network": network, "size": 256} for name, network in networks(shared, out).items()}
    yardstick.measure(pair, recipes, shared, out / "256")
    pictures = [Image.open(out / "256" / name / f"{pair.name}.png") for name in recipes]
    width, height = pictures[0].size
    whole = Image.new("RGB", (4 * width, -(-len(pictures) // 4) * height), "white")
    for place, each in enumerate(pictures):
        whole.paste(each, (place % 4 * width, place // 4 * height))
    whole.save(out / "sheet.png")
    print(out / "sheet.png", "in rows:", ", ".join(recipes))


PARTS: dict[str, Callable[[Path, Path], None]] = {
    "paint": paint,
    "cost": cost,
    "orders": orders,
    "tricks": tricks,
    "sheet": sheet,
}


def main() -> None:
    """Runs the parts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all, when left out")
    parser.add_argument("--set", choices=("tune", "confirm"), help="of pairs, of paint and orders")
    parser.add_argument("--only", type=int, nargs="*", default=(), help="numbers of pairs, of paint and orders")
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--shared", type=Path, default=yardstick.SHARED)
    parser.add_argument("--out", type=Path, default=Path("out/networks"))
    args = parser.parse_args()
    chosen = {"which": args.set} if args.set else {}
    several = {name: chosen | {"only": args.only} for name in ("paint", "orders")}
    parts = {name: partial(PARTS[name], args.shared, args.out, **several.get(name, {})) for name in args.parts or PARTS}
    yardstick.run_parts(parts, args.threads)


if __name__ == "__main__":
    main()
