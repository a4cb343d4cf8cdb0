"""How the compact network compares with VGG-19, as docs/compact.md quotes it.

    python benchmarks/compact.py paint      # the yardstick on twelve pairs at 256 px, and the speed-up of whole runs
    python benchmarks/compact.py large      # 512 px: one pair, both networks, both precisions
    python benchmarks/compact.py polish     # N steps with VGG-19 after the compact network's run, three pairs
    python benchmarks/compact.py gradient   # cosine of the style gradients at the start and the end of runs by VGG-19
    python benchmarks/compact.py features   # residual energy on held-out pictures
    python benchmarks/compact.py load       # seconds to open it, megabytes
    python benchmarks/compact.py curve --file NAME=FILE ...   # other weights from training/: figures against seconds

Run from the repository's root with PYTHONPATH=. (it uses `training/`). Two threads, float32 where nothing else is said.
Needs the project's shared folder, as benchmarks/yardstick.py does, and keeps its pictures under `--out`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import yardstick
from training import measure, pictures
from training.states import Moment
from training.student import TAPS
from underpaint.imaging import images
from underpaint.networks import compact, registry
from underpaint.networks.base import Network
from underpaint.optimizers.loop import optimise
from underpaint.recipe import make
from underpaint.runs.scene import Pictures, Scene

THREADS = 2
COLUMNS = (*yardstick.FIGURES, "seconds")
FEW = (9, 11, 19)
"""Pairs of the confirming set, by number, where all twelve would take an hour."""
BASE: dict[str, Any] = {"preset": "gatys", "size": 256}
"""What the network was made and judged for, and docs/compact.md's tables are of; the default recipe's are the yardstick's."""


def rows(title: str, results: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """A table of means."""
    print(f"| {title} | " + " | ".join(COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 1) + "|")
    for name, figures in results.items():
        means = [sum(f[c] for f in figures) / len(figures) for c in COLUMNS]
        print(f"| {name} | " + " | ".join(f"{m:.3f}" for m in means[:-1]) + f" | {means[-1]:.1f} |", flush=True)


def vgg(shared: Path) -> Network:
    """The teacher."""
    return registry.open_network("vgg19", compact.LAYERS, given=shared / "weights").network


def paint(args: argparse.Namespace) -> None:
    """Both networks in turn on every pair of the confirming set, and the ratio of their seconds."""
    recipes = {name: yardstick.RECIPES[key] | {"size": 256} for name, key in (("compact", "gatys"), ("vgg19", "gatys_vgg19"))}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in recipes}
    for pair in yardstick.pairs(args.shared, "confirm"):
        for name, figures in yardstick.measure(pair, recipes, args.shared, args.out / "paint").items():
            found[name].append(figures)
            print(f"{pair.name:45} {name:8} " + " ".join(f"{c} {figures[c]:.3f}" for c in COLUMNS), flush=True)
    rows("256 px, means over 12 pairs", found)
    ratios = [slow["seconds"] / fast["seconds"] for fast, slow in zip(found["compact"], found["vgg19"], strict=True)]
    print(f"\nspeed-up of a whole run: median {np.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


def large(args: argparse.Namespace) -> None:
    """The yardstick's own pair at 512 px."""
    pair = yardstick.pairs(args.shared, "tune")[0]
    recipes = {
        f"{name}, {precision}": yardstick.RECIPES[key] | {"size": 512, "precision": precision}
        for name, key in (("compact", "gatys"), ("vgg19", "gatys_vgg19"))
        for precision in ("float32", "bf16")
    }
    found = yardstick.measure(pair, recipes, args.shared, args.out / "large")
    rows("512 px, one pair", {name: [figures] for name, figures in found.items()})


def polish(args: argparse.Namespace) -> None:
    """Figures and seconds of the compact network, with more and more steps of VGG-19 behind it, and of VGG-19 alone."""
    recipes: dict[str, dict[str, Any]] = {"compact": BASE}
    recipes |= {f"compact, --polish {count}": BASE | {"polish": count} for count in (10, 20)}
    recipes["vgg19"] = BASE | {"network": "vgg19"}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in recipes}
    for pair in yardstick.pairs(args.shared, "confirm"):
        if pair.number in FEW:
            for name, figures in yardstick.measure(pair, recipes, args.shared, args.out / "polish").items():
                found[name].append(figures)
    rows(f"256 px, {len(FEW)} pairs", found)


