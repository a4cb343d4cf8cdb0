"""Owners: whoever writes into a folder is the only one who does."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
import warnings
from pathlib import Path
from typing import BinaryIO, Self

from underpaint.errors import UnderpaintError

LOCK = ".lock"
"""The file that is locked; empty, and gone when nobody owns the folder. (After a kill -9 it may lie there, unlocked.)"""

STATE = ("run.json", "checkpoint.safetensors", "explain.json", "coalitions.csv", "sanity.csv", "ablation.json")
"""What commands resume from."""

BUSY = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
POLL_SECONDS = 0.05


class Owner:
    """The one who may write into a folder, for as long as it is entered. An owner may enter again what it has entered.

    The lock is the operating system's (flock(2); on Windows a locked byte), so that it ends with its process, however that
    ends. It holds between the threads and objects of one process too.

    Args:
        folder: is there when it is entered.
        wait: seconds to wait for another owner to leave.
    """

    def __init__(self, folder: Path, wait: float = 0.0) -> None:
        self.folder, self.wait = folder, wait
        self._lock: BinaryIO | None = None
        self._depth = 0
        self._left = _stamps(folder)

    def __enter__(self) -> Self:
        """Raises an `UnderpaintError` if somebody else is in there, or was since this owner was made or last left it."""
        if not self._depth:
            try:
                self._lock = _take(self.folder, self.wait)
                if _stamps(self.folder) != self._left:
                    raise UnderpaintError(
                        f"{self.folder}: another command changed it since this one read it; start this one again"
                    )
            except BaseException:
                self._leave()
                raise
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._left = _stamps(self.folder)
            self._leave()

    def _leave(self) -> None:
        lock, self._lock = self._lock, None
        if lock is None:
            return
        # Removed while it is locked: who opens it later makes a new one, and who has it open sees that it is gone (`_take`).
        with contextlib.suppress(OSError):
            if sys.platform != "win32":
                (self.folder / LOCK).unlink()
        lock.close()
        with contextlib.suppress(OSError):  # on Windows others' open files cannot be removed, and need not be
            if sys.platform == "win32":
                (self.folder / LOCK).unlink()


def _stamps(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Which versions of the files of `STATE` are there: every one that is written is a new file."""
    found = {}
    for name in STATE:
        with contextlib.suppress(OSError):
            facts = (folder / name).stat()
            found[name] = facts.st_ino, facts.st_mtime_ns, facts.st_size
    return found


def _take(folder: Path, wait: float) -> BinaryIO | None:
    """The lock file, locked; None, and a warning, where the file system knows no locks.

    Raises:
        UnderpaintError: somebody else has it, or it cannot be made.
    """
    path, end = folder / LOCK, time.monotonic() + wait
    while True:
        try:
            file = open(path, "a+b")  # noqa: SIM115
        except OSError as error:
            raise UnderpaintError(f"{folder}: cannot be written ({error.strerror}); name one that can be written") from None
        try:
            _lock(file)
            if _is_still(file, path):
                return file
            file.close()
            continue
        except OSError as error:
            file.close()
            if error.errno not in BUSY:
                path.unlink(missing_ok=True)
                warnings.warn(
                    f"{folder}: its file system has no locks ({error.strerror}); let no other command write there meanwhile",
                    stacklevel=2,
                )
                return None
        except BaseException:
            file.close()
            raise
        if time.monotonic() >= end:
            raise UnderpaintError(
                f"{folder}: is in use, another command or studio writes there; wait until it ends, or name another folder"
            )
        time.sleep(POLL_SECONDS)


def _lock(file: BinaryIO) -> None:
    if sys.platform == "win32":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_still(file: BinaryIO, path: Path) -> bool:
    """Whether the open file is the one at the path: its last owner may just have removed it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
