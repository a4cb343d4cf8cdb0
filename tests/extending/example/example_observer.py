"""An observer of another package: how far the bounds of colours held a pixel back, at most. See docs/extending.md."""

import torch

from underpaint.runs.observer import Memory


class HeldBack:
    """Sees every step; goes along in the run's checkpoints, so that a run that was stopped loses nothing of it."""

    apart = False

    def __init__(self):
        self.largest = torch.zeros((), dtype=torch.float64)

    def see(self, step):
        if step.move is not None:
            moved = (step.move.image - step.move.target).abs().max().double()
            self.largest = torch.maximum(self.largest, moved)

    def state(self):
        return Memory({"largest": self.largest})

    def restore(self, memory, image):
        self.largest = memory.tensors.get("largest", torch.zeros((), dtype=torch.float64))
