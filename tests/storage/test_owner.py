"""One owner for a folder: whoever else wants to write there is told so in one line, and nothing is written."""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import underpaint
from tests.helpers import refused
from underpaint.cli import app
from underpaint.explanation import explaining
from underpaint.explanation.conclude import conclude
from underpaint.jobs.runner import Runner
from underpaint.storage.files import sweep, write_bytes
from underpaint.storage.owner import Owner

KEPT = Path(__file__).parents[1] / "kept"
WEIGHTS, PHOTO, PAINTING = (str(KEPT / name) for name in ("tiny.safetensors", "photo.png", "painting.png"))
OPTIONS = underpaint.Options(weights=Path(WEIGHTS), device="cpu")
HOLDER = """
import sys
from pathlib import Path
from underpaint.storage.owner import Owner
with Owner(Path(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held(folder):
    """Another process owns the folder."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"in\n"
        try:
            yield process
        finally:
            process.stdin.close()
            process.wait()


def content(folder):
    """Every file's bytes, and which version of it that is."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): (path.stat().st_ino, path.read_bytes()) for path in files}


PAINT = ["--network", "vgg19", "--weights", WEIGHTS, "--size", "32", "--iterations", "1", "--device", "cpu"]
EXPLAIN = [word for word in PAINT if word not in ("--iterations", "1")]
WRITES = {
    "stylize": lambda at, new: ["stylize", PHOTO, PAINTING, "--out", new, *PAINT],
    "resume a run": lambda at, new: ["resume", f"{at}/stopped", "--weights", WEIGHTS],
    "resume an explanation": lambda at, new: ["resume", f"{at}/explained", "--weights", WEIGHTS],
    "explain": lambda at, new: ["explain", PHOTO, PAINTING, "--out", new, *EXPLAIN],
    "ablate": lambda at, new: ["ablate", PHOTO, PAINTING, "--out", new, *EXPLAIN],
    "where": lambda at, new: ["where", f"{at}/explained", "--box", "4,4,8,8"],
    "demo": lambda at, new: ["demo", "--out", new, "--size", "64", "--device", "cpu"],
    "report": lambda at, new: ["report", f"{at}/stopped"],
    "figures": lambda at, new: ["figures", f"{at}/stopped"],
    "figures elsewhere": lambda at, new: ["figures", f"{at}/stopped", "--out", new],
    "studio": lambda at, new: ["studio", "--runs", new, "--port", "0"],
}
READ = {"networks", "save", "compare"}
"""Commands that write no folder: nothing, or one new file."""


@pytest.fixture
def folders(tmp_path):
    shutil.copytree(KEPT / "2026", tmp_path / "at")
    (tmp_path / "at/new").mkdir()
    return tmp_path / "at"


def test_every_command_is_known_here():
    assert {name.partition(" ")[0] for name in WRITES} | READ == set(get_command(app).commands)


@pytest.mark.timeout(120)
def test_every_command_that_writes_leaves_a_folder_with_an_owner_alone(folders):
    with contextlib.ExitStack() as stack:
        for name in ("stopped", "explained", "new"):
            stack.enter_context(held(folders / name))
        before = content(folders)
        for name, words in WRITES.items():
            told = CliRunner().invoke(app, words(folders, str(folders / "new")))
            assert isinstance(told.exception, underpaint.UnderpaintError), (name, told.output, told.exception)
            assert "is in use" in str(told.exception), name
            assert "\n" not in str(told.exception)
            after = {path: found for path, found in content(folders).items() if not path.startswith("new/inputs/")}
            assert after == before, name
    assert not list(folders.rglob(".lock"))


def test_it_ends_with_its_process_however_that_ends(tmp_path):
    with held(tmp_path) as process:
        refused(lambda: Owner(tmp_path).__enter__(), "is in use", str(tmp_path))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with Owner(tmp_path):
            pass
    assert not list(tmp_path.iterdir())


def test_it_holds_within_a_process_and_for_its_owner_only(tmp_path):
    with Owner(tmp_path) as owner, owner:
        refused(Owner(tmp_path).__enter__, "is in use")
    with owner, Owner(tmp_path / ".."):
        pass
    waiting = Owner(tmp_path, wait=60)
    owner.__enter__()
    threading.Timer(0.2, owner.__exit__).start()
    with waiting:
        pass


def test_many_at_once_take_turns(tmp_path):
    inside, most = 0, 0

    def work():
        nonlocal inside, most
        for _ in range(25):
            with Owner(tmp_path, wait=60):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert not list(tmp_path.iterdir())


def test_what_was_read_before_another_command_wrote_is_not_gone_on_with(folders):
    first, second = (underpaint.resume(folders / "stopped", OPTIONS) for _ in range(2))
    second.finish()
    before = content(folders)
    refused(first.finish, "another command changed it")
    made, again = (explaining.resume(folders / "explained", OPTIONS, seeds=3) for _ in range(2))
    list(again)
    conclude(again)
    refused(lambda: list(made), "another command changed it")
    assert {path: both for path, both in content(folders).items() if path in before and "stopped" in path} == {
        path: both for path, both in before.items() if "stopped" in path
    }


def test_a_run_that_is_being_painted_is_not_painted_twice(folders):
    first, second = (iter(underpaint.resume(folders / "stopped", OPTIONS)) for _ in range(2))
    next(first)
    refused(lambda: next(second), "is in use")
    first.close()
    assert underpaint.resume(folders / "stopped", OPTIONS).finish().facts["status"] == "finished"


def test_a_second_studio_touches_no_job_of_the_first(tmp_path):
    first = Runner(tmp_path / "runs", workers=0, device="cpu")
    refused(lambda: Runner(tmp_path / "runs", device="cpu"), "is in use")
    first.close()
    Runner(tmp_path / "runs", workers=0, device="cpu").close()


def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.warns(UserWarning, match="has no locks"), Owner(tmp_path):
        pass
    monkeypatch.undo()
    with warnings.catch_warnings(), Owner(tmp_path):
        warnings.simplefilter("error")
    assert not list(tmp_path.iterdir())


def test_a_new_file_is_never_over_another(tmp_path):
    path, told = tmp_path / "new.txt", []

    def write(number):
        try:
            write_bytes(path, b"%d" % number * 1000, new=True)
        except underpaint.UnderpaintError as error:
            told.append(str(error))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 7
    assert all("is there already" in line for line in told)
    assert len(set(path.read_bytes())) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_swept_up_and_nothing_else(folders):
    mine = [folders / "stopped" / name for name in ("notes.part", ".hidden", ".0123.part", "inputs/x.part")]
    left = [folders / "stopped" / name for name in (f".{'0' * 16}.part", f"inputs/.{'a1' * 8}.part")]
    for path in mine + left:
        path.write_bytes(b"half")
    underpaint.resume(folders / "stopped", OPTIONS).finish()
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in mine)
    sweep(folders / "nowhere")
