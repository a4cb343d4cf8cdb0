"""Coalitions painted by several processes at once: the same bytes as one after another, wherever it was stopped."""

import csv
import json
import subprocess
import sys
import time

import pytest
import torch

import underpaint
from tests.conftest import write_pair, write_tiny_weights
from tests.helpers import refused
from underpaint.explanation.coalitions.table import Row, Table
from underpaint.explanation.coalitions.task import Task, file_of, found, keep
from underpaint.explanation.shapley.players import MOST, label, stem
from underpaint.recipe import make

FIELDS = {"network": "vgg19", "size": 48, "preset": "draft", "style_layers": {"relu1_1": 4, "relu2_1": 2, "relu3_1": 0}}
ALIKE = ("pastiche.png", "attribution.csv", "cross.csv", "interactions.csv", "gallery.png", "ledger.npz", "products.npz")


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    return write_pair(folder), {"weights": write_tiny_weights(folder), "device": "cpu", **FIELDS}


@pytest.fixture(scope="module")
def alone(given, tmp_path_factory):
    pair, fields = given
    return underpaint.explain(*pair, out=tmp_path_factory.mktemp("alone") / "why", **fields).folder


def rows(folder):
    """coalitions.csv in its order, but for the seconds and what seals them."""
    lines = csv.DictReader((folder / "coalitions.csv").read_text().splitlines())
    return [{name: cell for name, cell in line.items() if name not in ("seconds", "check")} for line in lines]


def same(folder, other):
    assert rows(folder) == rows(other)
    for name in ALIKE:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    assert sorted(p.name for p in folder.rglob("*")) == sorted(p.name for p in other.rglob("*"))
    for picture in other.glob("coalitions/**/*.png"):
        assert (folder / picture.relative_to(other)).read_bytes() == picture.read_bytes(), picture.name


def test_several_processes_give_the_same_bytes(given, alone, tmp_path):
    pair, fields = given
    same(underpaint.explain(*pair, out=tmp_path / "why", workers=2, **fields).folder, alone)


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_in_the_middle_nothing_is_painted_twice(given, alone, tmp_path, workers):
    """What was painted ahead of the table lies beside it, and is taken in by whoever resumes, however many those are; what is
    damaged of it is painted again."""
    pair, fields = given
    folder = tmp_path / "why"
    code = (
        "import sys, torch, underpaint; torch.set_num_threads(int(sys.argv[1])); "
        f"underpaint.explain(*{[str(p) for p in pair]!r}, out={str(folder)!r}, workers=3, "
        f"**{fields | {'weights': str(fields['weights'])}!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(torch.get_num_threads())])
    deadline = time.monotonic() + 120
    while len(list(folder.glob("coalitions/*.png"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()
    ahead = {path: path.stat().st_mtime_ns for path in folder.glob("coalitions/*.png")}
    painted = {json.loads(path.read_text())["picture"] for path in folder.glob("coalitions/*.json")}
    painted |= {row["picture"] for row in rows(folder)} if (folder / "coalitions.csv").exists() else set()
    assert painted
    stale = folder / "coalitions" / "none.json"
    if not stale.exists():
        stale.write_text("{}")
    underpaint.explain(*pair, out=folder, workers=workers, **fields)
    same(folder, alone)
    again = [path for path, when in ahead.items() if path.stat().st_mtime_ns != when]
    assert not [path for path in again if str(path.relative_to(folder)) in painted]


def test_an_ablation_too(given, tmp_path):
    pair, fields = given
    folders = [
        underpaint.ablate(
            *pair, out=tmp_path / f"{workers}", configs=["all", "none", "drop:relu1_1"], workers=workers, **fields
        )
        for workers in (1, 2)
    ]
    assert rows(folders[0].folder) == rows(folders[1].folder)
    assert folders[0].outcomes == folders[1].outcomes


def test_a_task_is_named_by_all_that_determines_it():
    recipe = make({"size": 64})
    task = Task(recipe, {"content": "a", "style1": "b"}, ("w", "j"), "compact", 0, 3)
    others = [
        Task(make({"size": 65}), {"content": "a", "style1": "b"}, ("w", "j"), "compact", 0, 3),
        Task(recipe, {"content": "b", "style1": "a"}, ("w", "j"), "compact", 0, 3),
        Task(recipe, {"content": "a", "style1": "b"}, ("w", "j"), "vgg19", 0, 3),
        Task(recipe, {"content": "a", "style1": "b"}, ("w", "k"), "compact", 0, 3),
        Task(recipe, {"content": "a", "style1": "b"}, ("w", "j"), "compact", 3, 0),
        Task(recipe, {"content": "a", "style1": "b"}, ("w", "j"), "compact", 0, 2),
    ]
    assert len({each.digest for each in [task, *others]}) == 7
    assert task.digest == Task(make({"size": 64}), {"style1": "b", "content": "a"}, ("w", "j"), "compact", 0, 3).digest


def test_what_came_of_another_task_or_is_damaged_is_painted_again(tmp_path):
    table = Table(tmp_path, ["relu1_1", "relu2_1"])
    task = Task(make({}), {"content": "a"}, ("w", "j"), "compact", 0, 1)
    row = Row(0, 1, {"heldout": 0.5, "content": 1.0}, 0.01, 2.5, table.picture(0, 1))
    (tmp_path / "coalitions").mkdir()
    (tmp_path / row.picture).write_bytes(b"picture")
    keep(tmp_path, row, task.digest)
    assert found(table, task) == row
    keep(tmp_path, row, "another")
    assert found(table, task) is None
    keep(tmp_path, row, task.digest)
    path = file_of(table, task)
    path.write_text(path.read_text().replace("0.5", "0.4"))
    assert found(table, task) is None
    keep(tmp_path, row, task.digest)
    (tmp_path / row.picture).unlink()
    assert found(table, task) is None


def test_names_of_files_fit_and_differ():
    players = [f"block{i}/separable_convolution.activation" for i in range(MOST)]
    names = {stem(label(mask, players)) for mask in range(1 << 10)}
    assert len(names) == 1 << 10
    assert all(len(name) <= 200 and "/" not in name for name in names)
    assert stem("relu1_1+relu2_1") == "relu1_1+relu2_1"


@pytest.mark.parametrize("workers", [0, -1, "two", 1.5])
def test_workers_are_counted(given, tmp_path, workers):
    pair, fields = given
    refused(lambda: underpaint.explain(*pair, out=tmp_path / "x", workers=workers, **fields), "--workers", "whole number")
    assert not (tmp_path / "x").exists()
