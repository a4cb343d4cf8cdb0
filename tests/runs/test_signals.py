"""SIGTERM and SIGHUP end a command as Ctrl-C does: with real processes, and a terminal that goes away."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import underpaint

KEPT = Path(__file__).parents[1] / "kept"
PICTURES = [str(KEPT / "photo.png"), str(KEPT / "painting.png")]
PAINT = ["--network", "vgg19", "--weights", str(KEPT / "tiny.safetensors"), "--size", "32", "--device", "cpu"]
OPTIONS = underpaint.Options(weights=KEPT / "tiny.safetensors", device="cpu")
LONG = ["--iterations", "100000"]
SIGNALS = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def command(*words):
    return [sys.executable, "-m", "underpaint", *map(str, words)]


def painted(folder, process, meanwhile=lambda: None, steps=3):
    """Waits until it has painted so many steps."""
    end = time.monotonic() + 200
    while not (folder / "history.csv").exists() or (folder / "history.csv").read_text().count(",total,") < steps:
        assert process.poll() is None
        assert time.monotonic() < end
        meanwhile()
        time.sleep(0.02)


def _empty(terminal):
    """Reads what a terminal has to show, so that nobody waits to write there."""
    with contextlib.suppress(BlockingIOError):
        os.read(terminal, 100_000)


def facts(folder):
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def _heard():
    """In the child: tests that run in the background, or under nohup, hand on that these are ignored."""
    for name in SIGNALS:
        signal.signal(getattr(signal, name), signal.SIG_DFL)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run for each signal, ended by it: its folder, exit code, and what it said."""
    found = {}
    for name in SIGNALS:
        folder = tmp_path_factory.mktemp("signals") / "run"
        with subprocess.Popen(
            command("stylize", *PICTURES, "--out", folder, *PAINT, *LONG),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_heard,
        ) as process:
            painted(folder, process)
            process.send_signal(getattr(signal, name))
            told = process.communicate(timeout=200)
        found[name] = folder, process.returncode, told
    return found


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_ends_it_as_ctrl_c_does(stopped, name):
    folder, code, (out, said) = stopped[name]
    assert (code, out) == (130, "")
    assert said.splitlines()[-1].startswith("Stopped. Resume with: underpaint resume ")
    assert "Traceback" not in said
    assert facts(folder)["status"] == "stopped"
    assert {path.name for path in folder.iterdir()} == {path.name for path in stopped["SIGINT"][0].iterdir()}
    run = underpaint.Run.load(folder)
    assert facts(folder)["steps"] == run.history[-1].step + 1 >= 3
    assert next(iter(underpaint.resume(folder, OPTIONS))).step == run.history[-1].step + 1


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminals that hang up")
def test_a_terminal_that_goes_away_leaves_a_run_that_goes_on(tmp_path):
    folder, (mine, its) = tmp_path / "run", os.openpty()
    process = subprocess.Popen(
        command("stylize", *PICTURES, "--out", folder, *PAINT, *LONG),
        stdin=its, stdout=its, stderr=its, start_new_session=True, env=os.environ | {"TERM": "xterm"},
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(its)
    os.set_blocking(mine, False)
    painted(folder, process, lambda: _empty(mine))
    os.close(mine)
    process.wait(200)
    assert facts(folder)["status"] == "stopped"
    assert facts(folder)["steps"] >= 3


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no nohup")
def test_under_nohup_it_goes_on(tmp_path):
    code = "import signal; from underpaint.cli.signals import as_ctrl_c; as_ctrl_c(); signal.raise_signal(signal.SIGHUP)"
    ignoring = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    assert subprocess.run([sys.executable, "-c", code], preexec_fn=ignoring, check=False).returncode == 0
    assert subprocess.run([sys.executable, "-c", code], check=False, stderr=subprocess.DEVNULL).returncode != 0
