"""Adam against PyTorch's; L-BFGS against the dense BFGS update and functions with known minima; the schedule."""

import math

import pytest
import torch

from tests.conftest import random_tensors
from underpaint.errors import UnderpaintError
from underpaint.losses.objective import Objective
from underpaint.losses.terms import ContentTerm, SmoothnessTerm
from underpaint.networks.vgg import Vgg
from underpaint.optimizers import loop
from underpaint.optimizers.adam import EPSILON, Adam
from underpaint.optimizers.base import resample
from underpaint.optimizers.lbfgs import CURVATURE, LBFGS, SUFFICIENT_DECREASE, InverseHessian, Trial, wolfe
from underpaint.optimizers.loop import NotFinite, Stage, draw
from underpaint.recipe import make


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_adam_is_pytorchs():
    image = normal(1, 3, 4, 5)
    leaf = image.clone().requires_grad_()
    reference = torch.optim.Adam([leaf], lr=0.02, betas=(0.9, 0.99), eps=EPSILON / image.numel())
    adam = Adam.start(image, (0.9, 0.99))
    for step in range(20):
        gradient = normal(1, 3, 4, 5, seed=step)
        leaf.grad = gradient.clone()
        reference.step()
        image = image + adam.step(gradient, 0.02)
        assert torch.allclose(image, leaf, atol=1e-12)


def dense_inverse(pairs, size):
    """BFGS's inverse Hessian as a matrix (Nocedal & Wright, eq. 6.17), begun at eq. 7.20's multiple of the identity."""
    s, y = pairs[-1]
    h = torch.eye(size, dtype=torch.float64) * (s @ y) / (y @ y)
    for s, y in pairs:
        rho = 1 / (s @ y)
        left = torch.eye(size, dtype=torch.float64) - rho * torch.outer(s, y)
        h = left @ h @ left.T + rho * torch.outer(s, s)
    return h


def test_operator_is_the_dense_matrix():
    hessian = InverseHessian()
    root = normal(12, 12)
    curvature = root @ root.T + torch.eye(12)
    pairs = []
    for seed in range(4):
        s = normal(12, seed=seed)
        pairs.append((s, curvature @ s))
        assert hessian.update(*pairs[-1])
    dense = dense_inverse(pairs, 12)
    for seed in range(3):
        vector = normal(12, seed=10 + seed)
        assert torch.allclose(hessian.apply(vector), dense @ vector, atol=1e-10)


def test_operator_is_linear_and_positive():
    hessian = InverseHessian(memory=3)
    for seed in range(6):
        s = normal(8, seed=seed)
        hessian.update(s, s * torch.arange(1, 9))
    assert len(hessian.pairs) == 3
    a, b = normal(8, seed=20), normal(8, seed=21)
    assert torch.allclose(hessian.apply(2 * a - 3 * b), 2 * hessian.apply(a) - 3 * hessian.apply(b))
    assert float(a @ hessian.apply(a)) > 0
    assert float(a @ hessian.apply(b)) == pytest.approx(float(b @ hessian.apply(a)))
    assert not hessian.update(a, -a)
    assert len(hessian.pairs) == 3


def rosenbrock(x):
    leaf = x.clone().requires_grad_()
    value = (100 * (leaf[1:] - leaf[:-1] ** 2) ** 2 + (1 - leaf[:-1]) ** 2).sum()
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.item(), gradient


def test_finds_the_minimum_of_rosenbrocks_function():
    x, minimiser, count = torch.full((6,), -1.0, dtype=torch.float64), LBFGS(), 0

    def evaluate(point):
        nonlocal count
        count += 1
        return rosenbrock(point)

    while float(rosenbrock(x)[1].norm()) > 1e-7 and count < 1000:
        x = minimiser.step(x, *rosenbrock(x), evaluate, 0.1).image
    assert torch.allclose(x, torch.ones(6, dtype=torch.float64), atol=1e-6)
    assert count < 200


@pytest.mark.parametrize("first", [1e-3, 0.1, 1.0, 30.0])
def test_step_length_meets_the_strong_wolfe_conditions(first):
    def probe(t):
        return Trial(t, math.cos(t) - 1 + t**2 / 40, -math.sin(t) + t / 20, torch.zeros(1))

    def shifted(t):
        return probe(t + 0.3)

    start = shifted(0.0)
    start = Trial(0.0, start.value, start.slope, start.gradient)
    found = wolfe(lambda t: Trial(t, shifted(t).value, shifted(t).slope, torch.zeros(1)), start, first)
    assert found.value <= start.value + SUFFICIENT_DECREASE * found.length * start.slope
    assert abs(found.slope) <= CURVATURE * abs(start.slope)


def test_line_search_backs_away_from_what_is_not_finite():
    def probe(t):
        value = (t - 0.01) ** 2 if t < 0.5 else math.nan
        return Trial(t, value, 2 * (t - 0.01), torch.zeros(1))

    found = wolfe(probe, probe(0.0), 1.0)
    assert 0 < found.length < 0.02


