"""Shown: what leaves the studio says nothing of where things lie on its machine."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from underpaint.storage.seals import SUM, sum_of

ABSOLUTE = re.compile(r"(?<![\w.:/\\~])(?:[A-Za-z]:)?[/\\](?:[^\s/\\:'\"<>]+[/\\])+")
"""The folders of an absolute path; not of an address on the web, nor of a relative one."""


def plain(text: str, *folders: Path) -> str:
    """A text with files' names in place of their paths.

    Args:
        folders: ones of this machine whose names may have spaces, besides the home folder and the current one.
    """
    for pattern, name in _patterns(folders, Path.cwd(), Path.home()):
        text = pattern.sub(name, text)
    return ABSOLUTE.sub("", text)


@lru_cache(maxsize=8)
def _patterns(folders: tuple[Path, ...], *more: Path) -> list[tuple[re.Pattern[str], str]]:
    """What finds a folder, before what lies in it or alone, and what takes its place; the longest folder first."""
    spelt = {str(each): each.name for folder in (*folders, *more) for each in (folder.absolute(), folder.resolve())}
    spelt |= {str(folder): folder.name for folder in folders if len(folder.parts) > 1}
    found = []
    for folder, name in sorted(spelt.items(), key=lambda each: len(each[0]), reverse=True):
        if name:
            here = rf"(?<![\w.:/\\~-]){re.escape(folder)}"  # not in the middle of another path
            found += [(re.compile(rf"{here}[/\\]"), ""), (re.compile(rf"{here}(?![\w.-])"), name.replace("\\", r"\\"))]
    return found


def plain_json(data: bytes, *folders: Path) -> bytes:
    """A JSON file with such texts; one that cannot be read is left as it is but for its paths."""
    try:
        found = json.loads(data)
    except ValueError:
        return plain(data.decode(errors="replace"), *folders).encode()
    mended = _plain(found, folders)
    if isinstance(mended, dict) and SUM in mended:
        mended[SUM] = sum_of(mended)
    return data if mended == found else (json.dumps(mended, indent=2, ensure_ascii=False) + "\n").encode()


def _plain(value: Any, folders: tuple[Path, ...]) -> Any:
    if isinstance(value, str):
        return plain(value, *folders)
    if isinstance(value, list):
        return [_plain(each, folders) for each in value]
    if isinstance(value, dict):
        return {_plain(name, folders): _plain(each, folders) for name, each in value.items()}
    return value
