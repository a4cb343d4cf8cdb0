"""An explanation's files: written here, readable without this package; schema.md, beside them, says what each column is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from underpaint.explanation.account.cross_matrix import CrossMatrix
from underpaint.explanation.account.judge_path import JudgePath
from underpaint.explanation.account.ledger import CLAMP, START
from underpaint.explanation.attribution import Attribution
from underpaint.explanation.schemas import ValidationFile
from underpaint.explanation.shapley.exact import Game
from underpaint.explanation.spatial import Sources
from underpaint.storage import documents
from underpaint.storage.files import write_bytes

LEDGER, SPATIAL = "ledger.npz", "spatial.npz"
ATTRIBUTION, INTERACTIONS, CROSS = "attribution.csv", "interactions.csv", "cross.csv"
VALIDATION, SCHEMA = "validation.json", "schema.md"
PASTICHE, COLOUR = "pastiche", "colour"
COLUMNS = (
    "method",
    "layer",
    "value",
    "unit",
    "low",
    "high",
    "residual",
    "share",
    "baseline",
    "no_interval_because",
    "from",
)
"""Of attribution.csv."""

AGAIN = "run `underpaint explain` again"
JUDGE = "judge"
"""The term of cross.csv's rows that are of the headline judge."""


def write_ledger(
    folder: Path, account: Mapping[str, torch.Tensor], pastiche: torch.Tensor, finished: np.ndarray | None
) -> float:
    """ledger.npz; returns the closure of what was written, 0..1 pixel values.

    Args:
        account: (3, H, W) float64 by name.
        pastiche: (1, 3, H, W), the optimiser's picture.
        finished: (H, W, 3) after colours were restored, None where they are the optimiser's own.
    """
    arrays = {name: column.cpu().numpy().astype(np.float32) for name, column in account.items()}
    arrays[PASTICHE] = pastiche[0].cpu().numpy().astype(np.float32)
    if finished is not None:
        arrays[COLOUR] = finished.transpose(2, 0, 1).astype(np.float32) - arrays[PASTICHE]
    documents.write_arrays(folder / LEDGER, arrays)
    return closure(read_ledger(folder))


