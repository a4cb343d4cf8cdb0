"""Every statistic's gradient against autograd in float64, and its values against closed forms."""

import pytest
import torch

from underpaint.extensions import STATISTICS
from underpaint.losses.statistics import Sliced, Wasserstein, statistic


def features(n, c, seed):
    return torch.rand(n, c, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", list(STATISTICS))
@pytest.mark.parametrize("masked", [False, True])
def test_gradient_equals_finite_differences(name, masked):
    kind = statistic(name)
    x, style = features(30, 5, 0), features(41, 5, 1) * 2
    w = None
    if masked:
        w = torch.rand(30, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        w = w / w.sum()
    target = kind.target(kind.goal(style, None), 7)

    def value(x):
        return float(kind.distance(kind.summary(x, w, 7), target)[0])

    g = torch.zeros_like(x)
    _, by_summary = kind.distance(kind.summary(x, w, 7), target)
    kind.seed(g, x, w, kind.combine([(1.0, by_summary)]))
    for place in [(0, 0), (13, 2), (29, 4)]:
        step = torch.zeros_like(x)
        step[place] = 1e-6
        slope = (value(x + step) - value(x - step)) / 2e-6
        assert slope == pytest.approx(float(g[place]), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("name", list(STATISTICS))
def test_zero_for_equal_features_in_any_order(name):
    kind = statistic(name)
    x = features(30, 5, 0)
    target = kind.target(kind.goal(x.flip(0), None), 3)
    # Squares of differences are as good as 0; a sum of traces is so up to the rounding of its summands.
    rounding = 1e-14 * float(kind.size(target)) if name == "wasserstein" else 1e-20
    assert float(kind.distance(kind.summary(x, None, 3), target)[0]) == pytest.approx(0, abs=rounding)


def test_wasserstein_of_gaussians_is_the_closed_form():
    """‖μ − μ'‖² + tr(Σ + Σ' − 2 (Σ Σ')^½), the root's trace by the eigenvalues of the product, both widened alike."""
    x, style = features(30, 5, 0), features(41, 5, 1) * 2
    kind = Wasserstein()
    goal = kind.goal(style, None)
    (mean, a), (other, b) = ((v.mean(0), v.T.cov(correction=0) + goal.widening * torch.eye(5)) for v in (x, style))
    root = torch.linalg.eigvals(a @ b).real.sqrt().sum()
    expected = float((mean - other).square().sum() + a.trace() + b.trace() - 2 * root)
    assert float(kind.distance(kind.summary(x, None), goal)[0]) == pytest.approx(expected, rel=1e-9)


def test_sliced_of_shifted_line_is_the_squared_shift():
    x = features(50, 1, 0)
    sliced = Sliced()
    target = sliced.target(sliced.goal(x + 0.3, None), 0)
    assert float(sliced.distance(sliced.summary(x, None, 0), target)[0]) == pytest.approx(0.09)


@pytest.mark.parametrize("name", list(STATISTICS))
def test_uniform_weights_are_no_weights(name):
    kind = statistic(name)
    x, w = features(30, 5, 0), torch.full((30,), 1 / 30, dtype=torch.float64)
    target = kind.target(kind.goal(features(41, 5, 1), None), 3)
    values = [float(kind.distance(kind.summary(x, weights, 3), target)[0]) for weights in (None, w)]
    assert values[0] == pytest.approx(values[1])
