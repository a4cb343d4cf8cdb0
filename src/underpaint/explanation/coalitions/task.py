"""A coalition as a task: everything that determines its row and its picture, so that any process can paint it, and again.

What comes of one is a file of its own, `coalitions/NAME.json` beside the picture; the table's owner takes it in, in order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from underpaint import quality
from underpaint.errors import UnderpaintError
from underpaint.execution import device
from underpaint.execution.executor import Executor, Processes, Work, serve
from underpaint.explanation.coalitions.painter import Painter, open_judge
from underpaint.explanation.coalitions.table import Row, Table
from underpaint.networks.registry import Opened
from underpaint.recipe import Recipe, kept
from underpaint.runs.folder import hashes_of, read_inputs
from underpaint.runs.options import Options
from underpaint.runs.prepared import Prepared
from underpaint.runs.wish import Wish
from underpaint.storage import documents
from underpaint.storage.schemas import Count, Exact, Name


@dataclass(frozen=True)
class Task:
    """One coalition under one perturbation.

    Attributes:
        recipe: the run's, its precision settled.
        inputs: the pictures' hashes, by role.
        weights: hashes of the weights' files, of the networks that paint and of those that judge.
        judges: the networks that judge.
        perturbation, mask: which coalition, under which perturbation of the start.
    """

    recipe: Recipe
    inputs: Mapping[str, str]
    weights: tuple[str, ...]
    judges: tuple[str, ...]
    perturbation: int
    mask: int

    @property
    def digest(self) -> str:
        """A stable hash, 64 hexadecimal digits: equal for equal tasks, whoever does them."""
        inputs = [f"{role}={digest}" for role, digest in sorted(self.inputs.items())]
        parts = [self.recipe.digest(), *inputs, *self.weights, *self.judges, str(self.perturbation), str(self.mask)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class RowFile(Exact):
    """What came of a task, beside its picture until it is in the table; `task` is its digest."""

    perturbation: Count
    mask: Count
    outcomes: dict[Name, float]
    last_fall: float
    seconds: float
    picture: Name
    task: Name


class Coalitions:
    """Coalitions that are painted and put into the table, in its order, by this process or by others ahead of it.

    Args:
        table: in the folder where the run's inputs are.
        tasks: those that are to be painted, in the table's order.
        painter: paints in this process.
        executor: paints elsewhere; None for this process alone.
    """

    def __init__(self, table: Table, tasks: Sequence[Task], painter: Painter, executor: Executor | None = None) -> None:
        self._table, self._painter = table, painter
        self._tasks = {(task.perturbation, task.mask): task for task in tasks}
        # What a run that was stopped had painted ahead of the table is there already.
        there = {key for key, task in self._tasks.items() if found(table, task) is not None}
        _sweep(table, [self._tasks[key] for key in there])
        self._left = [task for key, task in self._tasks.items() if key not in there]
        self._shares = {key: float(key in there) for key in self._tasks}
        self._reports = executor.run([given(task) for task in self._left]) if executor is not None and self._left else None

    def __contains__(self, key: object) -> bool:
        return key in self._tasks

    @property
    def done(self) -> float:
        """How many are painted, in part those that are being."""
        return sum(self._shares.values())

    def enter(self, perturbation: int, mask: int) -> Iterator[float]:
        """Puts a coalition into the table, once it is painted; yields `done` as it grows."""
        key = perturbation, mask
        if self._shares[key] < 1 and self._reports is None:
            for share in self._painter.enter(self._table, perturbation, mask):
                self._shares[key] = share
                yield self.done
            self._shares[key] = 1.0
            return
        while self._reports is not None and self._shares[key] < 1:
            report = next(self._reports)
            task = self._left[report.place]
            self._shares[task.perturbation, task.mask] = report.share
            yield self.done
        path, row = file_of(self._table, self._tasks[key]), found(self._table, self._tasks[key])
        if row is None:
            raise UnderpaintError(f"{path}: is not there any more; run the command again")
        self._table.add(row)
        path.unlink()

    def close(self) -> None:
        """Ends what is still being painted."""
        if isinstance(self._reports, Generator):
            self._reports.close()


def given(task: Task) -> dict[str, Any]:
    """What a process needs to know of a task besides the setting."""
    return {"perturbation": task.perturbation, "mask": task.mask, "digest": task.digest}


def file_of(table: Table, task: Task) -> Path:
    """Where what came of a task lies until it is in the table: beside its picture."""
    return (table.folder / table.picture(task.perturbation, task.mask)).with_suffix(".json")


def keep(folder: Path, row: Row, digest: str) -> None:
    """Writes what came of a task; it counts once the file is there."""
    documents.write_json((folder / row.picture).with_suffix(".json"), asdict(row) | {"task": digest})


def found(table: Table, task: Task) -> Row | None:
    """What came of a task; None where it was not done, or its file is damaged or another task's."""
    path = file_of(table, task)
    if not path.exists():
        return None
    with suppress(UnderpaintError):
        facts = documents.read_json(path, "it is painted again", RowFile)
        picture = table.picture(task.perturbation, task.mask)
        if (facts["task"], facts["picture"]) == (task.digest, picture) and (table.folder / picture).exists():
            return Row(**{name: facts[name] for name in Row.__dataclass_fields__})
    return None


