"""Precision: the number format that a network is faster in here, found by a short trial that is remembered.

Asking the processor is not enough: bf16 takes half as long as float32 with AVX-512 BF16 or AMX, and several times as long
where it is imitated. What the trial found lies in the user's cache folder, for this device, PyTorch, instruction set and
number of threads; removing the file makes the next run try again.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from underpaint.errors import UnderpaintError
from underpaint.execution import device
from underpaint.networks.anatomy import Anatomy, Layer
from underpaint.networks.chain import Chain, Convolution
from underpaint.networks.weights import cache_folder
from underpaint.storage.files import write_bytes

FASTER = 1.2
"""How many times as fast as float32 bf16 must be to be taken: its digits are fewer, and timings scatter."""

FILE = "precision.json"
CHANNELS, ROUNDS = 64, 3
SIDE = {"cpu": 128, "cuda": 512}
"""Side of the picture of the trial, pixels: 0.2 s in all on one core, and enough to keep a GPU busy."""


@dataclass(frozen=True)
class Times:
    """Seconds of one way there and back through the trial's convolutions."""

    float32: float
    bf16: float


@dataclass(frozen=True)
class Choice:
    """What `auto` stands for here, and by what: the trial's times, or None where bf16 is not to be had."""

    chosen: Literal["float32", "bf16"]
    times: Times | None

    def facts(self) -> dict[str, Any]:
        """As run.json has it."""
        told: dict[str, Any] = {"asked": "auto", "chosen": self.chosen}
        if self.times is None:
            return told | {"because": "this device does not compute in bf16"}
        return told | {"float32_seconds": self.times.float32, "bf16_seconds": self.times.bf16}


def choose(place: torch.device) -> Choice:
    """bf16 where it is at least `FASTER` times as fast as float32, else float32."""
    if not device.computes_bf16(place):
        return Choice("float32", None)
    key, known = _key(place), _remembered()
    times = known.get(key)
    if times is None:
        times = trial(place)
        _remember(known | {key: times})
    return Choice("bf16" if times.bf16 * FASTER <= times.float32 else "float32", times)


def trial(place: torch.device) -> Times:
    """Times two convolutions, forward and back to the pixels, in both formats in turn; the best of `ROUNDS` each."""
    side = SIDE[place.type]
    image = torch.full((1, 3, side, side), 0.5, device=place)
    chains = [_convolutions(place, number) for number in (torch.float32, torch.bfloat16)]
    for chain in chains:
        _once(chain, image)  # the first pass prepares what the others use
    rounds = [[_once(chain, image) for chain in chains] for _ in range(ROUNDS)]
    return Times(*(round(min(column), 5) for column in zip(*rounds, strict=True)))


def _convolutions(place: torch.device, number: torch.dtype) -> Chain:
    """3 to 64 to 64 channels, the shapes on which networks spend most of their time at full size."""
    shapes = {"first": (CHANNELS, 3, 3, 3), "second": (CHANNELS, CHANNELS, 3, 3)}
    links = [
        Convolution(layer, torch.full(shape, 1 / math.prod(shape[1:])), torch.zeros(CHANNELS), pad=0)
        for layer, shape in shapes.items()
    ]
    layers = tuple(Layer(name, "shallow", 1, 1, CHANNELS) for name in shapes)
    return Chain(Anatomy("trial", "a trial", layers, {}, {}, ()), links, device=place, precision=number)


def _ones(g: torch.Tensor) -> None:
    g.fill_(1.0)


def _once(chain: Chain, image: torch.Tensor) -> float:
    begun = time.perf_counter()
    chain.tape(image, ["second"]).pullback({"second": _ones}).sum().item()  # .item() waits for a GPU
    return time.perf_counter() - begun


def _key(place: torch.device, threads: int | None = None) -> str:
    facts = device.describe(place)
    parts = facts["device_name"], f"torch {torch.__version__}", facts["instruction_set"]
    return "; ".join((*parts, f"{threads or facts['threads']} threads"))


def _path() -> Path:
    return cache_folder() / FILE


def _remembered() -> dict[str, Times]:
    """What former trials found. A file that is missing or damaged is as good as none: it is written anew."""
    try:
        found = json.loads(_path().read_text(encoding="utf-8"))
        known = {key: Times(float(row["float32_seconds"]), float(row["bf16_seconds"])) for key, row in found.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
    return {key: times for key, times in known.items() if _plausible(times.float32) and _plausible(times.bf16)}


def _plausible(seconds: float) -> bool:
    return math.isfinite(seconds) and seconds > 0


def _remember(known: dict[str, Times]) -> None:
    """Where the folder cannot be written, the next run tries again."""
    rows = {key: {"float32_seconds": times.float32, "bf16_seconds": times.bf16} for key, times in known.items()}
    with contextlib.suppress(OSError, UnderpaintError):
        _path().parent.mkdir(parents=True, exist_ok=True)
        write_bytes(_path(), (json.dumps(rows, indent=1) + "\n").encode())
