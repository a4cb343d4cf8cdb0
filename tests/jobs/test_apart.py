"""What visitors send is read in processes of their own: with limits, and without the server growing."""

import os
import sys

import numpy as np
import pytest
from PIL import Image

from tests.jobs.test_jobs import order
from tests.web import Studio, Visitor
from underpaint.errors import UnderpaintError
from underpaint.imaging import images
from underpaint.jobs import apart, tasks
from underpaint.jobs.runner import Limits, Runner
from underpaint.runs.wish import prepare

HALF = 1 << 29


def give(value):
    return value


def fail(text):
    raise UnderpaintError(text)


def grow():
    return len(np.ones(1 << 28))


def grow_unseen():
    """As a reader does that calls a lack of memory something else."""
    try:
        np.ones(1 << 28)
    except MemoryError:
        raise UnderpaintError("is damaged") from None


def spin():
    while True:
        pass


def die():
    os.kill(os.getpid(), 9)


@pytest.mark.parametrize("value", [None, [1, 2.5, "a"], {"a": {"b": None}}])
def test_answers_come_back(value):
    assert apart.run(give, value, memory_bytes=HALF) == value


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS")
@pytest.mark.parametrize(
    ("act", "given", "says"),
    [
        (fail, ("content: is damaged",), "^content: is damaged$"),
        (grow, (), "over 0.5 GiB of memory; choose smaller"),
        (grow_unseen, (), "over 0.5 GiB of memory; choose smaller"),
        (spin, (), "too much memory or time"),
        (die, (), "too much memory or time"),
    ],
)
def test_limits_are_told_in_one_line(act, given, says):
    with pytest.raises(UnderpaintError, match=says) as caught:
        apart.run(act, *given, memory_bytes=HALF, seconds=1)
    assert "\n" not in str(caught.value)


def refusal(act, *given, **named):
    try:
        act(*given, **named)
    except UnderpaintError as error:
        return str(error)
    return ""


def test_the_check_apart_says_what_prepare_says(pair, tmp_path):
    """Although it keeps no more than an outline of most pictures."""
    grey, clear, small = (tmp_path / f"{name}.png" for name in ("grey", "clear", "small"))
    Image.fromarray(np.repeat(np.uint8([[0, 255]]), 32, 1).repeat(48, 0)).save(grey)
    Image.new("RGBA", (64, 64), (9, 9, 9, 0)).save(clear)
    Image.new("RGB", (20, 20)).save(small)
    content, style = pair
    two = {"content": content, "style1": style}
    cases = [
        (order(), two),
        (order(), {"content": content, "style1": clear}),
        (order(), {"content": small, "style1": style}),
        (order(), two | {"style2": small}),
        (order(), two | {"content_mask": grey}),
        (order(), two | {"content_mask": grey, "style_mask": grey}),
        (order(), two | {"content_mask": grey, "style_mask": grey, "style2": style}),
        (order(style_weights=[1, 2, 3]), two),
        (order(protect_weight=3), two),
        (order(protect_weight=3), two | {"protect": grey}),
        (order(size=33), two | {"content": grey}),
        (order(size="large"), two),
        (order().model_copy(update={"protect": "faces"}), two),
    ]
    refused = 0
    for asked, files in cases:
        whole = asked.model_copy(update={"pictures": {role: path.name for role, path in files.items()}})
        given = whole.masks(files) | whole.recipe
        wanted = refusal(prepare, files["content"], [files[role] for role in whole.styles], **given)
        names = {role: str(path) for role, path in files.items()}
        assert refusal(tasks.check, whole.model_dump_json(), names) == wanted
        refused += bool(wanted)
    assert 6 <= refused < len(cases) - 2


def test_nothing_is_decoded_in_the_process_of_a_runner(tmp_path, pair, monkeypatch):
    def decode(*_, **__):
        raise AssertionError("decoded here")

    for name in ("read", "dimensions"):
        monkeypatch.setattr(images, name, decode)
    working = Runner(tmp_path / "runs", workers=0, device="cpu")
    try:
        job = working.submit(order(), {"content": pair[0], "style1": pair[1]})
        assert (job.folder / "inputs" / "content.png").read_bytes() == pair[0].read_bytes()
    finally:
        working.close()


def test_reading_takes_no_more_memory_than_it_may(tmp_path):
    """A picture that decodes to more than the limit is refused in a line, by the real reader."""
    Image.new("RGB", (6000, 6000)).save(tmp_path / "large.png")
    files = {"content": tmp_path / "large.png", "style1": tmp_path / "large.png"}
    working = Runner(tmp_path / "runs", workers=0, limits=Limits(memory=200_000_000), device="cpu")
    try:
        with pytest.raises(UnderpaintError, match="GiB of memory; choose smaller pictures"):
            working.submit(order(), files)
        assert working.jobs() == []
    finally:
        working.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_large_uploads_do_not_grow_the_server(tmp_path, pair):
    """Two pictures of 48 megapixels are 1.2 GB decoded; the server's largest size ever stays near what it was."""
    pytest.importorskip("gradio")
    Image.new("RGB", (8000, 6000), (90, 120, 30)).save(tmp_path / "large.jpg", quality=50)
    server = Studio(tmp_path / "runs")
    try:
        visitor = Visitor(server.address)
        small = visitor.upload(pair[0])
        with pytest.raises(AssertionError, match="masks: one is missing"):  # known once all have been read
            visitor.press("start", content=small, style=small, content_mask=small)
        before = server.memory("VmHWM")
        large = visitor.upload(tmp_path / "large.jpg")
        with pytest.raises(AssertionError, match="masks: one is missing"):
            visitor.press("start", content=large, style=small, content_mask=large)
        assert server.memory("VmHWM") - before < 100
        assert server.memory() > 50, "the wrong process was measured"
    finally:
        server.stop()
