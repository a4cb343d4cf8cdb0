"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from underpaint.errors import UnderpaintError


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces `path` by `data`: a temporary file beside it, flushed to disk, then renamed over it.

    Whoever reads `path` sees the old file or the new one. On failure the temporary file is removed.

    Raises:
        UnderpaintError: the folder is missing, full or not to be written.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise UnderpaintError(f"{path}: cannot be written ({error.strerror}); choose a folder that can be written") from None
    except BaseException:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise
