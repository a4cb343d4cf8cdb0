"""The runner under strain: many jobs, a full disk, logs that grow, children that are killed or run out of memory."""

import errno
import mmap
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.jobs.test_jobs import SMALL, order, wait_for
from underpaint.errors import UnderpaintError
from underpaint.execution import memory
from underpaint.jobs import job as jobs
from underpaint.jobs import runner as runners
from underpaint.jobs.job import Job, Order
from underpaint.jobs.runner import Limits, Runner


@pytest.fixture
def pictures(pair):
    return {"content": pair[0], "style1": pair[1]}


def made(runs, state="finished", visitor="", **fields):
    job = Job.create(runs, Order(kind="stylize", visitor=visitor, **fields), {})
    job.change(state)
    return job


class Reads:
    """Counts what files of jobs are read."""

    def __init__(self, monkeypatch):
        self.count, self._read = 0, Path.read_bytes
        monkeypatch.setattr(Path, "read_bytes", self)

    def __get__(self, path, _):
        self.count += 1
        return lambda: self._read(path)


def test_a_look_at_the_queue_reads_no_file(tmp_path, monkeypatch):
    """Whatever the number of jobs, waiting ones included."""
    for place in range(60):
        made(tmp_path / "runs", "finished" if place % 2 else "queued")
    runner = Runner(tmp_path / "runs", workers=0)
    reads = Reads(monkeypatch)
    try:
        for _ in range(20):
            assert len(runner.queue()) == 30
            assert runner.place(runner.queue()[7]) == 7
        assert len(runner.jobs()) == 60
        assert runner.taken() > 0
        assert reads.count == 0
        assert runner.jobs()[0].state in ("finished", "queued")
        assert reads.count == 1, "the counter does not count"
    finally:
        runner.close()


def test_the_index_knows_what_the_disk_knows(tmp_path, pictures):
    """After every kind of change, by the runner or behind its back, a fresh runner finds the same."""
    runs = tmp_path / "runs"
    runner = Runner(runs, workers=0, limits=Limits(per_visitor=99), device="cpu")

    def same():
        runner._index.look()
        on_disk = [job for job in runner.jobs() if job.state == "queued"]
        assert [job.name for job in runner.queue()] == [j.name for j in sorted(on_disk, key=lambda j: (j.changed, j.name))]
        waiting = [job for job in runner.jobs() if job.state in ("queued", "running")]
        assert runner._index.waiting() == len(waiting)
        assert runner._index.waiting("a") == sum(job.visitor == "a" for job in waiting)
        assert runner.taken() == sum(job.bytes for job in runner.jobs())

    first = runner.submit(order(visitor="a"), pictures)
    second = runner.submit(order(visitor="b"), pictures)
    same()
    for act in (runner.pause, runner.resume, runner.stop, runner.resume):
        act(first)
        same()
    (first.result / "figures").mkdir(parents=True)
    (first.result / "figures" / "a.pdf").write_bytes(bytes(5000))
    runner.remove(second)
    same()
    made(runs, "queued", "a")
    same()
    for path in first.folder.rglob("*"):
        if path.is_file():
            path.unlink()
    subprocess.run([sys.executable, "-c", "import shutil, sys; shutil.rmtree(sys.argv[1])", first.folder], check=True)
    same()
    assert len(runner.jobs()) == 1
    runner.close()


def test_a_full_disk_takes_no_job_and_leaves_no_half_one(tmp_path, pictures, monkeypatch):
    runner = Runner(tmp_path / "runs", workers=0, device="cpu")
    whole = jobs.write_bytes

    def full(path, data):
        if path.name == "order.json":
            raise UnderpaintError(f"{path}: cannot be written (No space left on device)")
        whole(path, data)

    monkeypatch.setattr(jobs, "write_bytes", full)
    with pytest.raises(UnderpaintError, match="No space left"):
        runner.submit(order(), pictures)
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()] == []
    monkeypatch.setattr(jobs, "write_bytes", whole)
    monkeypatch.setattr(runners, "RESERVE", 1 << 62)
    with pytest.raises(UnderpaintError, match="disk is full; make room"):
        runner.submit(order(), pictures)
    runner.close()


def test_a_state_that_the_disk_does_not_take_begins_no_job_twice(tmp_path, pictures, monkeypatch):
    """With room for two children one job never has two; once there is room again, it goes on."""
    monkeypatch.setattr(runners, "REST_SECONDS", 0.0)
    begun, whole = [], Job.change

    def change(self, state):
        if state == "running" and len(begun) < 5:
            begun.append(self.name)
            raise UnderpaintError("state.json: cannot be written (No space left on device)")
        whole(self, state)

    monkeypatch.setattr(Job, "change", change)
    runner = Runner(tmp_path / "runs", workers=2, device="cpu")
    job = runner.submit(order(), pictures)
    seen = set()
    wait_for(lambda: seen.add(len(runner._children)) or job.state == "finished", 240)
    runner.close()
    assert len(begun) == 5
    assert max(seen) == 1


