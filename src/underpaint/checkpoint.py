"""A run between two steps as one safetensors file: written whole or not at all, read whole, and without running code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from underpaint.adam import Adam
from underpaint.errors import UnderpaintError
from underpaint.files import write_bytes
from underpaint.lbfgs import LBFGS, InverseHessian, Pair
from underpaint.ledger import Ledger
from underpaint.optimise import State

FILE = "checkpoint.safetensors"
FORMAT = "underpaint checkpoint 2"
OLDER = ("underpaint checkpoint 1",)
"""Formats that are read too: 1 knows no inputs."""

WATCH = "watch."


@dataclass(frozen=True)
class Checkpoint:
    """All that it takes to go on with a run.

    Attributes:
        state: the optimiser's.
        seconds: how long the run has been running.
        recipe: its digest (`underpaint.recipe.digests`).
        inputs: the pictures' hashes by role; None where the file is of a format that does not say.
        watch: what whoever follows the run carries along.
    """

    state: State
    seconds: float
    recipe: str
    inputs: Mapping[str, str] | None
    watch: Mapping[str, torch.Tensor] = field(default_factory=dict)


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Saves it."""
    state = checkpoint.state
    tensors = {"image": state.image, "average": state.average}
    numbers: dict[str, Any] = {
        "scale": state.scale,
        "iteration": state.iteration,
        "step": state.step,
        "averaged": state.averaged,
        "totals": list(state.totals),
    }
    if state.adam is not None:
        tensors |= {"adam.m": state.adam.m, "adam.v": state.adam.v}
        numbers |= {"adam.t": state.adam.t, "adam.betas": list(state.adam.betas)}
    if state.lbfgs is not None:
        numbers |= {"lbfgs.pairs": len(state.lbfgs.hessian.pairs)}
        for place, (s, y, *_) in enumerate(state.lbfgs.hessian.pairs):
            tensors |= {f"lbfgs.s{place}": s, f"lbfgs.y{place}": y}
    if (ledger := state.ledger) is not None:
        numbers |= {"ledger": list(ledger.terms)}
        kept = {"entries": ledger.entries, "average": ledger.average, "moments": ledger.moments}
        tensors |= {f"ledger.{name}": t for name, t in kept.items() if t is not None}
    tensors |= {WATCH + name: t for name, t in checkpoint.watch.items()}
    metadata = {
        "format": FORMAT,
        "state": json.dumps(numbers),
        "recipe": checkpoint.recipe,
        "inputs": json.dumps(checkpoint.inputs),
        "seconds": repr(checkpoint.seconds),
    }
    write_bytes(path, save({name: t.cpu().contiguous() for name, t in tensors.items()}, metadata))


def read(path: Path, device: torch.device) -> Checkpoint:
    """The checkpoint, in one reading. Whose it is `underpaint.run.read_checkpoint` looks after.

    Raises:
        UnderpaintError: no checkpoint, or a damaged one.
    """
    if not path.is_file():
        raise UnderpaintError(f"{path}: no checkpoint here; name the folder of a run that was started")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UnderpaintError(f"{path}: the checkpoint cannot be read ({error}); start the run again") from None
    if metadata.get("format") not in (FORMAT, *OLDER):
        raise UnderpaintError(f"{path}: is not a checkpoint of this version of underpaint; start the run again")
    try:
        watch = {name.removeprefix(WATCH): t for name, t in tensors.items() if name.startswith(WATCH)}
        own = {name: t.to(device) for name, t in tensors.items() if not name.startswith(WATCH)}
        inputs = json.loads(metadata.get("inputs", "null"))
        state = _state(own, json.loads(metadata["state"]))
        return Checkpoint(state, float(metadata["seconds"]), metadata["recipe"], inputs, watch)
    except (KeyError, TypeError, ValueError) as error:
        raise UnderpaintError(f"{path}: the checkpoint is damaged ({error}); start the run again") from None


def _state(tensors: Mapping[str, torch.Tensor], numbers: Mapping[str, Any]) -> State:
    adam = lbfgs = ledger = None
    if "adam.t" in numbers:
        b1, b2 = numbers["adam.betas"]
        adam = Adam(tensors["adam.m"], tensors["adam.v"], numbers["adam.t"], (b1, b2))
    if "lbfgs.pairs" in numbers:
        pairs = [Pair.of(tensors[f"lbfgs.s{i}"], tensors[f"lbfgs.y{i}"]) for i in range(numbers["lbfgs.pairs"])]
        lbfgs = LBFGS(InverseHessian(pairs), 0.0, 1.0)
    if "ledger" in numbers:
        average, moments = tensors.get("ledger.average"), tensors.get("ledger.moments")
        ledger = Ledger(tuple(numbers["ledger"]), tensors["ledger.entries"], average, moments)
    return State(
        scale=numbers["scale"],
        iteration=numbers["iteration"],
        step=numbers["step"],
        image=tensors["image"],
        average=tensors["average"],
        averaged=numbers["averaged"],
        adam=adam,
        lbfgs=lbfgs,
        totals=tuple(numbers["totals"]),
        ledger=ledger,
    )
