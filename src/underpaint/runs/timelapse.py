"""Intermediate pictures of a run, and the film that they make."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image

from underpaint.imaging import images
from underpaint.optimizers.loop import Step
from underpaint.runs.observer import Memory
from underpaint.storage.files import write_bytes

FILM_SIZE = 512
MILLISECONDS = 120
LAST_MILLISECONDS = 1500


@dataclass(frozen=True)
class Frames:
    """Keeps intermediate pictures: an `Observer` that has nothing to remember, for what it makes lies in the folder.

    Attributes:
        folder: the run's.
        steps: how many the whole run has.
        count: how many pictures to keep of them, evenly spaced, besides the last.
        finish: the optimiser's picture as the pastiche.
    """

    apart: ClassVar[bool] = False

    folder: Path
    steps: int
    count: int
    finish: Callable[[torch.Tensor], tuple[np.ndarray, np.ndarray | None]]

    def see(self, step: Step) -> None:
        """Writes frames/000123.png, the picture after step 123, if it is one of those."""
        number = step.step
        if not step.final and (number * self.count) // self.steps == ((number - 1) * self.count) // self.steps:
            return
        (self.folder / "frames").mkdir(exist_ok=True)
        rgb, _ = self.finish(step.image)
        images.write(self.folder / "frames" / f"{number:06}.png", rgb)

    def state(self) -> Memory:
        """Nothing."""
        return Memory()

    def restore(self, memory: Memory, image: torch.Tensor | None) -> None:
        """Nothing is to be done: a step that is made again makes the same file."""


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
