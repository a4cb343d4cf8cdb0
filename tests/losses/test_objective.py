"""The objective and the scene: gradients against autograd, masks, blending, strength, transparency."""

import numpy as np
import pytest
import torch

from tests.conftest import random_tensors
from underpaint.errors import UnderpaintError
from underpaint.imaging import images
from underpaint.losses.palette import directions
from underpaint.losses.terms import SmoothnessTerm
from underpaint.networks.vgg import Vgg
from underpaint.recipe import make
from underpaint.runs.scene import Pictures, Scene


def network(dtype=torch.float64):
    return Vgg("vgg19", random_tensors(width=6, dtype=dtype), "relu5_1", precision=dtype)


def picture(seed, size=(64, 48), alpha=None):
    generator = np.random.default_rng(seed)
    rgb = (generator.uniform(0, 1, (*size, 3)) * generator.uniform(0.2, 1, 3)).astype(np.float32)
    return images.Picture(rgb, alpha, f"picture{seed}", "")


def scene(fields=None, styles=(1,), **others):
    recipe = make({"size": 64, "iterations": (1,)} | (fields or {}))
    pictures = Pictures(picture(0), tuple(picture(seed) for seed in styles), **others)
    return Scene(recipe, pictures, network())


def literal_gram_total(image, stage, recipe, content, style, net):
    """The preset gatys as the docstring of `underpaint.losses.objective` writes it, by autograd."""
    layers = list(recipe.style_layers)
    features, of_content, of_style = (net_autograd(net, x, [*layers, "relu4_2"]) for x in (image, content, style))

    def gram(f):
        x = f.flatten(2)[0]
        return x @ x.T / x.shape[1]

    total = torch.zeros((), dtype=torch.float64)
    for layer in layers:
        goal = gram(of_style[layer])
        normaliser = max(float((gram(of_content[layer]) - goal).square().sum()), 0.01 * float(goal.square().sum()))
        total = total + recipe.style_layers[layer] / len(layers) * (gram(features[layer]) - goal).square().sum() / normaliser
    goal = of_content["relu4_2"]
    total = total + recipe.content_weight * (features["relu4_2"] - goal).square().sum() / goal.square().sum()
    for axis in (2, 3):
        total = total + recipe.smoothness * image.diff(dim=axis).square().mean()
    return total


def net_autograd(net, image, layers):
    from tests.networks.test_vgg import literal

    return literal(random_tensors(width=6, dtype=torch.float64), image, layers, net.pooling)


