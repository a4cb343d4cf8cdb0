"""Two pictures' colours, wherever they are: how far they are from each other, and which of them are alien."""

from __future__ import annotations

import numpy as np
import torch

from underpaint.quality.pair import check_picture
from underpaint.quality.sliced import DRAW

BASES = 8
"""Orthonormal bases of colour space along which colours are compared; the first is L*, a*, b* itself."""

SAMPLES = 2**18
"""Pixels of a picture that are looked at, at most, on a regular grid."""

PROBES, NEIGHBOURS = 4000, 5
"""Pixels of a picture that `palette` draws, at most, and how many of the style's are compared with each."""

UNSEEN = 0.5
"""ΔE, of a mean over colours, under which `palette` sees no difference; nor does an eye."""


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


@torch.no_grad()
def palette(pastiche: torch.Tensor, style: torch.Tensor) -> float:
    """Whether an RGB picture (1, 3, H, W) in 0..1 has colours that a style (1, 3, h, w) lacks.

        p(x, y) = max(d(x, y), ½) / max(d(y, y), ½),    d(x, y) = mean over colours of x of the mean ΔE to the 5 nearest of y

    where the colours are those of at most 4,000 pixels, drawn at random, from y twice, and ΔE is the distance in CIELAB
    (CIE 1976, D65). A ratio, above 0: 1 is as pure as the style itself; at 1.5 and more an eye sees alien colours; under 1
    the style's rarer colours are missing. Shares matter little (`colour_distance` sees them), places do not. Pictures of one
    size are drawn from alike. Under half a unit of ΔE all is the same, so that a grey or flat style, whose own colours lie on
    one another, does not divide by a rounding error. The two draws from a style of under some 20,000 px share many a pixel:
    that makes its d(y, y) smaller, and other pictures up to a third worse; compare at one size.

    Source: none; Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric for Assessing Generative Models", ask of
    whole pictures whether they lie among the nearest neighbours of real ones.
    """
    from scipy.spatial import cKDTree
    from skimage.color import rgb2lab

    for x in (pastiche, style):
        check_picture(x, "palette", 1)
    generator = np.random.default_rng(DRAW)
    # The order of the draws is part of the definition.
    known, ours, own = (rgb2lab(_drawn(x, generator)) for x in (style, pastiche, style))
    tree = cKDTree(known)
    nearest = range(1, 1 + min(NEIGHBOURS, len(known)))
    distance, unit = (max(float(tree.query(x, k=nearest)[0].mean()), UNSEEN) for x in (ours, own))
    return distance / unit


def _drawn(x: torch.Tensor, generator: np.random.Generator) -> np.ndarray:
    """(n, 3) float64 colours of n different pixels, at most `PROBES`."""
    rgb = x[0].detach().clamp(0, 1).cpu().double().flatten(1).T.numpy()
    return np.asarray(rgb[generator.choice(len(rgb), min(len(rgb), PROBES), replace=False)])


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
