"""Executors with real processes: every task is done once, whoever does it; what goes wrong is told; none outlives us."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.helpers import refused
from underpaint.execution.executor import Processes

WORKER = """
import os, time
from pathlib import Path
from underpaint.errors import UnderpaintError
from underpaint.execution.executor import serve

def opened(setting):
    folder = Path(setting["folder"])
    print("this is no answer")

    def work(task):
        yield 0.5
        import torch
        if task == "wrong":
            raise UnderpaintError("wrong: is refused")
        if task == "gone":
            os._exit(7)
        if task == "slow":
            (folder / "slow").write_text(str(os.getpid()))
            time.sleep(60)
        (folder / str(task)).write_text(f"{os.getpid()} {torch.get_num_threads()}")

    return work

serve(opened)
"""


@pytest.fixture
def executor(tmp_path, monkeypatch):
    (tmp_path / "worker_of_a_test.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    (tmp_path / "done").mkdir()
    return Processes("worker_of_a_test", {"folder": str(tmp_path / "done")}, 2, 1)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def soon(true, seconds=60):
    for _ in range(seconds * 10):
        if true():
            return True
        time.sleep(0.1)
    return False


def test_every_task_is_done_once_by_as_many_processes_as_were_asked_for(executor, tmp_path):
    reports = list(executor.run([0, 1, 2, 3, 4]))
    ends = [report.place for report in reports if report.share == 1]
    assert sorted(ends) == [0, 1, 2, 3, 4]
    assert {report.share for report in reports} == {0.5, 1}
    told = [(tmp_path / "done" / str(task)).read_text().split() for task in range(5)]
    assert len({pid for pid, _ in told}) == 2
    assert {threads for _, threads in told} == {"1"}
    assert soon(lambda: not any(alive(pid) for pid, _ in told))


def test_what_goes_wrong_is_one_line(executor):
    refused(lambda: list(executor.run([0, "wrong", 1])), "wrong: is refused")
    refused(lambda: list(executor.run([0, "gone"])), "ended by itself (code 7)", "--workers")


def test_leaving_ends_what_is_being_done(executor, tmp_path):
    reports = executor.run(["slow", 0])
    next(reports)
    assert soon(lambda: (tmp_path / "done" / "slow").exists() and (tmp_path / "done" / "slow").read_text())
    pid = (tmp_path / "done" / "slow").read_text()
    assert alive(pid)
    reports.close()
    assert not alive(pid)


def test_none_outlives_who_started_it(executor, tmp_path):
    """Killed with -9, it cannot end them: they see that their input ends."""
    code = f"""
        from underpaint.execution.executor import Processes
        list(Processes("worker_of_a_test", {{"folder": {str(tmp_path / "done")!r}}}, 1, 1).run(["slow"]))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    assert soon(lambda: (tmp_path / "done" / "slow").exists() and (tmp_path / "done" / "slow").read_text())
    pid = (tmp_path / "done" / "slow").read_text()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert soon(lambda: not alive(pid), 20)
