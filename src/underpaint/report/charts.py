"""Charts: what a history, attributions or a game look like, drawn on a figure that the caller made.

Reports and papers share them. Ink is the caller's `text.color`; lines differ by dashes as well as by colour, bars and heat
maps carry figures or hatching, so that nothing depends on colour alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from underpaint.explanation.attribution import Attribution
from underpaint.explanation.shapley.exact import Game
from underpaint.networks.anatomy import Anatomy
from underpaint.recipe import Recipe
from underpaint.runs.convergence import COLOURS, MARKS, begins
from underpaint.runs.folder import TOTAL, Row

POINTS = ("", "o", "s", "^", "v", "D", "x")
"""Markers; with `MARKS` 28 lines are told apart."""


def _ink() -> str:
    from matplotlib import rcParams

    return str(rcParams["text.color"])


def plain(text: str) -> str:
    """Text that matplotlib shows as it is: dollar signs would begin a formula."""
    return text.replace("$", r"\$")


def short(name: str) -> str:
    """A term's name for a chart: `style/relu3_1` is `relu3_1`, `content/relu4_2` is `content relu4_2`."""
    return plain(name.replace("style/", "").replace("content/", "content "))


def losses(history: Sequence[Row]) -> dict[str, list[tuple[int, float]]]:
    """(step, value) by term: raw values, and the weighted total, which comes first."""
    series: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in history:
        series[row.term].append((row.step, row.weighted if row.term == TOTAL else row.raw))
    return {name: series[name] for name in sorted(series, key=lambda name: name != TOTAL)}


def convergence(figure: Any, history: Sequence[Row], recipe: Recipe, scale: str = "log") -> None:
    """The total and every term's raw loss by step; a line where each size begins. `scale`: "linear" or "log"."""
    axes = figure.add_subplot()
    for number, (name, points) in enumerate(losses(history).items()):
        look = {"color": _ink(), "lw": 1.4} if name == TOTAL else {"color": COLOURS[(number - 1) % len(COLOURS)], "lw": 1.1}
        # Dashes and markers besides colours: together they tell lines apart in grey.
        look |= {"ls": MARKS[number % len(MARKS)], "marker": POINTS[number % len(POINTS)], "ms": 2.5}
        every = (0.02 * number % 0.1, 0.1)
        axes.plot(*zip(*points, strict=True), label=short(name), markevery=every, **look)
    for place, step in begins(history).items():
        axes.axvline(step, color=_ink(), lw=0.5, alpha=0.4)
        axes.annotate(f"{recipe.sizes()[place]}", (step, 1), xycoords=("data", "axes fraction"), fontsize=6, va="top")
    axes.set(yscale=scale, xlabel="step", ylabel="loss (total: weighted)")
    figure.legend(loc="outside lower center", fontsize=6.5, ncols=4)


def bars(axes: Any, attribution: Attribution, anatomy: Anatomy, title: str | None = None) -> None:
    """One attribution, with 95 % intervals where there are any."""
    names, values = list(attribution.values), np.array(list(attribution.values.values()))
    ends = None
    if attribution.low is not None and attribution.high is not None:
        ends = np.abs(np.array([[side[n] for n in names] for side in (attribution.low, attribution.high)]) - values)
    axes.bar(range(len(names)), values, yerr=ends, color=COLOURS[0], ecolor=_ink(), capsize=2, width=0.7)
    turned = 90 if len(names) > 8 else 0
    axes.set_xticks(range(len(names)), [anatomy.short(n) for n in names], fontsize=7, rotation=turned)
    axes.set_title(plain(attribution.method) if title is None else title, fontsize=8)
    axes.set_ylabel(plain(attribution.unit), fontsize=6)
    axes.tick_params(axis="y", labelsize=6)
    axes.axhline(0, color=_ink(), lw=0.5)


def attributions(figure: Any, chosen: Sequence[Attribution], anatomy: Anatomy, across: int = 4) -> None:
    """Several, side by side."""
    for place, each in enumerate(chosen):
        bars(figure.add_subplot(-(-len(chosen) // across), across, place + 1), each, anatomy)


def heat(axes: Any, names: Sequence[str], matrix: np.ndarray, reach: float | None = None) -> None:
    """A square of signed values: orange is positive, blue negative and hatched; what is not finite stays empty."""
    from matplotlib.patches import Rectangle

    reach = reach or max(float(np.nanmax(np.abs(matrix))), 1e-12)
    axes.imshow(matrix, cmap="PuOr_r", vmin=-reach, vmax=reach)
    axes.set_xticks(range(len(names)), names, fontsize=7, rotation=35, ha="right")
    axes.set_yticks(range(len(names)), names, fontsize=7)
    size = min(7, 18 * axes.figure.get_figwidth() / len(names))  # points: fits its cell
    for (i, j), value in np.ndenumerate(matrix):
        if not np.isfinite(value):
            continue
        ink = "black" if abs(value) < 0.6 * reach else "white"
        if value < 0:
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, hatch="////", ec=ink, lw=0, alpha=0.25))
        axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=size, color=ink)


def interaction_matrix(game: Game) -> np.ndarray:
    """(n, n): the Shapley interaction index of every pair; NaN on the diagonal."""
    n = len(game.players)
    matrix = np.full((n, n), np.nan)
    for (i, j), e in game.interactions().items():
        matrix[i, j] = matrix[j, i] = e.value
    return matrix


def deletion(axes: Any, curves: Mapping[str, Sequence[float]]) -> None:
    """J as layers are taken away, by order."""
    for place, (name, values) in enumerate(curves.items()):
        look = {"color": COLOURS[place % len(COLOURS)], "ls": MARKS[place % len(MARKS)]}
        axes.plot(range(len(values)), [-v for v in values], marker="o", ms=3, label=name, **look)
    axes.set(xlabel="layers taken away", ylabel="J")
    axes.legend(fontsize=7)
