"""The ledger's columns in numbers: at which sizes their energy lies, and which of them pull together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

BANDS = (1, 2, 4, 8, 16)
"""Gaussian widths, pixels, between which a column's energy is measured: fine detail first, large washes last."""


def bands(column: np.ndarray) -> list[float]:
    """Energy of a (3, H, W) column between Gaussian widths `BANDS`, as shares of its whole: finest first, the rest last."""
    from scipy.ndimage import gaussian_filter

    found, current = [], column
    for sigma in BANDS:
        smooth = gaussian_filter(column, (0, sigma, sigma), mode="nearest")
        found.append(float(np.square(current - smooth).sum()))
        current = smooth
    found.append(float(np.square(current).sum()))
    total = max(sum(found), 1e-30)
    return [energy / total for energy in found]


def cosines(columns: Mapping[str, np.ndarray], sigma: float = 2.0) -> np.ndarray:
    """(T, T): cosines between columns after smoothing by `sigma` pixels: 1 pull together, −1 fight.

    Smoothing leaves out the fine grain that cancels between columns.
    """
    from scipy.ndimage import gaussian_filter

    flat = np.stack([gaussian_filter(c, (0, sigma, sigma), mode="nearest").ravel() for c in columns.values()])
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    return np.asarray(flat @ flat.T)


def figures(columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The ledger's columns in numbers, for validation.json: norms, shares of energy by size of detail, cosines."""
    moving = {name: c for name, c in columns.items() if np.abs(c).max() > 0}
    return {
        "norms": {name: float(np.linalg.norm(c)) for name, c in columns.items()},
        "bands_px": [*BANDS],
        "energy_by_band": {name: bands(c) for name, c in moving.items()},
        "cosines_smoothed_2px": dict(zip(moving, cosines(moving).tolist(), strict=True)) if moving else {},
    }