def read_ledger(folder: Path, layers: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The pictures of ledger.npz, (3, H, W) float32 by name.

    Args:
        layers: the style layers, each of which has to have a column.

    Raises:
        UnderpaintError: missing, damaged, or of other layers.
    """
    path = folder / LEDGER
    found = documents.read_arrays(path, AGAIN)
    with documents.told(path, AGAIN):
        shape = found[PASTICHE].shape
        needed = {START, CLAMP, *(f"style/{layer}" for layer in layers)}
        if not needed <= found.keys() or len(shape) != 3 or shape[0] != 3 or not all(shape):
            raise ValueError("it is no ledger")
        if any(each.shape != shape or each.dtype != np.float32 for each in found.values()):
            raise ValueError("its pictures differ in size or kind")
    return found


@dataclass(frozen=True)
class Spatial:
    """Where layers acted, and where in the style picture they looked.

    Attributes:
        style_size: (H', W') of the style picture as it was seen, pixels.
        sources: by layer.
        acted: by term, (H, W) float32: `underpaint.explanation.spatial.acted`.
    """

    style_size: tuple[int, int]
    sources: Mapping[str, Sources]
    acted: Mapping[str, np.ndarray]


def write_spatial(folder: Path, found: Spatial) -> None:
    """spatial.npz."""
    kept = {f"acted/{name}": each for name, each in found.acted.items()}
    for layer, source in found.sources.items():
        kept |= {f"rows/{layer}": source.rows, f"columns/{layer}": source.columns, f"similarity/{layer}": source.similarity}
        kept[f"stride/{layer}"] = np.array(source.stride)
    documents.write_arrays(folder / SPATIAL, kept | {"style_size": np.array(found.style_size)})


def read_spatial(folder: Path, layers: Sequence[str]) -> Spatial:
    """spatial.npz.

    Raises:
        UnderpaintError: missing, damaged, or of other layers.
    """
    path = folder / SPATIAL
    kept = documents.read_arrays(path, AGAIN)
    with documents.told(path, AGAIN):
        height, width = (int(side) for side in kept["style_size"])
        acted = {name.removeprefix("acted/"): each for name, each in kept.items() if name.startswith("acted/")}
        if len({each.shape for each in acted.values()}) != 1 or any(each.ndim != 2 for each in acted.values()):
            raise ValueError("its maps differ in size")
        sources = {layer: _sources(kept, layer, (height, width)) for layer in layers}
        return Spatial((height, width), sources, acted)


def _sources(kept: Mapping[str, np.ndarray], layer: str, size: tuple[int, int]) -> Sources:
    rows, across, similarity = (kept[f"{name}/{layer}"] for name in ("rows", "columns", "similarity"))
    stride = int(kept[f"stride/{layer}"])
    if rows.ndim != 2 or not rows.size or not rows.shape == across.shape == similarity.shape or stride < 1:
        raise ValueError(f"{layer} is not whole")
    for places, side in zip((rows, across), size, strict=True):
        if places.dtype.kind != "i" or places.min() < 0 or places.max() >= side:
            raise ValueError(f"{layer} points outside the style picture")
    return Sources(layer, rows, across, similarity, stride)


def closure(ledger: Mapping[str, np.ndarray]) -> float:
    """max |pastiche − (start + Σ columns + clamp)| of a ledger's pictures."""
    parts = [c.astype(np.float64) for name, c in ledger.items() if name not in (PASTICHE, COLOUR)]
    return float(np.abs(ledger[PASTICHE] - np.sum(parts, axis=0)).max())


def write_attributions(folder: Path, attributions: Sequence[Attribution], shared: bool) -> None:
    """attribution.csv; `shared` says whether shares are given: only of a settled explanation do they mean something."""
    rows = []
    for a in attributions:
        shares = (a.shares() if shared else None) or {}
        for layer, value in a.values.items():
            low, high = (None if side is None else side[layer] for side in (a.low, a.high))
            rows.append(
                [a.method, layer, float(value), a.unit, low, high, a.residual, shares.get(layer), a.baseline, a.why, a.kind]
            )
    documents.write_rows(folder / ATTRIBUTION, COLUMNS, rows)


def read_attributions(folder: Path) -> list[Attribution]:
    """attribution.csv.

    Raises:
        UnderpaintError: missing or damaged.
    """
    path = folder / ATTRIBUTION
    rows: dict[str, list[Mapping[str, str]]] = {}
    with documents.told(path, AGAIN):
        for line in documents.read_rows(path, AGAIN, COLUMNS):
            rows.setdefault(line["method"], []).append(line)
        return [_attribution(method, lines) for method, lines in rows.items()]


def _attribution(method: str, lines: Sequence[Mapping[str, str]]) -> Attribution:
    def column(name: str) -> dict[str, float] | None:
        return {line["layer"]: documents.number(line[name]) for line in lines} if lines[0][name] else None

    first = lines[0]
    residual = documents.number(first["residual"]) if first["residual"] else None
    values = column("value") or {}
    texts = first["unit"], first["baseline"]
    why, kind = first["no_interval_because"], first["from"]
    return Attribution(method, values, *texts, column("low"), column("high"), why, residual, kind)


def write_interactions(folder: Path, games: Mapping[str, Game]) -> None:
    """interactions.csv, by judge."""
    rows = [
        [judge, game.players[i], game.players[j], e.value, e.error, e.low, e.high]
        for judge, game in games.items()
        for (i, j), e in game.interactions().items()
    ]
    documents.write_rows(folder / INTERACTIONS, ("judge", "a", "b", "value", "error", "low", "high"), rows)


def write_cross(folder: Path, cross: CrossMatrix, path: JudgePath, sizes: Sequence[int]) -> None:
    """cross.csv: the terms' changes by column, and the judge's along its path."""
    rows: list[list[Any]] = [
        [scale, sizes[scale], term, column, float(matrix[j, k]), float(cross.changes[scale][j])]
        for scale, matrix in sorted(cross.matrices.items())
        for j, term in enumerate(cross.terms)
        for k, column in enumerate(cross.columns)
    ]
    rows += [
        [scale, sizes[scale], JUDGE, column, -float(falls[k]), -float(falls.sum())]
        for scale, falls in sorted(path.falls.items())
        for k, column in enumerate(cross.columns)
    ]
    documents.write_rows(folder / CROSS, ("scale", "size", "term", "column", "value", "change_of_term"), rows)


def write_validation(folder: Path, facts: Mapping[str, Any]) -> None:
    """validation.json."""
    documents.write_json(folder / VALIDATION, facts)


def read_validation(folder: Path) -> dict[str, Any]:
    """validation.json.

    Raises:
        UnderpaintError: missing or damaged.
    """
    return documents.read_json(folder / VALIDATION, AGAIN, ValidationFile)


def write_schema(folder: Path) -> None:
    """schema.md, as it comes with the package."""
    write_bytes(folder / SCHEMA, (files("underpaint.explanation") / SCHEMA).read_bytes())
