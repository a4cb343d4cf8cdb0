"""The child process of a job: `python -m underpaint.jobs.child FOLDER` paints or explains, and tells how far it is.

It resumes where it was stopped. It stops, keeping what there is, on SIGTERM or when its standard input ends: the parent holds
the other end, so that no child outlives it. Exit codes: 0 finished, 2 an error that is in error.txt, 3 stopped, 4 the disk is
full.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from underpaint.errors import UnderpaintError
from underpaint.execution import cores, memory
from underpaint.jobs.job import Job, Order, Progress
from underpaint.storage.files import write_bytes
from underpaint.storage.owner import Owner

FINISHED, FAILED, STOPPED, FULL = 0, 2, 3, 4
PICTURE_SECONDS = 0.5
"""How often the live picture and the progress are written, at most."""

COSTS = 0.05
"""The share of the time that live pictures may take: large ones come more seldom."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

PREDECESSOR_SECONDS = 60.0
"""How long to wait for a child of a runner that was killed, which is writing what it has."""

NICE = 5
"""The pages come first."""


class Teller:
    """Writes progress.json and live.webp, seldom enough to cost little."""

    def __init__(self, job: Job) -> None:
        self.job, self._due, self._version = job, 0.0, job.progress.version
        self._begun = time.monotonic()
        self._first: float | None = None

    def tell(self, share: float, doing: str, picture: Callable[[], Any] | None, more: Mapping[str, Any], force: bool) -> None:
        """How far it is, 0..1, and what it looks like: (H, W, 3) in 0..1, made only if it is time, or if it must be."""
        now = time.monotonic()
        if self._first is None:
            self._first = share
        if now < self._due and not force:
            return
        if picture is not None:
            write_bytes(self.job.folder / "live.webp", _webp(picture()))
            self._version += 1
        done = share - self._first
        left = (now - self._begun) * (1 - share) / done if done > 0.01 else None
        told = Progress(share=share, doing=doing, left=left, version=self._version, **more)
        write_bytes(self.job.folder / "progress.json", told.model_dump_json().encode())
        ended = time.monotonic()
        self._due = ended + max(PICTURE_SECONDS, (ended - now) / COSTS)


def _webp(rgb: Any) -> bytes:
    import numpy as np
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.rint(rgb * 255).astype(np.uint8)).save(buffer, "WEBP", quality=85, method=2)
    return buffer.getvalue()


def _pictures(job: Job, order: Order) -> dict[str, Any]:
    """Pictures by role, called what they were called where they came from."""
    from underpaint.imaging import images

    found = {}
    for role, name in order.pictures.items():
        picture = images.read(job.folder / "inputs" / Path(name).name, field=role)
        found[role] = replace(picture, name=order.names.get(role, picture.name))
    return found


def _options(job: Job, order: Order, teller: Teller) -> Any:
    """Of the run, on the cores that are free or that it had; a download of weights is told like everything else."""
    from underpaint import Options

    weights = None if order.weights is None else Path(order.weights)
    chosen = cores.use(folder=job.result)
    return Options(weights, order.device, announce=lambda text: teller.tell(0.0, text, None, {}, True), cores=chosen)


def stylize(job: Job, order: Order, stopping: threading.Event) -> bool:
    """Paints; whether it came to its end."""
    import underpaint
    from underpaint.report import page
    from underpaint.runs.folder import read_facts

    teller = Teller(job)
    options = _options(job, order, teller)
    if (job.result / "run.json").exists():
        if read_facts(job.result)["status"] == "finished":  # and killed before its page was there
            page.build(job.result, options.weights)
            return True
        session = underpaint.resume(job.result, options)
    else:
        files = _pictures(job, order)
        given: dict[str, Any] = {"out": job.result, "options": options} | order.masks(files) | order.recipe
        session = underpaint.start(files["content"], [files[role] for role in order.styles], **given)
    steps = iter(session)
    for step in steps:
        n = step.iteration + (not step.final)
        share = 1.0 if step.final else session.recipe.share_done(step.scale, n)
        losses = {t.name: t.raw for t in step.terms} | {"total": step.total}
        facts = {"size": (step.size[1], step.size[0]), "step": step.step, "losses": losses}
        teller.tell(share, "painting", lambda: session.run.pastiche, facts, step.final)
        if stopping.is_set() and not step.final:
            _close(steps)
            return False
    page.build(job.result, session.options.weights)
    return True


def explain(job: Job, order: Order, stopping: threading.Event) -> bool:
    """Paints and explains; whether it came to its end."""
    from underpaint.explanation import explaining
    from underpaint.explanation.conclude import conclude
    from underpaint.report import page

    teller = Teller(job)
    options = _options(job, order, teller)
    if (job.result / "run.json").exists():  # without it there are settings at most, and nothing to go on from
        made = explaining.resume(job.result, options, order.seeds)
    else:
        files = _pictures(job, order)
        fields: dict[str, Any] = {"seeds": order.seeds, "options": options} | order.masks(files) | order.recipe
        made = explaining.start(files["content"], files[order.styles[0]], out=job.result, **fields)
    parts = iter(made)
    for part in parts:
        painting = part.doing == "painting"
        picture = (lambda: made.session.run.pastiche) if painting else None
        counts = {"painted": len(made.table.rows), "coalitions": made.count}
        teller.tell(min(part.done / part.total, 0.99), part.doing, picture, counts, False)
        if stopping.is_set():
            _close(parts)
            return False
    conclude(made)
    page.build(job.result, made.prepared.options.weights)
    teller.tell(1.0, "done", None, {"painted": made.count, "coalitions": made.count}, True)
    return True


def _close(steps: Iterator[Any]) -> None:
    """Ends a generator, so that it writes what it has."""
    close = getattr(steps, "close", None)
    if close is not None:
        close()


def _watch_parent(stopping: threading.Event) -> None:
    """Stops when the parent is gone: nobody ever writes to standard input."""
    # Not sys.stdin: its lock, held by a daemon thread, aborts the interpreter at its end.
    while os.read(0, 1024):
        pass
    stopping.set()


def main() -> int:
    """Works off the job in the folder of the first argument."""
    job, stopping = Job(Path(sys.argv[1])), threading.Event()
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP, and under nohup it is ignored
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    threading.Thread(target=_watch_parent, args=(stopping,), daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(NICE)
    (job.folder / "error.txt").unlink(missing_ok=True)
    cores.wait_passively()
    memory.first_to_go()
    try:
        order = job.order
        with Owner(job.folder, PREDECESSOR_SECONDS):
            done = (stylize if order.kind == "stylize" else explain)(job, order, stopping)
    except UnderpaintError as error:
        return _failed(job, str(error))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return FULL
        if memory.ran_out(error):
            return _failed(job, memory.ADVICE)
        raise
    return FINISHED if done else STOPPED


def _failed(job: Job, why: str) -> int:
    """Says why; where the disk is full, by the exit code."""
    if any(os.strerror(number) in why for number in DISK_FULL):
        return FULL
    with contextlib.suppress(UnderpaintError):
        write_bytes(job.folder / "error.txt", why.encode())
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
