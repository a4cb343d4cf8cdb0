"""A claim: a folder becomes a new run's, and is nobody's again where nothing comes of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from underpaint import commands
from underpaint.errors import UnderpaintError
from underpaint.runs.folder import SETTINGS, read_facts, recipe_of
from underpaint.storage.owner import Owner


def check_free(folder: Path) -> None:
    """Raises an `UnderpaintError` if the folder holds a run already. Looks only; `create_folder` makes it."""
    if any(os.path.exists(folder / name) for name in ("run.json", "pastiche.png", "coalitions.csv")):
        raise UnderpaintError(f"--out {folder}: already holds a run; name another folder{_instead(folder)}")


def _instead(folder: Path) -> str:
    """What can be done with what a folder holds, as a command that does it."""
    if any((folder / name).exists() for name in ("explain.json", "ablation.json")):
        return f", or resume it: {commands.resume(folder)}"
    try:
        facts = read_facts(folder)
        if facts["status"] == "finished":
            return f", or carry it to a larger size: {commands.carry(folder, recipe_of(facts, folder).size)}"
    except (UnderpaintError, KeyError):
        return ""
    return f", or resume it: {commands.resume(folder)}"


def create_folder(folder: Path) -> None:
    """Makes the folder of a new run.

    Raises:
        UnderpaintError: it holds a run already or is no folder; nothing was overwritten.
    """
    check_free(folder)
    try:
        (folder / "inputs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnderpaintError(f"--out {folder}: {error.strerror}; name a folder that can be written") from None


@contextmanager
def owned(owner: Owner, nothing: Callable[[], bool]) -> Iterator[None]:
    """Enters the owner; where an error ends it, of a new run in which nothing was painted nothing stays. It is removed while
    it is owned: who may not enter touches nothing of whoever is in there.

    Args:
        nothing: whether the run is new and nothing of it was painted.
    """
    try:
        with owner:
            try:
                yield
            except Exception:
                if nothing():
                    _empty(owner.folder)
                raise
    except Exception:
        with suppress(OSError):  # not empty: something, or somebody, is in there
            owner.folder.rmdir()
        raise


def _empty(folder: Path) -> None:
    """Removes what `create_folder` and those who begin a run put there."""
    names = "run.json", SETTINGS, "ablation.json", "history.csv"
    for path in [*(folder / name for name in names), *(folder / "inputs").glob("*")]:
        with suppress(OSError):
            path.unlink()
    with suppress(OSError):
        (folder / "inputs").rmdir()