def test_gradient_and_total_equal_autograd():
    fields = {"style_layers": {"relu1_1": 1.0, "relu2_1": 0.5, "relu3_1": 2.0, "relu5_1": 1.0}}
    made = scene(fields | {"preset": "gatys"})
    stage = made.stage(0)
    image = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    tensors = [made._tensor(p.rgb, (64, 48)).double() for p in (made.pictures.content, made.pictures.styles[0])]
    leaf = image.clone().requires_grad_()
    total = literal_gram_total(leaf, stage, made.recipe, *tensors, made.network)
    (expected,) = torch.autograd.grad(total, leaf)
    found = stage.objective.evaluate(image)
    assert found.total == pytest.approx(total.item(), rel=1e-6)
    assert torch.allclose(found.gradient.double(), expected, atol=1e-6 * float(expected.abs().max()), rtol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_gradient_of_every_term_equals_finite_differences(masked):
    """Of the default objective, by term, along a random direction."""
    masks = {"content_mask": half(1), "style_mask": half(1)} if masked else {}
    stage = scene(**masks).stage(0)
    generator = torch.Generator().manual_seed(5)
    image, direction = (torch.rand(1, 3, 64, 48, generator=generator, dtype=torch.float64) for _ in range(2))
    direction = 1e-6 * (direction - 0.5)
    found = stage.objective.evaluate(image, apart=True)
    ends = [{t.name: t.weighted for t in stage.objective.measure(image + sign * direction)} for sign in (1, -1)]
    assert {"color", "palette", "smoothness", "content/relu4_2", "style/relu5_1"} <= found.parts.keys()
    for name, gradient in found.parts.items():
        assert float((gradient * direction).sum()) == pytest.approx((ends[0][name] - ends[1][name]) / 2, rel=2e-3), name
    assert torch.allclose(sum(found.parts.values()), found.gradient)


@pytest.mark.parametrize("statistic", ["wasserstein", "gram", "moments", "sliced"])
def test_norms_are_of_gradients_that_add_up(statistic):
    stage = scene({"statistic": statistic}, styles=(1, 2)).stage(0)
    image = stage.start.double()
    plain, measured = (stage.objective.evaluate(image, 3, apart) for apart in (False, True))
    assert stage.objective.measure(image, 3) == plain.terms
    assert torch.allclose(plain.gradient, measured.gradient, rtol=1e-5, atol=1e-9)
    assert plain.total == measured.total
    assert all(term.gradient_norm is None for term in plain.terms)
    assert sum(term.gradient_norm for term in measured.terms) >= float(plain.gradient.norm()) * (1 - 1e-6)


def test_terms_begin_at_one_and_weights_share():
    made = scene({"style_weights": (3, 1)}, styles=(5, 2))
    recipe, evaluation = made.recipe, made.stage(0).objective.evaluate(picture_tensor())
    style = {t.name: t for t in evaluation.terms if t.name.startswith("style")}
    colors = {t.name: t for t in evaluation.terms if t.name.startswith(("color", "palette"))}
    assert (len(style), set(colors)) == (10, {"color1", "color2", "palette"})
    assert all(term.raw == pytest.approx(1, rel=1e-4) for term in (style | colors).values())
    assert style["style1/relu1_1"].weighted == pytest.approx(3 * style["style2/relu1_1"].weighted, rel=1e-4)
    assert colors["color1"].weighted == pytest.approx(0.75 * recipe.color_weight, rel=1e-4)
    assert colors["color2"].weighted == pytest.approx(0.25 * recipe.color_weight, rel=1e-4)
    assert colors["palette"].weighted == pytest.approx(recipe.palette_weight, rel=1e-4)
    mean = sum(recipe.style_layers.values()) / len(recipe.style_layers)
    assert sum(term.weighted for term in style.values()) == pytest.approx(recipe.style_weight * mean, rel=1e-4)


def picture_tensor(seed=0):
    return torch.from_numpy(picture(seed).rgb.transpose(2, 0, 1).copy())[None].double()


def test_a_style_like_the_content_is_not_blown_up():
    recipe = make({"size": 64, "iterations": (1,)})
    stage = Scene(recipe, Pictures(picture(0), (picture(0),)), network()).stage(0)
    terms = stage.objective.evaluate(picture_tensor()).terms
    styled = ("style", "color")
    assert all(term.raw < 1e-6 for term in terms if term.name.startswith(styled))
    assert next(term.raw for term in terms if term.name == "palette") < 1 + 1e-6  # rounding differs by processor
    moved = stage.objective.evaluate(picture_tensor(1)).terms
    assert max(term.raw for term in moved if term.name.startswith((*styled, "palette"))) < 100


def test_strength_is_one_knob():
    weights = {}
    for strength in (0.0, 0.5, 1.0):
        terms = scene({"strength": strength}).stage(0).objective.terms
        weights[strength] = {t.name: t.weight for t in terms}
    assert weights[0.0]["style/relu1_1"] == 0
    assert weights[1.0]["content/relu4_2"] == 0
    assert weights[0.5]["content/relu4_2"] == make({}).content_weight
    for name in ("style/relu1_1", "color", "palette"):
        assert weights[0.0][name] == 0
        assert weights[1.0][name] == pytest.approx(4 * weights[0.5][name])


def half(value, size=(64, 48)):
    """A mask: left half black, right half of grey `value`."""
    rgb = np.zeros((*size, 3), np.float32)
    rgb[:, size[1] // 2 :] = value
    return images.Picture(rgb, None, "mask", "")


def test_masks_paint_region_by_region():
    """With masks, no term's gradient in the right half depends on the left half of the style picture."""
    gradients = []
    fields = {"style_layers": {"relu1_1": 1.0}}
    for left in (1, 2):
        style = picture(3).rgb.copy()
        style[:, :22] = picture(left).rgb[:, :22]  # relu1_1 sees one pixel further
        pictures = Pictures(picture(0), (images.Picture(style, None, "style", ""),), half(1), half(1))
        made = Scene(make({"size": 64, "iterations": (1,)} | fields), pictures, network())
        objective = made.stage(0).objective
        # One normaliser is shared by the regions: compare directions.
        parts = objective.evaluate(picture_tensor(7), apart=True).parts
        gradients.append({name: g[..., 27:] / g[..., 27:].norm() for name, g in parts.items()})
        left_half = parts["palette"][..., :20], parts["color"][..., :20]
        gradients[-1]["left"] = torch.cat([g / g.norm() for g in left_half])
    ours, others = gradients
    assert not torch.allclose(ours.pop("left"), others.pop("left"), atol=1e-3)
    assert {"style/relu1_1", "color", "palette"} <= ours.keys()
    for name in ours:
        assert torch.allclose(ours[name], others[name], atol=1e-6), name
    assert scene(fields).stage(0).objective.terms[0].regions[0].weights is None


def test_a_region_thinner_than_a_pixel_keeps_its_own_colours():
    """A white line in the style's mask, painted red, still tells the right half's colours at a small size."""
    style, line = np.zeros((512, 384, 3), np.float32), np.zeros((512, 384, 3), np.float32)
    style[:, 200:204, 0], line[:, 200:204] = 1, 1
    style[:, 204:, 1] = 1
    pictures = Pictures(picture(0), (images.Picture(style, None, "style", ""),), half(1), images.Picture(line, None, "m", ""))
    made = Scene(make({"size": 512, "smallest": 64, "iterations": (1,), "crop": False}), pictures, network())
    black, red = made.style_pixels(0, 0)
    assert float(red[0].min()) > 0.2
    assert red.shape[1] < 0.1 * black.shape[1]


def test_masks_that_do_not_fit():
    pictures = Pictures(picture(0), (picture(1),), half(1), half(0.5))
    with pytest.raises(UnderpaintError, match="no region of grey 255"):
        Scene(make({"size": 64}), pictures, network())
    with pytest.raises(UnderpaintError, match="one is missing"):
        scene(content_mask=half(1))
    with pytest.raises(UnderpaintError, match="one style picture"):
        scene(styles=(1, 2), content_mask=half(1), style_mask=half(1))


def test_transparent_style_is_not_seen():
    """What lies under full transparency changes nothing (but for the edge's blur)."""
    stages = []
    alpha = np.zeros((64, 48), np.float32)
    alpha[:, 24:] = 1
    for seed in (1, 2):
        rgb = picture(3).rgb.copy()
        rgb[:, :24] = picture(seed).rgb[:, :24]
        pictures = Pictures(picture(0), (images.Picture(rgb, alpha, "style", ""),))
        stages.append(Scene(make({"size": 64, "iterations": (1,)}), pictures, network()).stage(0).objective)
    ours, others = (objective.evaluate(picture_tensor(7), apart=True).parts for objective in stages)
    assert "palette" in ours
    for name in ours:
        assert torch.allclose(ours[name], others[name]), name
    colors = next(term for term in stages[0].terms if term.name == "color").regions[0].values
    bounds = torch.from_numpy(picture(3).rgb[:, 24:]).flatten(0, 1).double() @ directions().double().T
    assert bool((colors.amin(1) >= bounds.amin(0) - 1e-6).all())
    with pytest.raises(UnderpaintError, match="transparent"):
        Scene(make({"size": 64}), Pictures(picture(0), (picture(1, alpha=alpha * 0),)), network())


def test_transparency_of_the_content_is_restored():
    alpha = np.linspace(0, 1, 64 * 48, dtype=np.float32).reshape(64, 48)
    made = Scene(make({"size": 64}), Pictures(picture(0, alpha=alpha), (picture(1),)), network())
    _, restored = made.finish(torch.rand(1, 3, 64, 48))
    assert np.array_equal(restored, alpha)


def test_style_is_never_enlarged_silently():
    made = scene({"size": 128})
    assert any("picture1" in note and "not enlarged" in note for note in made.notes)
    assert any("picture0" in note and "is enlarged" in note for note in made.notes)
    assert scene().notes == []


def test_smoothness_of_a_checkerboard():
    """Every neighbour differs by 1, so both axes' means are 1."""
    board = (torch.arange(8)[:, None] + torch.arange(6)).remainder(2).double().expand(1, 3, 8, 6)
    for share in (0.0, 0.2):
        value, gradient = SmoothnessTerm("smoothness", 1.0, share).value_and_gradient(board)
        assert value == pytest.approx(2 * (1 - 2 * share))  # diagonal neighbours are alike
        leaf = board.clone().requires_grad_()
        literal = (1 - 2 * share) * sum(leaf.diff(dim=axis).square().mean() for axis in (2, 3))
        for left, right in ((leaf[..., 1:, 1:], leaf[..., :-1, :-1]), (leaf[..., 1:, :-1], leaf[..., :-1, 1:])):
            literal = literal + share * (left - right).square().mean()
        assert torch.allclose(gradient, torch.autograd.grad(literal, leaf)[0])


def test_narrow_pastiche_is_refused():
    wide = images.Picture(np.zeros((40, 600, 3), np.float32), None, "wide", "")
    with pytest.raises(UnderpaintError, match=r"size: 256 px .* 256×17 px"):
        Scene(make({"size": 256}), Pictures(wide, (picture(1),)), network())
