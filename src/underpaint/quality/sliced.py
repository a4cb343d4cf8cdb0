"""What the sliced Wasserstein distances share: fixed directions, sorted projections, smaller pictures."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

SLICES = 64
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
    return torch.from_numpy(np.sort(rows.numpy(), axis=1)) if rows.device.type == "cpu" else rows.sort(dim=1).values


def ranked(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same, and where each value came from."""
    order = torch.from_numpy(np.argsort(rows.numpy(), axis=1)) if rows.device.type == "cpu" else rows.argsort(dim=1)
    return rows.gather(1, order), order
