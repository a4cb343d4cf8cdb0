"""Pastiches of many pairs, measured by a judge that no run optimises.

    python benchmarks/yardstick.py --set confirm                          # `standard` beside row C's recipe, VGG-19
    python benchmarks/yardstick.py --set tune --recipe mild:content_weight=0.2,smoothness=8,network=vgg19

Needs the project's shared folder (`--shared`, by default beside the repository): the pairs (`data/pairs.tsv`), the judge
(`tools/judge.py`: style, heldout, coarse, content, lpips, grain, palette, strokes, weave; what each means stands there) and
VGG-19. Every pastiche is kept under `--out` and is not made again, so an interrupted benchmark goes on where it was; one that
lacks a figure is judged again.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import underpaint
from underpaint.execution import device
from underpaint.networks import registry
from underpaint.recipe import make

FIGURES = ("style", "heldout", "coarse", "content", "lpips", "grain", "palette", "strokes", "weave")
SHARED = Path(__file__).resolve().parents[2] / "shared"

ROW_C: dict[str, Any] = {
    "network": "vgg19",
    "optimizer": "adam",
    "iterations": (60,),
    "rate": 0.02,
    "final_rate": 0.02,
    "average_from": 0.0,
    "content_weight": 0.1,
    "smoothness": 2.0,
    "smoothness_growth": 0.0,
    "preset": "gatys",
}
"""The yardstick's row C: 60 Adam steps at each of 64, 91, 128, 181, 256 px. Every field of it that a recipe has."""

RECIPES: dict[str, dict[str, Any]] = {
    "compact": {},
    "standard": {"network": "vgg19"},
    "draft": {"network": "vgg19", "preset": "draft"},
    "fine": {"network": "vgg19", "preset": "fine"},
    "adam": {"network": "vgg19", "optimizer": "adam"},
    "gatys": {"preset": "gatys"},
    "gatys_vgg19": {"network": "vgg19", "preset": "gatys"},
    "row_c": ROW_C,
}
"""`compact` is what `underpaint stylize` does, `gatys` what it did before; all others use VGG-19."""


@dataclass(frozen=True)
class Pair:
    """A content and a style picture; `number` is the pair's in pairs.tsv."""

    number: int
    content: Path
    style: Path

    @property
    def name(self) -> str:
        """For tables and files."""
        return f"{self.number:02}-{self.content.stem}-{self.style.stem}"


