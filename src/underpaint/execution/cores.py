"""Cores: how many threads a process of ours takes, beside what else its machine is doing.

PyTorch's threads meet after every operation, and while they wait for each other they spin. Where another process has a core,
one thread comes late each time and the others burn what it needs: two threads can then take many times as long as one. So
our processes soon sleep when they wait, and take no more threads than there are cores free.

What a run computes depends on the number of threads in its last digits. It is therefore chosen once, at the start, and a
run that is resumed keeps it. The number is a setting of the whole process: only processes of our own call `use`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from underpaint.errors import UnderpaintError

SAMPLE_SECONDS = 0.2
"""How long the machine is watched: twenty ticks of its clock."""

WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
"""What OpenMP is told. GNU's, which PyTorch has on Linux, then looks a thousand times before it sleeps, in place of not at
all: alone on a machine that saves most of what sleeping costs, beside others it loses little (benchmarks/threads.py)."""

BEGUN = ("run.json", "ablation.json")
"""Files of a folder that tell how many threads its run has."""


@dataclass(frozen=True)
class Cores:
    """How many threads, and why.

    Attributes:
        asked: "auto", or the number.
        threads: what it came to.
        available: cores that this process may use, and that PyTorch would by itself.
        busy: cores that other processes were using; None where that was not looked at.
        reason: `free` and `busy`: what was found; `asked`: by the option; `variable`: by OMP_NUM_THREADS; `begun`: the run
            had so many before; `shared`: several processes have so many each.
    """

    asked: str
    threads: int
    available: int
    busy: float | None
    reason: Literal["free", "busy", "asked", "variable", "begun", "shared"]

    def facts(self) -> dict[str, Any]:
        """As run.json has it."""
        return {"asked": self.asked, "threads": self.threads, "available": self.available, "busy": self.busy}

    def __str__(self) -> str:
        """`on 2 cores`, `on 1 of 2 cores: the other is busy`."""
        if self.threads > self.available:
            return f"with {self.threads} threads on {_count(self.available)}"
        if self.threads == self.available:
            return f"on {_count(self.available)}"
        others = "the other is busy" if self.available - self.threads == 1 else "the others are busy"
        why = {"busy": f": {others}", "begun": ", as it began", "shared": " for each process"}.get(self.reason, "")
        return f"on {self.threads} of {_count(self.available)}{why}"


def _count(cores: int) -> str:
    return f"{cores} core{'s' * (cores != 1)}"


def wait_passively() -> None:
    """Makes OpenMP's threads sleep while they wait, unless the environment says otherwise. For a process of our own, before
    it imports torch: OpenMP reads the variables once, when it is loaded."""
    if not WAITING.keys() & os.environ.keys():
        os.environ.update(WAITING)


def use(asked: str = "auto", folder: Path | None = None, processes: int = 1) -> Cores:
    """Chooses the number of threads and sets it, for this whole process.

    Args:
        asked: "auto" or a number.
        folder: of a run that may have begun: `auto` is then what it had.
        processes: how many are to run at once, each with so many threads.

    Raises:
        UnderpaintError: neither `auto` nor a number from 1 up.
    """
    import torch

    found = choose(asked, torch.get_num_threads(), None if folder is None else begun(folder), processes=processes)
    torch.set_num_threads(found.threads)
    return found


def choose(
    asked: str, most: int, before: int | None = None, environ: Mapping[str, str] | None = None, processes: int = 1
) -> Cores:
    """See `use`; `most` is how many threads PyTorch would take, `before` how many the run had."""
    environ = os.environ if environ is None else environ
    allowed = allowed_cores()
    quota = quota_of()
    available = len(allowed) if quota is None else max(1, min(len(allowed), int(quota + 0.5)))
    if asked != "auto":
        return Cores(asked, _number(asked), available, None, "asked")
    if before is not None:
        return Cores(asked, before, available, None, "begun")
    if environ.get("OMP_NUM_THREADS"):
        return Cores(asked, most, available, None, "variable")
    available = min(available, most)
    busy = busy_cores(allowed)
    threads = available if busy is None else max(1, min(available, int(len(allowed) - busy + 0.5)))
    reason: Literal["free", "busy", "shared"] = "shared" if processes > 1 else "busy" if threads < available else "free"
    return Cores(asked, max(1, threads // processes), available, busy, reason)


def _number(asked: str) -> int:
    if not (asked.isascii() and asked.isdigit() and 0 < int(asked) <= 1024):
        raise UnderpaintError(f"--threads {asked}: give auto, or a number from 1 to 1024")
    return int(asked)


def begun(folder: Path) -> int | None:
    """How many threads the run in a folder has; None where none has begun, or its file does not tell."""
    for name in BEGUN:
        try:
            threads = json.loads((folder / name).read_text(encoding="utf-8"))["environment"]["threads"]
        except (OSError, ValueError, TypeError, KeyError):
            continue
        if isinstance(threads, int) and threads > 0:
            return threads
    return None


def allowed_cores() -> set[int]:
    """Numbers of the cores that this process may run on."""
    try:
        return set(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return set(range(os.cpu_count() or 1))


def quota_of(root: Path = Path("/")) -> float | None:
    """Cores' worth of time that the control groups of this process allow it, of both versions; None without a limit."""
    try:
        groups = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return None
    limits = []
    for number, controllers, path in groups:
        if number == "0":
            limits += [_limit(folder / "cpu.max") for folder in _up(root / "sys/fs/cgroup", path)]
        elif "cpu" in controllers.split(","):
            for base in (root / "sys/fs/cgroup" / controllers, root / "sys/fs/cgroup/cpu"):
                names = "cpu.cfs_quota_us", "cpu.cfs_period_us"
                limits += [_limit(*(folder / name for name in names)) for folder in _up(base, path)]
    return min((limit for limit in limits if limit is not None), default=None)


