"""What can be taken away from the studio: streamed, whole, and silent about the machine that it comes from."""

import io
import os
import zipfile
from pathlib import Path

import pytest
import requests

import underpaint
from tests.jobs.test_jobs import SMALL, wait_for
from tests.web import Studio
from underpaint.jobs.job import Job, Order
from underpaint.studio.shown import plain

pytest.importorskip("gradio")


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    made = Studio(tmp_path_factory.mktemp("taken") / "some runs")
    yield made
    made.stop()


def job_of(studio, state, kind="stylize", pictures=()):
    roles = ("content", "style1")[: len(pictures)]
    named = {role: f"{role}.png" for role in roles}
    recipe = SMALL | {"style_layers": {"relu1_1": 1, "relu3_1": 1}}
    order = Order(kind=kind, recipe=recipe, pictures=named, names=named, device="cpu")
    files = {f"{role}.png": path for role, path in zip(roles, pictures, strict=True)}
    job = Job.create(studio.runs, order, files)
    if state != "queued":
        job.change(state)
    return job


def fetch(studio, path):
    answer = requests.get(studio.address + path, timeout=300)
    assert answer.status_code == 200, (path, answer.text)
    return answer.content


def test_an_archive_is_streamed(studio):
    """60 MB that do not compress, read piece by piece: the server holds none of it, and makes no copy."""
    job = job_of(studio, "finished")
    (job.result / "below").mkdir(parents=True)
    ballast = os.urandom(60_000_000)
    (job.result / "below" / "ballast.bin").write_bytes(ballast)
    (job.result / "empty.csv").write_bytes(b"")
    (job.result / ".hidden").write_text("x")
    (job.result / "link.txt").symlink_to("/etc/passwd")
    (job.result / "folder").symlink_to("/etc")
    os.utime(job.result / "empty.csv", (0, 0))  # zip knows no time before 1980
    before, taken = studio.memory("VmHWM"), bytearray()
    with requests.get(f"{studio.address}download/{job.name}/all.zip", stream=True, timeout=300) as answer:
        assert answer.status_code == 200
        assert "content-length" not in answer.headers
        for piece in answer.iter_content(1 << 16):
            taken += piece
    assert studio.memory("VmHWM") - before < 30
    with zipfile.ZipFile(io.BytesIO(taken)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["below/ballast.bin", "empty.csv"]
        assert archive.read("below/ballast.bin") == ballast
        assert {info.external_attr >> 16 & 0o777 for info in archive.infolist()} == {0o644}


def test_one_who_leaves_in_the_middle_leaves_nothing_open(studio):
    job = job_of(studio, "finished")
    job.result.mkdir()
    (job.result / "large.bin").write_bytes(os.urandom(30_000_000))

    def held():
        links = Path(f"/proc/{studio.process.pid}/fd").iterdir()
        return [link for link in links if os.path.realpath(link).endswith("large.bin")]

    with requests.get(f"{studio.address}download/{job.name}/all.zip", stream=True, timeout=300) as answer:
        next(answer.iter_content(1000))
        assert held()
    wait_for(lambda: not held())


def test_what_is_taken_away_tells_no_path_and_is_still_a_run(studio, pair, tmp_path):
    """Every file of a finished explanation that can be had, archives' files and names included; and the archive of all can be
    read elsewhere."""
    job = job_of(studio, "queued", "explain", pair)
    wait_for(lambda: job.state == "finished" or (job.state == "failed" and pytest.fail(job.error)), 280)
    assert str(Path(underpaint.__file__).parent) in (job.result / "run.json").read_text(), "nothing to hide"
    had = {name: fetch(studio, f"download/{job.name}/{name}") for name in ("pastiche.png", "report.html")}
    had |= {what: fetch(studio, f"{what}/{job.name}") for what in ("live", "pastiche", "curves", "report", "coalition")[:4]}
    had["coalition"] = fetch(studio, f"coalition/{job.name}/0")
    for name in ("figures.zip", "all.zip"):
        with zipfile.ZipFile(io.BytesIO(fetch(studio, f"download/{job.name}/{name}"))) as archive:
            assert archive.testzip() is None
            had |= {f"{name}: {each}": each.encode() + b"\n" + archive.read(each) for each in archive.namelist()}
    assert len(had) > 40
    folders = {studio.runs, studio.runs.parent, pair[0].parent, Path.home(), Path.cwd(), Path(underpaint.__file__).parent}
    telling = {str(folder).encode() + b"/" for folder in folders}
    found = [(name, words) for name, data in had.items() for words in telling if words in data]
    assert found == []
    with zipfile.ZipFile(io.BytesIO(fetch(studio, f"download/{job.name}/all.zip"))) as archive:
        archive.extractall(tmp_path)
    assert (underpaint.Run.load(tmp_path).pastiche == underpaint.Run.load(job.result).pastiche).all()
    assert underpaint.Explanation.load(tmp_path).shapley == underpaint.Explanation.load(job.result).shapley


def test_errors_tell_no_path(studio):
    job = job_of(studio, "queued")
    (job.folder / "inputs" / "content.png").write_bytes(b"")
    wait_for(lambda: job.state == "failed")
    answer = requests.get(f"{studio.address}download/{job.name}/report.html", timeout=60)
    assert answer.status_code in (404, 409)
    assert str(studio.runs.parent) not in answer.text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("/srv/x y/runs/a/result/run.json: is damaged", "a/result/run.json: is damaged"),
        ("content /tmp/up/photo.jpg: no", "content photo.jpg: no"),
        ("'/a/b/c.png', \"/a/b/d.png\"", "'c.png', \"d.png\""),
        (r"C:\Users\me\runs\run.json: no", "run.json: no"),
        ("see https://doi.org/10.1/x/y", "see https://doi.org/10.1/x/y"),
        ("inputs/content.png", "inputs/content.png"),
        ("../../painting", "../../painting"),
        ("style/relu1_1 and 3 / 4 and 1/2/3", "style/relu1_1 and 3 / 4 and 1/2/3"),
        (f"{Path.home()}/a b/x.png", "x.png"),
        (f"/data{Path.home()}/x.png, /srv/x y/runs: full", "x.png, runs: full"),
        ("/srv/x y/runs2/x.png", "x y/runs2/x.png"),  # what is not known and has a space: no more than its end
    ],
)
def test_paths_in_words(text, wanted):
    assert plain(text, Path("/srv/x y/runs")).removeprefix("a b/") == wanted
