"""Figures for a paper: one column (3.5 in) or two (7.16 in) wide, as IEEE journals have them, 8 pt, readable in grey."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from underpaint.errors import UnderpaintError
from underpaint.explanation.account.ledger import CLAMP, START
from underpaint.explanation.attribution import Attribution, drawn
from underpaint.explanation.files import COLOUR, PASTICHE
from underpaint.explanation.shapley.players import mask_of
from underpaint.explanation.verdict import BANNERS
from underpaint.imaging import images
from underpaint.imaging.drawing import drawing
from underpaint.quality.panel import HEADLINE
from underpaint.report import charts
from underpaint.report.folder import Evidence

COLUMN, PAGE = 3.5, 7.16
"""Inches."""

FORMATS = ("pdf", "svg", "png")
DPI = 300

STYLE: dict[Any, Any] = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
    "ps.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "underpaint",
    "hatch.linewidth": 0.5,
}

Draw = Callable[[Any], None]


def convergence(e: Evidence) -> tuple[float, float, Draw]:
    """How the losses fell."""
    history, recipe = e.history, e.recipe
    return COLUMN, 2.6, lambda figure: charts.convergence(figure, history, recipe)


def _settled(e: Evidence) -> None:
    """Raises if a figure of it would be read as a ranking that may not be given."""
    if e.state != "settled":
        raise UnderpaintError(f"{e.folder}: {BANNERS[e.state]}")


def attributions(e: Evidence) -> tuple[float, float, Draw]:
    """Attributions side by side, with intervals where there are any."""
    _settled(e)
    chosen = [e.attributions[m] for m in drawn("paper") if m in e.attributions]
    return PAGE, 1.45 * -(-len(chosen) // 4), lambda figure: charts.attributions(figure, chosen, e.anatomy)


def shapley(e: Evidence) -> tuple[float, float, Draw]:
    """The headline judge's Shapley values with intervals."""
    _settled(e)
    values: Attribution = e.attributions["shapley"]
    return COLUMN, 1.9, lambda figure: charts.bars(figure.add_subplot(), values, e.anatomy, title="")


def interactions(e: Evidence) -> tuple[float, float, Draw]:
    """The Shapley interaction index of every pair."""
    _settled(e)
    matrix = charts.interaction_matrix(e.game())
    return COLUMN, 2.9, lambda figure: charts.heat(figure.add_subplot(), e.players, matrix)


def cooperation(e: Evidence) -> tuple[float, float, Draw]:
    """Cosines between the ledger's columns."""
    cosines = e.validation["columns"]["cosines_smoothed_2px"]
    if not cosines:
        raise UnderpaintError(f"{e.folder}: no column of the ledger moved")
    names, matrix = [charts.short(n) for n in cosines], np.array(list(cosines.values()))
    width, height = (COLUMN, 3.0) if len(names) <= 10 else (PAGE, 6.0)
    return width, height, lambda figure: charts.heat(figure.add_subplot(), names, matrix, 1.0)


def gallery(e: Evidence) -> tuple[float, float, Draw]:
    """The pictures, and the pastiche of each named coalition with its J."""
    size = e.pastiche.shape[:2]
    cells = [("photograph", images.resize(e.inputs.content.rgb, size)), ("style", e.inputs.styles[0].rgb)]
    for name, layers in e.configs.items():
        mask = mask_of(layers, e.players)
        rgb = e.painted(mask)
        cells.append((f"{charts.plain(name)}\n$J$ = {e.table.rows[0, mask].outcomes[HEADLINE]:.3f}", rgb))
    return _grid(cells, 6)


