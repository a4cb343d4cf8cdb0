"""Kills: `stylize` and `explain` on a tiny picture, killed (kill -9) at random moments and gone on with until they end.

    python benchmarks/kills.py --kills 100

Each folder must then hold the files of a run that nobody disturbed: same names, same bytes, same tables, but for what tells
of time and machine (`TIMED`, and the columns `seconds` and `check`). Commands are forked from this process, which has
imported everything: so a kill is not spent on imports.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from underpaint import cli
from underpaint.explanation import ablating, conclude, explaining
from underpaint.imaging import faces
from underpaint.report import page
from underpaint.runs import start

IMPORTED = ablating, conclude, explaining, faces, start, page
TIMED = ("run.json", "checkpoint.safetensors", "report.html")
MOST = 4
"""Kills of one folder before it is left to end."""

ANYWHERE = 0.2
"""The share of kills that come at any moment; the others come while a folder is written to."""

STYLIZE = ["--iterations", "6,9", "--frames", "5"]
EXPLAIN = ["--preset", "draft", "--style-layers", "relu1_1,relu3_1"]
COMMON = ["--size", "48", "--device", "cpu", "--threads", "1", "--precision", "float32", "--quiet"]


class Command:
    """`underpaint` with these words, in a process of its own."""

    def __init__(self, words: Sequence[str], log: Path) -> None:
        self.log = log
        self.code: int | None = None
        self.pid = os.fork()
        if not self.pid:
            self._be(words)

    def _be(self, words: Sequence[str]) -> NoReturn:
        code = 1
        try:
            os.dup2(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            sys.argv = ["underpaint", *words]
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else bool(end.code)
        finally:
            os._exit(code)

    def poll(self, wait: bool = False) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, 0 if wait else os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def kill(self) -> bool:
        """kill -9; false if it had ended before, well."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        return self.end(-signal.SIGKILL) != 0

    def end(self, *allowed: int) -> int:
        """Waits for its end; raises where that is an error."""
        code = self.poll(wait=True)
        assert code is not None
        if code not in (0, *allowed):
            raise RuntimeError(f"{sys.argv}: {code}, {self.log.read_text(encoding='utf-8')}")
        return code


class Folder:
    """One run or explanation, begun, killed and gone on with.

    Args:
        command: "stylize" or "explain", and all that follows but --out.
        path: where it goes.
    """

    def __init__(self, command: Sequence[str], path: Path) -> None:
        self.command, self.path = list(command), path

    @property
    def finished(self) -> bool:
        """Whether its last file is there."""
        if self.command[0] == "explain":
            return (self.path / "report.html").exists()
        facts = self.path / "run.json"
        return facts.exists() and json.loads(facts.read_text(encoding="utf-8"))["status"] == "finished"

    def begin(self, again: bool) -> Command:
        """Starts the command, or what goes on with what it left; an explanation by its own command too, if `again`."""
        words = [*self.command, "--out", str(self.path)]
        if (self.path / "run.json").exists() and not (self.command[0] == "explain" and again):
            words = ["resume", str(self.path), "--quiet"]
        return Command(words, self.path.with_suffix(".log"))

    def written(self) -> tuple[int, int]:
        """Changes whenever a file is written."""
        facts = []
        for path in (self.path, *self.path.glob("*")):
            with suppress(FileNotFoundError):  # its lock goes while we look
                facts.append(path.stat())
        return len(facts), max((each.st_mtime_ns for each in facts), default=0)

    def kill_once(self, chance: random.Random, lasts: float) -> bool:
        """Starts or goes on, and kills; false if it came to its end before."""
        process, begun, before = self.begin(chance.random() < 0.5), time.monotonic(), self.written()
        if chance.random() > ANYWHERE:
            while process.poll() is None and self.written() == before:
                time.sleep(0.001)
            begun = time.monotonic()
        moment = begun + chance.uniform(0, lasts)
        while process.poll() is None and time.monotonic() < moment:
            time.sleep(0.001)
        return process.kill()

    def end(self) -> None:
        """Goes on to the end."""
        if not self.finished:
            self.begin(False).end()

    def files(self) -> dict[str, object]:
        """What it came to."""
        found: dict[str, object] = {}
        for path in sorted(self.path.rglob("*")):
            name = str(path.relative_to(self.path))
            if path.is_file() and path.name != ".lock":
                found[name] = None if name in TIMED else _table(path) if path.suffix == ".csv" else path.read_bytes()
        return found


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {name: cell for name, cell in row.items() if name not in ("seconds", "check")} for row in csv.DictReader(file)
        ]


def commands(folder: Path) -> dict[str, list[str]]:
    """Both commands, on two small pictures that are made here."""
    numbers = np.random.default_rng(0)
    pictures = []
    for name in ("content", "style"):
        small = Image.fromarray(numbers.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        pictures.append(str(folder / f"{name}.png"))
        small.resize((64, 48), Image.Resampling.BICUBIC).save(pictures[-1])
    return {"stylize": ["stylize", *pictures, *STYLIZE, *COMMON], "explain": ["explain", *pictures, *EXPLAIN, *COMMON]}


def trials(command: Sequence[str], kills: int, seed: int, at: Path) -> Iterator[tuple[int, list[str]]]:
    """For each folder: how many kills it took, and the files that differ from those of an undisturbed one."""
    chance, whole = random.Random(seed), Folder(command, at / "whole")
    process, begun = whole.begin(True), None
    while process.poll() is None:
        if begun is None and whole.path.exists():
            begun = time.monotonic()
        time.sleep(0.001)
    whole.end()
    lasts, expected = time.monotonic() - (begun or time.monotonic()), whole.files()
    left, number = kills, 0
    while left > 0:
        folder, took = Folder(command, at / f"{number}"), 0
        for _ in range(min(left, MOST)):
            if folder.finished or not folder.kill_once(chance, lasts):
                break
            took += 1
        folder.end()
        found = folder.files()
        yield took, [name for name in sorted(expected | found) if expected.get(name, 0) != found.get(name, 0)]
        left, number = left - took, number + 1


def _draw_once() -> None:
    """Imports Matplotlib and finds its fonts."""
    figure = Figure()
    FigureCanvasAgg(figure)
    figure.subplots().set(title="a")
    for kind in ("png", "svg"):
        figure.savefig(io.BytesIO(), format=kind)


def main() -> int:
    """Prints a line a folder and the sums; 1 if any differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=100, help="of both commands together")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    _draw_once()
    wrong = total = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, command in commands(Path(folder)).items():
            (at := Path(folder) / name).mkdir()
            for took, differ in trials(command, args.kills // 2, args.seed, at):
                total, wrong = total + took, wrong + bool(differ)
                print(f"{name}: {took} kills, {'differs: ' + ', '.join(differ) if differ else 'the same'}", flush=True)
    print(f"{total} kills, {wrong} folders differ")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
