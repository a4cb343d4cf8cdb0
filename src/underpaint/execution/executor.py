"""Executors: tasks that are done elsewhere, by several processes of this machine or, with an executor of its kind, by others.

A task is plain data that says all there is to know, so that any process can do it, and do it again. Whoever has tasks needs
no more than `Executor`; a cluster's would be another class of that shape.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from underpaint.errors import UnderpaintError
from underpaint.execution import cores

Work = Callable[[Any], Iterator[float]]
"""Does a task and yields how far it is, 0..1; what comes of it is written where task and setting say."""


@dataclass(frozen=True)
class Report:
    """Of a task, by its place among those given: how far it is, 0..1; at 1 it is done."""

    place: int
    share: float


class Executor(Protocol):
    """See the module's text."""

    def run(self, tasks: Sequence[Any]) -> Iterator[Report]:
        """Does all of them, in any order; leaving the iteration ends those that are being done.

        Raises:
            UnderpaintError: a task's own, or whoever did it is gone.
        """
        ...


@dataclass(frozen=True)
class Processes:
    """Several processes of this machine, each with the same fixed number of threads, so that what a task gives does not
    depend on how many of them there are.

    Each is `python -m module`, which calls `serve`. It goes when who started it does.

    Attributes:
        module: what they run.
        setting: what all tasks share, plain data.
        count: how many processes.
        threads: of each.
    """

    module: str
    setting: Mapping[str, Any]
    count: int
    threads: int

    def run(self, tasks: Sequence[Any]) -> Iterator[Report]:
        """See `Executor.run`."""
        waiting = list(enumerate(tasks))[::-1]
        pool = _Pool(self, min(self.count, len(tasks)))
        try:
            doing = {worker: pool.send(worker, waiting.pop()) for worker in range(len(pool.processes))}
            while doing:
                worker, said = pool.reports.get()
                if said is None or "error" in said:
                    if worker not in doing:
                        continue
                    raise UnderpaintError((said or {}).get("error") or pool.gone(worker))
                yield Report(doing[worker], said["share"])
                if said["share"] == 1:
                    del doing[worker]
                    if waiting:
                        doing[worker] = pool.send(worker, waiting.pop())
        finally:
            pool.end()


@dataclass
class _Pool:
    """The processes of one `Processes.run`, and what they say."""

    asked: Processes
    count: int
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    reports: queue.SimpleQueue[tuple[int, dict[str, Any] | None]] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        setting = json.dumps({"threads": self.asked.threads, "setting": dict(self.asked.setting)})
        for worker in range(self.count):
            # Of a session of its own: what interrupts the one who started it leaves it to him to end it.
            process = subprocess.Popen(
                [sys.executable, "-m", self.asked.module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                start_new_session=True,
            )
            self.processes.append(process)
            threading.Thread(target=self._listen, args=(worker, process), daemon=True).start()
            self._write(worker, setting)

    def _listen(self, worker: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.reports.put((worker, json.loads(line)))
        self.reports.put((worker, None))

    def _write(self, worker: int, line: str) -> None:
        stdin = self.processes[worker].stdin
        assert stdin is not None
        with suppress(OSError):  # it is gone: the listener says so
            stdin.write(line + "\n")
            stdin.flush()

    def send(self, worker: int, task: tuple[int, Any]) -> int:
        """Gives a worker a task; returns its place."""
        place, what = task
        self._write(worker, json.dumps(what))
        return place

    def gone(self, worker: int) -> str:
        """Why nothing more comes of a worker."""
        code = self.processes[worker].wait()
        return f"a process that painted ended by itself (code {code}); run the command again to resume, with fewer --workers"

    def end(self) -> None:
        """Ends all of them, whatever they are doing."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    if pipe is not None:
                        pipe.close()


def serve(opened: Callable[[Mapping[str, Any]], Work]) -> None:
    """What a process of `Processes` does: opens the setting, then does tasks, until its input ends.

    Args:
        opened: given the setting, does tasks.
    """
    cores.wait_passively()
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    answers, sys.stdout = sys.stdout, sys.stderr  # what anything prints must not stand between answers
    threading.Thread(target=_hear, args=(lines,), daemon=True).start()

    def answer(**said: Any) -> None:
        answers.write(json.dumps(said) + "\n")
        answers.flush()

    import torch

    first = json.loads(lines.get())
    torch.set_num_threads(first["threads"])
    try:
        work = opened(first["setting"])
        while True:
            for share in work(json.loads(lines.get())):
                answer(share=min(share, 0.999))
            answer(share=1)
    except UnderpaintError as error:
        answer(error=str(error))


def _hear(lines: queue.SimpleQueue[str]) -> None:
    """Input as it comes. At its end whoever wanted something is gone, and nothing is worth being finished."""
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)
