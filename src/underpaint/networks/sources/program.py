"""A program that torch.export saved (.pt2), read as data: nothing in the file is run but PyTorch's own operators, by a list.

`torch.export.load` unpickles the sample inputs that lie in every such file, with code allowed where that fails without, looks
operators up anywhere in PyTorch, and evaluates expressions. A file from a stranger could do anything. Here the graph is JSON
that is walked, weights are bytes, sample inputs and guards are not looked at, and a pickled weight or another operator is
refused.
"""

from __future__ import annotations

import json
import math
import operator
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from underpaint.errors import UnderpaintError
from underpaint.networks.sources.graph import Kind

MAJOR = 8
"""Of the format's versions, the one that is known: that of PyTorch 2.13."""

DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16, 7: torch.float32,
    8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip

KINDS: dict[Kind, str] = {
    "convolution": "conv2d convolution conv_transpose2d linear addmm mm matmul",
    "merge": "add cat stack maximum concat",
    "norm": "batch_norm _native_batch_norm_legit_no_training native_batch_norm layer_norm native_layer_norm group_norm "
    "native_group_norm instance_norm",
    "activation": "relu relu_ relu6 relu6_ hardtanh hardtanh_ hardswish hardswish_ hardsigmoid hardsigmoid_ silu silu_ "
    "gelu elu elu_ leaky_relu leaky_relu_ prelu mish softplus clamp clamp_ clamp_min clamp_max dropout dropout_ "
    "feature_dropout alias detach clone contiguous",
    "padding": "pad constant_pad_nd reflection_pad2d replication_pad2d",
    "other": "sigmoid sigmoid_ tanh softmax _softmax log_softmax sub mul mul_ add_ div div_ neg pow sqrt rsqrt exp log abs "
    "square reciprocal minimum bmm baddbmm scaled_dot_product_attention einsum split split_with_sizes chunk slice select "
    "unbind narrow index_select unsqueeze squeeze view reshape _unsafe_view flatten unflatten permute transpose t movedim "
    "expand expand_as repeat to _to_copy type_as max_pool2d max_pool2d_with_indices avg_pool2d adaptive_avg_pool2d "
    "_adaptive_avg_pool2d adaptive_max_pool2d mean sum amax amin max min var std upsample_bilinear2d upsample_nearest2d "
    "upsample_bicubic2d zeros ones full arange zeros_like ones_like full_like scalar_tensor where eq ne lt le gt ge roll "
    "flip floor ceil round pixel_shuffle pixel_unshuffle glu cumsum linalg_vector_norm native_dropout im2col",
}
"""PyTorch's operators (`aten`) that a network may use, by what they do."""

BY_OPERATOR: dict[str, Kind] = {name: kind for kind, names in KINDS.items() for name in names.split()}

SIZES: Mapping[str, Callable[..., Any]] = {
    "_operator.add": operator.add,
    "_operator.sub": operator.sub,
    "_operator.mul": operator.mul,
    "_operator.floordiv": operator.floordiv,
    "_operator.truediv": operator.truediv,
    "_operator.mod": operator.mod,
    "_operator.neg": operator.neg,
    "_operator.pow": lambda a, b: a ** min(b, 8),
    "_operator.eq": operator.eq,
    "_operator.ne": operator.ne,
    "_operator.lt": operator.lt,
    "_operator.le": operator.le,
    "_operator.gt": operator.gt,
    "_operator.ge": operator.ge,
    "_operator.getitem": operator.getitem,
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_int": int,
    "torch.sym_float": float,
    "torch.sym_sqrt": math.sqrt,
    "math.ceil": math.ceil,
    "math.floor": math.floor,
    "math.trunc": math.trunc,
    "torch.ops.aten.sym_size.int": lambda x, dim: int(x.shape[dim]),
    "torch.ops.aten.sym_numel.default": lambda x: int(x.numel()),
}
"""What a program may do with sizes."""

SKIPPED = (
    "_assert_tensor_metadata",
    "_assert_scalar",
    "sym_constrain_range",
    "sym_constrain_range_for_size",
    "_assert_async",
)
"""Checks, which change nothing."""

DAMAGED = (
    OSError,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    NotImplementedError,
    RecursionError,
)
"""What reading a file raises that is damaged, or something else."""

WORDS = ("constant", "reflect", "replicate", "circular", "none", "tanh", "floor", "trunc")
"""Strings that an operator may be given."""


