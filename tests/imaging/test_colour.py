"""Colour kept: each way against what it promises."""

import numpy as np
import pytest

from underpaint.imaging import color


@pytest.fixture
def pair():
    generator = np.random.default_rng(0)
    content = generator.uniform(0.3, 0.7, (40, 50, 3)).astype(np.float32)
    style = (generator.uniform(0, 1, (30, 20, 3)) * [0.5, 0.2, 0.3] + [0.2, 0.1, 0.4]).astype(np.float32)
    return content, style


def test_covariance_takes_mean_and_covariance_of_the_content(pair):
    content, style = pair
    content = 0.5 + (content - 0.5) * 0.5  # nothing reaches the ends, so nothing is clipped
    matched = color.match_covariance(style, content).reshape(-1, 3)
    assert np.allclose(matched.mean(0), content.reshape(-1, 3).mean(0), atol=1e-4)
    assert np.allclose(np.cov(matched.T), np.cov(content.reshape(-1, 3).T), atol=1e-5)


def test_histogram_takes_the_quantiles_of_the_content(pair):
    content, style = pair
    matched = color.match_histogram(style, content)
    for channel in range(3):
        quantiles = [np.quantile(p[..., channel], np.linspace(0.05, 0.95, 19)) for p in (matched, content)]
        assert np.allclose(*quantiles, atol=0.01)


def test_luminance_only_keeps_the_contents_chroma(pair):
    content, _ = pair
    pastiche = np.clip(content + 0.05, 0, 1)
    mixed = color.luminance_only(pastiche, content)
    assert np.allclose(mixed @ color.RGB_TO_YIQ.T[:, 0], pastiche @ color.RGB_TO_YIQ.T[:, 0], atol=1e-5)
    assert np.allclose(mixed @ color.RGB_TO_YIQ.T[:, 1:], content @ color.RGB_TO_YIQ.T[:, 1:], atol=1e-5)


def test_luminance_of_the_style_takes_mean_and_spread_of_the_content(pair):
    content, style = pair
    matched = color.match_luminance(style, content)
    assert np.ptp(matched, axis=2).max() == 0
    wanted = color.luminance(content)
    assert matched.mean() == pytest.approx(wanted.mean(), abs=1e-3)
    assert matched.std() == pytest.approx(wanted.std(), rel=0.02)


def test_grey_pictures_are_no_trouble():
    grey = np.full((20, 20, 3), 0.5, np.float32)
    for match in (color.match_covariance, color.match_histogram, color.match_luminance):
        assert np.isfinite(match(grey, grey)).all()
        assert np.abs(match(grey, grey) - 0.5).max() < 1e-3
