"""The one class of error that a user can cause."""

from __future__ import annotations


def printable(text: str) -> str:
    """Text that every terminal, page and UTF-8 file can hold: what cannot be printed (bytes of a file's name that are not
    UTF-8, control characters) as an escape, e.g. `\\udcff`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_line(error: BaseException) -> str:
    """What another library's error says, short enough to stand within a line; its kind, where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:150]


class UnderpaintError(Exception):
    """Something the user asked for cannot be done.

    The message is one line: what was wrong, with which file or field, and what to do about it.
    The command line prints it and exits with code 2; nothing was overwritten.
    """

    def __init__(self, message: str) -> None:
        # One line, but with every space that a file name has.
        super().__init__(printable(" ".join(part for line in message.splitlines() if (part := line.strip()))))