@dataclass(frozen=True)
class Step:
    """One call.

    Attributes:
        name: in the graph.
        target: its address, `torch.ops.aten.conv2d.default`.
        inputs: (name, argument), as the file has them; a name that is empty goes by place.
        outputs: the names of what comes out, one or several.
        modules: paths of the modules that it was written in, outer to inner.
    """

    name: str
    target: str
    inputs: tuple[tuple[str, Any], ...]
    outputs: tuple[str, ...]
    modules: tuple[str, ...]

    @property
    def operator(self) -> str:
        """`conv2d`."""
        parts = self.target.split(".")
        return parts[3] if self.target.startswith("torch.ops.aten.") and len(parts) == 5 else ""


class Program:
    """A .pt2 file's graph and weights.

    Attributes:
        steps: in their order.
        picture: the name of the input.

    Raises:
        UnderpaintError: it is none, damaged, holds pickled weights, calls what is not on the list, or takes pictures of one
            size.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self._files = {name.partition("/")[2]: name for name in archive.namelist()}
                models = [name for name in self._files if name.startswith("models/") and name.endswith(".json")]
                if len(models) != 1:
                    raise self._refused("holds no single program of the present format; export it with another PyTorch")
                told = json.loads(archive.read(self._files[models[0]]))
            self._read(told)
        except DAMAGED as error:
            raise self._refused(f"damaged, or not a program of torch.export ({type(error).__name__}: {error})") from None

    def _refused(self, why: str) -> UnderpaintError:
        return UnderpaintError(f"network: {self.path}: {why}")

    def _read(self, told: Mapping[str, Any]) -> None:
        version = told["schema_version"]["major"]
        if version != MAJOR:
            raise self._refused(f"its format is {version}, and {MAJOR} is known; export it with another PyTorch")
        whole = told["graph_module"]
        graph, signature = whole["graph"], whole["signature"]
        self.steps = tuple(self._step(node) for node in graph["nodes"])
        self._tensors: dict[str, str] = {}
        pictures: list[str] = []
        for spec in signature["input_specs"]:
            ((kind, entry),) = spec.items()
            if kind == "user_input":
                pictures.append(entry["arg"]["as_tensor"]["name"])
            elif kind in ("parameter", "buffer", "tensor_constant"):
                self._tensors[entry["arg"]["name"]] = entry[f"{kind}_name"]
            else:
                raise self._refused(f"has an input of the kind {kind}, which is not opened")
        if len(pictures) != 1:
            raise self._refused(f"takes {len(pictures)} inputs, not one picture")
        self.picture = pictures[0]
        sizes = graph["tensor_values"][self.picture]["sizes"]
        if len(sizes) != 4 or sizes[1].get("as_int") != 3:
            raise self._refused("takes no picture of three channels, (1, 3, H, W)")
        if any("as_int" in size for size in sizes[2:]):
            dynamic = "dynamic_shapes=({2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)"
            raise self._refused(f"was exported for pictures of one size; export it with {dynamic}")

    def _step(self, node: Mapping[str, Any]) -> Step:
        outputs: list[str] = []
        for each in node["outputs"]:
            ((kind, value),) = each.items()
            outputs += [one["name"] for one in value] if kind == "as_tensors" else [value.get("name") or value["as_name"]]
        stack = (node.get("metadata") or {}).get("nn_module_stack") or ""
        modules = tuple(parts[1] for parts in (each.split(",") for each in stack.split(";")) if len(parts) > 1 and parts[1])
        inputs = tuple((str(each["name"]) if each.get("kind") == 2 else "", each["arg"]) for each in node["inputs"])
        step = Step(node.get("name") or outputs[0], str(node["target"]), inputs, tuple(outputs), modules)
        if step.target not in SIZES and step.operator not in (*BY_OPERATOR, *SKIPPED):
            raise self._refused(f"calls {step.target[:80]}, which is not on the list of operators and is not run")
        if step.operator in BY_OPERATOR and step.target not in SIZES and _overload(step) is None:
            raise self._refused(f"calls {step.target[:80]}, which this PyTorch does not have")
        for _, argument in inputs:
            self._check_words(argument)
        if step.operator.endswith("batch_norm") and any(
            each["name"] == "training" and each["arg"].get("as_bool") for each in node["inputs"]
        ):
            raise self._refused("was exported in training mode; call model.eval() before")
        return step

    def _check_words(self, argument: Mapping[str, Any]) -> None:
        word = argument.get("as_string")
        if word is not None and word not in WORDS:
            raise self._refused(f"an operator is given the text {str(word)[:40]!r}, which is not on the list")

    @cached_property
    def weights(self) -> dict[str, torch.Tensor]:
        """By the graph's names, as the file has them."""
        with zipfile.ZipFile(self.path) as archive:
            found: dict[str, torch.Tensor] = {}
            for folder in ("data/weights/", "data/constants/"):
                for config in (n for n in self._files if n.startswith(folder) and n.endswith("_config.json")):
                    told = json.loads(archive.read(self._files[config]))["config"]
                    for name, entry in told.items():
                        if name in self._tensors.values():
                            found[name] = self._tensor(archive, folder, name, entry)
        missing = next((name for name in self._tensors.values() if name not in found), None)
        if missing is not None:
            raise self._refused(f"has no weights {missing}")
        return {own: found[name] for own, name in self._tensors.items()}

    def _tensor(self, archive: zipfile.ZipFile, folder: str, name: str, entry: Mapping[str, Any]) -> torch.Tensor:
        if entry["use_pickle"]:
            raise self._refused(f"its weights {name} are pickled, which can carry code, and are not opened")
        try:
            data = bytearray(archive.read(self._files[folder + entry["path_name"]]))
            told = entry["tensor_meta"]
            sizes, strides = ([_whole(each["as_int"]) for each in told[part]] for part in ("sizes", "strides"))
            offset = _whole(told.get("storage_offset", {}).get("as_int", 0))
            kind = DTYPES[told["dtype"]]
            flat = torch.frombuffer(data, dtype=kind) if data else torch.empty(0, dtype=kind)
            if offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True)) >= max(len(flat), 1):
                raise ValueError("larger than its bytes")
            made = flat.as_strided(sizes, strides, offset).clone()
        except (KeyError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile) as error:
            raise self._refused(f"its weights {name} are damaged ({error})") from None
        if made.is_floating_point() and not bool(torch.isfinite(made).all()):
            raise self._refused(f"its weights {name} hold values that are not finite")
        return made

    def run(
        self, picture: torch.Tensor, weights: Mapping[str, torch.Tensor], wanted: Collection[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """What the wanted steps give; runs no further than the last of them. All tensors, when left out."""
        known: dict[str, Any] = {**weights, self.picture: picture}
        found: dict[str, torch.Tensor] = {}
        for step in self.steps:
            if step.operator in SKIPPED:
                continue
            made = self._call(step, known)
            outputs = made if isinstance(made, list | tuple) and step.target not in SIZES else (made,)
            known.update(zip(step.outputs, outputs, strict=False))
            if isinstance(outputs[0], torch.Tensor) and (wanted is None or step.name in wanted):
                # A copy: what comes next may write to it in place, as ReLUs do.
                found[step.name] = outputs[0].clone()
                if wanted is not None and len(found) == len(wanted):
                    break
        return found

    def _call(self, step: Step, known: Mapping[str, Any]) -> Any:
        by_place = [self._argument(argument, known) for name, argument in step.inputs if not name]
        by_name = {name: self._argument(argument, known) for name, argument in step.inputs if name}
        if step.target in SIZES:
            return SIZES[step.target](*by_place, *by_name.values())
        overload = _overload(step)
        assert overload is not None
        return overload(*by_place, **by_name)

    def _argument(self, argument: Mapping[str, Any], known: Mapping[str, Any]) -> Any:
        ((kind, value),) = argument.items()
        one = {"as_tensor": lambda v: known[v["name"]], "as_sym_int": lambda v: _size(v, known)}
        one |= {"as_sym_float": one["as_sym_int"], "as_sym_bool": one["as_sym_int"]}
        if kind in one:
            return one[kind](value)
        if kind.removesuffix("s") in one:
            return [one[kind.removesuffix("s")](each) for each in value]
        if kind == "as_optional_tensors":
            return [None if "as_none" in each else known[each["as_tensor"]["name"]] for each in value]
        if kind == "as_none":
            return None
        if kind == "as_scalar_type":
            return DTYPES[value]
        if kind == "as_float":
            return float(value)  # JSON has infinities as text
        if kind in ("as_int", "as_ints", "as_floats", "as_bool", "as_bools", "as_string"):
            return value
        return None  # memory formats, layouts and devices: this machine's own


def _overload(step: Step) -> Callable[..., Any] | None:
    """PyTorch's operator of a step; None where it has none of this name for such arguments."""
    packet, name = getattr(torch.ops.aten, step.operator, None), step.target.rpartition(".")[2]
    if packet is None or name not in packet.overloads():
        return None
    found: Callable[..., Any] = getattr(packet, name)
    return found


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no size")
    return value


def _size(value: Mapping[str, Any], known: Mapping[str, Any]) -> Any:
    """A size: a number, or a name that was computed."""
    ((kind, inner),) = value.items()
    return known[inner] if kind == "as_name" else inner
