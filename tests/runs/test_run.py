"""Whole runs on a tiny network: the folder, bytes that come again, a killed process."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

import underpaint
from underpaint.captions import short
from underpaint.errors import UnderpaintError

QUICK = {"network": "vgg19", "size": 96, "smallest": 64, "iterations": (6, 9)}


def paint(pair, weights, out, **fields):
    options = underpaint.Options(weights=weights, device="cpu")
    return underpaint.stylize(*pair, out=out, options=options, **(QUICK | fields))


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("statistic", ["gram", "moments", "sliced"])
def test_runs_lower_the_loss_and_come_again(pair, tiny_weights, tmp_path, optimizer, statistic):
    runs = [
        paint(pair, tiny_weights, tmp_path / name, optimizer=optimizer, statistic=statistic, strength=0.8) for name in "ab"
    ]
    totals = [row.weighted for row in runs[0].history if row.term == "total"]
    assert totals[-1] < totals[0]
    assert (tmp_path / "a/pastiche.png").read_bytes() == (tmp_path / "b/pastiche.png").read_bytes()
    loaded = underpaint.Run.load(tmp_path / "a")
    assert loaded.losses == runs[0].losses
    assert np.array_equal(loaded.pastiche, runs[0].pastiche)
    png = np.asarray(Image.open(tmp_path / "a/pastiche.png"))
    assert np.array_equal(png, np.rint(loaded.pastiche.astype(np.float64) * 255))


def test_a_torch_device_is_taken(pair, tiny_weights, tmp_path):
    told = [
        underpaint.start(*pair, out=tmp_path / name, weights=tiny_weights, device=device, **QUICK).device
        for name, device in {"name": "cpu", "device": torch.device("cpu")}.items()
    ]
    assert told == [torch.device("cpu")] * 2


def test_folder_holds_every_number(pair, tiny_weights, tmp_path):
    run = paint(pair, tiny_weights, tmp_path / "r")
    assert "\n" not in repr(run)
    folder = re.escape(short(run.folder))
    assert re.fullmatch(rf"Run\(vgg19, \d+×\d+ px, 15 steps, loss .*, {folder}\)", repr(run))
    facts = json.loads((tmp_path / "r/run.json").read_text())
    assert facts["status"] == "finished"
    assert facts["recipe_sha256"] == run.recipe.digest()
    assert {entry["role"] for entry in facts["inputs"]} == {"content", "style1"}
    with (tmp_path / "r/history.csv").open() as file:
        table = list(csv.DictReader(file))
    steps = sum(run.recipe.schedule())
    assert [int(r["step"]) for r in table if r["term"] == "total"] == list(range(steps + 1))
    for step in (0, steps):
        rows = [r for r in table if int(r["step"]) == step]
        parts = sum(float(r["weighted"]) for r in rows if r["term"] != "total")
        assert parts == pytest.approx(float(rows[-1]["weighted"]))
    terms = [r for r in table if r["term"] != "total" and int(r["step"]) < steps]
    assert all(bool(r["gradient_norm"]) == (int(r["step"]) % 10 == 0) for r in terms)
    assert (tmp_path / "r/convergence.svg").stat().st_size > 1000


def test_killed_run_resumes_to_the_same_bytes(pair, tiny_weights, tmp_path):
    fields = {"iterations": (150, 150), "size": 129, "smallest": 91}
    whole = paint(pair, tiny_weights, tmp_path / "whole", **fields)
    command = [sys.executable, "-m", "underpaint", "stylize", *map(str, pair), "--out", str(tmp_path / "killed")]
    command += [
        "--network",
        "vgg19",
        "--weights",
        str(tiny_weights),
        "--iterations",
        "150,150",
        "--size",
        "129",
        "--device",
        "cpu",
        "--quiet",
    ]
    process = subprocess.Popen(command, env=os.environ)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "killed/checkpoint.safetensors").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert json.loads((tmp_path / "killed/run.json").read_text())["status"] == "running"
    options = underpaint.Options(weights=tiny_weights, device="cpu")
    underpaint.resume(tmp_path / "killed", options).finish()
    assert (tmp_path / "killed/pastiche.png").read_bytes() == (tmp_path / "whole/pastiche.png").read_bytes()
    again = underpaint.Run.load(tmp_path / "killed")
    assert [(r.step, r.term, r.raw) for r in again.history] == [(r.step, r.term, r.raw) for r in whole.history]


def test_stopping_keeps_the_picture_and_goes_on(pair, tiny_weights, tmp_path):
    options = underpaint.Options(weights=tiny_weights, device="cpu")
    session = underpaint.start(*pair, out=tmp_path / "s", options=options, **QUICK)
    for step in session:
        if step.step == 5:
            break
    del step
    assert json.loads((tmp_path / "s/run.json").read_text())["status"] == "stopped"
    assert (tmp_path / "s/pastiche.png").exists()
    underpaint.resume(tmp_path / "s", options).finish()
    paint(pair, tiny_weights, tmp_path / "t")
    assert (tmp_path / "s/pastiche.png").read_bytes() == (tmp_path / "t/pastiche.png").read_bytes()


def test_carried_to_a_larger_size(pair, tiny_weights, tmp_path):
    paint(pair, tiny_weights, tmp_path / "small")
    options = underpaint.Options(weights=tiny_weights, device="cpu")
    run = underpaint.carry_on(tmp_path / "small", 128, out=tmp_path / "large", options=options).finish()
    assert run.pastiche.shape == (96, 128, 3)
    with pytest.raises(UnderpaintError, match="larger"):
        underpaint.carry_on(tmp_path / "small", 96, out=tmp_path / "x", options=options)


def test_nothing_is_overwritten(pair, tiny_weights, tmp_path):
    paint(pair, tiny_weights, tmp_path / "r")
    before = (tmp_path / "r/run.json").read_bytes()
    with pytest.raises(UnderpaintError, match="already holds a run"):
        paint(pair, tiny_weights, tmp_path / "r")
    with pytest.raises(UnderpaintError, match="finished"):
        underpaint.resume(tmp_path / "r")
    assert (tmp_path / "r/run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"style_weight": -1}, "style_weight"),
        ({"size": 8}, "size"),
        ({"style_layers": {"relu9_1": 1}}, "relu9_1"),
        ({"style_layers": {}}, "style_layers"),
        ({"network": "resnet"}, "network"),
        ({"colour": 1}, "colour"),
    ],
)
def test_bad_fields(pair, tiny_weights, tmp_path, fields, word):
    with pytest.raises(UnderpaintError, match=word) as caught:
        paint(pair, tiny_weights, tmp_path / "r", **fields)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_loss_that_is_not_finite_keeps_the_last_good_picture(optimizer, pair, tiny_weights, tmp_path, monkeypatch):
    from underpaint.losses.objective import Evaluation, Objective

    real, calls = Objective.evaluate, []

    def evaluate(self, image, *rest):
        calls.append(image)
        found = real(self, image, *rest)
        return found if len(calls) < 10 else Evaluation(found.terms, found.gradient * np.nan)

    monkeypatch.setattr(Objective, "evaluate", evaluate)
    with pytest.raises(UnderpaintError, match=r"not finite at step \d+ .*last good picture is kept"):
        paint(pair, tiny_weights, tmp_path / "r", optimizer=optimizer)
    run = underpaint.Run.load(tmp_path / "r")
    assert run.facts["status"] == "stopped"
    assert 5 <= run.facts["steps"] < 15
    assert np.isfinite(run.pastiche).all()
    monkeypatch.undo()
    done = underpaint.resume(tmp_path / "r", underpaint.Options(device="cpu")).finish()
    assert done.facts["status"] == "finished"
    if optimizer == "lbfgs":  # its line search tried in vain and forgot its history
        return
    paint(pair, tiny_weights, tmp_path / "t", optimizer=optimizer)
    assert (tmp_path / "r/pastiche.png").read_bytes() == (tmp_path / "t/pastiche.png").read_bytes()


def film_milliseconds(film):
    total = 0
    for frame in range(film.n_frames):
        film.seek(frame)
        film.load()
        total += film.info["duration"]
    return total


def test_frames_and_film_survive_a_stop(pair, tiny_weights, tmp_path):
    options = underpaint.Options(weights=tiny_weights, device="cpu", frames=6)
    session = underpaint.start(*pair, out=tmp_path / "s", options=options, **QUICK)
    steps = iter(session)
    for _ in range(8):
        next(steps)
    steps.close()
    before = {path.name for path in (tmp_path / "s/frames").iterdir()}
    underpaint.resume(tmp_path / "s").finish()
    after = {path.name for path in (tmp_path / "s/frames").iterdir()}
    assert before < after
    assert len(after) in (6, 7)
    with Image.open(tmp_path / "s/timelapse.webp") as film:
        assert film.size == (96, 72)
        # WebP joins equal frames, so time is counted: 120 ms a frame, 1.5 s for the last.
        assert film_milliseconds(film) == 120 * (len(after) - 1) + 1500


def test_options_are_keywords_too(pair, tiny_weights):
    run = underpaint.stylize(*pair, network="vgg19", size=64, iterations=(6, 9), weights=str(tiny_weights), device="cpu")
    assert run.folder is None
    assert run.pastiche.shape == (48, 64, 3)
    with pytest.raises(UnderpaintError, match="device"):
        underpaint.stylize(*pair, network="vgg19", size=64, weights=tiny_weights, device="tpu")


def test_arrays_are_kept_with_the_run_and_come_back(pair, tiny_weights, tmp_path):
    content, style = (np.asarray(Image.open(path)) for path in pair)
    session = underpaint.start(
        content, style, out=tmp_path / "s", network="vgg19", size=64, iterations=(6, 9), weights=tiny_weights, device="cpu"
    )
    next(iter(session))
    again = underpaint.resume(tmp_path / "s").finish()
    assert again.pastiche.shape == (48, 64, 3)
    from_files = underpaint.stylize(*pair, network="vgg19", size=64, iterations=(6, 9), weights=tiny_weights, device="cpu")
    assert np.array_equal(again.pastiche, from_files.pastiche)


def test_other_weights_are_not_resumed_with(pair, tiny_weights, tmp_path):
    from safetensors.torch import save_file

    from tests.conftest import random_tensors

    session = underpaint.start(*pair, out=tmp_path / "s", network="vgg19", size=64, weights=tiny_weights, device="cpu")
    next(iter(session))
    save_file(random_tensors(seed=1), tmp_path / "other.safetensors")
    with pytest.raises(UnderpaintError, match="not the weights"):
        underpaint.resume(tmp_path / "s", underpaint.Options(weights=tmp_path / "other.safetensors"))


def test_changed_picture_is_not_resumed_with(pair, tiny_weights, tmp_path):
    session = underpaint.start(*pair, out=tmp_path / "s", network="vgg19", size=64, weights=tiny_weights, device="cpu")
    next(iter(session))
    (tmp_path / "s/inputs/style1.png").write_bytes(pair[0].read_bytes())
    with pytest.raises(UnderpaintError, match="not the picture"):
        underpaint.resume(tmp_path / "s")
