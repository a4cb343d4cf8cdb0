"""Charts as inline SVG. Ink is `currentColor`, so that they follow a light or dark page."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from underpaint.attribution import Attribution
from underpaint.convergence import COLOURS, MARKS
from underpaint.game import Game
from underpaint.recipe import Recipe
from underpaint.run import TOTAL, Row

INK = "#010203"
"""Stands for the page's text colour until the SVG is written."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def svg(width: float, height: float, draw: Callable[[Any], None], alternative: str) -> str:
    """What `draw` makes of a figure of so many inches, as an `<svg>` with alternative text."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # The salt makes the ids inside a chart its own: they share one page.
    with rc_context(STYLE | {"svg.hashsalt": alternative}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg") :]).replace(INK, "currentColor")
    label = alternative.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', rf'<svg viewBox="\1" role="img" aria-label="{label}">', text, count=1
    )


def convergence(history: Sequence[Row], recipe: Recipe) -> str:
    """Total, content and every layer's raw loss by step, linear and logarithmic, sizes marked."""
    series: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in history:
        series[row.term].append((row.step, row.weighted if row.term == TOTAL else row.raw))
    begins: dict[int, int] = {}
    for row in history:
        begins.setdefault(row.scale, row.step)

    def draw(figure: Any) -> None:
        for place, scale in enumerate(("linear", "log")):
            axes = figure.add_subplot(1, 2, place + 1)
            for number, (name, points) in enumerate(series.items()):
                look = {"color": COLOURS[number % len(COLOURS)], "ls": MARKS[number // len(COLOURS) % len(MARKS)]}
                axes.plot(*zip(*points, strict=True), label=name, lw=1.2, **look)
            axes.set(yscale=scale, xlabel="step", ylabel="loss (total: weighted)")
            for size, step in zip(recipe.sizes(), begins.values(), strict=False):
                axes.axvline(step, color=INK, lw=0.5, alpha=0.4)
                axes.annotate(f"{size}", (step, 1), xycoords=("data", "axes fraction"), fontsize=6.5, va="top")
        axes.legend(fontsize=7)

    first, last = history[0], history[-1]
    words = f"Losses by step from {first.step} to {last.step}: the total ends at {last.weighted:.3g}."
    return svg(9.5, 3.4, draw, words)


def attributions(chosen: Sequence[Attribution]) -> str:
    """Bars of each attribution, with 95 % intervals where there are any."""

    def draw(figure: Any) -> None:
        across = 4
        for place, a in enumerate(chosen):
            axes = figure.add_subplot(-(-len(chosen) // across), across, place + 1)
            names, values = list(a.values), np.array(list(a.values.values()))
            ends = None
            if a.low is not None and a.high is not None:
                ends = np.abs(np.array([[side[n] for n in names] for side in (a.low, a.high)]) - values)
            axes.bar(range(len(names)), values, yerr=ends, color=COLOURS[0], ecolor=INK, capsize=2)
            axes.set_xticks(range(len(names)), [n.removeprefix("relu") for n in names], fontsize=7)
            axes.set_title(a.method, fontsize=8)
            axes.set_ylabel(a.unit, fontsize=6)
            axes.tick_params(axis="y", labelsize=6)
            axes.axhline(0, color=INK, lw=0.5)

    words = "; ".join(f"{a.method}: " + ", ".join(f"{n} {v:.3g}" for n, v in a.values.items()) for a in chosen)
    return svg(9.5, 1.9 * -(-len(chosen) // 4), draw, words)


def heat(names: Sequence[str], matrix: np.ndarray, words: str, width: float = 4.6) -> str:
    """A square of signed values: orange is positive, blue negative."""
    reach = max(float(np.nanmax(np.abs(matrix))), 1e-12)

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.imshow(matrix, cmap="PuOr_r", vmin=-reach, vmax=reach)
        axes.set_xticks(range(len(names)), names, fontsize=7, rotation=35, ha="right")
        axes.set_yticks(range(len(names)), names, fontsize=7)
        for (i, j), value in np.ndenumerate(matrix):
            if np.isfinite(value):
                light = abs(value) < 0.6 * reach
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color="black" if light else "white")

    return svg(width, width * 0.85, draw, words)


def interactions(game: Game) -> str:
    """The Shapley interaction index of every pair."""
    n = len(game.players)
    matrix = np.full((n, n), np.nan)
    for (i, j), e in game.interactions().items():
        matrix[i, j] = matrix[j, i] = e.value
    words = "Interactions: " + ", ".join(
        f"{game.players[i]} and {game.players[j]} {e.value:+.3f}" for (i, j), e in game.interactions().items()
    )
    return heat(game.players, matrix, words)


def cooperation(cosines: Mapping[str, Sequence[float]]) -> str:
    """Cosines between the ledger's columns."""
    names = [name.replace("style/", "") for name in cosines]
    matrix = np.array(list(cosines.values()))
    words = "Cosines between columns: " + "; ".join(
        f"{names[i]} and {names[j]} {matrix[i, j]:.2f}" for i in range(len(names)) for j in range(i)
    )
    return heat(names, matrix, words, 5.2)


def deletion(curves: Mapping[str, Sequence[float]]) -> str:
    """J as layers are taken away, the largest Shapley value first and last."""

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        for place, (name, values) in enumerate(curves.items()):
            axes.plot(range(len(values)), [-v for v in values], marker="o", ms=3, color=COLOURS[place], label=name)
        axes.set(xlabel="layers taken away", ylabel="J")
        axes.legend(fontsize=7)

    words = "; ".join(f"{name}: " + ", ".join(f"{-v:.3f}" for v in values) for name, values in curves.items())
    return svg(4.6, 2.8, draw, f"J as layers are taken away. {words}")
