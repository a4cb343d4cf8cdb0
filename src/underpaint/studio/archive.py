"""Archives that are sent while they are made: neither whole in memory nor on disk."""

from __future__ import annotations

import contextlib
import os
import stat
import time
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

PIECE = 1 << 18
"""Bytes that are read at once."""

PACKED = (".png", ".webp", ".jpg", ".jpeg", ".npz", ".avif", ".heic")
"""Endings of files that are compressed already."""


class Streamed(StreamingResponse):
    """Pieces, one after the other. Whoever leaves in the middle leaves no file open: it waited for the next one else, until
    Python happened to look for what nobody needs.

    Args:
        pieces: are closed at the end, whatever that is.
        kind: media type.
    """

    def __init__(self, pieces: Generator[bytes], kind: str, headers: dict[str, str]) -> None:
        super().__init__(pieces, media_type=kind, headers=headers)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._pieces.close()


class _Pipe:
    """A file that can only be written to; what was written is taken out again."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def taken(self) -> bytes:
        data, self._pieces = b"".join(self._pieces), []
        return data


def files(root: Path) -> list[Path]:
    """The regular files under a folder, in order; hidden ones and links are left out, wherever these lead."""
    found = []
    for folder, below, names in os.walk(root, followlinks=False):
        below[:] = [name for name in below if not name.startswith(".")]
        paths = [Path(folder) / name for name in names if not name.startswith(".")]
        found += [path for path in paths if _regular(path)]
    return sorted(found)


def _regular(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISREG(path.lstat().st_mode)
    return False


def stream(root: Path, paths: Iterable[Path], change: Callable[[bytes], bytes]) -> Generator[bytes]:
    """A zip archive, piece by piece. Files that have gone meanwhile are left out; of one that grows, what was there is sent.

    Args:
        root: what names in the archive are relative to.
        paths: of the files.
        change: makes of a JSON file what is sent of it.
    """
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", strict_timestamps=False) as archive:  # type: ignore[call-overload]
        for path in paths:
            file = _opened(path)
            if file is None:
                continue
            with file:
                info = _about(path.relative_to(root).as_posix(), os.fstat(file.fileno()))
                with archive.open(info, "w", force_zip64=info.file_size > 1 << 30) as entry:
                    for piece in _pieces(file, info.file_size, change if path.suffix == ".json" else None):
                        entry.write(piece)
                        yield pipe.taken()
    yield pipe.taken()


def _opened(path: Path) -> BinaryIO | None:
    """A file to read; None where it is gone. A link that has taken its place is not followed."""
    try:
        return os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)), "rb")
    except OSError:
        return None


def _about(name: str, status: os.stat_result) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, max(time.localtime(status.st_mtime)[:6], (1980, 1, 1, 0, 0, 0)))
    info.external_attr, info.file_size = (stat.S_IFREG | 0o644) << 16, status.st_size
    info.compress_type = zipfile.ZIP_STORED if name.lower().endswith(PACKED) else zipfile.ZIP_DEFLATED
    return info


def _pieces(file: BinaryIO, size: int, change: Callable[[bytes], bytes] | None) -> Iterator[bytes]:
    if change is not None:
        yield change(file.read())
        return
    while size > 0 and (piece := file.read(min(PIECE, size))):
        size -= len(piece)
        yield piece
