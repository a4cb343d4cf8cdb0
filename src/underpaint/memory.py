"""When memory runs out: who says so, and how."""

from __future__ import annotations

import errno

from underpaint.errors import UnderpaintError

SAYINGS = (
    "out of memory",  # torch on CUDA and MPS, Pillow
    "not enough memory",  # torch on Windows, Pillow
    "allocate memory",  # "can't", "cannot": torch on the CPU, the C library
    "unable to allocate",  # NumPy
    "failed to allocate",
    "could not allocate",
    "memory allocation",
    "alloc_failed",  # cuBLAS, cuDNN
    "bad_alloc",  # C++
    "bad allocation",
    "memoryerror",  # a traceback
)
"""How libraries word it, in lower case; not all of them raise a `MemoryError`."""

ADVICE = "out of memory; choose a smaller size"


def says_so(text: str) -> bool:
    """Whether a text says that memory ran out."""
    return any(words in text.lower() for words in SAYINGS)


def ran_out(error: BaseException | None) -> bool:
    """Whether memory ran out, by an error or by those that it came of."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return True
        # What a user can cause has words of its own: a file may be called "out of memory.png".
        if not isinstance(error, UnderpaintError) and says_so(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False
