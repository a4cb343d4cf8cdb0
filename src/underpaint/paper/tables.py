"""Tables for a paper: LaTeX (booktabs) with uncertainties, and the same as CSV with raw and normalised values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import floor, log10, sqrt
from pathlib import Path
from typing import Any

from underpaint.errors import UnderpaintError
from underpaint.explanation.shapley.players import mask_of
from underpaint.explanation.verdict import BANNERS
from underpaint.report.folder import Evidence
from underpaint.report.latex import code, escape
from underpaint.storage import documents


@dataclass(frozen=True)
class Table:
    """One table: for LaTeX a head and rows of finished cells, for CSV a header and raw rows.

    Attributes:
        notes: lines that stand above the LaTeX as comments: what it is and how to read it.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    columns: Sequence[str]
    values: Sequence[Sequence[Any]]
    notes: Sequence[str]

    def latex(self) -> str:
        """A `tabular`, the first column left-aligned. Needs \\usepackage{booktabs}."""
        lines = [f"% {note}" for note in (*self.notes, r"Needs \usepackage{booktabs}.")]
        lines += [
            rf"\begin{{tabular}}{{l{'r' * (len(self.head) - 1)}}}",
            r"\toprule",
            " & ".join(self.head) + r" \\",
            r"\midrule",
        ]
        lines += [" & ".join(row) + r" \\" for row in self.rows]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])

    def csv(self) -> str:
        """Floats in full."""
        return documents.plain_text(self.columns, self.values)


def figure(value: float, half: float | None = None) -> str:
    """A value for LaTeX, with half its 95 % interval where that is known: both to the interval's second digit."""
    if half is None or not half > 0:
        mantissa, _, power = f"{value:.3g}".partition("e")
        return f"${mantissa}$" if not power else rf"${mantissa} \times 10^{{{int(power)}}}$"
    digits = max(0, 1 - floor(log10(half)))
    return rf"${value:.{digits}f} \pm {half:.{digits}f}$"


def _half(low: float | None, high: float | None) -> float | None:
    return None if low is None or high is None else (high - low) / 2


def attributions(e: Evidence) -> Table:
    """Every attribution: raw values with 95 % intervals; in the CSV also shares, where they mean something."""
    settled = e.state == "settled"
    rows, values = [], []
    for a in e.attributions.values():
        low, high = a.low or {}, a.high or {}
        rows.append([code(a.method), *(figure(v, _half(low.get(p), high.get(p))) for p, v in a.values.items())])
        shares = (a.shares() if settled else None) or {}
        for player, value in a.values.items():
            values.append(
                [
                    a.method,
                    player,
                    value,
                    low.get(player),
                    high.get(player),
                    a.unit,
                    a.baseline,
                    a.residual,
                    shares.get(player),
                ]
            )
    columns = ("method", "layer", "raw", "low", "high", "unit", "baseline", "residual", "normalised")
    notes = [
        BANNERS[e.state],
        "Attributions of style to layers, raw values; plus-minus: half of a 95 % interval, where something was repeated.",
        *(f"{a.method}: {a.unit}; counted from {a.baseline}." for a in e.attributions.values()),
    ]
    return Table(["method", *map(code, e.players)], rows, columns, values, notes)


def interactions(e: Evidence) -> Table:
    """The Shapley interaction index of every pair."""
    game = e.game()
    found = {(game.players[i], game.players[j]): x for (i, j), x in game.interactions().items()}
    fall = game.fall().value
    rows = [[f"{code(a)}, {code(b)}", figure(x.value, _half(x.low, x.high))] for (a, b), x in found.items()]
    values = [[a, b, x.value, x.low, x.high, x.value / fall if e.state == "settled" else None] for (a, b), x in found.items()]
    notes = [
        BANNERS[e.state],
        "Shapley interaction index; positive: more together than apart. Normalised (CSV): of the judge's whole fall.",
    ]
    return Table(["layers", "interaction"], rows, ("a", "b", "raw", "low", "high", "normalised"), values, notes)


def ablation(e: Evidence) -> Table:
    """What every judge says of each configuration."""
    found = {name: e.table.rows.get((0, mask_of(layers, e.players))) for name, layers in e.configs.items()}
    known = {name: row for name, row in found.items() if row is not None}
    if not known:
        raise UnderpaintError(f"{e.folder}: no named configuration is painted yet; run the command again to resume")
    judges = list(next(iter(known.values())).outcomes)
    halves = {j: _spread(e, j) for j in judges}
    rows = [[escape(name), *(figure(row.outcomes[j], halves[j]) for j in judges)] for name, row in known.items()]
    values = [[name, " ".join(e.configs[name]), *(row.outcomes[j] for j in judges)] for name, row in known.items()]
    notes = ["J by judge; lower is nearer to the style, or to the photograph (content, ssim distance, lpips)."]
    notes += ["heldout, its depths and patches are relative to the photograph: 1 is the photograph, 0 the style."]
    notes += ["Plus-minus: half of a 95 % interval of one coalition, where coalitions were repeated."]
    return Table(
        ["painted with", *(escape(j.replace("_", " ")) for j in judges)], rows, ("config", "layers", *judges), values, notes
    )


def _spread(e: Evidence, judge: str) -> float | None:
    """Half of a 95 % interval of one coalition's J, from those that were repeated."""
    if e.kind != "explain":
        return None
    try:
        game = e.game(judge)
    except UnderpaintError:  # an explanation that is not finished
        return None
    return None if game.noise is None else game.noise.reach * game.noise.spread / sqrt(game.tables)


def losses(e: Evidence) -> Table:
    """Each term's loss of the pastiche: raw (1: the photograph), weighted, and its share of the total."""
    last = e.history[-1]
    final = [row for row in e.history if row.step == last.step]
    rows = [[code(r.term), figure(r.raw), figure(r.weighted)] for r in final]
    values = [[r.term, r.raw, r.weighted, r.weighted / last.weighted if last.weighted > 0 else None] for r in final]
    notes = ["Losses of the pastiche at its own size; a share of the final loss is no measure of what a layer painted."]
    return Table(["term", "raw", "weighted"], rows, ("term", "raw", "weighted", "normalised"), values, notes)


TABLES: dict[str, tuple[tuple[str, ...], Callable[[Evidence], Table]]] = {
    "losses": (("stylize", "explain"), losses),
    "attributions": (("explain",), attributions),
    "ablation": (("ablate", "explain"), ablation),
    "interactions": (("explain",), interactions),
}
"""By name: the kinds of folders that have it, and what makes it."""


def make(e: Evidence, missing: list[str]) -> Iterator[tuple[Path, bytes]]:
    """Every table that the folder has, as .tex and .csv. What it lacks goes into `missing`, one line each."""
    for name, (kinds, table) in TABLES.items():
        if e.kind not in kinds:
            continue
        try:
            found = table(e)
        except UnderpaintError as error:
            missing.append(f"{name}: {error}")
            continue
        yield Path(f"{name}.tex"), found.latex().encode()
        yield Path(f"{name}.csv"), found.csv().encode()
