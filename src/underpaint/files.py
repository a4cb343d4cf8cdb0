"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from underpaint.errors import UnderpaintError

SHARED, PRIVATE = 0o644, 0o600
"""Modes of files: others on the machine may read them, or may not. They may never write, whatever the umask."""

_FRESH = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def write_bytes(path: Path, data: bytes, mode: int = SHARED) -> None:
    """Replaces `path` by `data`: a temporary file beside it, flushed to disk, then renamed over it.

    Whoever reads `path` sees the old file or the new one. On failure the temporary file is removed.

    Args:
        mode: of the new file, less what the process's umask takes off. The umask is never touched: it is the whole
            process's, and a file that another thread made in that moment came out for everybody to write.

    Raises:
        UnderpaintError: the folder is missing, full or not to be written.
    """
    path = Path(path)
    temporary = path.parent / f".{secrets.token_hex(8)}.part"
    try:
        with os.fdopen(os.open(temporary, _FRESH, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = f"cannot be written ({error.strerror}); choose a folder that can be written"
            raise UnderpaintError(f"{path}: {reason}") from None
        raise
