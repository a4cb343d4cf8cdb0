"""An explanation's files: written here, readable without this package; schema.md, beside them, says what each column is."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from underpaint import documents
from underpaint.attribution import Attribution
from underpaint.cross import CrossMatrix
from underpaint.files import write_bytes
from underpaint.game import Game
from underpaint.path import JudgePath

LEDGER, ATTRIBUTION, INTERACTIONS, CROSS = "ledger.npz", "attribution.csv", "interactions.csv", "cross.csv"
VALIDATION, SCHEMA = "validation.json", "schema.md"
PASTICHE, COLOUR = "pastiche", "colour"
AGAIN = "run `underpaint explain` again"
JUDGE = "judge"
"""The term of cross.csv's rows that are of the headline judge."""


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """An .npz without objects."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What `save_arrays` wrote.

    Raises:
        UnderpaintError: missing or damaged.
    """
    return documents.read_arrays(path, AGAIN)


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
    save_arrays(folder / LEDGER, arrays)
    return closure(read_ledger(folder))


def read_ledger(folder: Path) -> dict[str, np.ndarray]:
    """The pictures of ledger.npz, (3, H, W) float32 by name.

    Raises:
        UnderpaintError: missing or damaged.
    """
    return read_arrays(folder / LEDGER)


def closure(ledger: Mapping[str, np.ndarray]) -> float:
    """max |pastiche − (start + Σ columns + clamp)| of a ledger's pictures."""
    parts = [c.astype(np.float64) for name, c in ledger.items() if name not in (PASTICHE, COLOUR)]
    return float(np.abs(ledger[PASTICHE] - np.sum(parts, axis=0)).max())


def _write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(
        ["" if cell is None else repr(cell) if isinstance(cell, float) else cell for cell in row] for row in rows
    )
    write_bytes(path, text.getvalue().encode())


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
    header = (
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
    _write_rows(folder / ATTRIBUTION, header, rows)


def read_attributions(folder: Path) -> list[Attribution]:
    """attribution.csv.

    Raises:
        UnderpaintError: missing or damaged.
    """
    path = folder / ATTRIBUTION
    rows: dict[str, list[Mapping[str, str]]] = {}
    with documents.told(path, AGAIN):
        for line in documents.read_rows(path, AGAIN):
            rows.setdefault(line["method"], []).append(line)
        return [_attribution(method, lines) for method, lines in rows.items()]


def _attribution(method: str, lines: Sequence[Mapping[str, str]]) -> Attribution:
    def column(name: str) -> dict[str, float] | None:
        return {line["layer"]: float(line[name]) for line in lines} if lines[0][name] else None

    first = lines[0]
    residual = float(first["residual"]) if first["residual"] else None
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
    _write_rows(folder / INTERACTIONS, ("judge", "a", "b", "value", "error", "low", "high"), rows)


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
    _write_rows(folder / CROSS, ("scale", "size", "term", "column", "value", "change_of_term"), rows)


def write_validation(folder: Path, facts: Mapping[str, Any]) -> None:
    """validation.json."""
    write_bytes(folder / VALIDATION, (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode())


def read_validation(folder: Path) -> dict[str, Any]:
    """validation.json.

    Raises:
        UnderpaintError: missing or damaged.
    """
    return documents.read_json(folder / VALIDATION, AGAIN)


def write_schema(folder: Path) -> None:
    """schema.md, as it comes with the package."""
    write_bytes(folder / SCHEMA, (files("underpaint") / SCHEMA).read_bytes())