def pairs(shared: Path, which: str) -> list[Pair]:
    """The pairs of a set, "tune" or "confirm"."""
    with (shared / "data/pairs.tsv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["set"] == which]
    return [Pair(int(r["number"]), shared / "data" / r["content"], shared / "data" / r["style"]) for r in rows]


def paint(pair: Pair, fields: Mapping[str, Any], shared: Path, png: Path) -> float:
    """Paints a pair into `png` unless it is there, in float32 where `fields` says nothing else; seconds that the run took."""
    note = png.with_suffix(".json")
    if not note.exists():
        png.parent.mkdir(parents=True, exist_ok=True)
        found = any(map(registry.file_of, make(fields).networks()))  # the others' weights come with them
        options = underpaint.Options(weights=shared / "weights" if found else None, device="cpu")
        session = underpaint.start(pair.content, pair.style, options=options, **({"precision": "float32"} | dict(fields)))
        run = session.finish()
        run.save(png)
        note.write_text(json.dumps({"seconds": run.history[-1].seconds, "recipe": run.recipe.model_dump(mode="json")}))
    seconds: float = json.loads(note.read_text())["seconds"]
    return seconds


def judge(shared: Path, pair: Pair, pictures: Sequence[Path]) -> list[dict[str, float]]:
    """The judge's figures of each picture."""
    command = [sys.executable, str(shared / "tools/judge.py"), "--content", str(pair.content), "--style", str(pair.style)]
    answer = subprocess.run([*command, *map(str, pictures)], check=True, capture_output=True, text=True).stdout
    head, *lines = answer.strip().split("\n")
    columns = head.split()[: len(FIGURES)]
    if columns != list(FIGURES):
        raise SystemExit(f"{shared / 'tools/judge.py'}: its columns begin with {columns}, not with {list(FIGURES)}")
    return [dict(zip(FIGURES, map(float, line.split()[: len(FIGURES)]), strict=True)) for line in lines]


def measure(pair: Pair, recipes: Mapping[str, Mapping[str, Any]], shared: Path, out: Path) -> dict[str, dict[str, float]]:
    """Figures and seconds of each recipe on one pair."""
    pictures = {name: out / name / f"{pair.name}.png" for name in recipes}
    seconds = {name: paint(pair, fields, shared, pictures[name]) for name, fields in recipes.items()}
    notes = {name: json.loads(png.with_suffix(".json").read_text()) for name, png in pictures.items()}
    unknown = [name for name, note in notes.items() if not note.keys() >= set(FIGURES)]
    if unknown:
        for name, figures in zip(unknown, judge(shared, pair, [pictures[name] for name in unknown]), strict=True):
            notes[name] |= figures
            pictures[name].with_suffix(".json").write_text(json.dumps(notes[name]))
    return {name: {figure: notes[name][figure] for figure in FIGURES} | {"seconds": seconds[name]} for name in recipes}


def run_parts(parts: Mapping[str, Callable[[], None]], threads: int) -> None:
    """Prints the machine, then runs each part under its name, on so many threads."""
    torch.set_num_threads(threads)
    facts = device.describe(torch.device("cpu"))
    print(json.dumps({key: facts[key] for key in ("device_name", "threads", "instruction_set", "versions")}))
    for name, part in parts.items():
        print(f"\n## {name}\n", flush=True)
        part()


def parse_recipe(text: str) -> tuple[str, dict[str, Any]]:
    """`name:field=value,field=value` or `name:{JSON}`; `name` alone is one of `RECIPES`."""
    name, _, rest = text.partition(":")
    if not rest:
        return name, RECIPES[name]
    if rest.startswith("{"):
        return name, dict(json.loads(rest))
    pairs_of_text = (pair.split("=", 1) for pair in rest.split(","))
    return name, {key: json.loads(value) if value[0] in "0123456789.-" else value for key, value in pairs_of_text}


def table(results: Sequence[Mapping[str, Mapping[str, float]]], names: Sequence[str]) -> str:
    """The recipes' means over the pairs."""
    columns = (*FIGURES, "seconds")
    lines = ["| recipe | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in names:
        means = [sum(r[name][c] for r in results) / len(results) for c in columns]
        lines.append(f"| {name} | " + " | ".join(f"{m:.3f}" for m in means[:-1]) + f" | {means[-1]:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Prints a row a pair as it goes, then the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", default="confirm", choices=("tune", "confirm"))
    parser.add_argument("--only", type=int, nargs="*", help="numbers of pairs")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--recipe", action="append", help="name, or name:field=value,..., or name:{JSON}; repeatable")
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--out", type=Path, default=Path("out/yardstick"))
    args = parser.parse_args()
    recipes = dict(parse_recipe(text) for text in args.recipe or ["standard", "row_c"])
    recipes = {name: {"size": args.size, "precision": args.precision} | fields for name, fields in recipes.items()}
    out = args.out / f"{args.size}-{args.precision}"
    results = []
    for pair in pairs(args.shared, args.set):
        if args.only and pair.number not in args.only:
            continue
        results.append(measure(pair, recipes, args.shared, out))
        for name, figures in results[-1].items():
            print(f"{pair.name:45} {name:14} " + " ".join(f"{k} {v:.3f}" for k, v in figures.items()), flush=True)
    print(f"\nmeans over {len(results)} pairs, {args.size} px, {args.precision}\n\n" + table(results, list(recipes)))


if __name__ == "__main__":
    main()
