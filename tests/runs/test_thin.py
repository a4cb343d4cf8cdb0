"""Thin pictures: whatever is taken is painted at every size, down to a side of one pixel."""

import math

import numpy as np
import pytest

import underpaint
from tests.helpers import refused, smooth

THIN, THIN_STYLE = smooth(32, 1024, 0), smooth(2000, 32, 1)
MASK, STYLE_MASK = (np.repeat([0, 255], side // 2).astype(np.uint8) for side in (1024, 2000))


@pytest.mark.parametrize(
    "fields",
    [
        *({"statistic": statistic, "optimizer": o} for statistic in ("wasserstein", "gram") for o in ("lbfgs", "adam")),
        {"statistic": "moments", "pooling": "average"},
        {"statistic": "sliced", "start": "noise"},
        {"preset": "gatys", "keep_color": "luminance"},
        {"keep_color": "histogram", "protect": np.tile(MASK, (32, 1))},
        {"content_mask": np.tile(MASK, (32, 1)), "style_mask": np.tile(STYLE_MASK[:, None], (1, 32))},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("error")
def test_a_side_of_one_pixel_is_painted(fields):
    fixed = {"size": 1024, "smallest": 32, "iterations": (1,), "device": "cpu", "precision": "float32"}
    session = underpaint.start(THIN, THIN_STYLE, **fixed | fields)
    assert session.scene.size(0) == (1, 32)
    steps = iter(session)
    for step in (next(steps), next(steps)):
        assert math.isfinite(step.total)
        assert all(math.isfinite(term.raw) for term in step.terms)
        assert bool(step.image.isfinite().all())
    steps.close()


@pytest.mark.parametrize(
    ("content", "size", "words"),
    [
        (smooth(20, 1000, 0), 512, ["content", "1000×20", "short side"]),
        (smooth(64, 1024, 0), 256, ["size", "256×16", "larger size"]),
    ],
)
def test_what_is_too_thin_is_refused_before_anything_is_written(tmp_path, content, size, words):
    for function in (underpaint.stylize, underpaint.explain, underpaint.ablate):
        refused(lambda function=function: function(content, THIN_STYLE, size=size, out=tmp_path / "run"), *words)
    assert list(tmp_path.iterdir()) == []
