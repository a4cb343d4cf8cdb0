"""Keywords: what `stylize`, `start`, `explain` and `ablate` take by name, spelt out for editors, type checkers and `help`.

The names are those of `Recipe` and `Options`, whose docstrings say what each means, and of the pictures besides content and
style. One that is left out is as the recipe or the options given beside it have it, or else as their defaults are.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ForwardRef, TypedDict, TypeVar

if TYPE_CHECKING:
    import torch

    from underpaint.execution.cores import Cores
    from underpaint.imaging.images import Source
    from underpaint.recipe import KeepColor, NetworkName, Optimizer, Pooling, Precision, Preset, Recipe, Start, Statistic
    from underpaint.runs.options import Options

Function = TypeVar("Function", bound=Callable[..., object])


class OptionFields(TypedDict, total=False):
    """Fields of `Options`, which do not change the picture."""

    weights: str | os.PathLike[str] | None
    device: str | torch.device
    deterministic: bool
    frames: int
    announce: Callable[[str], None] | None
    progress: Callable[[int, int | None], None] | None
    cores: Cores | None
    workers: int


class CarriedFields(OptionFields, total=False):
    """Fields of a `Recipe` but for `size`, and of `Options`."""

    network: NetworkName
    polish: int
    pooling: Pooling
    smallest: int
    preset: Preset
    iterations: Sequence[int]
    optimizer: Optimizer
    rate: float
    final_rate: float
    betas: tuple[float, float]
    average_from: float
    average_decay: float
    carry_moments: bool
    stop: float
    patience: int
    content_layers: Mapping[str, float]
    style_layers: Mapping[str, float]
    content_weight: float
    style_weight: float
    protect_weight: float
    color_weight: float
    palette_weight: float
    smoothness: float
    diagonals: float
    smoothness_growth: float
    strength: float
    statistic: Statistic
    terms: Mapping[str, float]
    style_weights: Sequence[float]
    style_scale: float
    crop: bool
    keep_color: KeepColor
    start: Start
    start_noise: float
    seed: int
    precision: Precision
    chroma_smoothness: float
    enlarge: float
    shift: int


class Fields(CarriedFields, total=False):
    """Fields of a `Recipe` and of `Options`."""

    size: int


class Keywords(Fields, total=False):
    """Everything that a run is made of besides its content, its style and its folder."""

    recipe: Recipe | None
    content_mask: Source | None
    style_mask: Source | None
    protect: Source | None
    start_from: Source | None
    options: Options | None


class _LeftOut:
    """What stands for the default of a keyword: which one that is, recipe and options say."""

    def __repr__(self) -> str:
        return "..."


LEFT_OUT = _LeftOut()


def spelt_out(keywords: type) -> Callable[[Function], Function]:
    """Shows each keyword of a function by name to `inspect.signature`, and so to `help` and to the completion of notebooks,
    which read no `Unpack`.

    Args:
        keywords: the class in the function's `Unpack`.
    """

    def show(function: Function) -> Function:
        own = inspect.signature(function)
        fixed = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        more = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=LEFT_OUT,
                annotation=kind.__forward_arg__ if isinstance(kind, ForwardRef) else kind,
            )
            for name, kind in keywords.__annotations__.items()
        ]
        function.__signature__ = own.replace(parameters=[*fixed, *more])  # type: ignore[attr-defined]
        return function

    return show
