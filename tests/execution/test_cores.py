"""Cores: how many threads a command takes, that it keeps them, and that nobody else's are touched."""

import json
import os
import subprocess
import sys

import pytest
import torch

import underpaint
from tests.helpers import refused
from underpaint import cli
from underpaint.execution import cores
from underpaint.execution.cores import Cores


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many cores, so many of them busy, and a quota if any."""

    def make(count, busy, quota=None):
        monkeypatch.setattr(cores, "allowed_cores", lambda: set(range(count)))
        monkeypatch.setattr(cores, "busy_cores", lambda allowed: busy)
        monkeypatch.setattr(cores, "quota_of", lambda: quota)

    return make


@pytest.mark.parametrize(
    ("count", "busy", "quota", "most", "threads", "told"),
    [
        (2, 0.0, None, 2, 2, "on 2 cores"),
        (2, 0.3, None, 2, 2, "on 2 cores"),
        (2, 0.97, None, 2, 1, "on 1 of 2 cores: the other is busy"),
        (2, 2.0, None, 2, 1, "on 1 of 2 cores: the other is busy"),
        (8, 3.2, None, 8, 5, "on 5 of 8 cores: the others are busy"),
        (1, 1.0, None, 1, 1, "on 1 core"),
        (16, 4.0, None, 8, 8, "on 8 cores"),  # PyTorch takes one thread a physical core; twelve logical ones are free
        (64, 30.0, 2.0, 64, 2, "on 2 cores"),  # others' work takes nothing from a quota
        (64, 63.0, 2.0, 64, 1, "on 1 of 2 cores: the other is busy"),
        (4, 0.0, 0.5, 4, 1, "on 1 core"),
        (4, None, None, 4, 4, "on 4 cores"),
    ],
)
def test_auto_takes_what_is_free(machine, count, busy, quota, most, threads, told):
    machine(count, busy, quota)
    found = cores.choose("auto", most, environ={})
    assert found.threads == threads
    assert str(found) == told


def test_what_was_asked_for_or_begun_is_not_measured(machine):
    machine(2, 2.0)
    assert cores.choose("2", 2, before=1, environ={}) == Cores("2", 2, 2, None, "asked")
    assert cores.choose("auto", 1, before=2, environ={"OMP_NUM_THREADS": "1"}) == Cores("auto", 2, 2, None, "begun")
    assert cores.choose("auto", 1, environ={"OMP_NUM_THREADS": "1"}) == Cores("auto", 1, 2, None, "variable")
    assert str(cores.choose("auto", 2, before=1, environ={})) == "on 1 of 2 cores, as it began"
    assert str(cores.choose("1", 2, environ={})) == "on 1 of 2 cores"
    assert str(cores.choose("4", 2, environ={})) == "with 4 threads on 2 cores"
    for wrong in ("0", "-1", "two", "1.5", "", "²"):
        refused(lambda wrong=wrong: cores.choose(wrong, 2), "--threads", "auto")


def stat(rows):
    """/proc/stat with these ticks: user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice."""
    lines = [f"cpu{i} {' '.join(map(str, row))}" for i, row in enumerate(rows)]
    return "\n".join(["cpu  1 2 3 4 5 6 7 8 9 10", *lines, "intr 3 1 2", ""])


def test_busy_is_what_the_allowed_cores_were_at(tmp_path, monkeypatch):
    path = tmp_path / "stat"
    before = [[100, 10, 5, 1000, 50, 1, 2, 3, 7, 7]] * 4
    after = [
        [120, 10, 5, 1000, 50, 1, 2, 3, 27, 7],  # 20 of 20; a guest's ticks are in the user's already
        [100, 15, 5, 1010, 55, 1, 2, 3, 7, 7],  # 5 of 20: waiting for a disk is no work
        [100, 10, 5, 1020, 50, 1, 2, 3, 7, 7],
        [110, 10, 9, 1000, 50, 1, 2, 9, 7, 7],  # of a core that is not ours
    ]
    path.write_text(stat(before))
    monkeypatch.setattr(cores.time, "sleep", lambda seconds: path.write_text(stat(after)))
    assert cores.busy_cores({0, 1, 2}, path) == 1.25
    path.write_text(stat(before))
    assert cores.busy_cores({3}, path) == 1.0


def test_where_there_is_no_stat_the_load_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(cores.os, "getloadavg", lambda: (3.0, 9.0, 9.0), raising=False)
    assert cores.busy_cores({0, 1}, tmp_path / "stat") == 2.0
    assert cores.busy_cores(set(range(8)), tmp_path / "stat") == 3.0
    monkeypatch.delattr(cores.os, "getloadavg")
    assert cores.busy_cores({0, 1}, tmp_path / "stat") is None


def machine_files(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
                "sys/fs/cgroup/a/cpu.max": "200000 100000\n",
                "sys/fs/cgroup/cpu.max": "400000 100000\n",
            },
            2.0,
        ),
        ({"proc/self/cgroup": "0::/host/only\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3.0),
        (
            {
                "proc/self/cgroup": "4:memory:/m\n3:cpu,cpuacct:/x\n0::/\n",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "nonsense"}, None),
    ],
)
def test_quota(tmp_path, files, quota):
    machine_files(tmp_path, files)
    assert cores.quota_of(tmp_path) == quota


def test_affinity_counts():
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs Linux and two cores")
    alone = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])"
    code = f"{alone}; from underpaint.execution import cores; print(cores.use())"
    own = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "on 1 core"


@pytest.mark.parametrize(
    "text", [None, "", "[]", "{}", '{"environment": {"threads": "2"}}', '{"environment": {"threads": 0}}']
)
def test_a_folder_that_does_not_tell_has_not_begun(tmp_path, text):
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    assert cores.begun(tmp_path) is None
    (tmp_path / "ablation.json").write_text('{"environment": {"threads": 3}}')
    assert cores.begun(tmp_path) == 3


@pytest.fixture
def command(monkeypatch, capsys):
    """Calls the command line in this process, which has its settings back afterwards; gives what it says."""
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["underpaint", *map(str, words)])
        try:
            cli.main()
        except SystemExit as ended:
            if ended.code:
                pytest.fail(capsys.readouterr().err)
        return " ".join(capsys.readouterr().err.split())

    yield call
    torch.set_num_threads(before)


def test_a_command_says_what_it_takes_and_a_resumed_run_keeps_it(command, machine, monkeypatch, pair, tiny_weights, tmp_path):
    monkeypatch.delenv("OMP_NUM_THREADS")
    machine(3, 1.0)
    torch.set_num_threads(3)
    fixed = {"network": "vgg19", "weights": tiny_weights, "device": "cpu", "size": 64, "iterations": (6,)}
    words = ["--network", "vgg19", "--weights", tiny_weights, "--device", "cpu", "--size", 64, "--iterations", "6"]
    assert "on 2 of 3 cores: the other is busy" in command("stylize", *pair, "--out", tmp_path / "whole", *words)
    facts = json.loads((tmp_path / "whole/run.json").read_text())
    assert facts["cores"] == {"asked": "auto", "threads": 2, "available": 3, "busy": 1.0}
    assert facts["environment"]["threads"] == torch.get_num_threads() == 2
    session = underpaint.start(*pair, out=tmp_path / "s", **fixed, cores=Cores("auto", 2, 3, 1.0, "busy"))
    next(iter(session))
    machine(3, 0.0)
    torch.set_num_threads(3)
    told = command("resume", tmp_path / "s")
    assert "on 2 of 3 cores, as it began" in told
    assert "may differ" not in told
    assert json.loads((tmp_path / "s/run.json").read_text())["cores"] == facts["cores"]
    assert (tmp_path / "s/pastiche.png").read_bytes() == (tmp_path / "whole/pastiche.png").read_bytes()


@pytest.mark.slow
def test_explanations_and_ablations_keep_theirs(command, machine, monkeypatch, pair, tmp_path):
    monkeypatch.delenv("OMP_NUM_THREADS")
    for name, file, more in (("explain", "run.json", []), ("ablate", "ablation.json", ["--configs", "all"])):
        words = [name, *pair, "--out", tmp_path / name, "--size", 64, "--preset", "draft", "--device", "cpu", *more]
        machine(2, 1.0)
        torch.set_num_threads(2)
        command(*words)
        before = json.loads((tmp_path / name / file).read_text())
        assert before["environment"]["threads"] == 1
        assert before["cores"]["busy"] == 1.0
        machine(2, 0.0)
        torch.set_num_threads(2)
        command(*words)
        after = json.loads((tmp_path / name / file).read_text())
        assert after["environment"]["threads"] == torch.get_num_threads() == 1
        assert after["cores"] == before["cores"]


def test_python_leaves_threads_alone(machine, pair, tmp_path):
    machine(2, 2.0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        session = underpaint.start(*pair, out=tmp_path / "r", size=64, preset="draft", device="cpu")
        assert {torch.get_num_threads() for _ in session} == {2}
        facts = json.loads((tmp_path / "r/run.json").read_text())
        assert facts["environment"]["threads"] == 2
        assert "cores" not in facts
    finally:
        torch.set_num_threads(before)


WAITS = """
import os, sys
def seen(name, *rest):
    if name == "import" and rest[0][0] == "torch" and "torch" not in told:
        told["torch"] = os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT")
told = {}
sys.addaudithook(lambda name, rest: seen(name, rest))
sys.argv = ["underpaint", *sys.argv[1:]]
from underpaint import cli
from underpaint.jobs import child
assert not told
try:
    START
except (SystemExit, KeyError):  # a job without pictures
    pass
print(told.get("torch"))
"""


@pytest.mark.parametrize("given", [None, "ACTIVE"])
@pytest.mark.parametrize("start", ["cli.main()", "child.main()"])
def test_threads_wait_passively_from_the_moment_torch_is_there(tmp_path, given, start):
    own = {name: value for name, value in os.environ.items() if name not in cores.WAITING}
    words = ["networks"]
    if start == "child.main()":
        words = [str(tmp_path)]
        (tmp_path / "order.json").write_text('{"kind": "stylize", "recipe": {"size": 64}}')
    done = subprocess.run(
        [sys.executable, "-c", WAITS.replace("START", start), *words],
        env=own | ({"OMP_WAIT_POLICY": given} if given else {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip().split("\n")[-1] == str((given, None) if given else ("PASSIVE", "1000")), done.stderr
