"""Distance between two pictures' colours, wherever they are."""

from __future__ import annotations

import numpy as np
import torch

from underpaint.quality.pair import check_picture
from underpaint.quality.sliced import DRAW

BASES = 8
"""Orthonormal bases of colour space along which colours are compared; the first is L*, a*, b* itself."""

SAMPLES = 2**18
"""Pixels of a picture that are looked at, at most, on a regular grid."""


@torch.no_grad()
def colour_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """How far the colours of one RGB picture (1, 3, H, W) in 0..1 must be moved to be distributed as another's.

        d(a, b) = √(3 · mean over directions θ of ∫₀¹ (F_θ⁻¹(q) − G_θ⁻¹(q))² dq)

    where F_θ and G_θ are the cumulative histograms, without bins, of the two pictures' CIELAB colours (D65) projected onto
    the unit vector θ: the sliced Wasserstein distance. θ runs over 8 fixed orthonormal bases of colour space. A distance in
    units of ΔE (CIE 1976): 0 is the same colours in the same shares, lower is more alike; black against white is 100. Where
    one picture's colours are the other's, all moved by the same ΔE, it is that ΔE; else it is at most the root mean square of
    the ΔE that the best assignment of colours to colours has (the sum of squares over a basis is at most that one's, and d²
    is the mean of such sums). Symmetric; sizes may differ; places do not matter.

    Source: Rabin et al. 2011, "Wasserstein Barycenter and Its Application to Texture Mixing"; random bases of colour space as
    in Pitié et al. 2007, "Automated colour grading using colour distribution transfer". Departures: CIELAB for RGB, the
    factor 3 (for a unit that is known), and of pictures over 2¹⁸ px every n-th row and column only.
    """
    from skimage.color import rgb2lab

    for x in (a, b):
        check_picture(x, "colour", 1)
    directions = _directions()
    ours, theirs = (rgb2lab(_sampled(x)) @ directions.T for x in (a, b))
    squares = [_transport(ours[:, place], theirs[:, place]) for place in range(len(directions))]
    return float(np.sqrt(3 * np.mean(squares)))


def _directions() -> np.ndarray:
    """(3 · BASES, 3) float64, each three rows orthonormal."""
    generator = torch.Generator().manual_seed(DRAW)
    drawn = torch.randn(BASES - 1, 3, 3, generator=generator, dtype=torch.float64).numpy()
    return np.concatenate([np.eye(3), *np.linalg.qr(drawn).Q])


def _sampled(x: torch.Tensor) -> np.ndarray:
    """(n, 3) float64 colours, n at most `SAMPLES`."""
    rgb = x[0].detach().clamp(0, 1).cpu().double().permute(1, 2, 0).numpy()
    step = int(np.ceil(np.sqrt(rgb.shape[0] * rgb.shape[1] / SAMPLES)))
    return np.asarray(rgb[::step, ::step].reshape(-1, 3))


def _transport(x: np.ndarray, y: np.ndarray) -> float:
    """∫ (F⁻¹ − G⁻¹)² of two samples, (n,) and (m,): exact, since both inverses are steps."""
    x, y = np.sort(x), np.sort(y)
    if len(x) == len(y):
        return float(np.square(x - y).mean())
    n, m = len(x), len(y)
    # Both staircases' edges as whole numbers of 1/(n m): no rounding decides which step a piece belongs to.
    edges = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)
    starts = edges[:-1]
    return float((np.square(x[starts // m] - y[starts // n]) * np.diff(edges)).sum() / (n * m))
