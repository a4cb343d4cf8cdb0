"""The optimiser's state as one safetensors file: written whole or not at all, read without running code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from underpaint.adam import Adam
from underpaint.errors import UnderpaintError
from underpaint.files import write_bytes
from underpaint.lbfgs import LBFGS, InverseHessian, Pair
from underpaint.ledger import Ledger
from underpaint.optimise import State

FORMAT = "underpaint checkpoint 1"


WATCH = "watch."


def write(
    path: Path, state: State, recipe_digest: str, seconds: float, watch: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Saves the state.

    Args:
        recipe_digest: `Recipe.digest()`, checked when read.
        seconds: how long the run has been running.
        watch: what whoever follows the run carries along; `read_watch` gives it back.
    """
    tensors = {"image": state.image, "average": state.average}
    numbers = {
        "scale": state.scale,
        "iteration": state.iteration,
        "step": state.step,
        "averaged": state.averaged,
        "totals": state.totals,
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
    tensors |= {WATCH + name: t for name, t in (watch or {}).items()}
    metadata = {
        "format": FORMAT,
        "state": json.dumps(numbers),
        "recipe": recipe_digest,
        "seconds": repr(seconds),
    }
    write_bytes(path, save({name: t.cpu().contiguous() for name, t in tensors.items()}, metadata))


def read(path: Path, device: torch.device, recipe_digest: str | None = None) -> tuple[State, float]:
    """The state and the seconds that it took.

    Raises:
        UnderpaintError: no checkpoint, a damaged one, or one of another recipe.
    """
    if not path.is_file():
        raise UnderpaintError(f"{path}: no checkpoint here; name the folder of a run that was started")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UnderpaintError(f"{path}: the checkpoint cannot be read ({error}); start the run again") from None
    if metadata.get("format") != FORMAT:
        raise UnderpaintError(f"{path}: is not a checkpoint of this version of underpaint; start the run again")
    if recipe_digest is not None and metadata["recipe"] != recipe_digest:
        raise UnderpaintError(f"{path}: was made with another recipe than run.json holds; start the run again")
    numbers = json.loads(metadata["state"])
    state = State(
        scale=numbers["scale"],
        iteration=numbers["iteration"],
        step=numbers["step"],
        image=tensors["image"],
        average=tensors["average"],
        averaged=numbers["averaged"],
        totals=numbers["totals"],
    )
    if "adam.t" in numbers:
        b1, b2 = numbers["adam.betas"]
        state.adam = Adam(tensors["adam.m"], tensors["adam.v"], numbers["adam.t"], (b1, b2))
    if "lbfgs.pairs" in numbers:
        pairs = [Pair.of(tensors[f"lbfgs.s{i}"], tensors[f"lbfgs.y{i}"]) for i in range(numbers["lbfgs.pairs"])]
        state.lbfgs = LBFGS(InverseHessian(pairs), 0.0, 1.0)
    if "ledger" in numbers:
        average, moments = tensors.get("ledger.average"), tensors.get("ledger.moments")
        state.ledger = Ledger(tuple(numbers["ledger"]), tensors["ledger.entries"], average, moments)
    return state, float(metadata["seconds"])


def read_watch(path: Path) -> dict[str, torch.Tensor]:
    """What `write` was given as `watch`, of a checkpoint that `read` has read."""
    with safe_open(path, "pt") as file:
        names = [name for name in file.keys() if name.startswith(WATCH)]  # noqa: SIM118
        return {name.removeprefix(WATCH): file.get_tensor(name) for name in names}
