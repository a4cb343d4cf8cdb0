"""A run on disk: one folder that holds every number and picture of it.

run.json                 recipe, inputs, weights, versions, device, seconds, peak memory, result
history.csv              one row per step and term
pastiche.png             the picture
convergence.png, .svg    how the losses fell
checkpoint.safetensors   the optimiser's state, to resume from or to carry to a larger size
inputs/                  the pictures as they were given
frames/, timelapse.webp  intermediate pictures, when asked for
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load, save

from underpaint import checkpoint, commands, device, documents, images
from underpaint.captions import captioned, png, short
from underpaint.checkpoint import Checkpoint
from underpaint.errors import UnderpaintError
from underpaint.files import named, write_bytes, write_text
from underpaint.images import Picture
from underpaint.optimise import Step
from underpaint.owner import Owner
from underpaint.recipe import Recipe, digests, kept
from underpaint.scene import Pictures, finish

FORMAT = 2
COLUMNS = ("step", "scale", "term", "raw", "weighted", "gradient_norm", "seconds")
TOTAL = "total"
SETTINGS = "explain.json"
"""Beside run.json, it makes a run an explanation's (`underpaint.explaining`)."""


@dataclass(frozen=True)
class Row:
    """One row of history.csv; `gradient_norm` is None on the steps that did not measure it."""

    step: int
    scale: int
    term: str
    raw: float
    weighted: float
    gradient_norm: float | None
    seconds: float

    def cells(self) -> tuple[str, ...]:
        """As written: floats in full, so that they read back exactly."""
        norm = "" if self.gradient_norm is None else repr(self.gradient_norm)
        numbers = repr(self.raw), repr(self.weighted), norm, f"{self.seconds:.3f}"
        return str(self.step), str(self.scale), self.term, *numbers


def rows(step: Step, seconds: float) -> list[Row]:
    """A step as rows: its terms, then the total (whose raw value is the weighted sum)."""
    terms = [Row(step.step, step.scale, t.name, t.raw, t.weighted, t.gradient_norm, seconds) for t in step.terms]
    return [*terms, Row(step.step, step.scale, TOTAL, step.total, step.total, None, seconds)]


@dataclass(repr=False)
class Run:
    """A pastiche with everything that is known of how it came about.

    Attributes:
        recipe: what determined it.
        facts: the rest of run.json.
        history: one `Row` per step and term, in order; the last step's are those of the pastiche itself.
        pastiche: (H, W, 3) float32 sRGB, 0..1, colours restored as the recipe says.
        alpha: (H, W) or None.
        folder: where it lies, None if it was not kept.
        result: (1, 3, H, W), the optimiser's picture before colours were restored.
    """

    recipe: Recipe
    facts: dict[str, Any]
    history: list[Row]
    pastiche: np.ndarray
    alpha: np.ndarray | None = None
    folder: Path | None = None
    result: torch.Tensor | None = field(default=None, repr=False)

    @property
    def losses(self) -> dict[str, float]:
        """The pastiche's own raw value of every term, and the weighted total."""
        last = self.history[-1].step
        return {row.term: row.raw for row in self.history if row.step == last}

    def save(self, path: str | Path, bits: int = 8, *, new: bool = False) -> None:
        """Writes the picture alone, with the recipe in its metadata; `new` refuses a file that is there."""
        images.write(path, self.pastiche, alpha=self.alpha, bits=bits, metadata=picture_metadata(self.recipe), new=new)

    def __repr__(self) -> str:
        height, width = self.pastiche.shape[:2]
        last = self.history[-1] if self.history else None
        steps = f", {last.step} steps, loss {last.weighted:.4g}" if last else ""
        return f"Run({self.recipe.network}, {width}×{height} px{steps}, {short(self.folder or 'not kept')})"

    def _repr_png_(self) -> bytes:
        """The picture, for notebooks."""
        return png(self.pastiche)

    def _repr_html_(self) -> str:
        """The picture and a line about it, for notebooks."""
        return captioned(self._repr_png_(), repr(self))

    @classmethod
    @device.own_settings()
    def load(cls, folder: str | Path) -> Run:
        """A run from its folder, its picture in full precision.

        Raises:
            UnderpaintError: not a run folder, or a part of it is missing or cannot be read.
        """
        folder = named(folder, "run")
        facts = read_facts(folder)
        recipe = recipe_of(facts, folder)
        state = read_checkpoint(folder, facts, torch.device("cpu")).state
        pastiche, alpha = finish(recipe, read_inputs(folder, facts).content, state.result)
        history = read_history(folder / "history.csv")
        return cls(recipe, facts, history, pastiche, alpha, folder, state.result)


def picture_metadata(recipe: Recipe) -> dict[str, str]:
    """What a picture file says of itself: no times, so that equal runs give equal bytes."""
    return {"Software": "underpaint", "underpaint:recipe": recipe.model_dump_json()}


def read_facts(folder: Path) -> dict[str, Any]:
    """run.json.

    Raises:
        UnderpaintError: missing, damaged, or of another version.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise UnderpaintError(f"{folder}: not a run folder (it has no run.json); name one")
    facts = documents.read_json(path, "it is damaged; start the run again")
    if facts.get("format") != FORMAT:
        raise UnderpaintError(f"{path}: not a run of this version of underpaint")
    return facts


def recipe_of(facts: dict[str, Any], folder: Path) -> Recipe:
    """The recipe in run.json."""
    return kept(facts["recipe"], source=f"{folder / 'run.json'}: ")


def hashes_of(inputs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The pictures' hashes by role, from the `inputs` of run.json or ablation.json."""
    return {entry["role"]: entry["sha256"] for entry in inputs}


