"""The Wasserstein statistic against a slow literal version, closed forms and finite differences."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from underpaint.losses.statistics import WIDENED, Gaussian, Wasserstein


def features(n, c, seed):
    """Correlated features (n, c), float64, with a mean."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(c, c, dtype=torch.float64, generator=generator)
    offset = torch.randn(c, dtype=torch.float64, generator=generator)
    return torch.randn(n, c, dtype=torch.float64, generator=generator) @ mixing + offset


def weights(n, seed):
    w = torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return w / w.sum()


def gaussian(mean, covariance, rank):
    """A target with this mean and covariance (float64), as `Wasserstein.goal` would find it in features."""
    values, vectors = torch.linalg.eigh(covariance)
    return Gaussian(mean, vectors[:, -rank:], values[-rank:], float(values[:-rank].sum()))


def moments(x, w=None):
    """Mean and covariance, by NumPy."""
    w = None if w is None else w.numpy()
    return np.average(x.numpy(), axis=0, weights=w), np.atleast_2d(np.cov(x.numpy().T, aweights=w, ddof=0))


def literal(x, style, w=None, w_style=None):
    """‖μ − μ'‖² + tr(Σ + Σ' − 2 (Σ'^½ Σ Σ'^½)^½), both covariances widened."""
    (mean, ours), (goal, theirs) = moments(x, w), moments(style, w_style)
    widening = WIDENED * np.trace(theirs) / len(theirs) * np.eye(len(theirs))
    ours, theirs = ours + widening, theirs + widening
    root = sqrtm(theirs)
    return np.sum((mean - goal) ** 2) + np.trace(ours + theirs - 2 * sqrtm(root @ ours @ root)).real


def distance(statistic, x, style, w=None, w_style=None):
    target = statistic.target(statistic.goal(style, w_style), 0)
    return float(statistic.distance(statistic.summary(x, w), target)[0])


def gradient(statistic, x, w, parts):
    """Of Σ factor × distance to target, by the features."""
    summary, g = statistic.summary(x, w), torch.zeros_like(x)
    found = [(factor, statistic.distance(summary, target)[1]) for factor, target in parts]
    statistic.seed(g, x, w, statistic.combine(found))
    return g


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 7])
def test_equals_the_literal_distance_at_full_rank(channels, masked):
    x, style = features(40, channels, 1), features(53, channels, 2)
    w, w_style = (weights(40, 3), weights(53, 4)) if masked else (None, None)
    expected = literal(x, style, w, w_style)
    assert distance(Wasserstein(), x, style, w, w_style) == pytest.approx(expected, rel=1e-9)


def test_of_diagonal_covariances_it_is_that_of_each_channel():
    """Σ (μ − μ')² + (σ − σ')², of the widened σ."""
    ours, theirs = (torch.tensor(v, dtype=torch.float64) for v in ([1.0, 0.2, 3.0, 0.0], [0.5, 2.0, 1.0, 0.1]))
    mean, goal = (torch.tensor(v, dtype=torch.float64) for v in ([1.0, 2.0, 0.0, -1.0], [0.0, 2.5, 1.0, 1.0]))
    target = gaussian(goal, theirs.diag(), 4)
    value, _ = Wasserstein().distance((mean, ours.diag()), target)
    widening = 0.01 * 3.6 / 4
    expected = (mean - goal).square().sum() + ((ours + widening).sqrt() - (theirs + widening).sqrt()).square().sum()
    assert float(value) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("rank", [1, 3, 64])
@pytest.mark.parametrize("positions", [4, 30])
def test_nothing_is_between_equals(positions, rank):
    """No distance, and no gradient: a pastiche that has the style's features stays."""
    x, statistic = features(positions, 6, 1), Wasserstein(rank=rank)
    size = float(statistic.size(statistic.goal(x, None)))
    assert distance(statistic, x, x.flip(0)) == pytest.approx(0, abs=1e-12 * size)
    g = gradient(statistic, x, None, [(1.0, statistic.goal(x.flip(0), None))])
    assert float(g.norm()) < 1e-7 * float(x.norm())


def test_size_is_mean_and_variance_whatever_the_rank():
    x = features(30, 6, 1)
    expected = float(x.square().sum(1).mean())
    for rank in (2, 6, 64):
        assert float(Wasserstein(rank=rank).size(Wasserstein(rank=rank).goal(x, None))) == pytest.approx(expected)


def test_a_rotation_of_the_channels_changes_nothing():
    x, style = features(40, 6, 1), features(50, 6, 2)
    rotation, _ = torch.linalg.qr(features(6, 6, 3))
    plain, turned = distance(Wasserstein(), x, style), distance(Wasserstein(), x @ rotation, style @ rotation)
    assert turned == pytest.approx(plain, rel=1e-9)


