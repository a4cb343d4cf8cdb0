"""Comparing pastiches: the same measures of several, each against its own content and style.

An item is a folder of `stylize` or `explain`, which holds its pictures, or a picture file, which needs a content and a style
beside it. Pictures are measured as they were given and as the pastiche was saved (8 bits): the content at the pastiche's
size, the style with its longest side as the pastiche's, or at its own size where it is smaller. The style keeps its own
colours even where a recipe kept the content's, and masks are not looked at.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from underpaint import commands
from underpaint.captions import captioned, listed, png, short
from underpaint.errors import UnderpaintError
from underpaint.execution import device as devices
from underpaint.imaging import images
from underpaint.imaging.images import Picture
from underpaint.networks import registry
from underpaint.networks.base import Network
from underpaint.networks.weights import Progress as Download
from underpaint.quality import MEASURES, Lpips, Measured, Measures, find_lpips
from underpaint.recipe import Recipe
from underpaint.runs.folder import read_facts, read_inputs, recipe_of
from underpaint.runs.scene import Pictures, opaque, seen
from underpaint.storage import documents
from underpaint.storage.files import named, write_text

Progress = Callable[[int, int, str], None]
"""Told how many items are done, of how many, and the name of the next; at the end all, and an empty name."""

PASTICHE = "pastiche.png"
SIDES = "--content", "--style"
STRETCH = 0.02
"""Share by which a pastiche's proportions may differ from its content's before a note says so."""


@dataclass(frozen=True)
class Row:
    """One pastiche.

    Attributes:
        name: the item, as it was given.
        picture: the pastiche's file.
        content, style: names of the pictures it was measured against; several styles with " + " between them.
        width, height: the pastiche's, pixels; all was measured at this size.
        values, missing: see `underpaint.quality.Measured`.
        notes: what to know before reading the row, one line each.
    """

    name: str
    picture: Path
    content: str
    style: str
    width: int
    height: int
    values: dict[str, float]
    missing: dict[str, str]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Row({short(self.name)}, {self.width}×{self.height} px, {listed(self.values, 4)})"


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        rows: in the order of the items.
        network: what the measures that need one looked through.
        layers: the held-out layers of `heldout`: no term of any of the items looked at them.
        notes: of the whole table, one line each.
    """

    rows: tuple[Row, ...]
    network: str
    layers: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def measures(self) -> list[str]:
        """The names of `MEASURES` that at least one row has, in their order."""
        return [name for name in MEASURES if any(name in row.values for row in self.rows)]

    def __repr__(self) -> str:
        names = ", ".join(short(row.name, 30) for row in self.rows[:3])
        more = f" and {len(self.rows) - 3} more" if len(self.rows) > 3 else ""
        return f"Comparison({names}{more}: {len(self.measures)} measures by {self.network})"

    def _repr_html_(self) -> str:
        """Pictures and figures side by side, for notebooks."""
        pictures = [captioned(png(images.read(row.picture, min_side=1).rgb), row.name) for row in self.rows]
        head = "".join(f"<th>{picture}</th>" for picture in pictures)
        lines = [
            f"<tr><th>{name}</th>{''.join(f'<td>{_cell(row.values.get(name))}</td>' for row in self.rows)}</tr>"
            for name in self.measures
        ]
        return f"<table><tr><th></th>{head}</tr>{''.join(lines)}</table><code>{html.escape(repr(self))}</code>"

    def as_dict(self) -> dict[str, Any]:
        """Everything, with what each measure is, in types that JSON knows."""
        rows = [vars(row) | {"picture": str(row.picture), "notes": list(row.notes)} for row in self.rows]
        measures = {name: MEASURES[name].facts() for name in self.measures}
        shared = {"network": self.network, "layers": list(self.layers), "notes": list(self.notes)}
        return shared | {"measures": measures, "rows": rows}

    def write_csv(self, path: str | Path) -> None:
        """One row a pastiche, one column a measure, numbers in full; a measure that is missing leaves its cell empty.

        Raises:
            UnderpaintError: the file exists, or cannot be written.
        """
        path = named(path, "--out")
        if path.exists():
            raise UnderpaintError(f"--out {path}: exists already and is not overwritten; name another file")
        columns = ["pastiche", "content", "style", "width", "height", "network", *self.measures]
        rows = [
            [row.name, row.content, row.style, row.width, row.height, self.network, *map(row.values.get, self.measures)]
            for row in self.rows
        ]
        write_text(path, documents.plain_text(columns, rows), new=True)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


