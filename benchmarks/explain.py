"""How exact, how dear and how faithful explanations are, as docs/explain.md quotes it.

    python benchmarks/explain.py closure       # the ledger's closure, cross residual and κ: both optimisers, both networks
    python benchmarks/explain.py cost          # a run with its ledger against the plain run, in turn in one process
    python benchmarks/explain.py time          # `underpaint explain` at 256 px: seconds and peak memory of its process
    python benchmarks/explain.py tables        # explanations of all pairs (hours; goes on where it was stopped)
    python benchmarks/explain.py faithfulness  # reads those: every attribution against exact Shapley values
    python benchmarks/explain.py candidates    # reads those: what else could be made of one run's gradients
    python benchmarks/explain.py reliability   # reads those: seeds, size, network

Two threads, float32, 256 px, the compact network where nothing else is said. Needs the project's shared folder, as
benchmarks/yardstick.py does; explanations are kept under `--out`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import yardstick
from underpaint.explanation import explaining, sanity_checks
from underpaint.explanation.account.ledger import Ledger
from underpaint.explanation.account.observer import kappa
from underpaint.explanation.attribution import TIE, judge_cosine
from underpaint.explanation.coalitions.painter import open_judge, panel
from underpaint.explanation.conclude import conclude
from underpaint.explanation.result import Explanation
from underpaint.explanation.shapley.exact import Exact, shapley_weights
from underpaint.explanation.validation import concordance
from underpaint.optimizers.loop import optimise
from underpaint.recipe import Preset
from underpaint.runs.prepared import Prepared
from underpaint.runs.session import Session
from underpaint.runs.wish import prepare

THREADS = 2
SIZE, SMALL = 256, 128
PRESET: Preset = "gatys"
"""The recipe that docs/explain.md's tables were painted with; it was the default then."""
VARIANTS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "main": (tuple(range(1, 21)), {}),
    "128": (tuple(range(1, 21)), {"size": 128}),
    "seeds": ((1, 4, 7, 9, 13, 18), {"size": 128, "seeds": 3}),
    "vgg19": ((1, 13), {"network": "vgg19"}),
    "adam": ((1, 13), {"optimizer": "adam"}),
}
"""Sets of explanations: pairs by number, and what differs from the default. `seeds` goes on with the folders of `128`."""

RUN_METHODS = (
    "final_loss",
    "gatys_loss",
    "loss_removed",
    "gradient_norm",
    "ledger",
    "cross",
    "judge_path",
    "judge_cosine",
    "judge_slope",
    "column_removed",
)
MANY = ("left_out", "alone")
RESAMPLES = 2000


def pairs(shared: Path) -> dict[int, tuple[str, yardstick.Pair]]:
    """All twenty pairs by number, with the set that each is in."""
    return {pair.number: (which, pair) for which in ("tune", "confirm") for pair in yardstick.pairs(shared, which)}


def session(args: argparse.Namespace, **fields: Any) -> Session:
    """A run of the first pair, in memory."""
    _, pair = pairs(args.shared)[1]
    weights = args.shared / "weights" if fields.get("network") == "vgg19" else None
    wish = prepare(pair.content, pair.style, size=SIZE, preset=PRESET, weights=weights, device="cpu", **fields).exact()
    return Session(Prepared.of(wish))


def closure(args: argparse.Namespace) -> None:
    """Whole runs with their account, clamped or not, both optimisers and networks."""
    print("| run | closure | clamp, largest | cross residual | path residual | κ half | κ |\n" + "|---" * 7 + "|")
    cases: dict[str, dict[str, Any]] = {
        "compact, L-BFGS": {},
        "compact, Adam": {"optimizer": "adam"},
        "compact, Adam, from noise": {"optimizer": "adam", "start": "noise"},
        "compact, L-BFGS, from noise": {"start": "noise"},
        "VGG-19, L-BFGS": {"network": "vgg19"},
    }
    for name, fields in cases.items():
        made = session(args, **fields)
        judge = open_judge("compact", made.prepared).network
        account = sanity_checks.accountant(made.scene, panel(made.scene, judge, None).style)
        for step in optimise(made.recipe, made.scene.stage, apart=True):
            account.ledger.see(step)
            account.see(step)
        ledger = account.ledger
        figures = [f"{ledger.closure(step.image):.1e}", f"{float(ledger.result['clamp'].abs().max()):.2f}"]
        figures += [f"{account.cross.residual():.4f}", f"{account.path.residual():.4f}"]
        figures += [f"{account.kappa_half:.2f}", f"{kappa(ledger):.2f}"]
        print(f"| {name} | " + " | ".join(figures) + " |", flush=True)


