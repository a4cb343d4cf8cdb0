"""A run between two steps as one safetensors file: written whole or not at all, read whole, and without running code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import safe_open
from safetensors.torch import save

from underpaint.errors import UnderpaintError
from underpaint.optimizers.adam import Adam
from underpaint.optimizers.lbfgs import LBFGS, InverseHessian, Pair
from underpaint.optimizers.ledger import Ledger
from underpaint.optimizers.loop import State
from underpaint.storage import documents
from underpaint.storage.files import spelt, write_bytes
from underpaint.storage.schemas import Count
from underpaint.storage.seals import SUM

FILE = "checkpoint.safetensors"
FORMAT = "underpaint checkpoint 3"
OLDER = ("underpaint checkpoint 1", "underpaint checkpoint 2")
"""Formats that are read too: 1 knows no inputs, neither has a sum."""

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
    saved = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(saved, metadata | {SUM: _sum(saved, metadata)}))


def _sum(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 of all that a checkpoint holds: safetensors itself sees no byte that changed."""
    digest = hashlib.sha256(json.dumps({name: metadata[name] for name in sorted(metadata) if name != SUM}).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read(path: Path, device: torch.device) -> Checkpoint:
    """The checkpoint, in one reading. Whose it is `underpaint.runs.folder.read_checkpoint` looks after.

    Raises:
        UnderpaintError: no checkpoint, or a damaged one.
    """
    if not path.is_file():
        raise UnderpaintError(f"{path}: no checkpoint here; name the folder of a run that was started")
    with documents.told(path, "start the run again"):
        with spelt(path) as plain, safe_open(plain, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get("format") not in (FORMAT, *OLDER):
            raise UnderpaintError(f"{path}: is not a checkpoint of this version of underpaint; start the run again")
        if metadata["format"] not in OLDER and metadata[SUM] != _sum(tensors, metadata):
            raise ValueError("it is not as it was written")
        watch = {name.removeprefix(WATCH): t for name, t in tensors.items() if name.startswith(WATCH)}
        own = {name: t.to(device) for name, t in tensors.items() if not name.startswith(WATCH)}
        inputs = documents.parsed(metadata.get("inputs", "null"))
        state = _state(own, Numbers.model_validate(documents.parsed(metadata["state"])))
        return Checkpoint(state, documents.number(metadata["seconds"]), metadata["recipe"], inputs, watch)


class Numbers(BaseModel):
    """The metadata's `state`: what of a state is no tensor."""

    model_config = ConfigDict(extra="forbid", strict=True)

    scale: Count
    iteration: Count
    step: Count
    averaged: Count
    totals: list[float]
    adam_t: Count | None = Field(None, alias="adam.t")
    adam_betas: list[float] = Field([], alias="adam.betas")
    pairs: int | None = Field(None, alias="lbfgs.pairs", ge=0, le=1000)
    ledger: list[str] | None = None


def _state(tensors: Mapping[str, torch.Tensor], numbers: Numbers) -> State:
    image, average = tensors["image"], tensors["average"]
    shape = _shaped(image, (1, 3, *image.shape[2:]))
    _shaped(average, shape)
    adam = lbfgs = ledger = None
    if numbers.adam_t is not None:
        b1, b2 = numbers.adam_betas
        for name in ("adam.m", "adam.v"):
            _shaped(tensors[name], shape)
        adam = Adam(tensors["adam.m"], tensors["adam.v"], numbers.adam_t, (b1, b2))
    if numbers.pairs is not None:
        found = [(tensors[f"lbfgs.s{i}"], tensors[f"lbfgs.y{i}"]) for i in range(numbers.pairs)]
        if any(tensor.numel() != image.numel() for pair in found for tensor in pair):
            raise ValueError("the optimiser's pairs are of another size")
        lbfgs = LBFGS(InverseHessian([Pair.of(s, y) for s, y in found]), 0.0, 1.0)
    if numbers.ledger is not None:
        for name, more in (("entries", 2), ("average", 2), ("moments", 0)):
            if name == "entries" or f"ledger.{name}" in tensors:
                _shaped(tensors[f"ledger.{name}"], (len(numbers.ledger) + more, *shape[1:]))
        own = {name: tensors.get(f"ledger.{name}") for name in ("average", "moments")}
        ledger = Ledger(tuple(numbers.ledger), tensors["ledger.entries"], **own)
    return State(
        scale=numbers.scale,
        iteration=numbers.iteration,
        step=numbers.step,
        image=image,
        average=average,
        averaged=numbers.averaged,
        adam=adam,
        lbfgs=lbfgs,
        totals=tuple(numbers.totals),
        ledger=ledger,
    )


def _shaped(tensor: torch.Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a tensor that has to have this one, of finite numbers.

    Raises:
        ValueError: it has another, or holds what is not finite.
    """
    if tuple(tensor.shape) != shape or len(shape) != 4 or not tensor.numel() or not tensor.is_floating_point():
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} stands where {shape} belongs")
    if not bool(tensor.isfinite().all()):
        raise ValueError("a tensor is not finite")
    return shape