def read_checkpoint(folder: Path, facts: dict[str, Any], device: torch.device) -> Checkpoint:
    """The checkpoint of the run that run.json tells of, read once and as a whole.

    Raises:
        UnderpaintError: none there, a damaged one, or one of another recipe or of other pictures.
    """
    path = folder / checkpoint.FILE
    found = checkpoint.read(path, device)
    if found.recipe not in digests(facts["recipe"]):
        raise UnderpaintError(f"{path}: was made with another recipe than run.json holds; start the run again")
    if found.inputs is not None and found.inputs != hashes_of(facts["inputs"]):
        raise UnderpaintError(f"{path}: was made of other pictures than run.json names; put this run's own back")
    return found


def write_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Writes run.json whole or not at all."""
    write_text(folder / "run.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def read_history(path: Path, before: int | None = None) -> list[Row]:
    """history.csv; `before` leaves out that step and all after it, and a last line that was cut off."""
    with documents.told(path, "the run has no history; start it again"):
        text = path.read_text(encoding="utf-8")
        found = [_row(line) for line in documents.rows_of(text[: text.rfind("\n") + 1])]
    return [row for row in found if before is None or row.step < before]


def _row(line: Mapping[str, str]) -> Row:
    norm = float(line["gradient_norm"]) if line["gradient_norm"] else None
    numbers = float(line["raw"]), float(line["weighted"]), norm, float(line["seconds"])
    return Row(int(line["step"]), int(line["scale"]), line["term"], *numbers)


def write_history(path: Path, known: Sequence[Row]) -> None:
    """Writes history.csv whole or not at all."""
    write_bytes(path, (",".join(COLUMNS) + "\n" + _lines(known)).encode())


def _lines(known: Sequence[Row]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(row.cells() for row in known)
    return text.getvalue()


class HistoryFile:
    """history.csv while it grows. Rows are in the file as soon as `add` returns: a killed process leaves them there."""

    def __init__(self, path: Path, known: Sequence[Row] = ()) -> None:
        write_history(path, known)
        self._file = path.open("a", encoding="utf-8", newline="")

    def add(self, new: Sequence[Row]) -> None:
        """Appends and flushes."""
        self._file.write(_lines(new))
        self._file.flush()

    def sync(self) -> None:
        """Has it on the disk itself, so that no checkpoint is there before its history."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """No more rows."""
        self._file.close()


def check_free(folder: Path) -> None:
    """Raises an `UnderpaintError` if the folder holds a run already. Looks only; `create_folder` makes it."""
    if any(os.path.exists(folder / name) for name in ("run.json", "pastiche.png", "coalitions.csv")):
        raise UnderpaintError(f"--out {folder}: already holds a run; name another folder{_instead(folder)}")


def _instead(folder: Path) -> str:
    """What can be done with what a folder holds, as a command that does it."""
    if any((folder / name).exists() for name in ("explain.json", "ablation.json")):
        return f", or go on with it: {commands.resume(folder)}"
    try:
        facts = read_facts(folder)
        if facts["status"] == "finished":
            return f", or carry it to a larger size: {commands.carry(folder, recipe_of(facts, folder).size)}"
    except (UnderpaintError, KeyError):
        return ""
    return f", or go on with it: {commands.resume(folder)}"


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


def keep_inputs(folder: Path, pictures: Pictures) -> list[dict[str, Any]]:
    """Copies every input picture into the run, and says in run.json's words which they are."""
    kept = []
    for role, picture in pictures.by_role().items():
        if picture.data is None:
            file = f"{role}.safetensors"
            arrays = {"rgb": picture.rgb} | ({} if picture.alpha is None else {"alpha": picture.alpha})
            write_bytes(folder / "inputs" / file, save(arrays))
        else:
            file = role + picture.ending
            write_bytes(folder / "inputs" / file, picture.data)
        height, width = picture.rgb.shape[:2]
        facts = {"role": role, "name": picture.name, "file": f"inputs/{file}", "sha256": picture.sha256}
        kept.append(facts | {"width": width, "height": height})
    return kept


def read_inputs(folder: Path, facts: dict[str, Any]) -> Pictures:
    """The pictures that `keep_inputs` kept.

    Raises:
        UnderpaintError: one is missing, or is not the one that the run was made with.
    """
    found: dict[str, Picture] = {}
    for entry in facts["inputs"]:
        path = folder / entry["file"]
        if path.suffix == ".safetensors":
            with documents.told(path, "put the picture of the run back"):
                arrays = load(path.read_bytes())
                picture = Picture(arrays["rgb"], arrays.get("alpha"), entry["name"], entry["sha256"], None)
        else:
            picture = images.read(path, field=entry["role"], min_side=1)
            if picture.sha256 != entry["sha256"]:
                raise UnderpaintError(f"{path}: is not the picture that the run was made with; put it back")
            picture = replace(picture, name=entry["name"])
        found[entry["role"]] = picture
    styles = tuple(picture for role, picture in found.items() if role.startswith("style") and role[5:].isdigit())
    others = {role: found.get(role) for role in ("content_mask", "style_mask", "start", "protect")}
    return Pictures(found["content"], styles, **others)