def test_a_function_with_rounding_errors_is_not_searched_for_a_lucky_one():
    """Values off by up to 1e-3, gradients right: told so, the search takes one or two trials a step and still comes near."""
    curvature, errors = torch.logspace(0, 2, 50, dtype=torch.float64), 1e-3

    def run(noise):
        trials = 0

        def evaluate(x):
            nonlocal trials
            trials += 1
            true = 1 + 0.5 * float(curvature @ x.square())
            return true * (1 + errors * math.sin(1e7 * float(x.sum()))), curvature * x

        x, minimiser = normal(50), LBFGS()
        for _ in range(60):
            x = minimiser.step(x, *evaluate(x), evaluate, 0.1, noise).image
        return trials - 60, 0.5 * float(curvature @ x.square())

    (told, near), (untold, far) = run(2 * errors), run(0.0)
    assert told < 2 * 60 < untold / 2
    assert near < errors / 10
    assert near < far


def test_nothing_moves_where_there_is_no_descent():
    x = torch.zeros(3, dtype=torch.float64)
    assert LBFGS().step(x, 0.0, torch.zeros(3, dtype=torch.float64), lambda p: (0.0, p), 0.1).length == 0


def test_bounded_minimum_of_a_quadratic():
    """Within bounds: every iterate inside, and at the end the Karush-Kuhn-Tucker conditions hold."""
    root = normal(20, 20)
    curvature, goal = root @ root.T + torch.eye(20), 2 * normal(20, seed=1)

    def evaluate(x):
        return (0.5 * (x - goal) @ curvature @ (x - goal)).item(), curvature @ (x - goal)

    x, minimiser = torch.full((20,), 0.5, dtype=torch.float64), LBFGS(low=0.0, high=1.0)
    for _ in range(300):
        x = minimiser.step(x, *evaluate(x), evaluate, 0.1).image
        assert bool(((x >= 0) & (x <= 1)).all())
    gradient = evaluate(x)[1]
    inside = (x > 0) & (x < 1)
    assert 0 < int(inside.sum()) < 20
    assert float(gradient[inside].abs().max()) < 1e-5
    assert bool((gradient[x == 0] >= 0).all())
    assert bool((gradient[x == 1] <= 0).all())


def stage(sizes, weight=1.0):
    """A stage with an image of noise, whose objective is the smoothness term (content has no weight)."""
    network = Vgg("vgg19", random_tensors(), "relu1_1")

    def make_stage(scale):
        image = torch.rand(1, 3, sizes[scale], sizes[scale], generator=torch.Generator().manual_seed(scale))
        content = ContentTerm("content/relu1_1", "relu1_1", 0.0, network.features(image, ["relu1_1"])["relu1_1"], 1.0)
        return Stage(Objective(network, (content, SmoothnessTerm("smoothness", weight))), image)

    return make_stage


def test_schedule_runs_coarse_to_fine():
    recipe = make({"size": 128, "smallest": 64, "iterations": (2, 3, 5)})
    assert recipe.sizes() == (64, 91, 128)
    steps = list(loop.optimise(recipe, stage((64, 91, 128))))
    assert [(s.scale, s.iteration) for s in steps if not s.final] == [
        *((0, i) for i in range(5)), *((1, i) for i in range(3)), *((2, i) for i in range(2)),
    ]  # fmt: skip
    assert [s.step for s in steps] == list(range(11))
    assert [s.scale_done for s in steps] == [False] * 4 + [True] + [False] * 2 + [True, False, True, False]
    assert steps[-1].final
    assert steps[-1].size == (128, 128)


def test_stopping_rule():
    """A size ends when the total fell by less than `stop` of itself over `patience` steps; without the rule, it does not."""
    fields = {"size": 64, "iterations": (200,), "patience": 5}
    count = {}
    for stop in (0.0, 0.3):
        run = loop.optimise(make(fields | {"stop": stop}), stage((64,)))
        totals = [s.total for s in run if not s.final]
        count[stop] = len(totals)
        if stop:
            falls = [1 - b / a for a, b in zip(totals, totals[5:], strict=False)]
            assert falls[-1] < stop
            assert all(fall >= stop for fall in falls[:-1])
    assert count[0.0] == 200
    assert 5 < count[0.3] < 200


def test_a_loss_that_is_not_finite_stops():
    recipe = make({"size": 64, "iterations": (5,)})
    with pytest.raises(NotFinite, match=r"not finite at step 0 \(smoothness\)") as caught:
        next(loop.optimise(recipe, stage((64,), weight=math.inf)))
    assert isinstance(caught.value, UnderpaintError)


def test_randomness_is_a_function_of_seed_scale_and_step():
    numbers = {draw(seed, scale, step) for seed in range(3) for scale in range(-1, 4) for step in range(-1, 50)}
    assert len(numbers) == 3 * 5 * 51
    assert all(0 <= number < 2**63 for number in numbers)
    assert draw(0, 0, 0) == draw(0, 0, 0)


def test_resampling_is_linear():
    a, b = normal(1, 3, 8, 9), normal(1, 3, 8, 9, seed=1)
    assert torch.allclose(resample(2 * a - b, (11, 13)), 2 * resample(a, (11, 13)) - resample(b, (11, 13)))
