"""What an eye sees of the brushwork at once: whether strokes are clear, and whether a weave lies over them."""

from __future__ import annotations

import numpy as np
import torch

from underpaint.errors import UnderpaintError
from underpaint.imaging.color import RGB_TO_YIQ
from underpaint.quality.pair import check_picture

WIDTHS = (1, 2)
"""Standard deviations, pixels, of the windows in which gradients are to agree."""

STROKES_MIN_SIDE = 19
"""Pixels: the wider window (4 σ to each side) and Sobel's border."""

WEAVE_MIN_SIDE = 64
"""Pixels: under it so few frequencies are told apart that white noise no longer comes near 1."""

FINE = (0.12, 0.45)
"""Cycles a pixel, between which detail is fine; finer still, the directions of a square grid of pixels are not equal."""

SECTOR = np.pi / 16
"""Radians to either side of an axis that count as along it: a quarter of all directions."""

STILL = 1e-4
"""Root mean square, of the range 0..1, under which there is nothing to see: a fortieth of an 8-bit step."""


@torch.no_grad()
def strokes(pastiche: torch.Tensor, style: torch.Tensor) -> float:
    """How clear the strokes of an RGB picture (1, 3, H, W) in 0..1 are beside a style's (1, 3, h, w), sides from 19 px.

        s(x, y) = c(x) / c(y),    c = mean over σ in {1, 2} px of Σ_p (λ₁ − λ₂) / Σ_p (λ₁ + λ₂)

    where λ₁ ≥ λ₂ are the eigenvalues at pixel p of the structure tensor, G_σ ∗ (∇Y ∇Yᵀ), of the luma Y (Sobel gradients, at
    the pixels inside). c is 1 where all gradients near a place have one direction, 0 where they have none in common. A ratio,
    0 upwards: 1 is as clear as the painting; under it the picture looks mushy or noisy, over it smoother and more combed than
    the painting. Not symmetric. Shifts and scales of the luma do not matter. Pictures are to be at one scale: what is a
    stroke at one size is a speck at half of it.

    Source: Bigün and Granlund 1987, "Optimal Orientation Detection of Linear Symmetry" (ICCV), whose certainty, the relative
    difference of the eigenvalues, is averaged here by gradient energy (Weickert 1999, "Coherence-Enhancing Diffusion
    Filtering", takes their squared difference, which depends on contrast). Departures: the ratio to the style; two widths.

    Raises:
        UnderpaintError: a picture is too small, or the style has no edges at all.
    """
    check_picture(pastiche, "strokes", STROKES_MIN_SIDE)
    check_picture(style, "strokes (style)", STROKES_MIN_SIDE)
    wanted = _coherence(_luma(style))
    if wanted == 0:
        raise UnderpaintError("strokes: a style of one colour has none to compare with; use another style")
    return _coherence(_luma(pastiche)) / wanted


@torch.no_grad()
def weave(x: torch.Tensor) -> float:
    """How far fine detail of an RGB picture (1, 3, H, W) in 0..1, each side at least 64 px, runs along the picture's axes.

        w(x) = 4 · Σ_A |F(Y)|² / Σ_D |F(Y)|²

    where F(Y) is the Fourier transform of the luma, less its mean and under a Hann window, D are the frequencies between 0.12
    and 0.45 cycles a pixel, and A those of D within π/16 of an axis: a quarter of D. A ratio, 0..4: 1 is no direction
    preferred, 4 all of it upright or level, 0 all of it slanting. Networks and pooling work on a grid, and leave one: over 1
    the picture looks woven, as if on coarse canvas. Walls and masts are upright as well, so compare pictures of one pair.

    Source: none; energy by sectors of the power spectrum is a usual measure of texture direction (Bajcsy 1973, "Computer
    Description of Textured Surfaces").

    Raises:
        UnderpaintError: the picture is too small, or has no fine detail.
    """
    check_picture(x, "weave", WEAVE_MIN_SIDE)
    luma = _luma(x)
    height, width = luma.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    power = np.abs(np.fft.fft2((luma - luma.mean()) * window)) ** 2
    down, across = np.abs(np.fft.fftfreq(height))[:, None], np.abs(np.fft.fftfreq(width))[None]
    radius, angle = np.hypot(across, down), np.arctan2(*np.broadcast_arrays(down, across))
    fine = (radius > FINE[0]) & (radius < FINE[1])
    axes = (angle < SECTOR) | (angle > np.pi / 2 - SECTOR)
    energy = power[fine].sum()
    if energy < STILL**2 * luma.size * np.square(window).sum():
        raise UnderpaintError("weave: the picture has no fine detail whose direction could be told; use another picture")
    return float(4 * power[fine & axes].sum() / energy)


def _luma(x: torch.Tensor) -> np.ndarray:
    """(H, W) float64."""
    return np.asarray(np.tensordot(RGB_TO_YIQ[0], x[0].detach().cpu().double().numpy(), 1))


def _coherence(luma: np.ndarray) -> float:
    """0..1, of (H, W); 0 where nothing is to be seen."""
    from scipy.ndimage import gaussian_filter, sobel

    # Beyond the border nothing is known: a gradient there would be the frame's, and a frame is perfectly coherent.
    down, across = (sobel(luma, axis=axis)[1:-1, 1:-1] / 8 for axis in (0, 1))
    energy = np.square(down) + np.square(across)
    if energy.mean() < STILL**2:
        return 0.0
    found = []
    for sigma in WIDTHS:
        dd, da, aa = (gaussian_filter(product, sigma) for product in (down * down, down * across, across * across))
        found.append(np.hypot(dd - aa, 2 * da).sum() / (dd + aa).sum())
    return float(np.mean(found))