def cost(args: argparse.Namespace) -> None:
    """Plain runs and runs with a ledger take turns."""
    print("| run | plain, s | with the ledger, s | ratio |\n" + "|---" * 4 + "|")
    cases: dict[str, dict[str, Any]] = {
        "compact, L-BFGS": {},
        "compact, Adam": {"optimizer": "adam"},
        "VGG-19, L-BFGS": {"network": "vgg19", "preset": "draft"},
        "VGG-19, Adam": {"network": "vgg19", "preset": "draft", "optimizer": "adam"},
    }
    for name, fields in cases.items():
        made = session(args, **fields)
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(2):
            for ledger in (False, True):
                begun = time.perf_counter()
                account = Ledger()
                for step in optimise(made.recipe, made.scene.stage, apart=ledger, norms_every=0):
                    if ledger:
                        account.see(step)
                seconds[ledger].append(time.perf_counter() - begun)
        plain, whole = min(seconds[False]), min(seconds[True])
        print(f"| {name} | {plain:.1f} | {whole:.1f} | {whole / plain:.2f} |", flush=True)


def timing(args: argparse.Namespace) -> None:
    """The whole command in a process of its own."""
    _, pair = pairs(args.shared)[1]
    folder = args.out / f"time-{int(time.time())}"
    script = (
        "import resource, sys; sys.argv = ['underpaint', *sys.argv[1:]]\n"
        "from underpaint import cli\n"
        "try:\n    cli.app()\n"
        "except SystemExit:\n    pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)"
    )
    words = ["explain", pair.content, pair.style, "--size", SIZE, "--out", folder, "--quiet", "--device", "cpu"]
    begun = time.perf_counter()
    answer = subprocess.run([sys.executable, "-c", script, *map(str, words)], check=True, capture_output=True, text=True)
    seconds, peak = time.perf_counter() - begun, float(answer.stdout.split()[-1])
    rows = len((folder / "coalitions.csv").read_text().splitlines()) - 1
    print(f"{rows} coalitions at {SIZE} px: {seconds:.0f} s, {peak:.2f} GiB")


