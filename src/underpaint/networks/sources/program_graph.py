"""The graph of a program of torch.export."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from underpaint.errors import UnderpaintError, first_line
from underpaint.networks.sources.graph import SIDE, Kind, Node
from underpaint.networks.sources.program import BY_OPERATOR, Program, Step

LIST = 3
"""A module with so many numbered ones in it, or with one that is a module of modules, is a list of blocks and no block."""


def nodes(program: Program) -> list[Node]:
    """A program's graph for a picture of `SIDE` px. Names are those of modules where a step is a module's last one."""
    shapes = {name: tuple(made.shape) for name, made in _sized(program).items()}
    makers: dict[str, Node] = {program.picture: Node(-1, program.picture, "other", (SIDE, SIDE, 3))}
    found = [makers[program.picture]]
    names = _names(program)
    for place, step in enumerate(program.steps):
        if step.name not in shapes:
            continue
        size = shapes[step.name]
        shape = (size[2], size[3], size[1]) if len(size) == 4 else None
        used = [argument["as_tensor"]["name"] for _, argument in step.inputs if "as_tensor" in argument]
        used += [each["name"] for _, argument in step.inputs for each in argument.get("as_tensors", ())]
        before = [makers[name] for name in used if name in makers]
        kind, narrow = _kind(step, program, before, shape), _narrow(step, program)
        node = Node(place, names.get(step.name, step.name), kind, shape, narrow, step.name)
        for maker in before:
            node.takes(maker)
        makers |= dict.fromkeys(step.outputs, node)
        found.append(node)
    return found


def _sized(program: Program) -> dict[str, torch.Tensor]:
    """All steps' outputs without values: only shapes are computed."""
    with torch.device("meta"), torch.no_grad():
        weights = {name: torch.empty_like(tensor, device="meta") for name, tensor in program.weights.items()}
        kind = next((w.dtype for w in weights.values() if w.is_floating_point()), torch.float32)
        try:
            return program.run(torch.empty(1, 3, SIDE, SIDE, dtype=kind, device="meta"), weights)
        except Exception as error:  # whatever an operator raises at what it is given
            raise UnderpaintError(
                f"network: {program.path}: does not run on a picture of {SIDE} px ({first_line(error)})"
            ) from None


def ends(program: Program) -> dict[str, str]:
    """By module, its last step."""
    return {module: step.name for step in program.steps for module in step.modules}


def _names(program: Program) -> dict[str, str]:
    """The module that each step is the last one of; the outermost, where it ends several, but not a list of blocks."""
    last, found, inside = ends(program), dict[str, str](), dict[str, int]()
    for step in program.steps:
        ended = sorted((m for m in step.modules if last[m] == step.name), key=lambda module: module.count("."))
        if not ended:
            continue
        found[step.name] = next((m for m in ended if inside.get(m, 0) < LIST), ended[-1])
        parent, _, own = found[step.name].rpartition(".")
        whole = any(module.startswith(f"{found[step.name]}.") for module in last)
        inside[parent] = inside.get(parent, 0) + (LIST if own.isdigit() and whole else own.isdigit())
    return found


def _kind(step: Step, program: Program, before: Sequence[Node], shape: tuple[int, int, int] | None) -> Kind:
    kind = BY_OPERATOR.get(step.operator, "other")
    if step.operator in ("add", "maximum") and len(before) < 2:
        return "activation"  # of a number, or of weights: each position by itself
    if kind == "convolution":
        weight = _weight(step, program)
        if weight is None or not before:
            return "other"
        channels = before[0].shape[2] if before[0].shape else 0
        if weight.ndim == 4 and weight.shape[1] == 1 < channels and shape is not None and shape[2] >= channels:
            return "depthwise"
    return kind


def _narrow(step: Step, program: Program) -> bool:
    weight = _weight(step, program)
    return weight is not None and (weight.ndim == 2 or tuple(weight.shape[2:]) == (1, 1))


def _weight(step: Step, program: Program) -> torch.Tensor | None:
    """The first of its inputs that is a weight with two sides or more."""
    used = [argument["as_tensor"]["name"] for _, argument in step.inputs if "as_tensor" in argument]
    return next((program.weights[name] for name in used if name in program.weights and program.weights[name].ndim > 1), None)
