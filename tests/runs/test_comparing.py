"""Comparing runs and picture files: each against its own pictures, by layers that none of them optimised."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import underpaint
from tests.helpers import refused
from underpaint.imaging import images
from underpaint.networks import registry, weights
from underpaint.quality import MEASURES, measure
from underpaint.recipe import Recipe
from underpaint.runs.comparing import Comparison, compare
from underpaint.storage.documents import write_json

QUICK = {"network": "vgg19", "size": 96, "iterations": (2,), "smallest": 64}


def paint(pair, tiny_weights, out, **fields):
    options = underpaint.Options(weights=tiny_weights, device="cpu")
    return underpaint.stylize(*pair, out=out, options=options, **(QUICK | fields))


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch):
    """No LPIPS on this machine, whatever it has."""
    monkeypatch.delenv(weights.VARIABLE, raising=False)
    monkeypatch.setattr(weights, "cache_folder", lambda: tmp_path / "cache")


@pytest.fixture
def run(pair, tiny_weights, tmp_path):
    paint(pair, tiny_weights, tmp_path / "run")
    return tmp_path / "run"


def tensor(rgb):
    return torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None]


def test_a_run_and_its_picture_measure_alike(run, pair, tmp_path):
    shutil.copy(run / "pastiche.png", tmp_path / "copy.png")
    found = compare([run, tmp_path / "copy.png"], content=pair[0], style=pair[1], device="cpu")
    of_run, of_picture = found.rows
    assert of_run.values == of_picture.values
    assert (of_run.name, of_picture.name) == (str(run), str(tmp_path / "copy.png"))
    assert (of_run.picture, of_run.width, of_run.height) == (run / "pastiche.png", 96, 72)
    assert (of_run.content, of_run.style) == (of_picture.content, of_picture.style) == ("content.png", "style.png")
    assert found.network == "compact"
    assert not found.notes
    assert not of_run.notes
    assert set(of_run.values) | set(of_run.missing) == set(MEASURES)
    assert set(of_run.missing) == {"lpips", "ms_ssim"}


def test_values_are_those_of_the_pictures_by_hand(run, pair):
    recipe = Recipe()
    network = registry.open_network("compact", registry.anatomy("compact").names).network
    pastiche, content, style = (images.read(path).rgb for path in (run / "pastiche.png", *pair))
    content, style = images.resize(content, (72, 96)), images.resize(style, (72, 96))
    optimised = [*recipe.style_layers, *recipe.content_layers]
    expected = measure(tensor(pastiche), tensor(content), tensor(style), network=network, optimised=optimised)
    row = compare([run], device="cpu").rows[0]
    assert row.values == expected.values
    assert row.missing == expected.missing


def test_a_small_style_is_not_enlarged(pair, tmp_path):
    Image.open(pair[1]).resize((64, 48)).save(tmp_path / "small.png")
    style = tensor(images.read(tmp_path / "small.png").rgb)
    network = registry.open_network("compact", registry.anatomy("compact").names).network
    recipe, content = Recipe(), tensor(images.read(pair[0]).rgb)
    optimised = [*recipe.style_layers, *recipe.content_layers]
    row = compare([pair[1]], content=pair[0], style=tmp_path / "small.png", device="cpu").rows[0]
    expected = measure(tensor(images.read(pair[1]).rgb), content, style, network=network, optimised=optimised)
    assert row.values == expected.values


def test_no_recipes_layers_judge(run, pair, tiny_weights, tmp_path):
    """The same run is judged by other layers beside one that optimised them."""
    paint(pair, tiny_weights, tmp_path / "other", style_layers={"relu1_2": 1.0, "relu3_3": 1.0})
    options = {"network": "vgg19", "weights": tiny_weights, "device": "cpu"}
    alone, beside = compare([run], **options), compare([run, tmp_path / "other"], **options)
    assert alone.layers == ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_2")
    assert beside.layers == ("relu2_2", "relu3_4", "relu4_3", "relu5_2")
    assert alone.rows[0].values["heldout"] != beside.rows[0].values["heldout"]
    assert alone.rows[0].values["colour"] == beside.rows[0].values["colour"]


def test_every_layer_optimised(pair, tiny_weights, tmp_path):
    paint(pair, tiny_weights, tmp_path / "run", style_layers={"relu3_2": 1.0, "relu3_3": 1.0, "relu3_4": 1.0})
    found = compare([tmp_path / "run"], device="cpu")
    assert not found.layers
    assert "middle" in found.notes[0]
    assert "middle" in found.rows[0].missing["heldout"]
    assert "patches" in found.measures


def test_each_is_measured_against_its_own(run, pair, tiny_weights, tmp_path):
    paint((pair[1], pair[0]), tiny_weights, tmp_path / "turned", size=64)
    found = compare([run, tmp_path / "turned", run], device="cpu")
    assert [row.content for row in found.rows] == ["content.png", "style.png", "content.png"]
    assert found.rows[0].values == found.rows[2].values == compare([run], device="cpu").rows[0].values
    assert any("size" in note for note in found.notes)
    assert any("pair" in note for note in found.notes)


def test_a_content_picture_keeps_everything(pair):
    row = compare([pair[0]], content=pair[0], style=pair[1], device="cpu").rows[0]
    for name in ("ssim", "edges", "patches"):
        assert row.values[name] == pytest.approx(1, abs=1e-6)
    # Under 1: at a layer at which the two pictures are alike, the divisor has a floor.
    assert 0.5 < row.values["heldout"] <= 1 + 1e-6
    for name in ("self_similarity", "cfsd"):
        assert row.values[name] == pytest.approx(0, abs=1e-6)
    turned = compare([pair[1]], content=pair[0], style=pair[1], device="cpu").rows[0].values
    assert turned["colour"] == pytest.approx(0, abs=1e-6)
    assert turned["heldout"] < 1e-6


def test_what_a_row_must_be_read_with(pair, tiny_weights, tmp_path):
    Image.open(pair[1]).resize((48, 36)).save(tmp_path / "small.png")
    Image.open(pair[0]).resize((80, 80)).save(tmp_path / "square.png")
    square = compare([tmp_path / "square.png"], content=pair[0], style=tmp_path / "small.png", device="cpu").rows[0]
    assert any("stretched" in note for note in square.notes)
    assert any("small.png is smaller" in note for note in square.notes)
    paint(pair, tiny_weights, tmp_path / "kept", keep_color="luminance", statistic="sliced")
    found = compare([tmp_path / "kept"], device="cpu")
    assert any("luminance" in note for note in found.rows[0].notes)
    assert any("sliced" in note and "kept" in note for note in found.notes)


def test_several_styles(pair, tiny_weights, tmp_path):
    options = underpaint.Options(weights=tiny_weights, device="cpu")
    underpaint.stylize(pair[0], [pair[1], pair[0]], out=tmp_path / "run", options=options, **QUICK)
    row = compare([tmp_path / "run"], device="cpu").rows[0]
    assert {MEASURES[name].against for name in row.values} == {"content", "itself"}
    assert row.style == "style.png + content.png"
    assert "several styles" in row.notes[0]


def test_transparent_content(pair, tiny_weights, tmp_path):
    """What is seen of it is what the run saw."""
    image = Image.open(pair[0]).convert("RGBA")
    image.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, image.width, dtype=np.uint8), (image.height, 1))))
    image.save(tmp_path / "clear.png")
    paint((tmp_path / "clear.png", pair[1]), tiny_weights, tmp_path / "run")
    row = compare([tmp_path / "run"], device="cpu").rows[0]
    assert all(np.isfinite(value) for value in row.values.values())


def test_csv_and_json(run, pair, tmp_path):
    found = compare([run, pair[0]], content=pair[0], style=pair[1], device="cpu")
    path = tmp_path / "table.csv"
    found.write_csv(path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["pastiche", "content", "style", "width", "height", "network", *found.measures]
    for row, read in zip(found.rows, rows, strict=True):
        assert read["pastiche"] == row.name
        assert {name: float(read[name]) for name in found.measures if read[name]} == row.values
    # The second is 128 px and the first 96: neither is large enough for all measures.
    assert "ms_ssim" not in found.measures
    before = path.read_bytes()
    refused(lambda: found.write_csv(path), "--out", "table.csv", "not overwritten")
    assert path.read_bytes() == before
    refused(lambda: found.write_csv(tmp_path / "nowhere" / "table.csv"), "nowhere")
    read = json.loads(json.dumps(found.as_dict()))
    assert read["rows"][0]["values"] == found.rows[0].values
    assert read["measures"]["ssim"]["better"] == "higher"
    assert read["layers"] == list(found.layers)
    assert Comparison((), "compact", ()).measures == []


def test_progress(run):
    told = []
    compare([run, run], device="cpu", progress=lambda *each: told.append(each))
    assert told == [(0, 2, str(run)), (1, 2, str(run)), (2, 2, "")]


def test_lpips_where_its_weights_are(run, weights_folder):
    found = compare([run], weights=weights_folder, device="cpu")
    assert 0 < found.rows[0].values["lpips"] < 2


def test_what_cannot_be_compared(run, pair, tmp_path):
    content, style = pair
    refused(lambda: compare([]), "no pastiches")
    refused(lambda: compare([content]), "content.png", "--content and --style", "run folder")
    refused(lambda: compare([content], content=content), "--style")
    refused(lambda: compare([run], content=content, style=style), "--content, --style", "leave these out")
    refused(lambda: compare([tmp_path / "gone"]), "gone", "no such file")
    refused(lambda: compare([tmp_path]), "not a run folder")
    refused(lambda: compare([run], network="vgg20"), "vgg20")
    refused(lambda: compare([run], weights=tmp_path / "gone"), "gone")
    (tmp_path / "text.png").write_text("text")
    refused(lambda: compare([run, tmp_path / "text.png"], content=content, style=style), "text.png")


@pytest.mark.parametrize("gone", ["pastiche.png", "run.json", "inputs/style1.png"])
def test_a_run_that_is_not_whole(run, gone):
    (run / gone).unlink()
    refused(lambda: compare([run]), gone)


def test_a_run_from_arrays(pair, tiny_weights, tmp_path):
    arrays = [np.asarray(Image.open(path)) for path in pair]
    paint(arrays, tiny_weights, tmp_path / "run")
    assert compare([tmp_path / "run"], device="cpu").rows[0].content == "array"
    (tmp_path / "run/inputs/content.safetensors").write_bytes(b"nothing")
    refused(lambda: compare([tmp_path / "run"]), "content.safetensors")
    (tmp_path / "run/inputs/content.safetensors").unlink()
    refused(lambda: compare([tmp_path / "run"]), "content.safetensors")


def test_a_run_whose_facts_lack_something(run):
    facts = json.loads((run / "run.json").read_text())
    del facts["inputs"]
    write_json(run / "run.json", facts)
    refused(lambda: compare([run]), "run.json", "inputs")


def test_a_stopped_run_says_so(run):
    facts = json.loads((run / "run.json").read_text())
    write_json(run / "run.json", facts | {"status": "stopped"})
    assert any("stopped" in note for note in compare([run], device="cpu").rows[0].notes)
