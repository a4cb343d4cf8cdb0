"""How the values of coalitions scatter, and how often an explanation's intervals hold; makes the package's noise.json.

    python benchmarks/noise.py tables --size 64 --seeds 5   # whole tables, painted again (an hour; goes on when run again)
    python benchmarks/noise.py keep                         # reads those, keeps J by judge in benchmarks/tables/
    python benchmarks/noise.py fit                          # reads those: the ratios of every judge; --write keeps them
    python benchmarks/noise.py coverage                     # reads those: how often intervals hold

One thread, float32, the default recipe. Needs the project's shared folder, as benchmarks/yardstick.py does; the tables are
kept under `--out`, by size.

Coverage: each table in turn is what a picture's explanation has, with eight coalitions of the next table as its repetitions.
Its interval of a figure, widened by the error of the other tables' mean, should hold that mean 95 times in a hundred. The
ratios are those of pictures that share neither photograph nor painting with this one.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np

import yardstick
from underpaint.explanation import explaining
from underpaint.explanation.coalitions.table import Row, Table
from underpaint.explanation.shapley import noise
from underpaint.explanation.shapley.exact import Exact, shapley_weights
from underpaint.explanation.shapley.players import repeated
from underpaint.quality.panel import HEADLINE
from underpaint.recipe import Recipe

PLAYERS = tuple(Recipe().style_layers)
TABLES = Path(__file__).parent / "tables"
KEPT = Path(noise.__file__).parent / noise.FILE


@dataclass(frozen=True)
class Painted:
    """A picture's whole tables: (R, 2ⁿ) values v by judge."""

    pair: yardstick.Pair
    size: int
    values: Mapping[str, np.ndarray]


def pairs(shared: Path) -> list[yardstick.Pair]:
    """All twenty, those first that were chosen for other benchmarks' repetitions."""
    return [pair for which in ("tune", "confirm") for pair in yardstick.pairs(shared, which)]


def tables(args: argparse.Namespace) -> None:
    """Paints them."""
    for pair in pairs(args.shared):
        folder = args.out / str(args.size) / pair.name
        begun = time.perf_counter()
        made = explaining.start(pair.content, pair.style, out=folder, size=args.size, seeds=args.seeds, device="cpu")
        if not sum(key not in made.table.rows for key in made.plan()):
            continue
        for _ in made:
            pass
        print(f"{args.size} px, {pair.name}: {time.perf_counter() - begun:.0f} s", flush=True)


