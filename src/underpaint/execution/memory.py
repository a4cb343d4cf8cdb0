"""Memory: when it runs out, who says so and how; and how to hold little of it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import sys

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


M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
"""Of glibc's mallopt(3)."""

LARGE = 1_000_000
"""Bytes from which a piece of memory is the system's again as soon as it is free."""


def give_back() -> None:
    """Makes glibc return what pictures took. By default each thread keeps a pool of its own: 13 visitors left the studio's
    process with twice its memory."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(M_MMAP_THRESHOLD, LARGE)
            mallopt(M_ARENA_MAX, 2)


def first_to_go() -> None:
    """Offers this process to Linux when memory runs out, before the server that started it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")
