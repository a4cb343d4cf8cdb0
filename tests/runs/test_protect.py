"""What is protected: the content term's weights by position, the mask on its way through a run, and faces."""

import json
from dataclasses import replace

import numpy as np
import pytest
import skimage
import torch
from PIL import Image
from skimage import data

import underpaint
from tests.helpers import refused
from tests.losses.test_objective import half, picture, picture_tensor, scene
from underpaint.explanation.coalitions.perturb import perturbed
from underpaint.imaging import faces, images
from underpaint.recipe import make
from underpaint.report.reproduce import command
from underpaint.runs.folder import read_inputs
from underpaint.runs.scene import Pictures, soft
from underpaint.runs.start import carry_on, resume, start
from underpaint.runs.wish import prepare

ONLY_CONTENT = {"style_weight": 0, "smoothness": 0}


def grey(value, size=(64, 48)):
    return images.Picture(np.full((*size, 3), value, np.float32), None, "mask", "")


def content_term(objective):
    return next(term for term in objective.terms if term.name == "content/relu4_2")


def test_a_white_mask_is_a_larger_content_weight():
    white = (
        scene({"protect_weight": 7, "content_weight": 0.3}, protect=grey(1)).stage(0).objective.evaluate(picture_tensor(4))
    )
    heavier = scene({"content_weight": 0.3 * 7}).stage(0).objective.evaluate(picture_tensor(4))
    assert white.total == pytest.approx(heavier.total, rel=1e-12)
    assert torch.allclose(white.gradient, heavier.gradient, rtol=1e-9, atol=0)


def test_a_black_mask_changes_no_bit():
    plain = scene().stage(0).objective.evaluate(picture_tensor(4), apart=True)
    black = scene({"protect_weight": 7}, protect=grey(0)).stage(0).objective.evaluate(picture_tensor(4), apart=True)
    assert black.terms == plain.terms
    assert torch.equal(black.gradient, plain.gradient)


def test_value_is_the_literal_sum():
    """Position by position; the normaliser is the content's own and knows no mask."""
    made = scene({"protect_weight": 5}, protect=half(0.6))
    term = content_term(made.stage(0).objective)
    features = made.network.features(picture_tensor(4), ["relu4_2"])["relu4_2"]
    white, expected = soft(half(0.6), features.shape[2:]), 0.0
    for row in range(features.shape[2]):
        for column in range(features.shape[3]):
            d = features[0, :, row, column] - term.features[0, :, row, column]
            expected += (1 + 4 * float(white[row, column])) * float(d.square().sum())
    assert term.value(features) == pytest.approx(expected / float(term.features.square().sum()), rel=1e-6)
    assert float(white[0, 0]) == 0
    assert float(white[0, -1]) == pytest.approx(0.6)


def test_gradient_equals_finite_differences():
    objective = scene({"protect_weight": 9}, protect=half(1)).stage(0).objective.only(["content/relu4_2"])
    image = picture_tensor(4)
    gradient = objective.evaluate(image).gradient
    for seed in range(3):
        way = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        up, down = (objective.evaluate(image + sign * 1e-7 * way).total for sign in (1, -1))
        assert float((gradient * way).sum()) == pytest.approx((up - down) / 2e-7, rel=1e-4)


def test_soft_edges_by_a_slow_loop():
    mask = images.Picture(np.random.default_rng(0).uniform(0, 1, (24, 16, 3)).astype(np.float32), None, "mask", "")
    area = mask.rgb.mean(2).reshape(6, 4, 4, 4).mean((1, 3))
    found = soft(mask, (6, 4)).numpy()
    for r in range(6):
        for c in range(4):
            assert found[r, c] == pytest.approx(area[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2].mean(), rel=1e-5)
    assert torch.equal(soft(grey(1), (9, 7)), torch.ones(9, 7))
    assert torch.equal(soft(grey(0), (9, 7)), torch.zeros(9, 7))
    assert soft(grey(1, (3, 2)), (9, 7)).shape == (9, 7)  # a mask smaller than the layer


def test_the_protected_half_stays_nearer_to_the_content(pair):
    """Against the same run without a mask; the other half may go as it likes."""
    mask = np.zeros((48, 64), np.uint8)
    mask[:, :24] = 255
    content = images.read(pair[0])
    small = images.resize(content.rgb, (72, 96))
    found = {}
    for name, more in {"none": {}, "half": {"protect": mask, "protect_weight": 50}}.items():
        run = underpaint.stylize(*pair, size=96, iterations=(8,), device="cpu", **more)
        found[name] = np.abs(run.pastiche - small)[:, :32].mean()
    assert found["half"] < 0.8 * found["none"]


def test_refusals(pair, tmp_path):
    refused(lambda: prepare(*pair, protect_weight=20), "protect_weight", "--protect")
    refused(lambda: prepare(*pair, recipe=make({"protect_weight": 3})), "protect_weight", "--protect")
    refused(lambda: prepare(*pair, protect="nowhere.png"), "protect", "nowhere.png")
    refused(lambda: prepare(*pair, protect="faces"), "no face found", "content.png", "--protect FILE")
    refused(lambda: prepare(*pair, protect=np.zeros((64, 64)), protect_weight=-1), "protect_weight")
    refused(lambda: underpaint.stylize(*pair, protect="faces", out=tmp_path / "run"), "no face found")
    assert not (tmp_path / "run").exists()


