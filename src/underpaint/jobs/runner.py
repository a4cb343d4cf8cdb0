"""The runner: works off a folder of jobs, one child process after the other, and outlives neither its children nor they it.

All that it knows lies on disk: a runner that was killed and started again finds every job, those that were running as
`stopped` with what they had, those that waited still waiting.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from underpaint.errors import UnderpaintError
from underpaint.execution import memory
from underpaint.jobs import apart, child, tasks
from underpaint.jobs.index import Index
from underpaint.jobs.job import RESUMABLE, WAITING, Job, Order, State
from underpaint.networks import registry
from underpaint.recipe import Recipe
from underpaint.storage.files import SHARED, write_bytes
from underpaint.storage.owner import Owner

POLL_SECONDS = 0.1
"""How often children are looked after; a new job begins at once."""

LOOK_SECONDS = 1.0
"""How often the folder is listed, for jobs that somebody else put there or took away."""

REST_SECONDS = 5.0
"""What follows a job that could not be begun or put down: a disk that is full is full for a while."""

STOP_SECONDS = 60.0
"""A child that has not stopped by then is killed; it resumes from its last checkpoint."""

APART = 2
"""How many processes may read people's pictures at once."""

LOG_BYTES, LOG_KEPT = 1_000_000, 100_000
"""A log that is longer than the first loses all but its last bytes, as many as the second."""

RESERVE = 200_000_000
"""Bytes of the disk that are left for the jobs that are under way."""

