"""A job: what was asked for, how far it is, and what came of it, in a folder of its own.

order.json       what was asked for; written once
state.json       where it stands; the runner's
progress.json    how far it is; the child's, a few times a second
live.webp        the picture as it stands; the child's
error.txt        why it failed, one line
log.txt          what the child said besides
inputs/          the pictures as they came, under names of ours
result/          the folder of the run or the explanation
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import stat
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from underpaint.errors import UnderpaintError
from underpaint.storage.files import write_bytes

State = Literal["queued", "running", "paused", "stopped", "finished", "failed"]
WAITING: tuple[State, ...] = ("queued", "running")
RESUMABLE: tuple[State, ...] = ("paused", "stopped", "failed")

NAME = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8}")
"""Of a job's folder: when it was asked for, and eight random digits."""

MASKS = ("content_mask", "style_mask", "protect")
ROLES = ("content", "style1", "style2", "style3", "style4", *MASKS)
"""Pictures that an order may have."""


class Order(BaseModel):
    """What was asked for.

    Attributes:
        kind: paint, or paint and explain.
        recipe: fields of a `Recipe` that were given.
        pictures: file in inputs/ by role.
        names: what the pictures are called, by role; shown, never used as a path.
        protect: "faces" looks for them and protects them; a picture in the role `protect` is used instead.
        seeds: complete tables of coalitions, of an explanation.
        device, weights: as of `underpaint.Options`.
        visitor: who asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["stylize", "explain"]
    recipe: dict[str, Any] = Field(default_factory=dict)
    pictures: dict[str, str] = Field(default_factory=dict)
    names: dict[str, str] = Field(default_factory=dict)
    protect: Literal["faces"] | None = None
    seeds: int = Field(1, ge=1, le=100)
    device: str = "auto"
    weights: str | None = None
    visitor: str = ""

    @property
    def styles(self) -> list[str]:
        """Roles of the style pictures, in their order."""
        return [role for role in ROLES if role.startswith("style") and role != "style_mask" and role in self.pictures]

    def masks(self, files: Mapping[str, Any]) -> dict[str, Any]:
        """The masks among pictures by role, as arguments of `underpaint.start`."""
        return {"protect": self.protect} | {role: files[role] for role in MASKS if role in files}


class Standing(BaseModel):
    """state.json: where a job stands, and since when, seconds since 1970."""

    state: State = "failed"
    time: float = Field(0.0, ge=0, allow_inf_nan=False)


class Progress(BaseModel):
    """progress.json: how far a job is.

    Attributes:
        share: 0..1.
        doing: in a word or two.
        left: seconds; None where that cannot be told yet.
        version: how often its picture has been another one.
        size: width and height of that picture, pixels.
        step, losses: of a run, the last one made and its terms.
        painted, coalitions: of an explanation, how many are painted, and of how many.
    """

    share: float = Field(0.0, ge=0, le=1)
    doing: str = "starting"
    left: float | None = Field(None, ge=0, allow_inf_nan=False)
    version: int = Field(0, ge=0)
    size: tuple[int, int] | None = None
    step: int = Field(0, ge=0)
    losses: dict[str, float] = Field(default_factory=dict)
    painted: int | None = Field(None, ge=0)
    coalitions: int | None = Field(None, ge=0)


class Job:
    """A job's folder.

    Args:
        folder: is there, with an order in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, runs: Path, order: Order, pictures: Mapping[str, bytes | Path]) -> Job:
        """A new folder with the order and its pictures, state `queued`.

        Args:
            pictures: a file's bytes, or where to read them, by name, as in `order.pictures`.
        """
        folder = runs / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        try:
            (folder / "inputs").mkdir(parents=True)
        except OSError as error:
            raise UnderpaintError(f"{runs}: {error.strerror}; name a folder for runs that can be written") from None
        job = cls(folder)
        try:
            for name, data in pictures.items():
                write_bytes(folder / "inputs" / name, data if isinstance(data, bytes) else data.read_bytes())
            job.change("queued")
            write_bytes(folder / "order.json", order.model_dump_json(indent=1).encode())
        except BaseException:  # half a job would take room for ever, and nobody would see it
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return job

    @classmethod
    def find(cls, runs: Path, name: str) -> Job:
        """By name.

        Raises:
            UnderpaintError: no such job. A name that is none of ours never becomes a path.
        """
        if not NAME.fullmatch(name) or not (runs / name / "order.json").is_file():
            raise UnderpaintError(f"job {name[:40]!r}: there is no such job")
        return cls(runs / name)

    @property
    def name(self) -> str:
        """Unique in its folder of runs; sorts by time."""
        return self.folder.name

    @property
    def result(self) -> Path:
        """The folder of the run or the explanation."""
        return self.folder / "result"

    @property
    def order(self) -> Order:
        """What was asked for.

        Raises:
            UnderpaintError: the file is damaged.
        """
        path = self.folder / "order.json"
        try:
            return Order.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise UnderpaintError(f"{path}: cannot be read ({type(error).__name__}); remove this job") from None

    def _standing(self) -> Standing:
        try:
            return Standing.model_validate_json((self.folder / "state.json").read_bytes())
        except (OSError, ValidationError):
            return Standing()

    @property
    def state(self) -> State:
        """Where it stands; failed where that cannot be read."""
        return self._standing().state

    @property
    def changed(self) -> float:
        """When the state last changed, seconds since 1970."""
        return self._standing().time

    @property
    def progress(self) -> Progress:
        """What the child last told; nothing where that cannot be read."""
        try:
            return Progress.model_validate_json((self.folder / "progress.json").read_bytes())
        except (OSError, ValidationError):
            return Progress()

    @property
    def error(self) -> str:
        """Why it failed, or nothing."""
        try:
            return (self.folder / "error.txt").read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    @property
    def title(self) -> str:
        """What it is, in a line."""
        names = self.order.names
        styles = " and ".join(names.get(role, role) for role in self.order.styles)
        return f"{names.get('content', 'content')} × {styles}"

    @property
    def visitor(self) -> str:
        """Who asked; empty where that cannot be read."""
        try:
            return self.order.visitor
        except UnderpaintError:
            return ""

    @property
    def coalitions(self) -> list[Path]:
        """The pictures of an explanation's coalitions so far, of the first table, the oldest first."""
        found = [path for path in (self.result / "coalitions").glob("*.png") if path.is_file()]
        return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))

    def change(self, state: State) -> None:
        """Puts it into a state."""
        write_bytes(self.folder / "state.json", Standing(state=state, time=time.time()).model_dump_json().encode())

    @property
    def bytes(self) -> int:
        """What it takes on disk. Files may go while they are counted: its child replaces them."""
        total = 0
        for path in self.folder.rglob("*"):
            with contextlib.suppress(OSError):
                found = path.lstat()
                total += found.st_size if stat.S_ISREG(found.st_mode) else 0
        return total
