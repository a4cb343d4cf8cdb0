"""Options: what does not change the picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from underpaint.execution.cores import Cores
from underpaint.recipe import plain, whole
from underpaint.storage.files import named


@dataclass(frozen=True)
class Options:
    """What does not change the picture.

    Attributes:
        weights: a weights file or folder that the user names.
        device: "auto", "cpu", "cuda" or "mps", or a torch.device.
        deterministic: the same bytes on CUDA too, at some cost.
        frames: how many intermediate pictures to keep.
        announce, progress: told about a download, in words and in bytes.
        workers: how many processes paint coalitions at once, each with the caller's number of threads; more take more memory.
        cores: how the number of threads was chosen, for run.json alone; the number is PyTorch's own setting.
    """

    weights: Path | None = None
    device: str | torch.device = "auto"
    deterministic: bool = False
    frames: int = 0
    announce: Callable[[str], None] | None = None
    progress: Callable[[int, int | None], None] | None = None
    cores: Cores | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        """Paths, NumPy's numbers and members of enumerations as Python's own."""
        own = {
            "weights": None if self.weights is None else named(self.weights, "--weights"),
            "device": plain(self.device),
            "deterministic": bool(self.deterministic),
            "frames": whole(self.frames, "frames", least=0),
            "workers": whole(self.workers, "--workers", least=1),
        }
        for name, value in own.items():
            object.__setattr__(self, name, value)
