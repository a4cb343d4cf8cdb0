"""Documents: a folder's files are written and read through one door. An error about one is a line that names it."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from underpaint.errors import UnderpaintError
from underpaint.storage.files import write_bytes, write_text
from underpaint.storage.seals import SUM, Sealing, sum_of, unsealed

HUGE = 1e30
"""No figure of a folder is larger."""

UNPACKED = 16 << 30
"""Bytes that an .npz may hold in all."""


@contextmanager
def told(path: Path, remedy: str) -> Iterator[None]:
    """Reads and decodes a file within it: whatever that raises becomes one line that names the file.

    Args:
        remedy: what to do about it.

    Raises:
        UnderpaintError: the file is missing or damaged.
    """
    try:
        yield
    except UnderpaintError:
        raise
    except OSError as error:
        raise UnderpaintError(f"{path}: cannot be read ({error.strerror or error}); {remedy}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))[:100]
        said = " ".join(first["msg"].replace("Value error, ", "").split())[:200]
        raise UnderpaintError(f"{path}: cannot be read ({': '.join(filter(None, (place, said)))}); {remedy}") from None
    except Exception as error:  # decoders of damaged bytes raise what they like: zlib.error, BadZipFile, RecursionError
        words = " ".join(str(error).split()) or type(error).__name__
        raise UnderpaintError(f"{path}: cannot be read ({words[:200]}); {remedy}") from None


def number(text: str) -> float:
    """A finite number from a cell.

    Raises:
        ValueError: none, or one that no figure can be.
    """
    found = float(text)
    if not abs(found) <= HUGE:
        raise ValueError(f"{text[:30]} is no figure")
    return found


def write_json(path: Path, fields: Mapping[str, Any], indent: int = 1) -> None:
    """A JSON object with its sum, whole or not at all. What is not finite is null."""
    plain = json.loads(json.dumps(fields), parse_constant=lambda _: None)
    sealed = {name: value for name, value in plain.items() if name != SUM} | {SUM: sum_of(plain)}
    write_text(path, json.dumps(sealed, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, remedy: str, shape: type[BaseModel]) -> dict[str, Any]:
    """A JSON object, without its sum.

    Args:
        shape: what it must be like.

    Raises:
        UnderpaintError: missing, damaged, or of another shape.
    """
    with told(path, remedy):
        found = dict(parsed(path.read_text(encoding="utf-8")))
        if found.pop(SUM, sum_of(found)) != sum_of(found):
            raise ValueError("it is not as it was written")
        shape.model_validate(found)
        return found


def parsed(text: str) -> Any:
    """JSON; NaN, which older files may have, is null.

    Raises:
        ValueError, RecursionError: it is none, or has numbers that no figure can be.
    """
    return json.loads(text, parse_float=number, parse_constant=lambda _: None)


def cell(value: Any) -> str:
    """As it stands in a CSV: floats in full, so that they read back exactly; None as nothing."""
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def plain_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A whole CSV of `cell`s without seals, for people and other programs: nothing here reads it again."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *([cell(value) for value in row] for row in rows)])
    return text.getvalue()


def rows_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A whole CSV of `cell`s, sealed."""
    sealing, known = Sealing(), [[cell(value) for value in row] for row in rows]
    header = sealing.header(columns)
    return header + "".join(sealing.row(cells, last=place == len(known)) for place, cells in enumerate(known, 1))


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes `rows_text` whole or not at all."""
    write_text(path, rows_text(columns, rows))


def rows_of(text: str, *, growing: bool = False) -> Iterator[list[str]]:
    """The header of a CSV and its rows, one cell to each column; the seals are checked and left out.

    Raises:
        ValueError, csv.Error: at the first row that is damaged.
    """
    width = 0
    for place, line in enumerate(unsealed(text, growing=growing), 1):
        cells = next(csv.reader([line], strict=True), [])
        width = width or len(cells)
        if len(cells) != width:
            raise ValueError(f"line {place} is not whole")
        yield cells


def read_rows(path: Path, remedy: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV with these columns.

    Raises:
        UnderpaintError: missing, damaged, or with other columns.
    """
    with told(path, remedy):
        header, *rows = rows_of(path.read_text(encoding="utf-8"))
        if header != list(columns):
            raise ValueError(f"its columns are not {', '.join(columns)}")
        return [dict(zip(header, cells, strict=True)) for cells in rows]


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """An .npz without objects. Its members bear their own CRC-32."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def read_arrays(path: Path, remedy: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name: finite numbers or text, never objects.

    Raises:
        UnderpaintError: missing or damaged.
    """
    with told(path, remedy), zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        if sum(member.file_size for member in archive.infolist()) > UNPACKED:
            raise ValueError("it claims to be larger than any that was written")
        return {name.removesuffix(".npy"): _array(archive.read(name), name) for name in archive.namelist()}


def _array(data: bytes, name: str) -> np.ndarray:
    """An array from a whole .npy: reading all of a member is what has its CRC looked at."""
    found: np.ndarray = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    if found.dtype.kind in "fc" and not np.isfinite(found).all():
        raise ValueError(f"{name} is not finite")
    return found
