"""Files are written whole or not at all, and never for everybody to write."""

import os
import stat
import subprocess
import sys
import threading

import pytest

from underpaint.errors import UnderpaintError
from underpaint.storage.files import PRIVATE, write_bytes

WALK = """
import os, sys
os.umask(0)
import underpaint
from pathlib import Path
underpaint.stylize(*sys.argv[1:3], out=sys.argv[3], size=48, smallest=32, iterations=[1], precision="float32")
from underpaint.report import page
page.build(sys.argv[3])
print(os.umask(0))
"""


def modes(folder):
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize(("umask", "wanted"), [(0o000, 0o644), (0o022, 0o644), (0o077, 0o600)])
def test_modes_follow_the_umask_and_are_never_for_others_to_write(tmp_path, umask, wanted):
    code = f"import os; os.umask({umask}); from underpaint.storage.files import *; from pathlib import Path\n"
    code += f"here = Path({str(tmp_path)!r})\n"
    code += "for name, mode in (('shared', SHARED), ('private', PRIVATE)): write_bytes(here / name, b'x', mode)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert modes(tmp_path) == {"shared": wanted, "private": 0o600}


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_run_and_its_page_under_an_open_umask(tmp_path, pair):
    command = [sys.executable, "-c", WALK, *map(str, pair), str(tmp_path / "run")]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    assert told.stdout.split()[-1] == "0", "the umask was changed"
    found = modes(tmp_path / "run")
    assert len(found) > 5
    assert {name: oct(mode) for name, mode in found.items() if mode & stat.S_IWOTH} == {}


def test_threads_write_beside_files_of_others(tmp_path):
    """While files are written here, another thread's file gets the mode that its own umask says."""
    os.umask(before := os.umask(0o022))
    over = threading.Event()

    def write():
        while not over.is_set():
            write_bytes(tmp_path / "ours", b"x")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for place in range(2000):
            handle = os.open(tmp_path / f"theirs{place}", os.O_CREAT | os.O_WRONLY, 0o666)
            mode = stat.S_IMODE(os.fstat(handle).st_mode)
            os.close(handle)
            assert mode == 0o666 & ~before
    finally:
        over.set()
        writer.join()


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(UnderpaintError, match="cannot be written"):
        write_bytes(tmp_path / "none" / "x", b"")
    (tmp_path / "taken").mkdir()
    with pytest.raises(UnderpaintError, match="cannot be written"):
        write_bytes(tmp_path / "taken", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    write_bytes(tmp_path / ("n" * 250), b"x", PRIVATE)  # a name that leaves no room for a longer one beside it