def _sweep(table: Table, ahead: Sequence[Task]) -> None:
    """Removes the files of tasks that are in the table already, or are none."""
    wanted = {file_of(table, task) for task in ahead}
    for path in (table.folder / "coalitions").glob("**/*.json"):
        if path not in wanted:
            path.unlink()


def weights_of(prepared: Prepared, judges: Sequence[Opened]) -> tuple[str, ...]:
    """Hashes of all weights that a coalition's row depends on, LPIPS's own left out: it judges no style."""
    return tuple(each.sha256 for each in (*prepared.opened, *judges))


def coalitions(
    prepared: Prepared,
    table: Table,
    painter: Painter,
    inputs: Sequence[Mapping[str, Any]],
    keys: Sequence[tuple[int, int]],
    judges: Mapping[str, Opened],
) -> Coalitions:
    """The coalitions of a run, for as many processes of this machine as the options say.

    Args:
        inputs: the run's, in run.json's words; they lie in the table's folder.
        keys: (perturbation, mask), in the table's order.
        judges: the networks that judge, by name; the first is the headline's.
    """
    options, folder = prepared.options, table.folder
    names, weights = tuple(judges), weights_of(prepared, list(judges.values()))
    tasks = [Task(prepared.recipe, hashes_of(inputs), weights, names, *key) for key in keys]
    if options.workers == 1:
        return Coalitions(table, tasks, painter)
    setting = {
        "folder": str(folder.resolve()),
        "inputs": list(inputs),
        "recipe": prepared.recipe.model_dump(mode="json"),
        "judges": list(names),
        "weights": None if options.weights is None else str(options.weights.resolve()),
        "device": str(prepared.device),
    }
    executor = Processes("underpaint.explanation.coalitions.task", setting, options.workers, torch.get_num_threads())
    return Coalitions(table, tasks, painter, executor)


def opened(setting: Mapping[str, Any]) -> Work:
    """In a process: opens networks and pictures once; then paints."""
    folder = Path(setting["folder"])
    recipe, weights = kept(setting["recipe"]), setting["weights"]
    options = Options(weights=None if weights is None else Path(weights), device=setting["device"])
    prepared = Prepared.of(Wish(recipe, read_inputs(folder, {"inputs": setting["inputs"]}), options))
    lpips = quality.find_lpips(options.weights, prepared.device)
    judges = {name: open_judge(name, prepared) for name in setting["judges"]}
    first, *others = judges
    painter = Painter(prepared.scene, judges[first].network, lpips, {name: judges[name].network for name in others})
    inputs, players = hashes_of(setting["inputs"]), tuple(recipe.style_layers)
    weights_used = weights_of(prepared, list(judges.values()))

    def work(asked: Mapping[str, Any]) -> Iterator[float]:
        task = Task(prepared.recipe, inputs, weights_used, tuple(judges), asked["perturbation"], asked["mask"])
        if task.digest != asked["digest"]:
            raise UnderpaintError(f"{folder}: was changed while it was painted; run the command again to resume")

        def steps() -> Generator[float]:
            for step in painter.make(folder, players, task.perturbation, task.mask):
                if isinstance(step, Row):
                    keep(folder, step, task.digest)
                else:
                    yield step

        return device.stepwise(steps(), lambda: device.painting(prepared.device))

    return work


if __name__ == "__main__":
    serve(opened)
