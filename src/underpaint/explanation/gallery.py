"""Pictures of an explanation: the coalitions side by side, and the ledger as something to look at."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from underpaint.explanation.account.column_stats import BANDS, bands, cosines
from underpaint.explanation.coalitions.table import Table
from underpaint.explanation.shapley.players import mask_of
from underpaint.imaging import images
from underpaint.imaging.drawing import drawing
from underpaint.quality.panel import HEADLINE
from underpaint.storage.files import write_bytes

FILE = "gallery.png"


def save(path: Path, rgb: np.ndarray) -> None:
    """An (H, W, 3) picture, 0..1, as PNG."""
    images.write(path, np.clip(rgb, 0, 1).astype(np.float32))


def _write(figure: Any, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": "underpaint"})
    write_bytes(path, buffer.getvalue())


def _show(axes: Any, picture: np.ndarray, title: str, **options: Any) -> None:
    axes.imshow(picture, **options)
    axes.set_title(title, fontsize=7, parse_math=False)
    axes.set_axis_off()


def draw_coalitions(
    folder: Path, table: Table, content: torch.Tensor, style: torch.Tensor, named: Mapping[str, Sequence[str]]
) -> None:
    """gallery.png: named coalitions, with the headline judge's J above each (1: the content, 0: the style).

    Args:
        content, style: (1, 3, h, w).
        named: layers by name; a group without layers is left out, unless it is called `none`.
    """
    cells = [("content", _array(content)), ("style", _array(style))]
    for name, layers in named.items():
        if not layers and name != "none":
            continue
        row = table.rows[0, mask_of(layers, table.players)]
        title = f"{name}\nJ = {row.outcomes[HEADLINE]:.3f}"
        cells.append((title, images.read(folder / row.picture, min_side=1).rgb))
    across = min(6, len(cells))
    down = -(-len(cells) // across)
    height, width = content.shape[2:]
    with drawing(2 * across, down * (2 * height / width + 0.35), {}) as figure:
        every = figure.subplots(down, across, squeeze=False).ravel()
        for axes, (title, picture) in zip(every, cells, strict=False):
            _show(axes, picture, title)
        for axes in every[len(cells) :]:
            axes.set_axis_off()
        _write(figure, folder / FILE)


def draw_region(
    path: Path,
    pastiche: np.ndarray,
    box: tuple[int, int, int, int],
    style: np.ndarray,
    origins: Mapping[str, np.ndarray],
    shares: Mapping[str, float],
) -> None:
    """The pastiche with a box, and by layer the style picture, lit where the box's features come from.

    Args:
        pastiche: (H, W, 3).
        box: left, top, width, height, pixels.
        style: (h, w, 3).
        origins: (h, w) by layer.
        shares: by layer, of how the box changed.
    """
    from matplotlib.patches import Rectangle

    with drawing(2.4 * (len(origins) + 1), 2.6, {}) as figure:
        every = figure.subplots(1, len(origins) + 1)
        _show(every[0], pastiche, "pastiche")
        every[0].add_patch(Rectangle(box[:2], *box[2:], fill=False, color="white", lw=1.5))
        for axes, (layer, origin) in zip(every[1:], origins.items(), strict=True):
            light = np.clip(origin / max(float(np.percentile(origin, 99.5)), 1e-12), 0, 1)[..., None]
            _show(axes, style * (0.25 + 0.75 * light), f"{layer}: {shares[layer]:.0%} of the change")
        _write(figure, path)


def draw_ledger(
    folder: Path, columns: Mapping[str, np.ndarray], acted: Mapping[str, np.ndarray], pastiche: np.ndarray
) -> None:
    """ledger.png: for each column what it painted, where it pulled along (orange) or against (blue) the change, at what
    sizes its energy lies; and who pulls together.

    Args:
        columns: (3, H, W) by term.
        acted: (H, W) by term, from `underpaint.explanation.spatial.acted`.
        pastiche: (3, H, W).
    """
    names = [name for name in columns if float(np.abs(columns[name]).max()) > 0]
    height, width = pastiche.shape[1:]
    each = 1.9
    with drawing(each * (len(names) + 1), 2 * each * height / width + 3.4, {}) as figure:
        grid = figure.add_gridspec(3, len(names) + 1, height_ratios=[each * height / width] * 2 + [2.6])
        _show(figure.add_subplot(grid[0, 0]), pastiche.transpose(1, 2, 0), "pastiche")
        share = np.sum([acted[name] for name in names], axis=0)
        reach = max(float(np.percentile(np.abs(acted[name]), 99)) for name in names)
        _show(figure.add_subplot(grid[1, 0]), share, "all columns", cmap="PuOr_r", vmin=-reach, vmax=reach)
        for place, name in enumerate(names, 1):
            column = columns[name]
            loudest = max(float(np.percentile(np.abs(column), 99)), 1e-6)
            picture = np.clip(0.5 + 0.5 * column / loudest, 0, 1).transpose(1, 2, 0)
            _show(figure.add_subplot(grid[0, place]), picture, f"{_short(name)}\n±{loudest:.2f}")
            options = {"cmap": "PuOr_r", "vmin": -reach, "vmax": reach}
            _show(figure.add_subplot(grid[1, place]), acted[name], f"{_short(name)}: along the change", **options)
        half = (len(names) + 1) // 2
        _draw_bands(figure.add_subplot(grid[2, :half]), {name: columns[name] for name in names})
        _draw_cosines(figure.add_subplot(grid[2, half:]), {name: columns[name] for name in names})
        _write(figure, folder / "ledger.png")


def _short(name: str) -> str:
    return name.replace("style/", "").replace("content/", "content ")


def _array(image: torch.Tensor) -> np.ndarray:
    return image[0].permute(1, 2, 0).clamp(0, 1).cpu().numpy()


def _draw_bands(axes: Any, columns: Mapping[str, np.ndarray]) -> None:
    shares = np.array([bands(c) for c in columns.values()])
    left = np.zeros(len(shares))
    labels = [f"< {BANDS[0]} px", *[f"{a}-{b} px" for a, b in pairwise(BANDS)], f"> {BANDS[-1]} px"]
    for place, text in enumerate(labels):
        tone = str(0.15 + 0.7 * place / (len(labels) - 1))
        axes.barh(range(len(shares)), shares[:, place], left=left, color=tone, label=text)
        left += shares[:, place]
    axes.set_yticks(range(len(shares)), [_short(n) for n in columns], fontsize=6)
    axes.invert_yaxis()
    axes.set_title("energy by size of detail", fontsize=7)
    axes.tick_params(labelsize=6)
    axes.legend(fontsize=5, ncols=6, loc="lower center", bbox_to_anchor=(0.5, -0.25), frameon=False)


def _draw_cosines(axes: Any, columns: Mapping[str, np.ndarray]) -> None:
    matrix = cosines(columns)
    axes.imshow(matrix, cmap="PuOr_r", vmin=-1, vmax=1)
    names = [_short(n) for n in columns]
    axes.set_xticks(range(len(names)), names, fontsize=6, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names, fontsize=6)
    for i in range(len(names)):
        for j in range(len(names)):
            axes.text(j, i, f"{matrix[i, j]:.2f}", ha="center", va="center", fontsize=5)
    axes.set_title("who pulls together (1), who fights (−1)", fontsize=7)