def test_a_recipe_as_a_run_has_it_needs_no_mask(pair):
    """All its fields are set, the default of this one too."""
    assert prepare(*pair, recipe=make(make({}).model_dump())).pictures.protect is None


FAST = {"size": 64, "iterations": (2,), "device": "cpu"}


def test_a_run_keeps_its_mask(pair, tmp_path, monkeypatch):
    """A detected one too: nothing looks for faces again."""
    drawn = faces.cover((faces.Face(30, 20, 16),), 48, 64)
    looked = []

    def mask(content):
        looked.append(content.name)
        return replace(images.of_samples(np.repeat(drawn[..., None], 3, 2), None), name="faces")

    monkeypatch.setattr(faces, "mask", mask)
    made = start(*pair, protect="faces", protect_weight=30, out=tmp_path / "run", **FAST)
    steps = iter(made)
    next(steps)
    steps.close()
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [entry["role"] for entry in facts["inputs"]] == ["content", "style1", "protect"]
    kept = read_inputs(tmp_path / "run", facts).protect
    assert np.array_equal(kept.rgb[..., 0], drawn)
    resumed = resume(tmp_path / "run").finish()
    whole = underpaint.stylize(*pair, protect=np.repeat(drawn[..., None], 3, 2), protect_weight=30, **FAST)
    assert np.array_equal(resumed.pastiche, whole.pastiche)
    larger = carry_on(tmp_path / "run", 80, out=tmp_path / "larger")
    assert np.array_equal(larger.scene.pictures.protect.rgb, kept.rgb)
    assert larger.recipe.protect_weight == 30
    assert looked == ["content.png"]


def test_the_command_that_makes_it_again():
    class Told:
        kind = "stylize"
        recipe = make({"protect_weight": 30})
        facts = {  # noqa: RUF012
            "inputs": [{"role": role, "file": f"inputs/{role}.png"} for role in ("content", "style1", "protect")],
            "environment": {"device": "cpu", "threads": 1},
            "deterministic": False,
            "frames": 0,
        }

    words = command(Told())
    assert "--protect inputs/protect.png" in words
    assert "protect_weight = 30.0" in words


def test_it_moves_with_the_content():
    pictures = Pictures(picture(0), (picture(1),), protect=images.Picture(picture(0).rgb, None, "mask", ""))
    _, moved = perturbed(make({"size": 64}), pictures, 1)
    assert np.array_equal(moved.protect.rgb, moved.content.rgb)
    assert not np.array_equal(moved.protect.rgb, pictures.protect.rgb)


def test_the_cascade_needs_no_download():
    assert data.lbp_frontal_face_cascade_filename().startswith(skimage.__path__[0])


def test_a_face_is_found_where_it_is():
    """A photograph that comes inside scikit-image's wheel (Eileen Collins; NASA, public domain): the face lies around
    (225, 120), by eye."""
    rgb = data.astronaut().astype(np.float32) / 255
    (face,) = faces.find(rgb)
    assert abs(face.x - 225) < 25
    assert abs(face.y - 125) < 30
    assert 80 < face.side < 160
    (mirrored,) = faces.find(np.ascontiguousarray(rgb[:, ::-1]))
    assert abs(512 - mirrored.x - face.x) < 2
    assert mirrored.side == pytest.approx(face.side, rel=0.02)
    twice = np.asarray(Image.fromarray(data.astronaut()).resize((1024, 1024)), np.float32) / 255
    (larger,) = faces.find(twice)
    assert larger.x == pytest.approx(2 * face.x, rel=0.03)
    white = faces.mask(images.read(rgb)).rgb[..., 0]
    assert max(white.shape) == faces.LONGEST
    assert white[int(120 * 0.75), int(225 * 0.75)] == 1
    assert white[:, : int(120 * 0.75)].max() == 0
    assert white[int(300 * 0.75) :].max() == 0


def test_no_face_in_noise_a_cat_or_a_tiny_picture():
    random = np.random.default_rng(0).uniform(0, 1, (96, 128, 3)).astype(np.float32)
    for rgb in (random, data.chelsea().astype(np.float32) / 255, random[:20, :90], np.zeros((64, 64, 3), np.float32)):
        assert faces.find(rgb) == ()


def test_an_ellipse_covers_its_face():
    """Its area is that of the ellipse at half height, whose rim falls alike on both sides."""
    white = faces.cover((faces.Face(100, 120, 80),), 240, 200)
    rows, columns = np.mgrid[:240, :200] + 0.5
    literal = ((rows - (120 - faces.RISE * 80)) / (faces.HEIGHT * 80)) ** 2 + ((columns - 100) / (faces.WIDTH * 80)) ** 2 <= 1
    assert np.array_equal(white > 0.5, literal)
    assert white[120, 100] == 1
    assert white[0, 0] == 0
    assert len(np.unique(white)) > 10
    both = faces.cover((faces.Face(100, 120, 80), faces.Face(30, 40, 30)), 240, 200)
    assert np.all(both >= white)
    assert both[40, 30] == 1
