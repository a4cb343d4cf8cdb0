"""Presets: `gatys` is the default of old, and the others differ by their steps alone."""

import numpy as np
import pytest
import torch

from tests.conftest import random_tensors
from tests.networks.test_vgg import literal
from underpaint.imaging import images
from underpaint.networks.vgg import Vgg
from underpaint.recipe import PRESETS, Recipe, make
from underpaint.runs.scene import Pictures, Scene

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

BEFORE = {
    "network": "compact",
    "polish": 0,
    "pooling": "max",
    "size": 512,
    "smallest": 64,
    "rate": 0.02,
    "final_rate": 0.02,
    "betas": (0.9, 0.99),
    "average_from": 0.0,
    "average_decay": 0.98,
    "carry_moments": False,
    "stop": 0.0,
    "patience": 20,
    "content_layers": {"relu4_2": 1.0},
    "style_layers": dict.fromkeys(LAYERS, 1.0),
    "content_weight": 0.12,
    "style_weight": 1.0,
    "smoothness": 2.0,
    "smoothness_growth": 2.0,
    "strength": 0.5,
    "statistic": "gram",
    "style_weights": (),
    "style_scale": 1.0,
    "keep_color": "no",
    "start": "content",
    "start_noise": 0.0,
    "seed": 0,
}
"""What a recipe was by default before the Wasserstein statistic, whatever the optimiser."""

SINCE = {"color_weight": 0.0, "palette_weight": 0.0, "diagonals": 0.0, "crop": False}
SINCE |= {"chroma_smoothness": 1.0, "enlarge": 1.0, "shift": 0}
"""Fields that came with it, just before, or later, and what leaves things as they were."""

ASIDE = {"precision", "protect_weight"}
"""How the network computes, and a weight that counts only with a mask: not the preset's."""

STEPS = {"lbfgs": (17, 18, 24, 32, 44), "adam": (24, 32, 36, 40)}


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_gatys_is_the_default_of_old_field_by_field(optimizer):
    found = Recipe(preset="gatys", optimizer=optimizer).model_dump(exclude=ASIDE)
    assert found == BEFORE | SINCE | {"preset": "gatys", "optimizer": optimizer, "iterations": STEPS[optimizer]}
    assert Recipe(preset="gatys").optimizer == "lbfgs"


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("statistic", "moments"),
        ("style_layers", {"relu2_1": 3.0}),
        ("color_weight", 0.3),
        ("palette_weight", 0.2),
        ("smoothness", 4.0),
        ("diagonals", 0.1),
        ("crop", True),
        ("iterations", (5,)),
    ],
)
def test_a_field_that_is_given_wins(optimizer, field, value):
    plain, found = (make({"preset": "gatys", "optimizer": optimizer} | more) for more in ({}, {field: value}))
    changed = {name for name in Recipe.model_fields if getattr(plain, name) != getattr(found, name)}
    assert changed == {field}
    assert getattr(found, field) == value
    assert found.model_fields_set == {"preset", "optimizer", field}


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_draft_and_fine_are_standard_with_other_steps(optimizer):
    plain = make({"optimizer": optimizer}).model_dump()
    assert make({"optimizer": optimizer, "preset": "standard"}).model_dump() == plain
    for preset in ("draft", "fine"):
        found = make({"optimizer": optimizer, "preset": preset}).model_dump()
        changed = {name for name in found if found[name] != plain[name]}
        assert {"preset", "iterations"} <= changed <= {"preset", "iterations", "stop"}


def test_every_optimizer_has_every_preset_of_fields_that_there_are():
    names = {name for presets in PRESETS.values() for name in presets}
    assert names == {"draft", "standard", "fine", "gatys"}
    for presets in PRESETS.values():
        assert presets.keys() == names
        assert all(fields.keys() <= Recipe.model_fields.keys() for fields in presets.values())


def test_recipes_do_not_share_a_preset_s_layers():
    make({"preset": "gatys"}).style_layers["relu1_1"] = 7.0
    assert make({"preset": "gatys"}).style_layers["relu1_1"] == 1.0


TENSORS = random_tensors(width=6, dtype=torch.float64)


def picture(seed, size=(64, 48)):
    random = np.random.default_rng(seed)
    rgb = (random.uniform(0, 1, (*size, 3)) * random.uniform(0.2, 1, 3)).astype(np.float32)
    return images.Picture(rgb, None, f"picture{seed}", "")


def scene(**fields):
    recipe = make({"preset": "gatys", "size": 64, "smallest": 32, "iterations": (1,)} | fields)
    network = Vgg("vgg19", TENSORS, "relu5_1", precision=torch.float64)
    return Scene(recipe, Pictures(picture(0), (picture(1), picture(2))), network)


def gram(features):
    x = features[0].flatten(1)
    return x @ x.T / x.shape[1]


def old_total(image, content, styles, strength, shares, smaller):
    """The formula as it was: Gram terms, content, squared differences along both axes."""
    found, of_content = (literal(TENSORS, x, [*LAYERS, "relu4_2"], "max") for x in (image, content))
    goal = of_content["relu4_2"]
    total = 0.12 * (2 - 2 * strength) ** 2 * (found["relu4_2"] - goal).square().sum() / goal.square().sum()
    for style, share in zip(styles, shares, strict=True):
        of_style = literal(TENSORS, style, LAYERS, "max")
        for layer in LAYERS:
            goal = gram(of_style[layer])
            normaliser = max((gram(of_content[layer]) - goal).square().sum(), 0.01 * goal.square().sum())
            difference = (gram(found[layer]) - goal).square().sum()
            total = total + (2 * strength) ** 2 * share / 5 * difference / normaliser
    for axis in (2, 3):
        total = total + 2.0 * smaller**2 * image.diff(dim=axis).square().mean()
    return total


@pytest.mark.parametrize("scale", [0, 2])
def test_the_objective_of_gatys_is_the_old_formula(scale):
    made = scene(strength=0.7, style_weights=(3, 1))
    stage = made.stage(scale)
    names = [f"style{place}/{layer}" for place in (1, 2) for layer in LAYERS]
    assert [term.name for term in stage.objective.terms] == [*names, "content/relu4_2", "smoothness"]
    image = torch.rand(stage.start.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    content, *styles = (t.double() for t in (made.content(scale), made.style(0, scale), made.style(1, scale)))
    leaf = image.clone().requires_grad_()
    total = old_total(leaf, content, styles, 0.7, (0.75, 0.25), made.recipe.sizes()[scale] / 64)
    (expected,) = torch.autograd.grad(total, leaf)
    found = stage.objective.evaluate(image)
    assert found.total == pytest.approx(total.item(), rel=1e-6)
    assert torch.allclose(found.gradient, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


def test_a_frame_is_kept_as_it_was():
    """`crop` is false: a style's white border is part of it."""
    framed = picture(1)
    framed.rgb[:6], framed.rgb[-6:], framed.rgb[:, :6], framed.rgb[:, -6:] = 1, 1, 1, 1
    network = Vgg("vgg19", TENSORS, "relu5_1", precision=torch.float64)
    heights = {}
    for preset in ("gatys", "standard"):
        made = Scene(make({"preset": preset, "size": 64}), Pictures(picture(0), (framed,)), network)
        heights[preset] = made.style(0, 0).shape[2]
    assert heights["standard"] < heights["gatys"] == 64