def ledger(e: Evidence) -> tuple[float, float, Draw]:
    """The pastiche and each column (grey: no change), and below where it pulled along the change or against it."""
    pictures = e.ledger
    names = [n for n, c in pictures.items() if n not in (START, PASTICHE, COLOUR, CLAMP) and np.abs(c).max() > 0]
    acted = e.spatial.acted
    reach = max(float(np.percentile(np.abs(acted[n]), 99)) for n in names)
    height, width = pictures[PASTICHE].shape[1:]

    def draw(figure: Any) -> None:
        axes = figure.subplots(2, len(names) + 1)
        for each in axes.ravel():
            each.set_axis_off()
        axes[0, 0].imshow(pictures[PASTICHE].transpose(1, 2, 0))
        axes[0, 0].set_title("pastiche", fontsize=6)
        for place, name in enumerate(names, 1):
            loudest = max(float(np.percentile(np.abs(pictures[name]), 99)), 1e-6)
            axes[0, place].imshow(np.clip(0.5 + 0.5 * pictures[name] / loudest, 0, 1).transpose(1, 2, 0))
            axes[0, place].set_title(f"{charts.short(name)}\n±{loudest:.2f}", fontsize=6)
            axes[1, place].imshow(acted[name], cmap="PuOr_r", vmin=-reach, vmax=reach)
        axes[1, 0].text(0.5, 0.5, "along (orange)\nor against (blue)\nthe change", ha="center", va="center", fontsize=6)

    return PAGE, 2 * PAGE / (len(names) + 1) * height / width + 0.45, draw


def pictures(e: Evidence) -> tuple[float, float, Draw]:
    """Photograph, style and pastiche."""
    size = e.pastiche.shape[:2]
    cells = [("photograph", images.resize(e.inputs.content.rgb, size))]
    cells += [("style", style.rgb) for style in e.inputs.styles]
    return _grid([*cells, ("pastiche", e.pastiche)], 3)


def _grid(cells: Sequence[tuple[str, np.ndarray]], across: int) -> tuple[float, float, Draw]:
    """Pictures with titles, two columns wide."""
    across = min(across, len(cells))
    down = -(-len(cells) // across)
    tallest = max(rgb.shape[0] / rgb.shape[1] for _, rgb in cells)

    def draw(figure: Any) -> None:
        every = figure.subplots(down, across, squeeze=False).ravel()
        for axes in every:
            axes.set_axis_off()
        for axes, (title, rgb) in zip(every, cells, strict=False):
            axes.imshow(np.clip(rgb, 0, 1))
            axes.set_title(title, fontsize=6.5)

    return PAGE, down * (PAGE / across * min(tallest, 1.5) + 0.35), draw


FIGURES: dict[str, tuple[tuple[str, ...], Callable[[Evidence], tuple[float, float, Draw]]]] = {
    "pictures": (("stylize", "explain"), pictures),
    "convergence": (("stylize", "explain"), convergence),
    "attributions": (("explain",), attributions),
    "shapley": (("explain",), shapley),
    "gallery": (("ablate", "explain"), gallery),
    "interactions": (("explain",), interactions),
    "cooperation": (("explain",), cooperation),
    "ledger": (("explain",), ledger),
}
"""By name: the kinds of folders that have it, and what makes its width, height (inches) and drawing."""


def render(width: float, height: float, draw: Draw, kind: str) -> bytes:
    """A figure of exactly that size, as a file of that kind. Equal figures give equal bytes."""
    metadata: dict[str, Any] = {
        "pdf": {"CreationDate": None, "Producer": None, "Creator": "underpaint"},
        "svg": {"Date": None, "Creator": "underpaint"},
        "png": {"Software": "underpaint"},
    }
    with drawing(width, height, STYLE) as figure:
        draw(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata[kind])
    return buffer.getvalue()


def make(e: Evidence, formats: Sequence[str], missing: list[str]) -> Iterator[tuple[Path, bytes]]:
    """Every figure that the folder has, by file name. What it lacks goes into `missing`, one line each."""
    for name, (kinds, figure) in FIGURES.items():
        if e.kind not in kinds:
            continue
        try:
            width, height, draw = figure(e)
        except UnderpaintError as error:
            missing.append(f"{name}: {error}")
            continue
        for kind in formats:
            yield Path(f"{name}.{kind}"), render(width, height, draw, kind)
