"""Structural similarity, window by window, at one size and at five."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from underpaint.quality.pair import check_pair

WINDOW = 11
"""Pixels: the window's side, 3.5 standard deviations of `SIGMA` to each side."""

SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales of multi-scale SSIM, finest first, as published (they sum to 1.0001)."""

SSIM_MIN_SIDE = WINDOW
MULTISCALE_MIN_SIDE = (WINDOW - 1) * 2 ** (len(WEIGHTS) - 1) + 1
"""161 pixels: halved four times, rounding up, a window is left."""


@torch.no_grad()
def ssim(a: torch.Tensor, b: torch.Tensor) -> float:
    """Structural similarity of two RGB pictures (1, 3, H, W) in 0..1, each side at least 11 px.

        SSIM = mean of (2 μ_a μ_b + C₁)(2 σ_ab + C₂) / ((μ_a² + μ_b² + C₁)(σ_a² + σ_b² + C₂))

    with C₁ = 0.01², C₂ = 0.03², and means μ, variances σ² and covariance σ_ab under a Gaussian window of 11×11 px
    (standard deviation 1.5 px), over all windows that lie inside the picture. A similarity, -1..1: 1 is identical,
    higher is more alike; 0 is unrelated. Symmetric.

    Source: Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity", eq. 13.
    Departures: the mean over R, G and B, where the paper has grey; sRGB in 0..1, where it has 0..255.

    Raises:
        UnderpaintError: the pictures differ in size or are too small.
    """
    check_pair(a, b, "SSIM", SSIM_MIN_SIDE)
    whole, _ = _by_channel(_precise(a), _precise(b))
    return float(whole.mean())


@torch.no_grad()
def multiscale_ssim(a: torch.Tensor, b: torch.Tensor) -> float:
    """Structural similarity at five sizes, of two RGB pictures (1, 3, H, W) in 0..1, each side at least 161 px.

        MS-SSIM = mean over channels of SSIM₅^w₅ · Π_{s<5} CS_s^w_s,    CS = mean of (2 σ_ab + C₂) / (σ_a² + σ_b² + C₂)

    where scale s is the picture halved s − 1 times (means of 2×2 px), with the windows, constants and SSIM of `ssim`, and
    w = 0.0448, 0.2856, 0.3001, 0.2363, 0.1333: contrast and structure count at every size, luminance at the smallest only. A
    similarity, 0..1: 1 is identical, higher is more alike. Symmetric.

    Source: Wang, Simoncelli & Bovik 2003, "Multi-scale Structural Similarity for Image Quality Assessment", eq. 7, and its
    authors' code for the halving and for the mean before the power. Departures: the mean over R, G and B, where the paper
    has grey; a factor below 0 counts as 0 (a negative number has no such power). A picture that is too small for five
    scales is refused: with fewer it would be another measure, whose figures do not compare with these.

    Raises:
        UnderpaintError: the pictures differ in size or are too small.
    """
    check_pair(a, b, "MS-SSIM", MULTISCALE_MIN_SIDE)
    x, y = _precise(a), _precise(b)
    product = torch.ones(3, dtype=torch.float64)
    for weight in WEIGHTS[:-1]:
        _, structure = _by_channel(x, y)
        product *= structure.clamp_min(0) ** weight
        x, y = _halved(x), _halved(y)
    whole, _ = _by_channel(x, y)
    return float((product * whole.clamp_min(0) ** WEIGHTS[-1]).mean())


def _precise(x: torch.Tensor) -> torch.Tensor:
    """In float64: variances are differences of nearly equal numbers. On the CPU, which has it on every machine."""
    return x.detach().cpu().double()


def _by_channel(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """SSIM, and its contrast and structure alone: means over windows, (3,) each."""
    mean_a, mean_b = _blurred(a), _blurred(b)
    variances = _blurred(a * a) - mean_a**2 + _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    structure = (2 * covariance + C2) / (variances + C2)
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return (luminance * structure).mean((0, 2, 3)), structure.mean((0, 2, 3))


def _blurred(x: torch.Tensor) -> torch.Tensor:
    """Weighted means of all windows inside (1, 3, H, W): (1, 3, H − 10, W − 10)."""
    place = torch.arange(WINDOW, dtype=x.dtype) - WINDOW // 2
    window = torch.exp(-(place**2) / (2 * SIGMA**2))
    window = (window / window.sum()).expand(3, 1, 1, WINDOW)
    return F.conv2d(F.conv2d(x, window, groups=3), window.transpose(2, 3), groups=3)


def _halved(x: torch.Tensor) -> torch.Tensor:
    """Means of 2×2 px; an odd last row or column is taken twice, as the authors' code does."""
    return F.avg_pool2d(F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), mode="replicate"), 2)
