"""The pictures to learn from: none that resembles a development pair, and one in ten by name held out."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.fft import dctn
from skimage.color import rgb2gray

from underpaint.errors import UnderpaintError
from underpaint.imaging import images

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}
HELD_OUT = 10
"""One in this many pictures, by a checksum of its name, is kept for figures."""

ALIKE = 14
"""Perceptual hashes of 64 bits that differ in at most this many are of one picture (two unrelated ones differ in 32 ± 4)."""


@dataclass(frozen=True)
class Library:
    """Files for training and for figures; `excluded` resemble a development picture."""

    train: tuple[Path, ...]
    held_out: tuple[Path, ...]
    excluded: tuple[Path, ...]


def perceptual_hash(rgb: np.ndarray) -> np.ndarray:
    """64 bits: signs of the lowest 8×8 cosine coefficients of the 32×32 grey picture, about their median (pHash).

    Args:
        rgb: (H, W, 3), 0..1.
    """
    low = dctn(images.resize(rgb2gray(rgb)[..., None].repeat(3, 2).astype(np.float32), (32, 32))[..., 0])[:8, :8].ravel()
    return np.asarray(low > np.median(low[1:]))


def find(folders: Iterable[Path]) -> list[Path]:
    """Every picture file in the folders, sorted.

    Raises:
        UnderpaintError: a folder that is not there or holds none.
    """
    files: list[Path] = []
    for folder in folders:
        here = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES) if folder.is_dir() else []
        if not here:
            raise UnderpaintError(f"{folder}: holds no pictures; name a folder of photographs or paintings")
        files += here
    return files


def library(folders: Sequence[Path], avoid: Sequence[Path]) -> Library:
    """Sorts the folders' pictures; those alike to one in the folders `avoid` (or its mirror image) are left out."""
    known = []
    for path in find(avoid) if avoid else []:
        rgb = images.read(path).rgb
        known += [perceptual_hash(rgb), perceptual_hash(rgb[:, ::-1])]
    train, held_out, excluded = [], [], []
    for path in find(folders):
        own = perceptual_hash(images.read(path, min_side=8).rgb)
        if any(int((own != other).sum()) <= ALIKE for other in known):
            excluded.append(path)
        elif zlib.crc32(path.name.encode()) % HELD_OUT == 0:
            held_out.append(path)
        else:
            train.append(path)
    return Library(tuple(train), tuple(held_out), tuple(excluded))


def crop(path: Path, side: int, random: np.random.Generator) -> torch.Tensor:
    """A square part, (3, side, side), 0..1: the picture shrunk by up to half as far as that fits, perhaps mirrored."""
    rgb = images.read(path, min_side=8).rgb
    shortest = min(rgb.shape[:2])
    goal = max(side, round(shortest * random.uniform(0.5, 1.0)))
    scale = goal / shortest
    rgb = images.resize(rgb, tuple(max(side, round(extent * scale)) for extent in rgb.shape[:2]))
    top, left = (int(random.integers(0, extent - side + 1)) for extent in rgb.shape[:2])
    part = rgb[top : top + side, left : left + side]
    part = part[:, ::-1] if random.random() < 0.5 else part
    return torch.from_numpy(np.ascontiguousarray(part.transpose(2, 0, 1), dtype=np.float32)).clamp(0, 1)
