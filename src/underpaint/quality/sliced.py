"""What the sliced Wasserstein distances share: fixed directions, sorted projections, smaller pictures."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F

SLICES = 64
LARGE = 1 << 20
"""Numbers to sort from which another thread is worth its start."""

DRAW = 0
"""All random directions of a measure hang on this: the same for every picture, run and machine."""


def shrunk(image: torch.Tensor, factor: int) -> torch.Tensor:
    """(1, 3, H, W) at 1/factor of its size, antialiased; linear, not clamped."""
    if factor == 1:
        return image
    size = [max(1, round(side / factor)) for side in image.shape[2:]]
    return F.interpolate(image, size, mode="bicubic", antialias=True, align_corners=False)


def ascending(rows: torch.Tensor) -> torch.Tensor:
    """(P, n) with every row sorted. NumPy's sort uses a CPU's vector instructions; PyTorch's takes several times as long."""
    return _by_rows(np.sort, rows) if rows.device.type == "cpu" else rows.sort(dim=1).values


def ranked(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same, and where each value came from."""
    order = _by_rows(np.argsort, rows) if rows.device.type == "cpu" else rows.argsort(dim=1)
    return rows.gather(1, order), order


def _by_rows(sort: Callable[[np.ndarray], np.ndarray], rows: torch.Tensor) -> torch.Tensor:
    """Sorts each row: many numbers on as many threads as PyTorch has, few at once on this one."""
    threads = min(torch.get_num_threads(), len(rows)) if rows.numel() >= LARGE else 1
    if threads == 1:
        return torch.from_numpy(sort(rows.numpy()))
    with ThreadPoolExecutor(threads) as pool:
        return torch.from_numpy(np.concatenate(list(pool.map(sort, np.array_split(rows.numpy(), threads)))))
