"""What every measure of two pictures asks of them."""

from __future__ import annotations

import torch

from underpaint.errors import UnderpaintError


def check_picture(x: torch.Tensor, measure: str, min_side: int) -> None:
    """One RGB picture (1, 3, H, W) that is large enough.

    Raises:
        UnderpaintError: a side is under `min_side` pixels.
        ValueError: another shape.
    """
    if x.ndim != 4 or x.shape[:2] != (1, 3):
        raise ValueError(f"one RGB picture (1, 3, H, W) at a time, not {tuple(x.shape)}")
    height, width = x.shape[2:]
    if min(height, width) < min_side:
        raise UnderpaintError(f"{measure}: {width}×{height} px; a side under {min_side} px is too small, use larger pictures")


def check_pair(a: torch.Tensor, b: torch.Tensor, measure: str, min_side: int) -> None:
    """Two such pictures of one size.

    Raises:
        UnderpaintError: they differ in size, or a side is under `min_side` pixels.
        ValueError: another shape.
    """
    for x in (a, b):
        check_picture(x, measure, 1)
    (height, width), other = a.shape[2:], b.shape[2:]
    if a.shape != b.shape:
        raise UnderpaintError(f"{measure}: {width}×{height} px against {other[1]}×{other[0]}; resize one to the other")
    check_picture(a, measure, min_side)
