"""Keeping the content's colours (Gatys et al. 2017, "Controlling Perceptual Factors in Neural Style Transfer", section 5).

All pictures are (H, W, 3) float32 sRGB, 0..1; luminance is (H, W, 3) with three equal channels.
"""

from __future__ import annotations

import numpy as np

RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], dtype=np.float64)


def luminance(rgb: np.ndarray) -> np.ndarray:
    """The picture's luma (Y of YIQ) as a grey picture."""
    y = rgb @ RGB_TO_YIQ[0]
    return np.repeat(y[..., None], 3, axis=2).astype(np.float32)


def match_luminance(style: np.ndarray, content: np.ndarray) -> np.ndarray:
    """The style's luma, shifted and scaled to the content's mean and standard deviation (section 5.1), grey."""
    own, wanted = luminance(style), luminance(content)
    matched = (own - own.mean()) * (wanted.std() / max(float(own.std()), 1e-6)) + wanted.mean()
    return _clip(matched)


def luminance_only(pastiche: np.ndarray, content: np.ndarray) -> np.ndarray:
    """The pastiche's luma with the content's chroma (section 5.1), clipped to 0..1."""
    yiq = content @ RGB_TO_YIQ.T
    yiq[..., 0] = pastiche @ RGB_TO_YIQ[0]
    return _clip(yiq @ np.linalg.inv(RGB_TO_YIQ).T)


def match_covariance(style: np.ndarray, content: np.ndarray) -> np.ndarray:
    """The style with the content's mean colour and colour covariance (section 5.2, by symmetric square roots), clipped."""
    x, y = style.reshape(-1, 3).astype(np.float64), content.reshape(-1, 3).astype(np.float64)
    transform = _power(np.cov(y.T), 0.5) @ _power(np.cov(x.T), -0.5)
    matched = (x - x.mean(0)) @ transform.T + y.mean(0)
    return _clip(matched.reshape(style.shape))


def _power(covariance: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    # A grey picture has no chroma to divide by: the floor is far below one 8-bit level.
    return np.asarray((vectors * np.maximum(values, 1e-8) ** exponent) @ vectors.T)


def match_histogram(style: np.ndarray, content: np.ndarray) -> np.ndarray:
    """The style with the content's histogram, channel by channel (section 5.2)."""
    from skimage.exposure import match_histograms

    return _clip(match_histograms(style, content, channel_axis=2))


def _clip(rgb: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(rgb, 0, 1), np.float32)