@pytest.mark.parametrize(("channels", "rank"), [(5, 2), (12, 4), (3, 3)])
def test_beside_the_widest_directions_it_is_that_of_isotropic_gaussians(channels, rank):
    """Σ = a·I and Σ' = b·I: every direction is as far, (√a − √b)², whether it lies in the basis or beside it."""
    a, b = 2.0, 0.3
    mean = torch.zeros(channels, dtype=torch.float64)
    identity = torch.eye(channels, dtype=torch.float64)
    target = gaussian(mean + 1, b * identity, rank)
    value, (by_mean, by_covariance) = Wasserstein(rank=rank).distance((mean, a * identity), target)
    a, b = a + WIDENED * b, b + WIDENED * b
    assert float(value) == pytest.approx(channels * (1 + (a**0.5 - b**0.5) ** 2), rel=1e-12)
    assert torch.allclose(by_covariance, (1 - (b / a) ** 0.5) * identity)
    assert torch.allclose(by_mean, torch.full_like(mean, -2.0))


def test_beside_the_widest_directions_only_the_total_variance_counts():
    """The style is wide in two directions of five; elsewhere variances 0.1, 0.2, 0.3 are as good as 0.3, 0.3, 0."""
    mean = torch.zeros(5, dtype=torch.float64)
    target = gaussian(mean, torch.tensor([0.2, 0.2, 0.2, 3.0, 5.0], dtype=torch.float64).diag(), 2)
    assert target.rest == pytest.approx(0.6)
    found = []
    for beside in ([0.1, 0.2, 0.3], [0.3, 0.3, 0.0], [0.3, 0.4, 0.5]):
        covariance = torch.tensor([*beside, 3.0, 5.0], dtype=torch.float64).diag()
        found.append(float(Wasserstein(rank=2).distance((mean, covariance), target)[0]))
    widened = 3 * 0.01 * 4
    assert found[:2] == pytest.approx([0, 0], abs=1e-12)
    assert found[2] == pytest.approx(((1.2 + widened) ** 0.5 - (0.6 + widened) ** 0.5) ** 2)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("positions", "channels", "rank"),
    [(30, 5, 64), (30, 9, 4), (6, 9, 64), (6, 9, 4), (30, 9, 8)],
    ids=["full rank", "rank < channels", "positions < channels", "both", "one beside"],
)
def test_gradient_equals_finite_differences(positions, channels, rank, masked):
    """Along random directions, to two styles at once, of which one is told by few positions."""
    statistic, x = Wasserstein(rank=rank), features(positions, channels, 1)
    w = weights(positions, 2) if masked else None
    parts = [(0.7, statistic.goal(features(41, channels, 3), None)), (1.9, statistic.goal(features(5, channels, 4), None))]

    def value(x):
        summary = statistic.summary(x, w)
        return sum(factor * float(statistic.distance(summary, target)[0]) for factor, target in parts)

    g = gradient(statistic, x, w, parts)
    for seed in range(5, 9):
        step = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        slope = (value(x + 1e-5 * step) - value(x - 1e-5 * step)) / 2e-5
        assert slope == pytest.approx(float((g * step).sum()), rel=1e-5)


def test_seed_adds_to_what_is_there():
    statistic, x = Wasserstein(), features(20, 4, 1)
    target = statistic.goal(features(20, 4, 2), None)
    _, by_summary = statistic.distance(statistic.summary(x, None), target)
    g = torch.ones_like(x)
    statistic.seed(g, x, None, by_summary)
    assert torch.allclose(g, 1 + gradient(statistic, x, None, [(1.0, target)]))


def test_gradient_is_bounded_where_there_is_no_variance_yet():
    """A pastiche of one colour: the root's slope would be infinite without the widening."""
    statistic, style = Wasserstein(), features(40, 5, 1)
    target = statistic.goal(style, None)
    _, (_, by_covariance) = statistic.distance(statistic.summary(torch.zeros(30, 5).double(), None), target)
    widest = float(target.spread.max())
    assert float(by_covariance.abs().max()) <= (1 + widest / target.widening) ** 0.5


@pytest.mark.parametrize("rank", [1, 3, 64])
def test_a_style_of_one_colour_has_no_negative_variance(rank):
    """Rounding errors of float32 would have: the distance is that of the means, and finite all the way."""
    statistic, style = Wasserstein(rank=rank), (torch.arange(6) + 0.7).expand(50, 6).contiguous()
    target = statistic.goal(style, None)
    assert float(target.spread.min()) >= 0
    assert target.rest >= 0
    x = style + 2
    value, _ = statistic.distance(statistic.summary(x, None), target)
    assert float(value) == pytest.approx(24, rel=1e-3)
    assert gradient(statistic, x, None, [(1.0, target)]).isfinite().all()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("rank", [4, 64])
def test_other_precisions_are_near(rank, masked, dtype, tolerance):
    """More than the 4,096 positions that bfloat16 sums at once."""
    statistic, x, style = Wasserstein(rank=rank), features(5000, 8, 1), features(4500, 8, 2)
    w = weights(5000, 3) if masked else None
    found = []
    for kind in (torch.float64, dtype):
        target = statistic.goal(style.to(kind), None)
        own = None if w is None else w.to(torch.promote_types(kind, torch.float32))
        summary = statistic.summary(x.to(kind), own)
        assert all(part.dtype == torch.promote_types(kind, torch.float32) for part in summary)
        value, _ = statistic.distance(summary, target)
        g = gradient(statistic, x.to(kind), own, [(1.0, target)])
        assert g.dtype == kind
        found.append((float(value), g.double()))
    (expected, slope), (value, g) = found
    assert value == pytest.approx(expected, rel=tolerance)
    assert float((g - slope).norm()) < tolerance * float(slope.norm())