@dataclass(frozen=True)
class _Item:
    """A pastiche with what it is measured against; `recipe` is None where that is not known."""

    name: str
    pastiche: Picture
    content: Picture
    styles: tuple[Picture, ...]
    recipe: Recipe | None
    notes: tuple[str, ...] = ()

    def key(self) -> tuple[object, ...]:
        """Equal for items that can share a `Measures`."""
        return self.pastiche.rgb.shape, self.content.sha256, *((style.sha256, style.rgb.shape) for style in self.styles)


@devices.own_settings()
def compare(
    items: str | Path | Sequence[str | Path],
    *,
    content: str | Path | None = None,
    style: str | Path | None = None,
    network: str = "compact",
    weights: str | Path | None = None,
    device: str | torch.device = "auto",
    progress: Progress | None = None,
    announce: Callable[[str], None] | None = None,
    download: Download | None = None,
) -> Comparison:
    """Measures several pastiches. All items are read before the first is measured.

    The layers by which the style is judged are held out from all of them: no term of any item's recipe looked at them (of a
    picture file, the default recipe's). So rows of recipes with other layers compare.

    Args:
        items: run folders and picture files.
        content, style: what picture files are compared with; run folders have their own.
        network: "compact", "vgg19" or "vgg16", or one of another package; whichever network painted.
        weights: a weights file or folder, for the network and for LPIPS.
        device: "auto", "cpu", "cuda" or "mps".
        progress: told before each item, and at the end.
        announce, download: told about a download of the network's weights, in words and in bytes.

    Raises:
        UnderpaintError: no items; a folder that is no run, or lacks its picture or inputs; a picture file without content and
            style, or these without a picture file; a picture that cannot be read; no weights, unknown network or device.
    """
    paths = [named(item, "compare") for item in ([items] if isinstance(items, str | Path) else items)]
    if not paths:
        raise UnderpaintError("compare: no pastiches; name run folders or picture files")
    # Once: a pipe is empty afterwards.
    pair = zip((content, style), SIDES, strict=True)
    beside = [None if source is None else images.read(source, field) for source, field in pair]
    weights = None if weights is None else named(weights, "--weights")
    found = [_read(path, *beside) for path in paths]
    if (content or style) and all(item.recipe is not None for item in found):
        raise UnderpaintError("--content, --style: all items are runs, which have their own; leave these out")
    chosen = devices.choose(device)
    opened = registry.open_network(
        network,
        registry.anatomy(network).names,
        device=chosen,
        given=weights,
        announce=announce,
        progress=download,
    ).network
    rows = _measured(found, opened, find_lpips(weights, chosen), progress)
    layers, why = _judging(opened, _optimised(found))
    return Comparison(tuple(rows), network, layers, (*why, *_notes(found)))


def _read(item: Path, content: Picture | None, style: Picture | None) -> _Item:
    if item.is_dir():
        return _read_run(item)
    if not item.exists():
        raise UnderpaintError(f"{item}: no such file or folder; name a run folder or a picture file")
    if content is None or style is None:
        missing = " and ".join(name for name, given in zip(SIDES, (content, style), strict=True) if given is None)
        raise UnderpaintError(
            f"{item}: a picture file does not say what it was made of; give {missing}, or name its run folder"
        )
    pastiche = images.read(item, "pastiche")
    return _Item(str(item), pastiche, content, seen(Recipe(), Pictures(content, (style,))).styles, None)


