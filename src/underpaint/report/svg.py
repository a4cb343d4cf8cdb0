"""Charts as inline SVG with alternative text. Ink is `currentColor`, so that they follow a light or dark page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from underpaint.explanation.attribution import Attribution
from underpaint.explanation.shapley.exact import Game
from underpaint.imaging.drawing import drawing
from underpaint.networks.anatomy import Anatomy
from underpaint.recipe import Recipe
from underpaint.report import charts
from underpaint.runs.folder import Row

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
    # The salt makes the ids inside a chart its own: they share one page.
    with drawing(width, height, STYLE | {"svg.hashsalt": alternative}) as figure:
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg") :]).replace(INK, "currentColor")
    head = re.search(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', text)
    assert head is not None
    return f'<svg viewBox="{head[1]}" role="img" aria-label="{escape(alternative)}">{text[head.end() :]}'


def convergence(history: Sequence[Row], recipe: Recipe) -> list[str]:
    """The total and every term's raw loss by step, linear and then logarithmic, sizes marked."""
    first, last = history[0], history[-1]
    words = f"Losses by step from {first.step} to {last.step}, {{}} axis: the total ends at {last.weighted:.3g}."
    return [
        svg(4.7, 3.6, lambda figure, s=scale: charts.convergence(figure, history, recipe, s), words.format(scale))  # type: ignore[misc]
        for scale in ("linear", "log")
    ]


def attribution(one: Attribution, anatomy: Anatomy) -> str:
    """Bars of an attribution, with 95 % intervals where there are any."""
    words = f"{one.method}, {one.unit}: " + ", ".join(f"{n} {v:.3g}" for n, v in one.values.items())
    return svg(2.4, 1.9, lambda figure: charts.bars(figure.add_subplot(), one, anatomy), words)


def _heat(names: Sequence[str], matrix: np.ndarray, words: str, width: float) -> str:
    return svg(width, width * 0.85, lambda figure: charts.heat(figure.add_subplot(), names, matrix), words)


def interactions(game: Game) -> str:
    """The Shapley interaction index of every pair."""
    words = "Interactions: " + ", ".join(
        f"{game.players[i]} and {game.players[j]} {e.value:+.3f}" for (i, j), e in game.interactions().items()
    )
    return _heat(game.players, charts.interaction_matrix(game), words, 4.6)


def cooperation(cosines: Mapping[str, Sequence[float]]) -> str:
    """Cosines between the ledger's columns."""
    names = [charts.short(name) for name in cosines]
    matrix = np.array(list(cosines.values()))
    words = "Cosines between columns: " + "; ".join(
        f"{names[i]} and {names[j]} {matrix[i, j]:.2f}" for i in range(len(names)) for j in range(i)
    )
    return _heat(names, matrix, words, 5.2)


def deletion(curves: Mapping[str, Sequence[float]]) -> str:
    """J as layers are taken away, the largest Shapley value first and last."""
    words = "; ".join(f"{name}: " + ", ".join(f"{-v:.3f}" for v in values) for name, values in curves.items())
    draw = lambda figure: charts.deletion(figure.add_subplot(), curves)  # noqa: E731
    return svg(4.6, 2.8, draw, f"J as layers are taken away. {words}")
