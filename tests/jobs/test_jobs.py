"""Jobs with real child processes: queued, stopped, resumed, and not outliving a runner that is killed."""

import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from PIL import Image

import underpaint
from underpaint.errors import UnderpaintError
from underpaint.jobs import child
from underpaint.jobs.job import Job, Order
from underpaint.jobs.runner import Limits, Runner

SMALL = {"size": 48, "smallest": 32, "iterations": [2], "precision": "float32"}


def order(kind="stylize", visitor="", **recipe):
    return Order(
        kind=kind, recipe=SMALL | recipe, visitor=visitor, names={"content": "photo.jpg", "style1": "../../painting"}
    )


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.05)
    return found


def until(job, *states, seconds=120):
    wait_for(lambda: job.state in states or (job.state == "failed" and pytest.fail(job.error)), seconds)


@pytest.fixture
def pictures(pair):
    return {"content": pair[0], "style1": pair[1]}


@pytest.fixture
def runner(tmp_path):
    made = Runner(tmp_path / "runs", device="cpu")
    yield made
    made.close()


def test_a_job_paints_what_the_package_paints(runner, pictures, pair):
    job = runner.submit(order(), pictures)
    until(job, "finished")
    direct = underpaint.stylize(*pair, **SMALL)
    assert (underpaint.Run.load(job.result).pastiche == direct.pastiche).all()
    assert (job.result / "report.html").exists()
    assert job.progress.share == 1
    assert job.progress.size == (48, 36)
    assert job.progress.losses["total"] == pytest.approx(direct.losses["total"])
    # WebP loses much of colours that change from pixel to pixel: the same picture, as it loses them.
    with Image.open(job.folder / "live.webp") as live, Image.open(io.BytesIO(child._webp(direct.pastiche))) as expected:
        assert np.array_equal(live, expected)
    assert job.title == "photo.jpg × ../../painting"
    assert sorted(path.name for path in (job.folder / "inputs").iterdir()) == ["content.png", "style1.png"]


@pytest.mark.parametrize("kind", ["stylize", "explain"])
def test_a_job_protects(runner, pictures, kind, tmp_path):
    Image.new("L", (64, 48), 255).save(tmp_path / "white.png")
    fields = {"style_layers": {"relu1_1": 1, "relu3_1": 1}, "protect_weight": 7}
    job = runner.submit(order(kind, **fields), pictures | {"protect": tmp_path / "white.png"})
    until(job, "finished")
    kept = json.loads((job.result / "run.json").read_text())
    assert [entry["role"] for entry in kept["inputs"]] == ["content", "style1", "protect"]
    heavier = SMALL | fields | {"content_weight": kept["recipe"]["content_weight"] * 7}
    del heavier["protect_weight"]
    direct = underpaint.stylize(*pictures.values(), **heavier)
    assert underpaint.Run.load(job.result).pastiche == pytest.approx(direct.pastiche, abs=1e-3)


def test_faces_are_looked_for_before_a_job_is_taken(runner, pictures, tmp_path):
    with pytest.raises(UnderpaintError, match="no face found"):
        runner.submit(order().model_copy(update={"protect": "faces"}), pictures)
    assert not list((tmp_path / "runs").glob("*/order.json"))


def test_stopped_it_keeps_its_picture_and_resumed_it_ends_with_the_same_bytes(runner, pictures, pair):
    many = {"iterations": [40], "size": 64}
    job = runner.submit(order(**many), pictures)
    wait_for(lambda: job.progress.step >= 3)
    runner.pause(job)
    until(job, "paused")
    assert (job.result / "pastiche.png").exists()
    assert job.progress.share < 1
    runner.resume(job)
    until(job, "running")
    runner.stop(job)
    until(job, "stopped", "finished")
    runner.resume(job)
    until(job, "finished")
    assert (underpaint.Run.load(job.result).pastiche == underpaint.stylize(*pair, **SMALL | many).pastiche).all()


def test_one_after_the_other_and_a_waiting_one_can_be_stopped(runner, pictures):
    jobs = [runner.submit(order(iterations=[8]), pictures) for _ in range(3)]
    assert runner.place(jobs[2]) is not None
    runner.stop(jobs[1])
    until(jobs[2], "finished")
    assert [job.state for job in jobs] == ["finished", "stopped", "finished"]
    assert runner.place(jobs[2]) is None
    assert [job.name for job in runner.jobs()] == sorted((job.name for job in jobs), reverse=True)
    runner.remove(jobs[1])
    assert len(runner.jobs()) == 2


def test_an_explanation_is_made(runner, pictures):
    job = runner.submit(order("explain", style_layers={"relu1_1": 1, "relu3_1": 1}), pictures)
    until(job, "finished")
    assert set(underpaint.Explanation.load(job.result).shapley) == {"relu1_1", "relu3_1"}
    assert job.progress.painted == job.progress.coalitions
    assert (job.result / "report.html").exists()