def _up(base: Path, path: str) -> list[Path]:
    """A control group's folder and those above it: each limits what is below. In a container the path can be the host's."""
    inner = base / path.lstrip("/")
    return [inner, *(folder for folder in inner.parents if folder == base or base in folder.parents)]


def _limit(*files: Path) -> float | None:
    """Quota over period; None where there is no file, or no limit (`max`, or -1)."""
    try:
        quota, period = (float(word) for word in " ".join(file.read_text() for file in files).split())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None


def busy_cores(allowed: set[int], stat: Path = Path("/proc/stat")) -> float | None:
    """How many of these cores other processes keep busy: this one sleeps meanwhile. None where the machine does not tell."""
    before = _ticks(stat, allowed)
    if before is None:
        return _load(len(allowed))
    time.sleep(SAMPLE_SECONDS)
    after = _ticks(stat, allowed)
    if after is None:
        return _load(len(allowed))
    busy = 0.0
    for core, (worked, total) in after.items():
        begun_worked, begun_total = before.get(core, (worked, total))
        busy += (worked - begun_worked) / max(total - begun_total, 1)
    return round(busy, 2)


def _ticks(stat: Path, allowed: set[int]) -> dict[str, tuple[int, int]] | None:
    """Ticks of each core that was at work, and all of its ticks."""
    names, found = {f"cpu{core}" for core in allowed}, {}
    try:
        lines = stat.read_text().splitlines()
    except OSError:
        return None
    for name, *words in (line.split() for line in lines if line.strip()):
        if name in names:
            # user, nice, system, idle, iowait, irq, softirq, steal; what follows is part of user and nice.
            numbers = [int(word) for word in words[:8]]
            found[name] = sum(numbers) - sum(numbers[3:5]), sum(numbers)
    return found or None


def _load(cores: int) -> float | None:
    """The average of the last minute, where only that is told."""
    try:
        return round(min(os.getloadavg()[0], float(cores)), 2)
    except (OSError, AttributeError):
        return None
