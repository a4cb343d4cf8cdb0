"""The page: whole, inline, and its sums the pastiche's."""

import base64
import dataclasses
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

import underpaint
from underpaint.errors import UnderpaintError
from underpaint.report import page


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    random = np.random.default_rng(0)
    content, style = (
        np.asarray(Image.fromarray(random.integers(0, 255, (9, 12, 3), dtype=np.uint8)).resize((128, 96))) for _ in range(2)
    )
    found = underpaint.explain(content, style, out=folder / "why", size=80, preset="draft")
    page.build(found.folder)
    return found


@pytest.fixture
def text(explained):
    return (explained.folder / "report.html").read_text(encoding="utf-8")


def decoded(address):
    data = base64.b64decode(address.removeprefix("data:image/webp;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_nothing_is_fetched(text):
    assert not re.findall(r"""(?:src|href|action)=["'](?!data:|#)""", text)
    assert not re.findall(r"url\((?!#)", text)
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert len(text) < 10_000_000


def test_every_section_is_there_and_every_picture_has_words(explained, text):
    for title in (
        "plain words",
        "Convergence",
        "Recompose",
        "pulls together",
        "Attributions",
        "Ablation",
        "Shapley",
        "Checks",
    ):
        assert title in text
    for sentence in explained.verdict:
        assert sentence.replace("'", "&#39;") in text
    assert all("alt=" in tag for tag in re.findall(r"<img [^>]*>", text))
    assert all("aria-label=" in tag for tag in re.findall(r"<svg [^>]*>", text))
    assert "never painted" in text


def test_recompose_is_the_pastiche_at_ones_and_takes_columns_off(explained, text):
    """What the script computes, in numpy: pastiche + Σ (w − 1) · column."""
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])["recompose"]
    ledger = explained.ledger()
    shown = decoded(data["pastiche"]).astype(float) / 255
    assert np.abs(shown - ledger["pastiche"].transpose(1, 2, 0)).max() <= 0.5 / 255 + 1e-6
    for column in data["columns"]:
        kept = (decoded(column["data"]).astype(float) - 127.5) / 127.5 * column["reach"]
        true = ledger[column["name"]].transpose(1, 2, 0)
        # Kept coarsely, but in all as near as the eye tells.
        assert np.abs(kept - true).mean() < 0.06 * column["reach"], column["name"]


def test_the_command_says_all_that_differs(explained, text):
    command = page.reproduce(explained)
    assert command == "underpaint explain array array --size 80 --preset draft"
    assert command in text
    recipe = explained.run.recipe.model_copy(update={"smoothness": 3.0, "seed": 4})
    other = dataclasses.replace(explained, run=dataclasses.replace(explained.run, recipe=recipe))
    assert page.reproduce(other).startswith("underpaint explain array array --size 80 --preset draft --seed 4 --recipe")
    assert "smoothness = 3.0" in page.reproduce(other)


def test_without_an_explanation_there_is_no_page(tmp_path):
    with pytest.raises(UnderpaintError, match="not an explanation"):
        page.build(tmp_path)