RUNNER = """
import sys, time
from pathlib import Path
from underpaint.jobs.runner import Runner
runner = Runner(Path(sys.argv[1]), device="cpu")
print("up", flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_a_killed_runner_takes_its_child_along_and_the_next_one_goes_on(pictures, tmp_path, pair):
    runs, many = tmp_path / "runs", {"iterations": [40], "size": 64}
    first = Runner(runs, device="cpu", workers=0)
    running, waiting = first.submit(order(**many), pictures), first.submit(order(), pictures)
    first.close()
    process = subprocess.Popen([sys.executable, "-c", RUNNER, runs], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"up\n"
        wait_for(lambda: running.progress.step >= 3)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    wait_for(lambda: underpaint.runs.folder.read_facts(running.result)["status"] == "stopped")
    assert running.state == "running"  # nobody was there to say otherwise
    second = Runner(runs, device="cpu")
    try:
        assert running.state == "stopped"
        until(waiting, "finished")
        second.resume(running)
        until(running, "finished")
    finally:
        second.close()
    assert (underpaint.Run.load(running.result).pastiche == underpaint.stylize(*pair, **SMALL | many).pastiche).all()


def test_what_fails_says_why_in_one_line(runner, pictures, monkeypatch):
    job = runner.submit(order(), pictures)
    until(job, "finished")
    other = Job.create(runner.runs, job.order, {"content.png": b"no picture", "style1.png": b"none"})
    wait_for(lambda: other.state == "failed")
    assert "not a PNG, JPEG, WebP or TIFF" in other.error
    assert "\n" not in other.error


def test_bad_orders_are_refused_and_nothing_is_kept(runner, pictures, tmp_path):
    broken, huge = tmp_path / "broken.png", tmp_path / "huge.png"
    broken.write_bytes(pictures["content"].read_bytes()[:200])
    # A header that claims 200 megapixels, and nothing behind it.

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20000, 10000, 8, 2, 0, 0, 0)
    huge.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b""))
    cases = [
        (order(), pictures | {"content": broken}, "damaged"),
        (order(), pictures | {"content": huge}, "too large"),
        (order(), {"content": pictures["content"]}, "style: choose a picture"),
        (order(size=4096), pictures, "up to 1024 px"),
        (order(style_layers={"relu9_9": 1}), pictures, "relu9_9"),
        (order(nothing=1), pictures, "nothing"),
    ]
    for asked, files, says in cases:
        with pytest.raises(UnderpaintError, match=says) as caught:
            runner.submit(asked, files)
        assert str(tmp_path) not in str(caught.value)
    assert runner.jobs() == []


def test_limits(tmp_path, pictures):
    limits = Limits(per_visitor=2, queue=3)
    runner = Runner(tmp_path / "runs", workers=0, limits=limits, device="cpu")
    for _ in range(2):
        runner.submit(order(visitor="a"), pictures)
    with pytest.raises(UnderpaintError, match="you have 2 jobs"):
        runner.submit(order(visitor="a"), pictures)
    runner.submit(order(visitor="b"), pictures)
    with pytest.raises(UnderpaintError, match="3 jobs are waiting"):
        runner.submit(order(visitor="c"), pictures)
    runner.close()
    full = Runner(tmp_path / "runs", workers=0, limits=Limits(disk=1), device="cpu")
    with pytest.raises(UnderpaintError, match="make room in Keep"):
        full.submit(order(visitor="c"), pictures)
    full.close()


def test_the_oldest_go_first_but_none_that_waits(tmp_path, pictures):
    runner = Runner(tmp_path / "runs", workers=0, limits=Limits(per_visitor=9), device="cpu")
    jobs = [runner.submit(order(), pictures) for _ in range(4)]
    jobs.sort(key=lambda job: job.name)
    for job, state in zip(jobs, ("finished", "queued", "stopped", "failed"), strict=True):
        (job.folder / "ballast").write_bytes(bytes(1_000_000))
        job.change(state)
    size = runner.taken()

    def going(most):
        return [jobs.index(next(j for j in jobs if j.name == job.name)) for job in runner.oldest(most)]

    assert going(size) == []
    assert going(size - 1) == [0]
    assert going(size - 1_500_000) == [0, 2]
    assert going(0) == [0, 2, 3]
    assert len(runner.jobs()) == 4
    runner.close()


@pytest.mark.parametrize("name", ["..", "../x", "20260101-000000-0000000g", "", "20260101-000000-00000000", "/etc"])
def test_a_name_never_becomes_a_path(runner, name):
    with pytest.raises(UnderpaintError, match="no such job"):
        runner.job(name)


def test_fifty_at_once_all_end_or_are_refused(tmp_path, pictures):
    runner = Runner(tmp_path / "runs", workers=0, limits=Limits(per_visitor=100), device="cpu")
    told = []
    for _ in range(50):
        try:
            runner.submit(order(), pictures)
        except UnderpaintError as error:
            told.append(str(error))
    assert len(told) == 18
    assert all("try again later" in line for line in told)
    assert len(runner.jobs()) == 32
    runner.close()


def test_folders_with_damaged_files_do_not_hinder_the_others(runner, pictures):
    job = runner.submit(order(), pictures)
    until(job, "finished")
    (job.folder / "state.json").write_text("{")
    assert job.state == "failed"
    (job.folder / "order.json").write_text(json.dumps({"kind": "paint"}))
    with pytest.raises(UnderpaintError, match="remove this job"):
        _ = job.order
    other = runner.submit(order(), pictures)
    until(other, "finished")
    runner.remove(job)
