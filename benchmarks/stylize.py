"""Speed, memory and quality of `underpaint stylize --network vgg19`, as the README quotes them.

    python benchmarks/stylize.py speed        # an iteration against its convolution floor
    python benchmarks/stylize.py memory       # peak resident memory and seconds, 256 to 2048 px, each in a process of its own
    python benchmarks/stylize.py curve        # the presets and fractions of them: figures against seconds, 256 and 512 px
    python benchmarks/stylize.py precision    # bf16 against float32: seconds and final style distance

`python benchmarks/yardstick.py` makes the table of the twelve pairs, `python benchmarks/compact.py` what the compact
network does. Uses two threads and the project's shared folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import yardstick
from underpaint import samples
from underpaint.recipe import make

THREADS = 2
TUBINGEN = 1  # the yardstick's own pair, by its number in pairs.tsv


def speed(shared: Path, out: Path) -> None:
    """Prints the ratio to the floor, by size and precision."""
    import speed as timing

    weights = shared / "weights/vgg19_imagenet_conv.safetensors"
    print("| size | precision | floor, s | iteration, s | iteration / floor |\n|---|---|---|---|---|")
    for size in (256, 512):
        for precision in timing.PRECISIONS:
            row = timing.compare(size, precision, weights, rounds=5)
            extent = f"{size}×{size * 3 // 4}"
            print(
                f"| {extent} | {precision} | {row['floor']:.3f} | {row['iteration']:.3f} | {row['ratio']:.2f} |", flush=True
            )
        print(f"| {size}×{size * 3 // 4} | plain loop, float32 | | {timing.plain(size, weights, 3):.3f} | |", flush=True)


def memory(shared: Path, out: Path) -> None:
    """Prints peak memory and seconds a step (line search and every tenth step's norms included) as the size grows.

    Twelve steps at that size alone, which fill L-BFGS's history, or three above 512 px, where it takes 20 pictures more.
    """
    print("| size | precision | peak resident memory, GiB | s a step |\n|---|---|---|---|")
    for precision, sizes in {"float32": (256, 512, 1024, 2048), "bf16": (512, 2048)}.items():
        for size in sizes:
            told = command(shared, size, precision)
            extent = f"{told['pastiche']['width']}×{told['pastiche']['height']}"
            peak = told["peak_memory_bytes"]["process"] / 2**30
            print(f"| {extent} | {precision} | {peak:.2f} | {told['step']:.2f} |", flush=True)


def command(shared: Path, size: int, precision: str) -> dict[str, Any]:
    """run.json of a short run of the command line, with the seconds between its steps."""
    from underpaint import Run

    picture = next(p.content for p in yardstick.pairs(shared, "tune") if p.number == TUBINGEN)
    with tempfile.TemporaryDirectory() as folder:
        words = ["stylize", str(picture), str(samples.style_path("gale")), "--out", f"{folder}/run", "--size", str(size)]
        recipe = Path(folder) / "recipe.toml"
        recipe.write_text(
            f'network = "vgg19"\nsmallest = {size}\niterations = [{12 if size <= 512 else 3}]\nprecision = "{precision}"\n'
        )
        words += ["--recipe", str(recipe), "--weights", str(shared / "weights"), "--device", "cpu", "--quiet"]
        subprocess.run([sys.executable, "-m", "underpaint", *words], check=True)
        run = Run.load(f"{folder}/run")
        times = [row.seconds for row in run.history if row.term == "total"]
        return run.facts | {"step": (times[-2] - times[0]) / (len(times) - 2)}


def curve(shared: Path, out: Path) -> None:
    """Prints figures against seconds: the presets, `standard` with its steps multiplied, and row C's recipe."""
    pair = next(p for p in yardstick.pairs(shared, "tune") if p.number == TUBINGEN)
    steps = make({}).iterations
    recipes: dict[str, dict[str, Any]] = {"draft": yardstick.RECIPES["draft"]}
    for factor in (0.5, 1.0, 2.0):
        name = "standard" if factor == 1 else f"standard × {factor:g}"
        recipes[name] = {"network": "vgg19", "iterations": tuple(max(1, round(n * factor)) for n in steps)}
    recipes |= {"fine": yardstick.RECIPES["fine"], "row C": yardstick.ROW_C}
    columns = (*yardstick.FIGURES, "seconds")
    print("| size | recipe | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 2) + "|")
    for size in (256, 512):
        for name, fields in recipes.items():
            if size == 512 and name not in ("draft", "standard", "row C"):
                continue  # minutes each; the whole curve is at 256 px
            row = yardstick.measure(pair, {name: {"size": size} | fields}, shared, out / f"curve-{size}")[name]
            print(f"| {size} | {name} | " + " | ".join(f"{row[c]:.3f}" for c in columns), "|", flush=True)


def precision(shared: Path, out: Path) -> None:
    """Prints figures and seconds of both networks in both precisions, on the yardstick's own pair."""
    pair = next(p for p in yardstick.pairs(shared, "tune") if p.number == TUBINGEN)
    columns = (*yardstick.FIGURES, "seconds")
    print("| size | network, precision | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 2) + "|")
    for size in (256, 512):
        recipes: dict[str, dict[str, Any]] = {
            f"{network}, {number}": {"network": network, "size": size, "precision": number}
            for network in ("compact", "vgg19")
            for number in ("float32", "bf16")
        }
        for name, row in yardstick.measure(pair, recipes, shared, out / f"precision-{size}").items():
            print(f"| {size} | {name} | " + " | ".join(f"{row[c]:.3f}" for c in columns), "|", flush=True)


PARTS: dict[str, Callable[[Path, Path], None]] = {"speed": speed, "memory": memory, "curve": curve, "precision": precision}


def main() -> None:
    """Runs the parts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all, when left out")
    parser.add_argument("--shared", type=Path, default=yardstick.SHARED)
    parser.add_argument("--out", type=Path, default=Path("out/benchmark"))
    args = parser.parse_args()
    yardstick.run_parts({name: partial(PARTS[name], args.shared, args.out) for name in args.parts or PARTS}, THREADS)


if __name__ == "__main__":
    main()
