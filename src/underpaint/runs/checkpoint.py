"""A run between two steps as one safetensors file: written whole or not at all, read whole, and without running code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import safe_open
from safetensors.torch import save

from underpaint.errors import UnderpaintError
from underpaint.optimizers.base import optimizer, shaped
from underpaint.optimizers.loop import State
from underpaint.runs.observer import Memory
from underpaint.storage import documents
from underpaint.storage.files import spelt, write_bytes
from underpaint.storage.schemas import Count
from underpaint.storage.seals import SUM

FILE = "checkpoint.safetensors"
FORMAT = "underpaint checkpoint 3"
OLDER = ("underpaint checkpoint 1", "underpaint checkpoint 2")
"""Formats that are read too: 1 knows no inputs, neither has a sum."""


@dataclass(frozen=True)
class Checkpoint:
    """All that it takes to resume a run.

    Attributes:
        state: the optimiser's.
        seconds: how long the run has been running.
        recipe: its digest (`underpaint.recipe.digests`).
        inputs: the pictures' hashes by role; None where the file is of a format that does not say.
        observers: what those who follow the run have to remember, by their names.
    """

    state: State
    seconds: float
    recipe: str
    inputs: Mapping[str, str] | None
    observers: Mapping[str, Memory] = field(default_factory=dict)


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Saves it."""
    state, method = checkpoint.state, checkpoint.state.optimizer.name
    tensors = {"image": state.image, "average": state.average}
    numbers: dict[str, Any] = {
        "scale": state.scale,
        "iteration": state.iteration,
        "step": state.step,
        "averaged": state.averaged,
        "totals": list(state.totals),
    }
    own, facts = state.optimizer.kept()
    tensors |= {f"{method}.{name}": tensor for name, tensor in own.items()}
    numbers |= {f"{method}.{name}": fact for name, fact in facts.items()}
    for observer, memory in checkpoint.observers.items():
        tensors |= {f"{observer}.{name}": tensor for name, tensor in memory.tensors.items()}
        numbers |= {observer: list(memory.names)} if memory.names else {}
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
        numbers = Numbers.model_validate(documents.parsed(metadata["state"]))
        inputs = documents.parsed(metadata.get("inputs", "null"))
        state, others = _state({name: t.to(device) for name, t in tensors.items()}, numbers)
        seconds = documents.number(metadata["seconds"])
        return Checkpoint(state, seconds, metadata["recipe"], inputs, _memories(tensors, numbers, others))


class Numbers(BaseModel):
    """The metadata's `state`: what of a state is no tensor. Beside these fields lie the optimiser's, `adam.t` of Adam, and
    lists of names, of an observer each."""

    model_config = ConfigDict(extra="allow", strict=True)

    scale: Count
    iteration: Count
    step: Count
    averaged: Count
    totals: list[float]


def _state(tensors: Mapping[str, torch.Tensor], numbers: Numbers) -> tuple[State, set[str]]:
    """The state, and the names of the tensors that are none of its."""
    image, average = tensors["image"], tensors["average"]
    shaped(image, (1, 3, *image.shape[2:]))
    shaped(average, image.shape)
    facts = {name: value for name, value in (numbers.model_extra or {}).items() if "." in name}
    methods = {name.partition(".")[0] for name in facts}
    if len(methods) != 1:
        raise ValueError(f"{len(methods)} optimisers stand where one belongs")
    method = methods.pop()
    own, kept = ({n.partition(".")[2]: v for n, v in d.items() if n.startswith(f"{method}.")} for d in (tensors, facts))
    state = State(
        scale=numbers.scale,
        iteration=numbers.iteration,
        step=numbers.step,
        image=image,
        average=average,
        optimizer=optimizer(method).restored(own, kept, image),
        averaged=numbers.averaged,
        totals=tuple(numbers.totals),
    )
    return state, {name for name in tensors if "." in name and not name.startswith(f"{method}.")}


def _memories(tensors: Mapping[str, torch.Tensor], numbers: Numbers, others: Collection[str]) -> dict[str, Memory]:
    names = {name: value for name, value in (numbers.model_extra or {}).items() if "." not in name and value is not None}
    for name, value in names.items():
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise ValueError(f"{name!r} stands where an observer's names belong")
    found: dict[str, dict[str, torch.Tensor]] = {name: {} for name in names}
    for name in others:
        observer, _, own = name.partition(".")
        found.setdefault(observer, {})[own] = tensors[name]
    return {name: Memory(own, tuple(names.get(name, ()))) for name, own in found.items()}
