"""Seals: what a text file says of its own content, so that a byte that changed or went missing is seen.

They are against damage, not against forgery: whoever changes a file on purpose can seal it again, or take the seal out.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SUM = "sum"
"""The field of a JSON object that holds `sum_of` all others."""

CHECK = "check"
"""The last column of a sealed CSV: CRC-32 of all rows up to here without this column; of the last row with END behind it."""

END = "."


def sum_of(fields: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of a JSON object's content: however it is laid out, SHA-256 of its fields but `SUM`, in order."""
    own = {name: value for name, value in fields.items() if name != SUM}
    return hashlib.sha256(json.dumps(own, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


class Sealing:
    """Rows of a CSV as text, sealed one after the other: those that are written later go on from there."""

    def __init__(self) -> None:
        self._crc = 0

    def header(self, columns: Sequence[str]) -> str:
        """The first line."""
        return f"{self._taken(columns)},{CHECK}\n"

    def row(self, cells: Sequence[str], *, last: bool = False) -> str:
        """A line; `last` says that the file is whole with it."""
        return f"{self._taken(cells)},{self._crc:08x}{END * last}\n"

    def _taken(self, cells: Sequence[str]) -> str:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="").writerow(cells)
        text = buffer.getvalue()
        if "\n" in text or "\r" in text:
            raise ValueError("a cell of a sealed file holds a line break")
        self._crc = zlib.crc32(f"{text}\n".encode(), self._crc)
        return text


def unsealed(text: str, *, growing: bool = False) -> Iterator[str]:
    """The lines of a CSV without their seals, each once it is checked; of a file without seals as they are.

    Args:
        growing: the file may end anywhere, even within a line.

    Raises:
        ValueError: a line is not what was written, or the end is missing.
    """
    lines = text.split("\n")
    rest = lines.pop()
    if rest and not growing:
        raise ValueError("its end is missing")
    if not lines:
        raise ValueError("it is empty")
    header, _, mark = lines[0].rpartition(",")
    if mark != CHECK:
        yield from lines
        return
    yield header
    crc, mark = zlib.crc32(f"{header}\n".encode()), ""
    for number, line in enumerate(lines[1:], 2):
        body, _, mark = line.rpartition(",")
        crc = zlib.crc32(f"{body}\n".encode(), crc)
        if mark not in (f"{crc:08x}", f"{crc:08x}{END}") or (mark.endswith(END) and number < len(lines)):
            raise ValueError(f"line {number} is not as it was written")
        yield body
    if not growing and not mark.endswith(END):
        raise ValueError("its end is missing")
