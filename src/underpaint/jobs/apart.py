"""Apart: work on files that came from outside, in a process of its own, whose memory and time are limited.

Pictures are decoded, measured and drawn there. A server that does it itself grows by what the largest of them takes, once for
each visitor, and goes down with the first that is too large.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from underpaint.errors import UnderpaintError
from underpaint.execution import memory

SECONDS = 300.0
"""How long it may take."""

MARGIN = 60.0
"""Seconds that a process may wait for others before it is given up."""

_HOW = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
"""From a server that has imported everything and nothing else: a fork of it is there at once."""


def warm() -> None:
    """Starts what the processes are forked from, so that the first does not wait for its imports."""
    if _HOW == "forkserver":
        from multiprocessing import forkserver

        forkserver.set_forkserver_preload(["underpaint.jobs.tasks"])
        forkserver.ensure_running()


def run(task: Callable[..., Any], *given: Any, memory_bytes: int, seconds: float = SECONDS) -> Any:
    """What a task returns: plain data, which comes back as JSON.

    Args:
        task: a function of a module.
        given: its arguments.
        memory_bytes: what it may take besides what is loaded already.
        seconds: of the processor, that it may take.

    Raises:
        UnderpaintError: the task's own; or it took too much memory or time.
    """
    warm()
    context = multiprocessing.get_context(_HOW)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, memory_bytes, seconds, task, given), daemon=True)  # type: ignore[attr-defined]
    process.start()
    sender.close()
    try:
        answer = json.loads(receiver.recv_bytes()) if receiver.poll(seconds + MARGIN) else {}
    except (EOFError, OSError):
        answer = {}
    finally:
        receiver.close()
        process.kill()
        process.join()
    if "answer" in answer:
        return answer["answer"]
    if "error" in answer:
        raise UnderpaintError(answer["error"])
    if answer.get("memory"):
        raise UnderpaintError(f"this takes over {memory_bytes / 2**30:.1f} GiB of memory; choose smaller pictures")
    raise UnderpaintError(
        "this takes too much memory or time, or a picture is damaged; choose smaller pictures, or save them anew"
    )


def _work(sender: Connection, memory_bytes: int, seconds: float, task: Callable[..., Any], given: tuple[Any, ...]) -> None:
    """In the process."""
    _limit(memory_bytes, seconds)
    try:
        answer = {"answer": task(*given)}
    except Exception as error:
        if memory.ran_out(error):
            answer = {"memory": True}
        elif isinstance(error, UnderpaintError):
            answer = {"error": str(error)}
        else:
            raise
    sender.send_bytes(json.dumps(answer).encode())


def _limit(memory_bytes: int, seconds: float) -> None:
    """Limits this process, where the system has limits."""
    memory.give_back()
    memory.first_to_go()
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if sys.platform == "linux":  # others do not keep it, or do not say what is taken already
            with open("/proc/self/statm", encoding="ascii") as file:
                held = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (held + memory_bytes, held + memory_bytes))
