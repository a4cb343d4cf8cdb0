"""Files: what they may be called, and writing one whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from underpaint.errors import UnderpaintError

SHARED, PRIVATE = 0o644, 0o600
"""Modes of files: others on the machine may read them, or may not. They may never write, whatever the umask."""

_FRESH = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)

_PART = re.compile(r"\.[0-9a-f]{16}\.part")
"""The name of a file that is being written."""


def write_bytes(path: Path, data: bytes, mode: int = SHARED, *, new: bool = False) -> None:
    """Replaces `path` by `data`: a temporary file beside it, flushed to disk, then renamed over it.

    Whoever reads `path` sees the old file or the new one. On failure the temporary file is removed; what a killed process
    left of one `sweep` removes.

    Args:
        mode: of the new file, less what the process's umask takes off. The umask is never touched: it is the whole
            process's, and a file that another thread made in that moment came out for everybody to write.
        new: the file must not be there yet, not even by another process a moment ago.

    Raises:
        UnderpaintError: the folder is missing, full or not to be written; or a new file is there already.
    """
    path = Path(path)
    temporary = path.parent / f".{secrets.token_hex(8)}.part"
    try:
        with os.fdopen(os.open(temporary, _FRESH, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if not (new and _linked(temporary, path)):
            os.replace(temporary, path)
    except FileExistsError:
        raise UnderpaintError(f"{path}: is there already and is not overwritten; name a new file") from None
    except OSError as error:
        reason = f"cannot be written ({error.strerror}); choose a folder that can be written"
        raise UnderpaintError(f"{path}: {reason}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _linked(temporary: Path, path: Path) -> bool:
    """Enters the file under its name, whole; false on a file system without links.

    Raises:
        FileExistsError: the name is taken.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        if path.exists():
            raise FileExistsError(path) from None
        return False
    return True


def sweep(folder: Path) -> None:
    """Removes what killed processes left of files that they were writing, here and in the folders within.

    Only for the folder's owner: what another process is writing just now would go too.
    """
    for path in folder.rglob(".*.part"):
        if _PART.fullmatch(path.name):
            with contextlib.suppress(OSError):
                path.unlink()


def write_text(path: Path, text: str, *, new: bool = False) -> None:
    """`write_bytes` of UTF-8. A byte of a file's name that is none stands there as an escape, `\\udcff`, which is valid
    everywhere and in JSON reads back as the name that it was."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"), new=new)


def named(path: str | os.PathLike[str], field: str) -> Path:
    """A path that somebody gave.

    Raises:
        UnderpaintError: it is empty (which would mean the current folder), or the operating system does not take it.
    """
    text = os.fspath(path)
    if not text or "\0" in text:
        raise UnderpaintError(f"{field}: {'holds a zero byte' if text else 'is empty'}; name a file or folder")
    try:
        os.lstat(text)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # too long, or in a folder that may not be looked into
        raise UnderpaintError(f"{field} {text}: {error.strerror}; name another") from None
    return Path(path)


@contextlib.contextmanager
def spelt(path: Path) -> Iterator[Path]:
    """The file under a name that a library takes which knows UTF-8 alone: its own, or that of a link to it."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder) / "file"
            link.symlink_to(path.absolute())
            yield link
    else:
        yield path
