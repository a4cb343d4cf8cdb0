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

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load, save

from underpaint.captions import captioned, png, short
from underpaint.errors import UnderpaintError
from underpaint.execution import device
from underpaint.imaging import images
from underpaint.imaging.images import Picture
from underpaint.optimizers.loop import State, Step
from underpaint.recipe import Recipe, digests, kept
from underpaint.runs import checkpoint
from underpaint.runs.checkpoint import Checkpoint
from underpaint.runs.scene import Pictures, finish
from underpaint.runs.schemas import RunFile
from underpaint.storage import documents
from underpaint.storage.files import named, write_bytes
from underpaint.storage.seals import Sealing

COLUMNS = ("step", "scale", "term", "raw", "weighted", "gradient_norm", "seconds")
TOTAL = "total"
DAMAGED = "it is damaged, or of another version; start the run again"
SETTINGS = "explain.json"
"""Beside run.json, it makes a run an explanation's (`underpaint.explanation.explaining`)."""


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
        history = read_history(folder / "history.csv", last=last_step(facts))
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
    return documents.read_json(path, DAMAGED, RunFile)


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
    recipe, state = recipe_of(facts, folder), found.state
    schedule, sizes = recipe.schedule(), recipe.sizes()
    if state.scale >= len(sizes) or state.iteration > schedule[state.scale]:
        raise UnderpaintError(f"{path}: stands at a step that the recipe in run.json does not have; start the run again")
    return found


def check_extent(folder: Path, state: State, size: tuple[int, int]) -> None:
    """Whether a checkpoint's picture has the size (H, W) that the run has at its scale.

    Raises:
        UnderpaintError: it has another.
    """
    if tuple(state.image.shape[2:]) != size:
        height, width = state.image.shape[2:]
        path = folder / checkpoint.FILE
        raise UnderpaintError(f"{path}: has a picture of {width}×{height} px, not this run's {size[1]}×{size[0]}")


def write_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Writes run.json whole or not at all."""
    documents.write_json(folder / "run.json", facts, indent=2)


def last_step(facts: Mapping[str, Any]) -> int | None:
    """The last step that the history of the run in run.json tells of: of a finished one the look at what came out. None where
    it goes on, or none was made."""
    if "steps" not in facts:
        return None
    steps: int = facts["steps"]
    return steps if facts["status"] == "finished" else steps - 1


def read_history(path: Path, *, before: int | None = None, last: int | None = None) -> list[Row]:
    """history.csv, up to the last step that is in it whole.

    Args:
        before: leaves out that step and all after it, in whatever state they are.
        last: the step that it has to end with; None where it is resumed.

    Raises:
        UnderpaintError: missing, damaged, or of another end.
    """
    found: list[Row] = []
    with documents.told(path, "the run has no history; start it again"):
        lines = documents.rows_of(path.read_text(encoding="utf-8"), growing=True)
        if next(lines) != list(COLUMNS):
            raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
        for cells in lines:
            row = _row(cells)
            if before is not None and row.step >= before:
                break
            found.append(row)
        whole = max((place for place, row in enumerate(found, 1) if row.term == TOTAL), default=0)
        if last is not None and (found[whole - 1].step if whole else None) != last:
            raise ValueError(f"it does not end with the run's step {last}")
    return found[:whole]


def _row(cells: Sequence[str]) -> Row:
    step, scale, term, raw, weighted, norm, seconds = cells
    measured = documents.number(norm) if norm else None
    return Row(
        int(step), int(scale), term, documents.number(raw), documents.number(weighted), measured, documents.number(seconds)
    )


def write_history(path: Path, known: Sequence[Row]) -> None:
    """Writes history.csv whole or not at all."""
    documents.write_rows(path, COLUMNS, [row.cells() for row in known])


class HistoryFile:
    """history.csv while it grows. Rows are in the file as soon as `add` returns: a killed process leaves them there."""

    def __init__(self, path: Path, known: Sequence[Row] = ()) -> None:
        self._sealing = Sealing()
        header = self._sealing.header(COLUMNS)
        write_bytes(path, (header + self._lines(known)).encode())
        self._file = path.open("a", encoding="utf-8", newline="")

    def _lines(self, new: Sequence[Row]) -> str:
        return "".join(self._sealing.row(row.cells()) for row in new)

    def add(self, new: Sequence[Row]) -> None:
        """Appends and flushes."""
        self._file.write(self._lines(new))
        self._file.flush()

    def sync(self) -> None:
        """Has it on the disk itself, so that no checkpoint is there before its history."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """No more rows."""
        self._file.close()


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
                picture = images.of_samples(arrays["rgb"], arrays.get("alpha"))
        else:
            picture = images.read(path, field=entry["role"], min_side=1)
        older = hashlib.sha256(picture.rgb.tobytes()).hexdigest()  # of the masks of faces, before there was a shape in it
        if entry["sha256"] not in (picture.sha256, older):
            raise UnderpaintError(f"{path}: is not the picture that the run was made with; put it back")
        found[entry["role"]] = replace(picture, name=entry["name"], sha256=entry["sha256"])
    styles = tuple(picture for role, picture in found.items() if role.startswith("style") and role[5:].isdigit())
    others = {role: found.get(role) for role in ("content_mask", "style_mask", "start", "protect")}
    return Pictures(found["content"], styles, **others)
