"""The page: whole, inline, and its sums the pastiche's."""

import base64
import html
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import underpaint
from underpaint.errors import UnderpaintError
from underpaint.recipe import Recipe, make
from underpaint.report import page
from underpaint.report.folder import Evidence
from underpaint.report.reproduce import command as reproduce
from underpaint.storage.documents import write_json


@pytest.fixture
def text(compact_explained):
    return (compact_explained.folder / "report.html").read_text(encoding="utf-8")


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


def test_every_section_is_there_and_every_picture_has_words(compact_explained, text):
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
    for sentence in compact_explained.verdict:
        assert sentence.replace("'", "&#39;") in text
    assert all("alt=" in tag for tag in re.findall(r"<img [^>]*>", text))
    assert all("aria-label=" in tag for tag in re.findall(r"<svg [^>]*>", text))
    assert "never painted" in text


def test_recompose_is_the_pastiche_at_ones_and_takes_columns_off(compact_explained, text):
    """What the script computes, in numpy: pastiche + Σ (w − 1) · column."""
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])["recompose"]
    ledger = compact_explained.ledger()
    shown = decoded(data["pastiche"]).astype(float) / 255
    assert np.abs(shown - ledger["pastiche"].transpose(1, 2, 0)).max() <= 0.5 / 255 + 1e-6
    for column in data["columns"]:
        kept = (decoded(column["data"]).astype(float) - 127.5) / 127.5 * column["reach"]
        true = ledger[column["name"]].transpose(1, 2, 0)
        # Kept coarsely, but in all as near as the eye tells.
        assert np.abs(kept - true).mean() < max(0.06 * column["reach"], 0.25 / 255), column["name"]


def test_the_command_says_all_that_differs(compact_explained, text):
    evidence = Evidence(compact_explained.folder)
    threads = evidence.facts["environment"]["threads"]
    pictures, ends = "inputs/content.safetensors inputs/style1.safetensors", f"--device cpu --threads {threads} --out again"
    begins = f"underpaint explain {pictures} --size 64"
    assert reproduce(evidence) == f"{begins} {ends} --recipe - <<'TOML'\niterations = [12]\nTOML"
    assert reproduce(evidence) in html.unescape(text)
    begins = f"{begins} --preset draft"
    evidence.recipe = make({"preset": "draft", "size": 64, "precision": "float32"})
    assert reproduce(evidence) == f"{begins} {ends}"
    evidence.recipe = evidence.recipe.model_copy(update={"smoothness": 3.25, "seed": 4})
    assert reproduce(evidence) == f"{begins} --seed 4 {ends} --recipe - <<'TOML'\nsmoothness = 3.25\nTOML"
    evidence.recipe = evidence.recipe.model_copy(update={"smoothness": Recipe().smoothness, "seed": 0, "crop": False})
    assert reproduce(evidence) == f"{begins} --no-crop {ends}"
    # What the preset gatys brings along is not said again; what differs from it is, be it everyone else's default.
    evidence.recipe = make({"preset": "gatys", "size": 80, "precision": "float32"})
    whole = f"underpaint explain {pictures} --size 80 --preset gatys"
    assert reproduce(evidence) == f"{whole} {ends}"
    evidence.recipe = make({"preset": "gatys", "size": 80, "precision": "float32", "statistic": "wasserstein", "crop": True})
    assert reproduce(evidence) == f"{whole} --statistic wasserstein --crop {ends}"


def test_without_a_run_there_is_no_page(tmp_path):
    with pytest.raises(UnderpaintError, match="not a folder of"):
        page.build(tmp_path)
    assert not list(tmp_path.iterdir())


def titles(path):
    return re.findall(r"<h2 id=[^>]*>([^<]*)", path.read_text(encoding="utf-8"))


def test_a_run_and_an_ablation_have_pages_too(pair, tmp_path):
    run = underpaint.stylize(*pair, out=tmp_path / "run", size=64, preset="draft", smoothness=3.25)
    assert {"The pastiche", "Convergence", "How to reproduce it"} <= set(titles(page.build(run.folder)))
    pictures = "inputs/content.png inputs/style1.png --size 64 --preset draft"
    ends = f"--device cpu --threads {torch.get_num_threads()}"
    assert reproduce(Evidence(run.folder)).splitlines() == [
        f"underpaint stylize {pictures} --precision float32 {ends} --out again --recipe - <<'TOML'",
        "smoothness = 3.25",
        "TOML",
    ]
    made = underpaint.ablate(*pair, out=tmp_path / "ablation", configs=["all", "drop:relu1_1"], size=64, preset="draft")
    path = page.build(made.folder)
    assert {"The pastiche", "Ablation", "How to reproduce it"} <= set(titles(path))
    assert "Not everything" not in path.read_text(encoding="utf-8")
    assert reproduce(Evidence(made.folder)).endswith(f"{pictures} {ends} --configs all,drop:relu1_1 --out again")


def damaged(compact_explained, tmp_path):
    return Path(shutil.copytree(compact_explained.folder, tmp_path / "damaged"))


@pytest.mark.parametrize(
    ("name", "gone", "says"),
    [
        ("validation.json", {"In plain words", "Recompose: take a layer’s paint away", "Checks"}, "is not finished"),
        ("ledger.npz", {"Recompose: take a layer’s paint away"}, "ledger.npz"),
        ("coalitions/relu1_1.png", set(), "coalitions/relu1_1.png"),
        ("checkpoint.safetensors", set(), ""),
        ("history.csv", {"Convergence"}, "history.csv"),
        ("spatial.npz", {"Where it comes from"}, "spatial.npz"),
        ("inputs/content.safetensors", {"Where it comes from"}, "inputs/content"),
        ("coalitions.csv", {"Ablation", "Shapley values and interactions"}, "coalitions.csv"),
    ],
)
def test_of_an_incomplete_folder_the_page_shows_what_there_is(compact_explained, tmp_path, name, gone, says):
    whole = set(titles(compact_explained.folder / "report.html"))
    folder = damaged(compact_explained, tmp_path)
    (folder / name).unlink()
    path = page.build(folder)
    assert whole - set(titles(path)) >= gone
    assert "The pastiche" in titles(path)
    text = path.read_text(encoding="utf-8")
    assert ("Not everything was there" in text) == bool(says)
    assert says in text


def test_of_another_versions_folder_too(compact_explained, tmp_path):
    folder = damaged(compact_explained, tmp_path)
    facts = json.loads((folder / "run.json").read_text())
    write_json(folder / "run.json", facts | {"format": 1})
    path = page.build(folder)
    assert "not a run of this version" in path.read_text(encoding="utf-8")
    assert "The pastiche" in titles(path)