def _read_run(folder: Path) -> _Item:
    facts = read_facts(folder)
    if not (folder / PASTICHE).is_file():
        raise UnderpaintError(f"{folder}: holds no {PASTICHE} yet; leave it out, or resume it: {commands.resume(folder)}")
    try:
        recipe, pictures = recipe_of(facts, folder), read_inputs(folder, facts)
        pictures = seen(recipe, pictures)
    except KeyError as error:
        raise UnderpaintError(f"{folder}: run.json lacks {error}; start the run again, or leave it out") from None
    notes = []
    if facts.get("status") != "finished":
        notes.append(f"is {facts.get('status')}, not finished: its picture is as it stood then")
    if pictures.content_mask is not None or pictures.protect is not None:
        notes.append("was painted with masks, which no measure looks at")
    if len(pictures.styles) > 1:
        notes.append("has several styles: no distance to one of them is given")
    if recipe.keep_color != "no":
        notes.append(f"keeps the content's colours (keep_color: {recipe.keep_color}): far from the style's is meant")
    pastiche = images.read(folder / PASTICHE, "pastiche", min_side=1)
    return _Item(str(folder), pastiche, pictures.content, pictures.styles, recipe, tuple(notes))


def _optimised(items: Sequence[_Item]) -> list[str]:
    """All layers that a term of any item looked at; a picture file is taken for one of the default recipe."""
    recipes = [Recipe() if item.recipe is None else item.recipe for item in items]
    return list(dict.fromkeys(layer for r in recipes for layer in (*r.style_layers, *r.content_layers)))


def _judging(network: Network, optimised: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The held-out layers, or why there are none."""
    try:
        return tuple(layer for layers in network.anatomy.held_out(optimised).values() for layer in layers), []
    except UnderpaintError as error:
        return (), [f"no held-out style distance: {error}"]


def _measured(items: Sequence[_Item], network: Network, lpips: Lpips | None, progress: Progress | None) -> list[Row]:
    """A row an item; items with the same pictures, one after the other, share a gauge."""
    optimised, rows = _optimised(items), list[Row]()
    known: tuple[tuple[object, ...], Measures] | None = None
    for item in items:
        if progress is not None:
            progress(len(rows), len(items), item.name)
        if known is None or known[0] != item.key():
            known = item.key(), _gauge(item, network, optimised, lpips)
        rows.append(_row(item, known[1](_tensor(opaque(item.pastiche), network))))
    if progress is not None:
        progress(len(rows), len(items), "")
    return rows


def _gauge(item: _Item, network: Network, optimised: Sequence[str], lpips: Lpips | None) -> Measures:
    size = item.pastiche.rgb.shape[:2]
    content = _tensor(images.resize(opaque(item.content), size), network)
    style = None
    if len(item.styles) == 1:
        rgb = opaque(item.styles[0])
        style = _tensor(images.resize(rgb, images.size_for(rgb.shape, min(max(size), max(rgb.shape[:2])))), network)
    return Measures(content, style, network=network, optimised=optimised, lpips=lpips)


def _tensor(rgb: np.ndarray, network: Network) -> torch.Tensor:
    return torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None].to(network.device)


def _row(item: _Item, measured: Measured) -> Row:
    (height, width), (own_height, own_width) = item.pastiche.rgb.shape[:2], item.content.rgb.shape[:2]
    notes = list(item.notes)
    if abs(width * own_height / (height * own_width) - 1) > STRETCH and abs(width - height * own_width / own_height) > 1:
        notes.append(f"is {width}×{height} px and its content {own_width}×{own_height}: the content was stretched")
    longest = max(height, width)
    notes += [
        f"{s.name} is smaller than the pastiche and is not enlarged" for s in item.styles if max(s.rgb.shape[:2]) < longest
    ]
    style = " + ".join(s.name for s in item.styles)
    picture = item.pastiche.path or Path(item.name)
    pair = item.content.name, style
    return Row(item.name, picture, *pair, width, height, measured.values, measured.missing, tuple(notes))


def _notes(items: Sequence[_Item]) -> list[str]:
    """What hinders comparing rows."""
    notes = []
    if len({item.pastiche.rgb.shape for item in items}) > 1:
        notes.append("the pastiches differ in size: figures of different sizes compare only roughly")
    if len({item.key()[1:] for item in items}) > 1:
        notes.append("not all have the same content and style: compare figures within a pair")
    if sliced := [item.name for item in items if item.recipe is not None and item.recipe.statistic == "sliced"]:
        notes.append(f"heldout's statistic, sliced Wasserstein, was optimised (at other layers) by {', '.join(sliced)}")
    return notes
