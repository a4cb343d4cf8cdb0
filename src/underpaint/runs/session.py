"""Running: `Session` iterates over a run's steps and keeps its folder."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from underpaint.captions import short
from underpaint.execution import device
from underpaint.optimizers.loop import State, Step, optimise
from underpaint.runs import checkpoint, convergence, timelapse
from underpaint.runs.checkpoint import Checkpoint
from underpaint.runs.claim import owned
from underpaint.runs.folder import (
    HistoryFile,
    Row,
    Run,
    hashes_of,
    keep_inputs,
    read_facts,
    rows,
    write_facts,
    write_history,
)
from underpaint.runs.observer import Memory, Observer
from underpaint.runs.prepared import Prepared
from underpaint.runs.schemas import FORMAT
from underpaint.storage import documents
from underpaint.storage.files import sweep
from underpaint.storage.owner import Owner

CHECKPOINT_SECONDS = 10.0
"""A run that is killed loses at most this much work, ..."""

CHECKPOINT_SHARE = 0.05
"""... or more where writing a checkpoint takes longer than this share of the time between two."""


@dataclass(frozen=True)
class Moment:
    """A run between two steps, whole. A step ends with one assignment of the next moment: an interrupt, at whatever
    instruction, leaves all of the step or nothing.

    Attributes:
        state: None before the first step.
        seconds: how long it has been running.
        observers: what each had to remember.
        rows: how many rows of history there are.
    """

    state: State | None = None
    seconds: float = 0.0
    observers: Mapping[str, Memory] = field(default_factory=dict)
    rows: int = 0


class Session:
    """A run being painted. Iterate over it for its steps; afterwards `run` is there.

    Stopping early (leaving the loop, Ctrl-C, an error) keeps what there is: the folder then holds a
    checkpoint and the picture as it stands, and `resume` continues it. `run` is the picture as it stands at any moment.

    Args:
        prepared: the scene, and all that it was made with.
        owner: of the folder where it is kept, which `create_folder` made; None keeps it in memory only.
        begun: where to resume.
        known: history so far.

    Attributes:
        recipe, scene, options, device: as prepared.
        owner, folder: where it is kept, if it is.
    """

    @device.own_settings()
    def __init__(
        self,
        prepared: Prepared,
        owner: Owner | None = None,
        begun: Checkpoint | None = None,
        known: Sequence[Row] = (),
    ) -> None:
        self.prepared, self.owner, self.folder = prepared, owner, None if owner is None else owner.folder
        self.scene, self.options, self.device = prepared.scene, prepared.options, prepared.device
        self.recipe = self.scene.recipe
        self._history: list[Row] = list(known)
        self._now = Moment() if begun is None else Moment(begun.state, begun.seconds, begun.observers, len(known))
        self.facts: dict[str, Any] = {}
        self._observers = self._own_observers()

    def __repr__(self) -> str:
        done = 0 if self._now.state is None else self._now.state.step
        height, width = self.scene.size(-1)
        where = short(self.folder or "not kept")
        return f"Session({self.recipe.network}, {width}×{height} px, {done} of {self.steps} steps, {where})"

    def follow(self, observers: Mapping[str, Observer]) -> None:
        """Shows every step to each of them, in this order.

        Called before the first step, when each gets back what the checkpoint has under its name.
        """
        self._observers = self._own_observers() | dict(observers)
        self._restore()

    def _own_observers(self) -> dict[str, Observer]:
        """Whoever keeps frames, where that is asked for."""
        if not self.options.frames or self.folder is None:
            return {}
        return {"frames": timelapse.Frames(self.folder, self.steps, self.options.frames, self.scene.finish)}

    @property
    def remembered(self) -> frozenset[str]:
        """The observers that the run has had so far."""
        return frozenset(self._now.observers)

    def _restore(self) -> None:
        image = None if self._now.state is None else self._now.state.image
        with documents.told((self.folder or Path()) / checkpoint.FILE, "start the run again"):
            for name, observer in self._observers.items():
                observer.restore(self._now.observers.get(name, Memory()), image)

    @property
    def notes(self) -> list[str]:
        """What a user should know before it starts."""
        return self.prepared.notes

    @property
    def steps(self) -> int:
        """How many steps the whole run has (fewer if it may stop on convergence)."""
        return sum(self.recipe.schedule())

    def __iter__(self) -> Generator[Step]:
        steps = self._steps() if self.owner is None else self._recorded(self.owner)
        return device.stepwise(steps, lambda: device.painting(self.device, self.options.deterministic))

    def _steps(self) -> Generator[Step]:
        """The steps, timed and remembered."""
        reached = 0 if self._now.state is None else self._now.state.step
        self._history = [row for row in self.history if row.step < reached]  # the last look is taken again
        self._restore()
        begun = time.perf_counter() - self._now.seconds
        apart = any(observer.apart for observer in self._observers.values())
        for step in optimise(self.recipe, self.scene.stage, self._now.state, apart=apart):
            for observer in self._observers.values():
                observer.see(step)
            memories = {name: observer.state() for name, observer in self._observers.items()}
            seconds = time.perf_counter() - begun
            self._history += rows(step, seconds)
            self._now = Moment(step.state, seconds, memories, len(self._history))
            yield step

    def _recorded(self, owner: Owner) -> Generator[Step]:
        """The steps, recorded; of a new run that fails before its first one nothing stays."""
        folder = owner.folder
        new = not (folder / "run.json").exists()
        with owned(owner, lambda: new and self._now.state is None):
            sweep(folder)
            self.facts = self._describe(folder)
            write_facts(folder, self.facts)
            history = HistoryFile(folder / "history.csv", self.history)
            done, due = False, time.monotonic() + CHECKPOINT_SECONDS
            try:
                with closing(self._steps()) as steps:
                    for step in steps:
                        history.add(self._history[-1 - len(step.terms) :])
                        if step.scale_done or time.monotonic() > due:
                            begun = time.monotonic()
                            history.sync()
                            self._checkpoint(folder)
                            ended = time.monotonic()
                            due = ended + max(CHECKPOINT_SECONDS, (ended - begun) / CHECKPOINT_SHARE)
                        done = step.final
                        yield step
            finally:
                history.close()
                self._close(folder, done)

    def _describe(self, folder: Path) -> dict[str, Any]:
        """run.json at the start, before anything is known of the end."""
        known = read_facts(folder) if (folder / "run.json").exists() else {}
        cores = self.options.cores
        if cores is not None and cores.reason == "begun":
            cores = None
        chosen = {
            "precision": known.get("precision") if self.prepared.choice is None else self.prepared.choice.facts(),
            "cores": known.get("cores") if cores is None else cores.facts(),
        }
        return {
            "format": FORMAT,
            "status": "running",
            "recipe": self.recipe.model_dump(mode="json"),
            "recipe_sha256": self.recipe.digest(),
            "inputs": known.get("inputs") or keep_inputs(folder, self.scene.pictures),
            "networks": self.prepared.networks,
            "frames": self.options.frames,
            "deterministic": self.options.deterministic,
            "notes": self.notes,
            "environment": device.describe(self.device),
            **{name: facts for name, facts in chosen.items() if facts is not None},
        }

    def _checkpoint(self, folder: Path) -> None:
        now = self._now
        assert now.state is not None
        of = self.recipe.digest(), hashes_of(self.facts["inputs"])
        checkpoint.write(folder / checkpoint.FILE, Checkpoint(now.state, now.seconds, *of, now.observers))

    def _close(self, folder: Path, done: bool) -> None:
        """The last things of a run, finished or not: every file as of the last whole step, and run.json last."""
        if self._now.state is None:
            self.facts["status"] = "stopped"
            write_facts(folder, self.facts)
            return
        write_history(folder / "history.csv", self.history)
        self._checkpoint(folder)
        run = self.run
        run.save(folder / "pastiche.png")
        convergence.draw(folder, run.history, self.recipe)
        if done and self.options.frames:
            timelapse.make(folder)
        size = {"height": run.pastiche.shape[0], "width": run.pastiche.shape[1]}
        self.facts |= {
            "status": "finished" if done else "stopped",
            "steps": self._now.state.step,
            "seconds": round(self._now.seconds, 3),
            "peak_memory_bytes": device.peak_memory(self.device),
            "pastiche": size,
            "losses": run.losses if run.history else {},
        }
        write_facts(folder, self.facts)

    @property
    def state(self) -> State | None:
        """The optimiser's, None before the first step."""
        return self._now.state

    @property
    def history(self) -> list[Row]:
        """One row per step and term, so far."""
        return self._history[: self._now.rows]

    @property
    @device.own_settings()
    def run(self) -> Run:
        """The picture as it stands, with its history."""
        result = self.scene.stage(0).start if self._now.state is None else self._now.state.result
        pastiche, alpha = self.scene.finish(result)
        return Run(self.recipe, self.facts, self.history, pastiche, alpha, self.folder, result.clone())

    def finish(self) -> Run:
        """Goes to the end."""
        with closing(iter(self)) as steps:
            for _ in steps:
                pass
        return self.run
