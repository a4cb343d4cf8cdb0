"""Documents: a folder's files are decoded through one door. An error about one is a line that names it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from underpaint.errors import UnderpaintError


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
    except Exception as error:  # decoders of damaged bytes raise what they like: zlib.error, BadZipFile, RecursionError
        words = str(error) or type(error).__name__
        raise UnderpaintError(f"{path}: cannot be read ({words[:200]}); {remedy}") from None


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UnderpaintError: missing or damaged.
    """
    with told(path, remedy):
        return dict(json.loads(path.read_text(encoding="utf-8")))


def rows_of(text: str) -> list[dict[str, str]]:
    """The rows of a CSV, each with a cell in every column.

    Raises:
        ValueError, csv.Error: a row has too few cells or too many, or is no row.
    """
    found = list(csv.DictReader(io.StringIO(text), strict=True))
    for place, line in enumerate(found, 2):
        if None in line or None in line.values():
            raise ValueError(f"line {place} is not whole")
    return found


def read_rows(path: Path, remedy: str) -> list[dict[str, str]]:
    """`rows_of` a file.

    Raises:
        UnderpaintError: missing or damaged.
    """
    with told(path, remedy):
        return rows_of(path.read_text(encoding="utf-8"))


def read_arrays(path: Path, remedy: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name; never objects.

    Raises:
        UnderpaintError: missing or damaged.
    """
    with told(path, remedy), np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        return {name: np.asarray(file[name]) for name in file.files}
