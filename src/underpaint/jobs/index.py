"""What a runner knows of its jobs without reading a file: a look at a thousand takes no longer than a look at a few."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from underpaint.jobs.job import NAME, WAITING, Job, State


@dataclass
class Entry:
    """A job, as it was last known.

    Attributes:
        state, changed, visitor: as of `Job`.
        stamp: what `bytes` was counted at; None before it was.
        bytes: what it takes on disk.
    """

    state: State
    changed: float
    visitor: str
    stamp: tuple[object, ...] | None = None
    bytes: int = 0


class Index:
    """The jobs of a folder by name. Their runner alone changes states, and tells; jobs that come or go besides are found by
    `look`.

    Args:
        runs: the folder of all jobs.
    """

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self.look()

    def look(self) -> None:
        """Lists the folder. The files of jobs that are known already are not read."""
        names = {path.name for path in self.runs.iterdir() if NAME.fullmatch(path.name)}
        with self._lock:
            known = set(self._entries)
        new = {name: self._read(name) for name in names - known if (self.runs / name / "order.json").is_file()}
        with self._lock:
            for name in known - names:
                self._entries.pop(name, None)
            for name, entry in new.items():
                self._entries.setdefault(name, entry)

    def _read(self, name: str) -> Entry:
        job = Job(self.runs / name)
        return Entry(job.state, job.changed, job.visitor)

    def names(self) -> list[str]:
        """All of them, the newest first."""
        with self._lock:
            return sorted(self._entries, reverse=True)

    def queue(self) -> list[str]:
        """Those that wait for their turn, the next first."""
        with self._lock:
            waiting = [(entry.changed, name) for name, entry in self._entries.items() if entry.state == "queued"]
        return [name for _, name in sorted(waiting)]

    def waiting(self, visitor: str | None = None) -> int:
        """How many wait or run, of one visitor or of all."""
        with self._lock:
            return sum(
                entry.state in WAITING and (visitor is None or entry.visitor == visitor) for entry in self._entries.values()
            )

    def tell(self, job: Job, state: State, when: float) -> None:
        """A job is in another state now, since `when`."""
        with self._lock:
            known = self._entries.get(job.name)
        visitor = job.visitor if known is None else known.visitor
        with self._lock:
            self._entries[job.name] = Entry(state, when, visitor)

    def forget(self, name: str) -> None:
        """A job is gone."""
        with self._lock:
            self._entries.pop(name, None)

    def bytes(self, name: str) -> int:
        """What a job takes on disk; counted anew once its state or its result's folder has changed."""
        job = Job(self.runs / name)
        with self._lock:
            entry = self._entries.get(name)
        try:
            stamp = None if entry is None else (entry.state, entry.changed, job.result.stat().st_mtime_ns)
        except OSError:
            stamp = None
        if entry is None or stamp is None or entry.state == "running":
            return job.bytes
        if entry.stamp != stamp:
            entry.bytes, entry.stamp = job.bytes, stamp
        return entry.bytes
