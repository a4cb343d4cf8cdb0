"""Smoothness against a literal version by autograd, and its evenness over directions."""

import math

import pytest
import torch

from underpaint.losses.terms import SmoothnessTerm


def picture(height=9, width=12, seed=0):
    return torch.rand(1, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def literal(image, diagonals):
    """Means of squared differences: along both axes 1 − 2d times, along both diagonals d times."""
    right, down = image[..., :, 1:] - image[..., :, :-1], image[..., 1:, :] - image[..., :-1, :]
    falling, rising = image[..., 1:, 1:] - image[..., :-1, :-1], image[..., 1:, :-1] - image[..., :-1, 1:]
    straight = right.square().mean() + down.square().mean()
    return (1 - 2 * diagonals) * straight + diagonals * (falling.square().mean() + rising.square().mean())


def test_without_diagonals_it_is_the_sum_over_both_axes():
    image = picture()
    leaf = image.clone().requires_grad_()
    expected = sum(leaf.diff(dim=axis).square().mean() for axis in (2, 3))
    value, g = SmoothnessTerm("smoothness", 3.0).value_and_gradient(image)
    assert value == pytest.approx(expected.item(), rel=1e-12)
    assert torch.allclose(g, torch.autograd.grad(expected, leaf)[0], rtol=1e-12)


@pytest.mark.parametrize("diagonals", [0.0, 0.2, 0.5])
def test_value_and_gradient_equal_autograd(diagonals):
    image = picture(seed=1)
    leaf = image.clone().requires_grad_()
    expected = literal(leaf, diagonals)
    value, g = SmoothnessTerm("smoothness", 1.0, diagonals).value_and_gradient(image)
    assert value == pytest.approx(expected.item(), rel=1e-12)
    assert torch.allclose(g, torch.autograd.grad(expected, leaf)[0], rtol=1e-12, atol=1e-15)


def test_diagonals_leave_the_cost_of_a_gentle_slope_as_it_was():
    """Diagonal neighbours are √2 as far: twice the square, for which the axes give up twice the share."""
    down, right = torch.arange(20, dtype=torch.float64)[:, None], torch.arange(30, dtype=torch.float64)
    slope = (0.01 * down + 0.02 * right).expand(1, 3, 20, 30)
    for diagonals in (0.0, 0.2, 0.5):
        value, _ = SmoothnessTerm("smoothness", 1.0, diagonals).value_and_gradient(slope)
        assert value == pytest.approx(0.01**2 + 0.02**2)


def cost_of_a_grating(degrees, cycles, diagonals, side=120):
    """Of waves of this many cycles a pixel, in this direction."""
    down, right = torch.arange(side, dtype=torch.float64)[:, None], torch.arange(side, dtype=torch.float64)
    along = right * math.cos(math.radians(degrees)) + down * math.sin(math.radians(degrees))
    image = (0.5 + 0.5 * torch.sin(2 * math.pi * cycles * along)).expand(1, 3, side, side)
    return SmoothnessTerm("smoothness", 1.0, diagonals).value_and_gradient(image)[0]


@pytest.mark.parametrize("level", [0, 90])
@pytest.mark.parametrize(("cycles", "without"), [(0.3, 0.856), (0.4, 0.751), (0.45, 0.689)])
def test_with_diagonals_fine_detail_costs_alike_along_the_axes_and_slanted(level, cycles, without):
    """Without them, waves along an axis are held back less: (1 − cos 2πf) / (2 − 2 cos √2πf) as much as at 45°."""
    ratios = {d: cost_of_a_grating(level, cycles, d) / cost_of_a_grating(45, cycles, d) for d in (0.0, 0.2)}
    assert ratios[0.0] == pytest.approx(without, abs=0.02)
    assert ratios[0.2] == pytest.approx(1, abs=0.06)


def test_with_diagonals_fine_detail_costs_alike_in_all_directions():
    costs = [cost_of_a_grating(degrees, 0.3, 0.2) for degrees in (0, 15, 30, 45, 60, 75, 90, 135)]
    assert max(costs) < 1.05 * min(costs)