FULL = "the studio's disk is full; make room in Keep, then resume"
KILLED = "was killed, as systems do when memory runs out; choose a smaller size"


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for.

    Attributes:
        size: longest side of a pastiche, pixels.
        pixels: of one picture that is uploaded.
        bytes: of one picture's file.
        per_visitor: jobs of one visitor that wait or run.
        queue: jobs of all that wait or run.
        disk: bytes that all runs may take.
        memory: bytes that reading one order's pictures may take, in a process of its own.
    """

    size: int = 1024
    pixels: int = 50_000_000
    bytes: int = 40_000_000
    per_visitor: int = 4
    queue: int = 32
    disk: int = 20_000_000_000
    memory: int = 4 << 30


class Runner:
    """Takes orders and works them off.

    Args:
        runs: the folder of all jobs; made if it is not there.
        workers: how many children at once.
        limits: what may be asked for.
        device, weights: for all jobs.

    Raises:
        UnderpaintError: the folder cannot be written, or another runner works it off.
    """

    def __init__(
        self, runs: Path, workers: int = 1, limits: Limits | None = None, device: str = "auto", weights: Path | None = None
    ) -> None:
        self.runs, self.workers, self.limits = runs, workers, limits or Limits()
        self.device, self.weights = device, weights
        try:
            runs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnderpaintError(f"--runs {runs}: {error.strerror}; name a folder that can be written") from None
        self._owner = Owner(runs)
        self._owner.__enter__()  # until it is closed
        self._lock, self._over, self._news = threading.RLock(), threading.Event(), threading.Event()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._wanted: dict[str, State] = {}
        self._apart = threading.BoundedSemaphore(APART)
        self._untold: dict[str, tuple[State, str]] = {}
        self._rests = 0.0
        self._index = Index(runs)
        for job in self.jobs():
            if job.state == "running":
                self._put(job, "stopped")
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._thread.start()

    def jobs(self) -> list[Job]:
        """All of them, the newest first."""
        self._index.look()
        return [Job(self.runs / name) for name in self._index.names()]

    def job(self, name: str) -> Job:
        """By name.

        Raises:
            UnderpaintError: there is none.
        """
        return Job.find(self.runs, name)

    def queue(self) -> list[Job]:
        """Those that wait, the next first."""
        return [Job(self.runs / name) for name in self._index.queue()]

    def place(self, job: Job) -> int | None:
        """How many wait before a job that waits; None if it does not wait."""
        waiting = self._index.queue()
        return waiting.index(job.name) if job.name in waiting else None

    def submit(self, order: Order, pictures: Mapping[str, Path]) -> Job:
        """Takes an order, after a look at its pictures and its recipe.

        Args:
            order: its `pictures` are filled in here.
            pictures: file by role; copied under names of ours.

        Raises:
            UnderpaintError: over a limit, or a picture or field is not as it must be; nothing was kept.
        """
        names = {role: role + _suffix(path) for role, path in pictures.items()}
        weights = self.weights_for(order.recipe.get("network", Recipe().network))
        own = {"pictures": names, "device": self.device, "weights": None if weights is None else str(weights)}
        whole = order.model_copy(update=own)
        try:
            self._check(whole, pictures)
        except UnderpaintError as error:
            raise UnderpaintError(_shown(str(error), order, pictures)) from None
        with self._lock:
            self._check_room(order.visitor)
            job = Job.create(self.runs, whole, {names[role]: path for role, path in pictures.items()})
            self._index.tell(job, "queued", job.changed)
        self._news.set()
        return job

    def weights_for(self, network: str) -> Path | None:
        """What a network is opened with: the compact one has its own and takes no others."""
        return None if registry.file_of(network) is None else self.weights

    def _check(self, order: Order, pictures: Mapping[str, Path]) -> None:
        """Everything that can be known before it starts."""
        for role in ("content", "style1"):
            if role not in pictures:
                raise UnderpaintError(f"{role.rstrip('1')}: choose a picture")
        regions = {"content_mask", "style_mask"} & pictures.keys()
        if order.kind == "explain" and (len(order.styles) > 1 or regions):
            raise UnderpaintError("explain: takes one style and no masks of regions; leave the others out")
        self._check_size(order)
        for role, path in pictures.items():
            self._check_picture(role, path)
        self.apart(tasks.check, order.model_dump_json(), {role: str(path) for role, path in pictures.items()})

    def _check_size(self, order: Order) -> None:
        size = order.recipe.get("size", 512)
        if isinstance(size, int) and size > self.limits.size:
            raise UnderpaintError(f"size {size}: this studio paints up to {self.limits.size} px; choose a smaller size")

    def _check_picture(self, role: str, path: Path) -> None:
        """Before anything is decoded."""
        if not path.is_file():
            raise UnderpaintError(f"{role}: the upload is gone; choose the picture again")
        if path.stat().st_size > self.limits.bytes:
            raise UnderpaintError(f"{role}: the file is over {self.limits.bytes / 1e6:.0f} MB; choose a smaller one")
        width, height = self.dimensions(path, role)
        if width * height > self.limits.pixels:
            raise UnderpaintError(
                f"{role}: {width}×{height} px are over {self.limits.pixels / 1e6:.0f} megapixels; choose a smaller picture"
            )

    def dimensions(self, path: Path, field: str = "picture") -> tuple[int, int]:
        """Width and height of a picture. Even its header is read by another process: some readers take room for all pixels.

        Raises:
            UnderpaintError: it is none, or is damaged.
        """
        width, height = apart.run(tasks.dimensions, str(path), field, memory_bytes=self.limits.memory)
        return width, height

    def apart(self, task: Callable[..., Any], *given: Any) -> Any:
        """One of `underpaint.jobs.tasks`, in a process of its own; the next waits when `APART` are under way."""
        with self._apart:
            return apart.run(task, *given, memory_bytes=self.limits.memory)

    def _check_room(self, visitor: str) -> None:
        waiting, own = self._index.waiting(), self._index.waiting(visitor)
        if waiting >= self.limits.queue:
            raise UnderpaintError(f"{waiting} jobs are waiting, which is all this studio takes; try again later")
        if own >= self.limits.per_visitor:
            raise UnderpaintError(f"you have {own} jobs waiting or running, which is all; wait for one, or stop one")
        taken = self.taken()
        if taken > self.limits.disk:
            raise UnderpaintError(f"all runs take {taken / 1e9:.1f} GB of {self.limits.disk / 1e9:.1f} GB; make room in Keep")
        if shutil.disk_usage(self.runs).free < RESERVE:
            raise UnderpaintError("the studio's disk is full; make room in Keep")

    def taken(self) -> int:
        """Bytes that all runs take."""
        return sum(self._index.bytes(job.name) for job in self.jobs())

    def oldest(self, most: int, may: Callable[[Job], bool] = lambda job: True) -> list[Job]:
        """The oldest jobs that neither wait nor run, without which all others take at most `most` bytes (or as near as can
        be), the oldest first. Nothing is removed here: that takes somebody's consent.

        Args:
            may: whether a job is one that may go.
        """
        sizes = {job: self._index.bytes(job.name) for job in reversed(self.jobs())}
        left, found = sum(sizes.values()), list[Job]()
        for job, size in sizes.items():
            if left > most and job.state not in WAITING and may(job):
                found.append(job)
                left -= size
        return found

    def pause(self, job: Job) -> None:
        """Halts a job and gives its memory back; `resume` continues it."""
        self._halt(job, "paused")

    def stop(self, job: Job) -> None:
        """Ends a job; what there is is kept, and `resume` may still continue it."""
        self._halt(job, "stopped")

    def _halt(self, job: Job, state: State) -> None:
        with self._lock:
            process = self._children.get(job.name)
            if process is not None:
                self._wanted[job.name] = state
                process.terminate()
            elif job.state in WAITING:
                self._put(job, state)

    def resume(self, job: Job) -> None:
        """Puts a job that was halted or that failed back into the queue."""
        with self._lock:
            if job.state in RESUMABLE:
                self._put(job, "queued")
        self._news.set()

    def remove(self, job: Job) -> None:
        """Deletes a job and all that came of it.

        Raises:
            UnderpaintError: it is running.
        """
        with self._lock:
            if job.name in self._children:
                raise UnderpaintError(f"{job.title}: is running; stop it before you remove it")
            shutil.rmtree(job.folder)
            self._index.forget(job.name)

    def close(self) -> None:
        """Stops all children, which keep what they have, and ends."""
        self._over.set()
        self._news.set()
        self._thread.join()
        self._owner.__exit__()

    def _work(self) -> None:
        looks = 0.0
        while not self._over.is_set():
            self._news.wait(POLL_SECONDS)
            self._news.clear()
            # A folder that went away, or a full disk, must not end all other jobs.
            with contextlib.suppress(OSError, UnderpaintError):
                if time.monotonic() >= looks:
                    looks = time.monotonic() + LOOK_SECONDS
                    self._index.look()
                    self._trim()
            with self._lock:
                self._reap()
                self._retell()
                self._begin_next()
        self._end()

    def _end(self) -> None:
        with self._lock:
            for process in self._children.values():
                process.terminate()
        for process in list(self._children.values()):
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        with self._lock:
            self._reap()

    def _begin_next(self) -> None:
        """Begins what there is room for. A job is `running` on disk before its child is there: none is begun twice."""
        for job in self.queue()[: max(0, self.workers - len(self._children))]:
            if self._over.is_set() or time.monotonic() < self._rests:
                return
            if job.state != "queued":  # somebody changed it behind our back, or it is gone
                self._index.tell(job, job.state, job.changed)
                continue
            try:
                self._put(job, "running")
                self._begin(job)
            except (OSError, UnderpaintError):
                self._rests = time.monotonic() + REST_SECONDS
                self._tell(job, "queued")

    def _begin(self, job: Job) -> None:
        handle = os.open(job.folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, SHARED)
        with os.fdopen(handle, "ab") as log:
            self._children[job.name] = subprocess.Popen(
                [sys.executable, "-m", child.__name__, str(job.folder)],
                stdin=subprocess.PIPE,  # held open: when this process dies, the child reads its end
                stdout=log,
                stderr=log,
            )

    def _reap(self) -> None:
        for name, process in list(self._children.items()):
            code = process.poll()
            if code is None:
                continue
            del self._children[name]
            if process.stdin is not None:
                process.stdin.close()
            job, wanted = Job(self.runs / name), self._wanted.pop(name, "stopped")
            if code == child.FINISHED:
                self._tell(job, "finished")
            elif code in (child.STOPPED, -signal.SIGTERM):  # the latter before it could listen
                self._tell(job, wanted)
            else:
                self._tell(job, "failed", job.error or _why(code, job))

    def _put(self, job: Job, state: State) -> None:
        """A job's state, on disk and then in the index."""
        job.change(state)
        self._index.tell(job, state, job.changed)

    def _tell(self, job: Job, state: State, why: str = "") -> None:
        """The same for what has happened already, whether the disk takes it now or later."""
        self._index.tell(job, state, time.time())
        self._untold[job.name] = state, why
        self._retell()

    def _retell(self) -> None:
        for name, (state, why) in list(self._untold.items()):
            if name in self._children or not (job := Job(self.runs / name)).folder.is_dir():
                del self._untold[name]
                continue
            with contextlib.suppress(OSError, UnderpaintError):
                if why and not job.error:
                    write_bytes(job.folder / "error.txt", why.encode())
                self._put(job, state)
                del self._untold[name]

    def _trim(self) -> None:
        """Keeps the end of logs that grow beyond measure."""
        for name in list(self._children):
            path = self.runs / name / "log.txt"
            if path.stat().st_size > LOG_BYTES:
                with path.open("r+b") as log:  # the child appends: it goes on after what is left
                    log.seek(-LOG_KEPT, os.SEEK_END)
                    kept = log.read()
                    log.seek(0)
                    log.write(b"...\n" + kept[kept.find(b"\n") + 1 :])
                    log.truncate()


def _why(code: int, job: Job) -> str:
    """Why a child ended that left no word."""
    if code == child.FULL:
        return FULL
    with contextlib.suppress(OSError), (job.folder / "log.txt").open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
        if memory.says_so(log.read().decode(errors="replace")):
            return memory.ADVICE
    if code == -getattr(signal, "SIGKILL", 9):
        return KILLED
    return f"the process ended with code {code}; see log.txt"


def _shown(text: str, order: Order, pictures: Mapping[str, Path]) -> str:
    """An error's text with the pictures' names in place of where they lie here."""
    for role, path in pictures.items():
        text = text.replace(str(path), order.names.get(role, path.name))
    return text


def _suffix(path: Path) -> str:
    """A picture's suffix, if it is one of a few: nothing else of a visitor's file name is kept."""
    suffix = path.suffix.lower()
    return suffix if suffix in (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff") else ".img"