def child_that(tmp_path, pictures, monkeypatch, code):
    """A runner whose children run `code` instead; the job that failed."""
    real = subprocess.Popen
    monkeypatch.setattr(
        runners.subprocess, "Popen", lambda command, **given: real([sys.executable, "-c", code, command[-1]], **given)
    )
    runner = Runner(tmp_path / "runs", device="cpu")
    try:
        job = runner.submit(order(), pictures)
        wait_for(lambda: job.state == "failed")
    finally:
        runner.close()
    return job


ENDS = {
    "killed": ("import os; os.kill(os.getpid(), 9)", "memory runs out"),
    "C++": (
        "import os; os.write(2, b\"terminate called after throwing an instance of 'std::bad_alloc'\"); os.abort()",
        "out of memory",
    ),
    "at import": ("raise MemoryError", "out of memory"),
    "full": ("raise SystemExit(4)", "disk is full"),
    "else": ("raise SystemExit(9)", "ended with code 9"),
}


@pytest.mark.parametrize("how", ENDS)
def test_children_that_end_without_a_word(tmp_path, pictures, monkeypatch, how):
    code, says = ENDS[how]
    job = child_that(tmp_path, pictures, monkeypatch, code)
    assert says in job.error
    assert "\n" not in job.error


def test_a_log_does_not_grow_without_bound(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(runners, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(runners, "LOG_BYTES", 100_000)
    monkeypatch.setattr(runners, "LOG_KEPT", 10_000)
    code = "import time\nfor n in range(20):\n    print(f'{n:02}' * 20000, flush=True); time.sleep(0.1)\nraise SystemExit(1)"
    log = child_that(tmp_path, pictures, monkeypatch, code).folder / "log.txt"
    assert log.stat().st_size < 400_000
    assert log.read_text().rstrip().endswith("19")


LIMITED = """
import resource, sys
import underpaint.jobs.child as child, underpaint.runs.start, underpaint.report.page
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 150_000_000,) * 2)
sys.exit(child.main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS and /proc")
def test_a_job_that_runs_out_of_memory_says_so(tmp_path, pictures):
    recipe = SMALL | {"size": 1000, "smallest": 1000}
    job = Job.create(
        tmp_path,
        Order(kind="stylize", recipe=recipe, pictures={"content": "c.png", "style1": "s.png"}),
        {"c.png": pictures["content"].read_bytes(), "s.png": pictures["style1"].read_bytes()},
    )
    told = subprocess.run(
        [sys.executable, "-c", LIMITED, job.folder], stdin=subprocess.PIPE, capture_output=True, check=False, timeout=240
    )
    assert told.returncode == 2, told.stderr
    assert job.error == memory.ADVICE


def exhaust_mmap():
    mmap.mmap(-1, 1 << 60)


@pytest.mark.parametrize(
    "act", [lambda: torch.empty(1 << 50), lambda: np.empty(1 << 50), lambda: bytearray(1 << 60), exhaust_mmap]
)
def test_what_libraries_raise_is_known(act):
    """The real errors of those that are here."""
    with pytest.raises((MemoryError, RuntimeError, OSError)) as caught:
        act()
    assert memory.ran_out(caught.value)


SAID = [
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.10 GiB",
    "CUDA error: out of memory",
    "MPS backend out of memory (MPS allocated: 9.05 GB, other allocations: 1.13 GB, max allowed: 18.13 GB).",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.",
    "std::bad_alloc",
]


@pytest.mark.parametrize("text", SAID)
def test_what_libraries_elsewhere_say_is_known(text):
    assert memory.ran_out(RuntimeError(text))
    outer = ValueError("while painting")
    outer.__context__ = RuntimeError(text)
    assert memory.ran_out(outer)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shape '[3]' is invalid for input of size 4"),
        OSError(errno.ENOENT, os.strerror(errno.ENOENT), "x"),
        UnderpaintError("content out of memory.png: is damaged"),
        KeyError("memory"),
    ],
)
def test_other_errors_are_not_about_memory(error):
    assert not memory.ran_out(error)


def test_a_stop_is_no_lack_of_memory(tmp_path, pictures):
    """One that the runner itself asked for, before the child could listen."""
    runner = Runner(tmp_path / "runs", device="cpu")
    job = runner.submit(order(), pictures)
    wait_for(lambda: runner._children)
    runner.stop(job)
    wait_for(lambda: job.state in ("stopped", "finished"))
    assert job.error == ""
    runner.close()
