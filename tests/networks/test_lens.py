"""What a network is shown: enlarged, moved, and the pixels before it. Adjoints are checked by inner products."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import underpaint
from tests.conftest import random_tensors
from underpaint.losses.terms import SmoothnessTerm
from underpaint.networks import lens, pixels, vgg
from underpaint.networks.anatomy import PIXELS


def tiny(deepest="relu3_1"):
    return vgg.Vgg("vgg19", random_tensors(), deepest)


def slope(value, image, direction, step=1e-3):
    """Of a function along a direction, by differences."""
    return (value(image + step * direction) - value(image - step * direction)) / (2 * step)


def inner(tape, seed_of, layer):
    """The gradient by the pixels of ⟨cotangent, features⟩."""
    return tape.pullback({layer: lambda g: g.add_(seed_of)})


def test_offsets_stay_within_reach_and_differ():
    assert lens.offset(5, 0) == (0, 0)
    assert lens.offsets(0) == ()
    found = {lens.offset(draw, 4) for draw in range(100)}
    assert len(found) == lens.OFFSETS
    assert all(max(map(abs, by)) <= 4 for by in found)
    assert set(lens.offsets(4)) == found - {(0, 0)}
    down, right = zip(*found, strict=True)
    assert min(down) < -1 < 1 < max(down)
    assert min(right) < -1 < 1 < max(right)


@pytest.mark.parametrize("by", [(2, -3), (0, 1), (-4, 0)])
def test_a_picture_is_moved_and_mirrored(by):
    image = torch.rand(1, 3, 9, 11)
    moved = lens.moved(image, by)
    down, right = by
    literal = np.pad(image[0].numpy(), ((0, 0), (4, 4), (4, 4)), mode="reflect")[
        :, 4 - down : 13 - down, 4 - right : 15 - right
    ]
    assert np.array_equal(moved[0].numpy(), literal)


SHOWN = {
    "enlarged": lambda network, x: lens.Enlarging(network, 1.5).tape(x, ["relu2_1"]),
    "moved": lambda network, x: lens.tape_moved(network, x, ["relu2_1"], (2, -1)),
}


@pytest.mark.parametrize("how", SHOWN)
def test_what_is_shown_has_the_way_back_that_it_should(how):
    torch.manual_seed(0)
    network, image = tiny(), torch.rand(1, 3, 24, 20)
    tape = SHOWN[how](network, image)
    cotangent, direction = torch.randn_like(tape.features["relu2_1"]), torch.randn_like(image)

    def value(x):
        return float((SHOWN[how](network, x).features["relu2_1"].double() * cotangent).sum())

    gradient = inner(tape, cotangent, "relu2_1")
    assert float((gradient * direction).sum()) == pytest.approx(slope(value, image, direction, 1e-4), rel=3e-2)


def test_an_enlarging_network_is_the_network_at_the_larger_picture():
    network, image = tiny(), torch.rand(1, 3, 24, 20)
    features = lens.Enlarging(network, 1.5).features(image, ["relu2_1"])["relu2_1"]
    assert features.shape[2:] == (18, 15)
    assert torch.equal(features, network.features(lens.enlarged(image, 1.5), ["relu2_1"])["relu2_1"])


def test_pixels_are_their_neighbourhoods():
    torch.manual_seed(0)
    network = tiny()
    whole = pixels.Pixels(network, replace(network.anatomy, layers=(PIXELS, *network.anatomy.layers)))
    image = torch.rand(1, 3, 6, 7)
    found = whole.features(image, ["pixels", "relu1_1"])
    literal = np.pad(image[0].numpy(), ((0, 0), (1, 1), (1, 1)), mode="edge")
    for y, x in ((0, 0), (3, 4), (5, 6)):
        around = literal[:, y : y + 3, x : x + 3].transpose(1, 2, 0).reshape(-1)
        assert np.array_equal(found["pixels"][0, :, y, x].numpy(), around)
    tape = whole.tape(image, ["pixels", "relu1_1"])
    cotangent, direction = torch.randn_like(tape.features["pixels"]), torch.randn_like(image)
    gradient = inner(tape, cotangent, "pixels")
    other = pixels.neighbourhoods(direction)
    assert float((gradient * direction).sum()) == pytest.approx(float((other * cotangent).sum()), rel=1e-4)
    both = tape.pullback({"pixels": lambda g: g.add_(cotangent), "relu1_1": lambda g: g.fill_(1.0)})
    alone = tape.pullback({"relu1_1": lambda g: g.fill_(1.0)})
    assert torch.allclose(both, gradient + alone, atol=1e-5)
    assert whole.tape(image, ["pixels"]).features.keys() == {"pixels"}
    assert torch.equal(whole.shuffled(["pixels", "relu1_1"]).features(image, ["pixels"])["pixels"], found["pixels"])


def test_an_objective_that_shifts_sees_another_picture_at_every_draw(tiny_weights, pair):
    session = underpaint.start(
        *pair, network="vgg19", weights=tiny_weights, size=48, smallest=48, shift=3, optimizer="adam", statistic="gram"
    )
    stage = session.scene.stage(0)
    objective, image = stage.objective, stage.start
    assert objective.shift == 3
    # At the content picture its own features lie where they are seen, whichever way it was moved.
    for draw in range(4):
        found = {term.name: term.raw for term in objective.measure(image, draw)}
        assert found["content/relu4_2"] == pytest.approx(0, abs=1e-10)
    torch.manual_seed(0)
    other, direction = (image + 0.1 * torch.rand_like(image)).clamp(0, 1), torch.randn_like(image)
    totals = [objective.evaluate(other, draw).total for draw in (1, 1, 2)]
    assert totals[0] == totals[1] != totals[2]
    gradient = objective.evaluate(other, 1).gradient
    value = lambda x: objective.evaluate(x, 1).total  # noqa: E731
    assert float((gradient * direction).sum()) == pytest.approx(slope(value, other, direction, 2e-4), rel=3e-2)


def test_colour_differences_weigh_as_asked():
    torch.manual_seed(0)
    image = torch.rand(1, 3, 8, 9, dtype=torch.float64)
    plain, coloured = SmoothnessTerm("smoothness", 1.0, 0.2), SmoothnessTerm("smoothness", 1.0, 0.2, chroma=6.0)
    grey = image.mean(1, keepdim=True).expand_as(image).contiguous()
    assert coloured.value_and_gradient(grey)[0] == pytest.approx(plain.value_and_gradient(grey)[0])
    chroma = image - grey
    assert coloured.value_and_gradient(chroma)[0] == pytest.approx(6 * plain.value_and_gradient(chroma)[0])
    direction = torch.randn_like(image)
    value = lambda x: coloured.value_and_gradient(x)[0]  # noqa: E731
    _, gradient = coloured.value_and_gradient(image)
    assert float((gradient * direction).sum()) == pytest.approx(slope(value, image, direction, 1e-5), rel=1e-6)
