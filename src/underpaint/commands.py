"""Commands as they are printed: what can be pasted into a shell and does what is said, whatever files are called."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

Word = str | int | float | os.PathLike[str]


def operand(path: str | os.PathLike[str]) -> str:
    """A path that no command takes for an option: `./-x.png` for `-x.png`."""
    text = os.fspath(path)
    return f"./{text}" if text.startswith("-") else text


def quoted(word: Word) -> str:
    """One word for a POSIX shell. What cannot be printed (line breaks, bytes that are no text) is spelt out, as `$'\\012'`,
    which bash, zsh and ksh read: so a command stays on one line."""
    text = os.fspath(word) if isinstance(word, os.PathLike) else str(word)
    if not text or text.isprintable():
        return shlex.quote(text)
    plain = (c if c.isprintable() and c not in "\\'" else "".join(f"\\{b:03o}" for b in os.fsencode(c)) for c in text)
    return f"$'{''.join(plain)}'"


def command(*words: Word) -> str:
    """`underpaint` and these words, each quoted where it must be; paths are given as such, and never taken for options."""
    return " ".join(["underpaint", *(quoted(operand(w) if isinstance(w, Path) else w) for w in words)])


def resume(folder: Path, weights: Path | None = None) -> str:
    """The command that resumes what a folder holds, with the weights that were named, if any were."""
    return command("resume", folder, *(() if weights is None else ("--weights", weights)))


def carry(folder: Path, size: int) -> str:
    """The command that carries a finished run of that size to a larger one."""
    return command("stylize", "--from", folder, "--size", min(2 * size, 8192))