def moments(shared: Path, teacher: Network) -> list[tuple[Moment, Moment]]:
    """Start and end of VGG-19's own run on a few pairs of the confirming set, at 256 px."""
    found = []
    for pair in yardstick.pairs(shared, "confirm"):
        if pair.number not in FEW:
            continue
        recipe = make(BASE | {"network": "vgg19"})
        content, style = images.read(pair.content), images.read(pair.style)
        scene = Scene(recipe, Pictures(content, (style,)), teacher)
        *_, last = optimise(recipe, scene.stage)
        small = [images.resize(p.rgb, images.size_for(p.rgb.shape[:2], 256)) for p in (content, style)]
        one, other = (torch.from_numpy(rgb.transpose(2, 0, 1).copy()) for rgb in small)
        found.append((Moment(one, one, other), Moment(last.image[0], one, other)))
    return found


def gradient(args: argparse.Namespace) -> None:
    """Means over a few pairs."""
    teacher = vgg(args.shared)
    states = moments(args.shared, teacher)
    print("| network | state | full resolution | half resolution |\n|---|---|---|---|")
    for name, network in networks(args).items():
        for place, state in enumerate(("start", "late")):
            full, half = np.mean(measure.cosines(teacher, network, [s[place] for s in states]), 0)
            print(f"| {name} | {state} | {full:.3f} | {half:.3f} |", flush=True)


def features(args: argparse.Namespace) -> None:
    """Forty crops of 192 px of pictures that training held out."""
    teacher = vgg(args.shared)
    library = pictures.library([args.shared / "data/photos", args.shared / "data/paintings"], [args.shared / "data/pairs"])
    random = np.random.default_rng(0)
    held_out = [library.held_out[int(i)] for i in random.permutation(len(library.held_out))[:40]]
    crops = [pictures.crop(path, 192, random) for path in held_out]
    print("| network | " + " | ".join(TAPS) + " |\n" + "|---" * (len(TAPS) + 1) + "|")
    for name, network in networks(args).items():
        found = measure.residuals(teacher, network, crops)
        print(f"| {name} | " + " | ".join(f"{v:.4f}" for v in found.values()) + " |", flush=True)


def load(args: argparse.Namespace) -> None:
    """Best of five: the file's hash is part of opening it."""
    taken = []
    for _ in range(5):
        begun = time.perf_counter()
        opened = registry.open_network("compact", compact.LAYERS)
        taken.append(time.perf_counter() - begun)
    print(f"{opened.path.stat().st_size / 1e6:.2f} MB, opened in {min(taken):.3f} s (first time {taken[0]:.3f} s)")


def networks(args: argparse.Namespace) -> dict[str, Network]:
    """The package's and those of `--file`."""
    own = registry.open_network("compact", compact.LAYERS).path
    files = {"compact": own} | {name: Path(file) for name, _, file in (t.partition("=") for t in args.file)}
    return {name: compact.Compact(compact.load(file, compact.LAYERS)) for name, file in files.items()}


def curve(args: argparse.Namespace) -> None:
    """256 px on a few pairs with each of the networks: figures against seconds."""
    found: dict[str, list[dict[str, float]]] = {}
    recipe = make(BASE)
    for pair in yardstick.pairs(args.shared, "confirm"):
        if pair.number not in FEW:
            continue
        told = Pictures(images.read(pair.content), (images.read(pair.style),))
        for name, network in networks(args).items():
            begun = time.perf_counter()
            *_, last = optimise(recipe, Scene(recipe, told, network).stage)
            seconds = time.perf_counter() - begun
            png = args.out / "curve" / name / f"{pair.name}.png"
            png.parent.mkdir(parents=True, exist_ok=True)
            images.write(png, last.image[0].clamp(0, 1).permute(1, 2, 0).numpy())
            figures = yardstick.judge(args.shared, pair, [png])[0]
            found.setdefault(name, []).append(figures | {"seconds": seconds})
    rows(f"256 px, {len(FEW)} pairs", found)


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "paint": paint,
    "large": large,
    "polish": polish,
    "gradient": gradient,
    "features": features,
    "load": load,
    "curve": curve,
}


def main() -> None:
    """Runs the parts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all, when left out")
    parser.add_argument("--shared", type=Path, default=yardstick.SHARED)
    parser.add_argument("--out", type=Path, default=Path("out/compact"))
    parser.add_argument("--file", action="append", default=[], help="NAME=FILE, weights from training/; repeatable")
    args = parser.parse_args()
    yardstick.run_parts({name: partial(PARTS[name], args) for name in args.parts or PARTS}, THREADS)


if __name__ == "__main__":
    main()
