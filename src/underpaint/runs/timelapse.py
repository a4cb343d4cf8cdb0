"""Intermediate pictures of a run, and the film that they make."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from underpaint.imaging import images
from underpaint.optimizers.loop import Step
from underpaint.storage.files import write_bytes

FILM_SIZE = 512
MILLISECONDS = 120
LAST_MILLISECONDS = 1500


def keep(
    folder: Path,
    step: Step,
    steps: int,
    frames: int,
    finish: Callable[[torch.Tensor], tuple[np.ndarray, np.ndarray | None]],
) -> None:
    """Writes frames/000123.png if this step is one of `frames` evenly spaced ones of `steps`, or the last."""
    if not step.final and (step.step * frames) // steps == ((step.step - 1) * frames) // steps:
        return
    (folder / "frames").mkdir(exist_ok=True)
    rgb, _ = finish(step.image)
    images.write(folder / "frames" / f"{step.step:06}.png", rgb)


def make(folder: Path) -> None:
    """Writes timelapse.webp from the frames: all at the last one's size, at most 512 px, for ever in a loop."""
    files = sorted((folder / "frames").glob("*.png"))
    last = images.read(files[-1], min_side=1).rgb
    longest = min(FILM_SIZE, max(last.shape[:2]))
    size = images.size_for((last.shape[0], last.shape[1]), longest)
    pictures = []
    for file in files:
        rgb = images.resize(images.read(file, min_side=1).rgb, size)
        pictures.append(Image.fromarray(np.rint(rgb * 255).astype(np.uint8)))
    durations = [MILLISECONDS] * (len(pictures) - 1) + [LAST_MILLISECONDS]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "WEBP", save_all=True, append_images=pictures[1:], duration=durations, loop=0, quality=85)
    write_bytes(folder / "timelapse.webp", buffer.getvalue())