def workers(args: argparse.Namespace) -> None:
    """The whole command, one process with all threads and as many processes with one each, in turns."""
    _, pair = pairs(args.shared)[1]
    taken: dict[int, list[float]] = {1: [], THREADS: []}
    for turn in range(2):
        for count in taken:
            folder = args.out / f"workers-{int(time.time())}-{turn}-{count}"
            words = ["explain", pair.content, pair.style, "--size", SMALL, "--out", folder, "--quiet", "--device", "cpu"]
            words += ["--threads", THREADS // count, "--workers", count]
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-m", "underpaint", *map(str, words)], check=True, capture_output=True)
            taken[count].append(time.perf_counter() - begun)
    alone, several = (min(seconds) for seconds in taken.values())
    print(f"{SMALL} px: one process with {THREADS} threads {alone:.0f} s, {THREADS} processes with one each {several:.0f} s")


def tables(args: argparse.Namespace) -> None:
    """Makes what `VARIANTS` names, in their order."""
    known = pairs(args.shared)
    for variant in args.variant or VARIANTS:
        numbers, fields = VARIANTS[variant]
        for number in numbers:
            if args.only and number not in args.only:
                continue
            _, pair = known[number]
            folder = args.out / ("128" if variant == "seeds" else variant) / pair.name
            asked: dict[str, Any] = {"size": SIZE, "preset": PRESET, "device": "cpu"} | fields
            if fields.get("network") == "vgg19":
                asked["weights"] = args.shared / "weights"
            if is_done(folder, fields.get("seeds", 1)):
                continue
            begun = time.perf_counter()
            made = explaining.start(pair.content, pair.style, out=folder, **asked)
            for _ in made:
                pass
            conclude(made)
            print(f"{variant} {pair.name}: {time.perf_counter() - begun:.0f} s", flush=True)


def is_done(folder: Path, seeds: int) -> bool:
    """Whether an explanation with so many tables is there."""
    path = folder / "validation.json"
    return path.exists() and json.loads(path.read_text())["tables"] >= seeds


@dataclass(frozen=True)
class Case:
    """One explained pair: its set and pictures, φ by layer, the pairs of layers that are told apart, and all attributions."""

    which: str
    pair: yardstick.Pair
    phi: dict[str, float]
    resolved: list[tuple[str, str]]
    values: dict[str, dict[str, float]]


def cases(args: argparse.Namespace, variant: str) -> dict[int, Case]:
    """Those of a variant that are done."""
    found = {}
    for number, (which, pair) in pairs(args.shared).items():
        folder = args.out / variant / pair.name
        if not is_done(folder, 1):
            continue
        e = Explanation.load(folder)
        game = e.game()
        phi = {layer: x.value for layer, x in e.shapley.items()}
        resolved = [(game.players[i], game.players[j]) for i, j in game.resolved()]
        values = {name: dict(a.values) for name, a in e.attributions.items()}
        with np.load(folder / "products.npz") as kept:
            products = list(zip(kept["place"], kept["products"], strict=True))
            values["judge_cosine"] = dict(judge_cosine(products, kept["terms"].tolist(), game.players).values)
        found[number] = Case(which, pair, phi, resolved, values)
    return found


def baseline(case: Case, others: Sequence[Case]) -> dict[str, float]:
    """The mean φ of the pictures that share neither content nor style."""
    fit = [c for c in others if c.pair.style != case.pair.style and c.pair.content != case.pair.content]
    return {layer: float(np.mean([c.phi[layer] for c in fit])) for layer in case.phi}


def hits(values: Sequence[Mapping[str, float]], some: Sequence[Case]) -> np.ndarray:
    """By case, (right, all) of its resolved pairs."""
    rows = []
    for value, case in zip(values, some, strict=True):
        share = concordance(value, case.resolved, tie=TIE)
        rows.append((0.0 if share is None else share * len(case.resolved), len(case.resolved)))
    return np.asarray(rows)


def rate(counts: np.ndarray) -> float:
    """Right of all."""
    return float(counts[:, 0].sum() / max(counts[:, 1].sum(), 1))


def bootstrap(ours: np.ndarray, theirs: np.ndarray, some: Sequence[Case]) -> tuple[list[float], list[float]]:
    """95 % intervals of a concordance and of its lead over another, by resampling styles and contents, each by itself (Owen
    2007, "The pigeonhole bootstrap"): a picture counts as often as its style was drawn times its content."""
    random = np.random.default_rng(0)
    drawn = [
        np.unique([str(getattr(case.pair, role)) for case in some], return_inverse=True) for role in ("style", "content")
    ]
    own, lead = [], []
    for _ in range(RESAMPLES):
        times = np.ones(len(some))
        for names, places in drawn:
            times = times * np.bincount(random.integers(len(names), size=len(names)), minlength=len(names))[places]
        weighed = times[:, None] * ours
        if weighed[:, 1].sum():
            own.append(rate(weighed))
            lead.append(own[-1] - rate(times[:, None] * theirs))
    return [float(q) for q in np.percentile(own, [2.5, 97.5])], [float(q) for q in np.percentile(lead, [2.5, 97.5])]


def null(values: Sequence[Mapping[str, float]], some: Sequence[Case]) -> float:
    """Concordance when the vectors are dealt to other pictures, none to its own, layer labels kept."""
    if len(some) < 2:
        return float("nan")
    deals = derangements(np.random.default_rng(1), len(some), 200)
    return float(np.mean([rate(hits([values[i] for i in deal], some)) for deal in deals]))


def derangements(random: np.random.Generator, n: int, count: int) -> list[np.ndarray]:
    """So many orders of n in which nothing keeps its place, each as likely as any other."""
    found: list[np.ndarray] = []
    while len(found) < count:
        order = random.permutation(n)
        if (order != np.arange(n)).all():
            found.append(order)
    return found


def agreement(values: Sequence[Mapping[str, float]], some: Sequence[Case]) -> tuple[float, float, float]:
    """Lin's concordance correlation of shares, of the pictures where values add up to more than 0 (of others a share means
    nothing; NaN where there are none), mean τ-b, and how often the largest is the same."""
    shares, truths, taus, tops = [], [], [], []
    for value, case in zip(values, some, strict=True):
        a, b = np.array([value[k] for k in case.phi]), np.array(list(case.phi.values()))
        if a.sum() > 1e-12 and b.sum() > 1e-12:
            shares += list(a / a.sum())
            truths += list(b / b.sum())
        taus.append(stats.kendalltau(a, b).statistic)
        tops.append(float(a.argmax() == b.argmax()))
    x, y = np.array(shares), np.array(truths)
    if not len(x):
        return float("nan"), float(np.nanmean(taus)), float(np.mean(tops))
    ccc = 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    return float(ccc), float(np.nanmean(taus)), float(np.mean(tops))


def faithfulness(args: argparse.Namespace) -> None:
    """The table, for the pairs to choose on, those to confirm on, and all."""
    every = list(cases(args, args.of).values())
    for which in ("tune", "confirm", "all"):
        some = [case for case in every if which in ("all", case.which)]
        if not some:
            continue
        count = sum(len(case.resolved) for case in some)
        print(f"\n{which}: {len(some)} pictures, {count} of {10 * len(some)} pairs of layers told apart\n")
        print("| attribution | concordance | 95 % | lead over the mean φ | null | CCC | τ-b | top-1 |\n" + "|---" * 8 + "|")
        base = [baseline(case, every) for case in some]
        reference = hits(base, some)
        methods = {name: [case.values[name] for case in some] for name in (*RUN_METHODS, *MANY)}
        for name, values in ({"mean φ of other pictures": base} | methods).items():
            counts = hits(values, some)
            own, lead = bootstrap(counts, reference, some)
            figures = [f"{rate(counts):.2f}", f"{own[0]:.2f}-{own[1]:.2f}", f"{lead[0]:+.2f} to {lead[1]:+.2f}"]
            figures += [f"{null(values, some):.2f}", *(f"{x:.2f}" for x in agreement(values, some))]
            print(f"| {name} | " + " | ".join(figures) + " |", flush=True)


def span_game(inner: np.ndarray, vectors: Sequence[int]) -> np.ndarray:
    """(2ⁿ,): how much of ∇J (row 0 of the inner products) lies in the span of each subset of the named vectors, 0..1."""
    found = np.zeros(1 << len(vectors))
    for mask in range(1, len(found)):
        chosen = [v for i, v in enumerate(vectors) if mask >> i & 1]
        lengths = np.sqrt(np.diag(inner)[chosen])
        gram = inner[np.ix_(chosen, chosen)] / np.outer(lengths, lengths) + 1e-9 * np.eye(len(chosen))
        along = inner[chosen, 0] / lengths
        found[mask] = along @ np.linalg.solve(gram, along) / inner[0, 0]
    return found


def from_products(folder: Path, layers: Sequence[str]) -> dict[str, dict[str, float]]:
    """Cosines of ∇J with the terms' gradients and with the columns' moves, and Shapley values of `span_game`, as means over
    the first picture of all, the first pictures of all sizes, and all marks of a run."""
    with np.load(folder / "products.npz") as kept:
        places, products, terms = kept["place"], kept["products"], kept["terms"].tolist()
    gradients = [1 + terms.index(f"style/{layer}") for layer in layers]
    moves = [i + len(terms) for i in gradients]
    firsts = [k for k, place in enumerate(places) if place[1] == 0]
    shapley = shapley_weights(len(layers))
    found = {}
    for when, marks in {"first": [0], "firsts": firsts, "all": range(len(places))}.items():
        for name, vectors, sign in (("gradients", gradients, 1), ("moves", moves, -1)):
            inners = [products[k] for k in marks]
            cosines = [sign * p[0, vectors] / np.sqrt(np.diag(p)[vectors] * p[0, 0]) for p in inners]
            found[f"cosine, {name}, {when}"] = np.mean(cosines, axis=0)
            found[f"span, {name}, {when}"] = np.mean([shapley @ span_game(p, vectors) for p in inners], axis=0)
    return {name: dict(zip(layers, values.tolist(), strict=True)) for name, values in found.items()}


def candidates(args: argparse.Namespace) -> None:
    """Their concordance on the pairs to choose on and on those to confirm on, beside the baseline's."""
    every = list(cases(args, args.of).values())
    made = {c.pair.number: from_products(args.out / args.of / c.pair.name, list(c.phi)) for c in every}
    names = list(next(iter(made.values())))
    print("| candidate | tune | confirm |\n|---|---|---|")
    for name in ["mean φ of other pictures", *names]:
        rates = []
        for which in ("tune", "confirm"):
            some = [c for c in every if c.which == which]
            values = [made[c.pair.number][name] if name in names else baseline(c, every) for c in some]
            rates.append(f"{rate(hits(values, some)):.2f}")
        print(f"| {name} | " + " | ".join(rates) + " |", flush=True)


def between(ours: Sequence[Case], theirs: Mapping[int, Mapping[str, float]], numbers: Sequence[int]) -> str:
    """Concordance of other φ with the resolved pairs of these cases."""
    counts = hits([theirs[n] for n in numbers], ours)
    return f"{rate(counts):.2f} ({int(counts[:, 1].sum())} pairs, {len(numbers)} pictures)"


def across_seeds(args: argparse.Namespace, some: Sequence[Case]) -> str:
    """Of pairs of layers that the first table alone tells apart, the share that each other table alone orders alike."""
    counts, pictures = np.zeros(2), 0
    for case in some:
        folder = args.out / args.of / case.pair.name
        if not is_done(folder, 2):
            continue
        e = Explanation.load(folder)
        noise, outcomes = e.game().noise, e.table.outcomes("heldout")
        tables = {
            seed: {k: v for k, v in outcomes.items() if k[0] == seed} for seed in sorted({seed for seed, _ in outcomes})
        }
        games = [replace(Exact.of(e.players, table), noise=noise) for table in tables.values()]
        apart = [(e.players[i], e.players[j]) for i, j in games[0].resolved()]
        phis = [dict(zip(e.players, (x.value for x in game.shapley()), strict=True)) for game in games[1:]]
        # A pair counts once, however many tables it was looked at in.
        share = sum(concordance(phi, apart, tie=TIE) or 0.0 for phi in phis) / len(phis)
        counts += np.array([share * len(apart), len(apart)])
        pictures += 1
    return f"each other seed by itself | {counts[0] / max(counts[1], 1):.2f} ({counts[1]:.0f} pairs, {pictures} pictures)"


def reliability(args: argparse.Namespace) -> None:
    """Exact Shapley values of the headline judge against those of other seeds, size, network, optimiser and judges."""
    main = cases(args, args.of)
    found: dict[str, Mapping[int, Mapping[str, float]]] = {}
    found |= {
        variant: {n: c.phi for n, c in cases(args, variant).items()}
        for variant in VARIANTS
        if variant not in ("seeds", args.of)
    }
    judges = sorted({m for c in main.values() for m in c.values if m.startswith("shapley:")})
    found |= {judge: {n: c.values[judge] for n, c in main.items() if judge in c.values} for judge in judges}
    print(f"| φ of | concordance with φ of {args.of} |\n|---|---|")
    print(f"| {across_seeds(args, list(main.values()))} |", flush=True)
    for name, phis in found.items():
        numbers = [n for n in phis if n in main]
        if numbers:
            print(f"| {name} | {between([main[n] for n in numbers], phis, numbers)} |", flush=True)


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "closure": closure,
    "cost": cost,
    "time": timing,
    "workers": workers,
    "tables": tables,
    "faithfulness": faithfulness,
    "candidates": candidates,
    "reliability": reliability,
}


def main() -> None:
    """Prints the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--variant", nargs="*", choices=VARIANTS, help="of `tables`: which sets")
    parser.add_argument("--of", default="main", choices=VARIANTS, help="of the parts that read: which set")
    parser.add_argument("--only", type=int, nargs="*", help="of `tables`: numbers of pairs")
    parser.add_argument("--shared", type=Path, default=yardstick.SHARED)
    parser.add_argument("--out", type=Path, default=Path("out/explain"))
    args = parser.parse_args()
    yardstick.run_parts({name: partial(PARTS[name], args) for name in args.parts}, THREADS)


if __name__ == "__main__":
    main()
