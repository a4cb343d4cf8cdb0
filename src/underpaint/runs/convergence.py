"""The picture of how the losses fell."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from underpaint.imaging.drawing import drawing
from underpaint.recipe import Recipe
from underpaint.runs.folder import TOTAL, Row
from underpaint.storage.files import write_bytes

# Okabe & Ito 2008: told apart by colour-blind readers.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#999933", "#661100")
MARKS = ("-", "--", "-.", ":")


def draw(folder: Path, history: Sequence[Row], recipe: Recipe) -> None:
    """Writes convergence.png and convergence.svg: the weighted total with its parts, and each style layer's raw loss.

    Vertical lines mark where a size begins. Without history, nothing is written.
    """
    if not history:
        return
    # A fixed salt and no date: equal runs give equal files.
    with drawing(9, 3.6, {"svg.hashsalt": "underpaint", "font.size": 9}) as figure:
        left, right = figure.subplots(1, 2)
        _parts(left, history)
        _layers(right, history)
        for axes in (left, right):
            _mark_scales(axes, history, recipe)
        for kind, metadata in (("png", {"Software": "underpaint"}), ("svg", {"Date": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
            write_bytes(folder / f"convergence.{kind}", buffer.getvalue())


def _series(history: Sequence[Row], value: str) -> dict[str, tuple[list[int], list[float]]]:
    found: dict[str, tuple[list[int], list[float]]] = defaultdict(lambda: ([], []))
    for row in history:
        steps, values = found[row.term]
        steps.append(row.step)
        values.append(getattr(row, value))
    return found


def _parts(axes: Any, history: Sequence[Row]) -> None:
    """The total and each kind of terms, weighted."""
    sums: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for row in history:
        kind = row.term.split("/")[0].rstrip("0123456789")
        sums[kind][row.step] += row.weighted
    order = sorted(sums, key=lambda kind: (kind != TOTAL, kind))
    for place, kind in enumerate(order):
        colour = "black" if kind == TOTAL else COLOURS[place - 1]
        axes.plot(list(sums[kind]), list(sums[kind].values()), MARKS[place % 4], color=colour, label=kind, lw=1.4)
    _label(axes, "weighted loss", sums.values())


def _layers(axes: Any, history: Sequence[Row]) -> None:
    """Each style layer's raw loss."""
    series = {name: s for name, s in _series(history, "raw").items() if name.startswith("style")}
    for place, (name, (steps, values)) in enumerate(series.items()):
        look = {"color": COLOURS[place % len(COLOURS)], "ls": MARKS[place // len(COLOURS) % 4]}
        axes.plot(steps, values, label=name.removeprefix("style/"), lw=1.2, **look)
    _label(axes, "raw style loss (1 = content picture)", [dict(zip(*s, strict=True)) for s in series.values()])


def _label(axes: Any, what: str, series: Any) -> None:
    if any(value > 0 for one in series for value in one.values()):
        axes.set_yscale("log")
    axes.set(xlabel="step", ylabel=what)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7, ncols=2)


def begins(history: Sequence[Row]) -> dict[int, int]:
    """The first step of each size, by its place in the recipe's sizes."""
    found: dict[int, int] = {}
    for row in history:
        found.setdefault(row.scale, row.step)
    return found


def _mark_scales(axes: Any, history: Sequence[Row], recipe: Recipe) -> None:
    for scale, step in begins(history).items():
        axes.axvline(step, color="0.8", lw=0.8, zorder=0)
        place = (step, 1.0)
        axes.annotate(
            f"{recipe.sizes()[scale]} px",
            place,
            xycoords=("data", "axes fraction"),
            fontsize=6.5,
            color="0.4",
            xytext=(0, 2),
            textcoords="offset points",
            va="bottom",
        )