def keep(args: argparse.Namespace) -> None:
    """Pictures' whole tables as benchmarks/tables/SIZE.csv: J by judge, to six digits."""
    for folder in sorted(args.out.glob("*/"), key=lambda path: int(path.name)):
        found = {each.name: rows for each in sorted(folder.iterdir()) if len(rows := _whole(each)) >= 3 << len(PLAYERS)}
        judges = list(next(iter(found.values()))[0, 0].outcomes)
        lines = [
            [name, p, mask, *(f"{row.outcomes[judge]:.6g}" for judge in judges)]
            for name, rows in found.items()
            for (p, mask), row in sorted(rows.items())
        ]
        TABLES.mkdir(exist_ok=True)
        with (TABLES / f"{folder.name}.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([["pair", "perturbation", "coalition", *judges], *lines])
        print(f"{folder.name} px: {len(found)} pictures, {len(lines) >> len(PLAYERS)} tables")


def _whole(folder: Path) -> dict[tuple[int, int], Row]:
    """Rows of whole tables, by perturbation and coalition."""
    rows = Table(folder, PLAYERS).rows
    whole = {p for p, _ in rows if all((p, mask) in rows for mask in range(1 << len(PLAYERS)))}
    return {key: row for key, row in rows.items() if key[0] in whole}


def painted(args: argparse.Namespace) -> Iterator[Painted]:
    """Those that are kept."""
    known = {pair.name: pair for pair in pairs(args.shared)}
    for path in sorted(TABLES.glob("*.csv"), key=lambda path: int(path.stem)):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        judges = list(rows[0])[3:]
        for name in dict.fromkeys(row["pair"] for row in rows):
            own = sorted(
                (row for row in rows if row["pair"] == name), key=lambda r: (int(r["perturbation"]), int(r["coalition"]))
            )
            values = {judge: -np.array([float(row[judge]) for row in own]).reshape(-1, 1 << len(PLAYERS)) for judge in judges}
            yield Painted(known[name], int(path.stem), values)


def layers(table: np.ndarray) -> tuple[np.ndarray, float]:
    """Of (R, 2ⁿ): variances of the layers' effects, and of the rest: an analysis of variance, by least squares."""
    count, n = len(table), len(PLAYERS)
    design = np.column_stack([np.ones(1 << n), np.arange(1 << n)[:, None] >> np.arange(n) & 1])
    away = table - table.mean(0)
    effects = np.linalg.lstsq(design, away.T, rcond=None)[0]
    rest = float(((away.T - design @ effects) ** 2).sum() / ((count - 1) * ((1 << n) - n - 1)))
    chance = np.linalg.inv(design.T @ design).diagonal()[1:] * rest
    return (effects[1:] ** 2).sum(1) / (count - 1) - chance, rest


def ratios(some: Sequence[Painted], judge: str) -> tuple[float, ...]:
    """r_i: mean over pictures of what each layer's variance is to the rest's, at least 0."""
    found = [layers(each.values[judge]) for each in some if layers(each.values[judge])[1] > 0]
    mean = np.mean([own / rest for own, rest in found], axis=0)
    return tuple(float(r) for r in np.maximum(mean, 0))


def unperturbed(some: Sequence[Painted]) -> float:
    """How far the run itself is from the mean of its perturbations, in units of what one of these would be: root mean square
    over Shapley values and pictures, 1 where it could be one of them."""
    weights = shapley_weights(len(PLAYERS)).T
    own, expected = [], []
    for each in some:
        phi = each.values[HEADLINE] @ weights
        own.append((phi[0] - phi[1:].mean(0)) ** 2)
        expected.append(phi[1:].var(0, ddof=1) * (1 + 1 / (len(phi) - 1)))
    return float(np.sqrt(np.mean(own) / np.mean(expected)))


def fit(args: argparse.Namespace) -> None:
    """Prints the ratios and, if asked to, keeps them."""
    some = list(painted(args))
    judges = [judge for judge in some[0].values if all(judge in each.values for each in some)]
    known = {judge: dict(zip(PLAYERS, (round(r, 2) for r in ratios(some, judge)), strict=True)) for judge in judges}
    print("| judge | " + " | ".join(PLAYERS) + " |\n" + "|---" * (1 + len(PLAYERS)) + "|")
    for judge, own in known.items():
        print(f"| {judge} | " + " | ".join(f"{r:.2f}" for r in own.values()) + " |")
    sizes = sorted({each.size for each in some})
    made_of = {
        "pictures": {str(size): sum(each.size == size for each in some) for size in sizes},
        "tables": sum(len(each.values[HEADLINE]) for each in some),
        "recipe_sha256": Recipe(precision="float32").digest(),
    }
    print(json.dumps(made_of))
    print(f"the unperturbed run is {unperturbed(some):.2f} times as far from its perturbations' mean as one of them would be")
    if args.write:
        KEPT.write_text(json.dumps({"format": 1, "made_of": made_of, "ratios": known}, indent=1) + "\n")


def trials(each: Painted, told: Sequence[float], whole: int) -> Iterator[tuple[Exact, np.ndarray, float]]:
    """What an explanation of so many whole tables would have, the Shapley values of the tables that it has not, and what the
    error of their mean adds to an interval, as a factor."""
    table = each.values[HEADLINE]
    count = len(table)
    for first in range(count):
        own = [(first + k) % count for k in range(whole)]
        others = [k for k in range(count) if k not in own]
        outcomes = {(p, mask): -value for p, k in enumerate(own) for mask, value in enumerate(table[k])}
        if whole == 1:
            outcomes |= {(1, mask): -table[others[0], mask] for mask in repeated(len(PLAYERS))}
        yield (
            Exact.of(PLAYERS, outcomes, told),
            table[others] @ shapley_weights(len(PLAYERS)).T,
            (1 + whole / len(others)) ** 0.5,
        )


def shares(some: Sequence[Painted], whole: int, independent: bool) -> str:
    """Coverage of Shapley values and of differences; pairs told apart; how many of these the other tables order otherwise."""
    own, between, named, wrong, count = [], [], 0, 0, 0
    for each in some:
        fit_for = [o for o in some if o.pair.style != each.pair.style and o.pair.content != each.pair.content]
        told = () if independent else ratios(fit_for, HEADLINE)
        for game, others, factor in trials(each, told, whole):
            truth, reach = others.mean(0), factor * game.noise.reach if game.noise else 0.0
            own += [abs(e.value - t) <= reach * (e.error or 0.0) for e, t in zip(game.shapley(), truth, strict=True)]
            for i, j in combinations(range(len(PLAYERS)), 2):
                e = game.difference(i, j)
                between.append(abs(e.value - truth[i] + truth[j]) <= reach * (e.error or 0.0))
            resolved = game.resolved()
            named, wrong, count = named + len(resolved), wrong + sum(truth[i] < truth[j] for i, j in resolved), count + 1
    figures = f"{np.mean(own):.3f} | {np.mean(between):.3f} | {named / count:.1f} | {wrong} of {named}"
    return f"{'independent' if independent else 'by layer'} | {figures}"


def coverage(args: argparse.Namespace) -> None:
    """One whole table with eight repetitions, and two and three whole tables."""
    every = list(painted(args))
    print("| size, px | pictures | whole tables | noise | φ held | differences held | pairs told apart, of 10 | wrongly |")
    print("|---" * 8 + "|")
    for size in sorted({each.size for each in every}):
        some = [each for each in every if each.size == size]
        most = min(len(each.values[HEADLINE]) for each in some)
        for whole in range(1, min(most - 1, 3) + 1):
            for independent in (True, False):
                print(f"| {size} | {len(some)} | {whole} | {shares(some, whole, independent)} |", flush=True)


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {"tables": tables, "keep": keep, "fit": fit, "coverage": coverage}


def main() -> None:
    """Prints the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--size", type=int, default=64, help="of `tables`: pixels")
    parser.add_argument("--seeds", type=int, default=5, help="of `tables`: whole tables of a picture")
    parser.add_argument("--write", action="store_true", help="of `fit`: keep the ratios in the package")
    parser.add_argument("--shared", type=Path, default=yardstick.SHARED)
    parser.add_argument("--out", type=Path, default=Path("out/noise"))
    args = parser.parse_args()
    yardstick.run_parts({name: partial(PARTS[name], args) for name in args.parts}, 1)


if __name__ == "__main__":
    main()
