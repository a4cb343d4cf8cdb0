"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Preset(StrEnum):
    """How much time to spend."""

    draft = "draft"
    standard = "standard"
    fine = "fine"
    gatys = "gatys"


Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run. Default: out/CONTENT-STYLE.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show nothing but errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON at the end.")]
Weights = Annotated[Path | None, typer.Option(help="Weights file, or folder that holds it.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Network = Annotated[
    str | None, typer.Option(help="compact, vgg19, keras:NAME, hf:FOLDER, FILE.pt2 ... (`underpaint networks`) [compact].")
]
PresetOption = Annotated[Preset | None, typer.Option(help="How much time to spend, or gatys (its objective) [standard].")]
Optimizer = Annotated[str | None, typer.Option(help="adam or lbfgs.")]
Seed = Annotated[int | None, typer.Option(help="What all randomness depends on [0].")]
Precision = Annotated[str | None, typer.Option(help="auto (the faster here), float32 or bf16 [auto].")]
Threads = Annotated[str, typer.Option(help="auto (the cores that are free), or how many.")]
Workers = Annotated[int, typer.Option(min=1, max=256, help="Coalitions painted at once, by processes of --threads [1].")]
Strength = Annotated[float | None, typer.Option(help="From content (0) to style (1) [0.5].")]
StyleLayers = Annotated[str | None, typer.Option(help="Style layers, e.g. relu1_1,relu3_1; each has its block's weight.")]
LayerWeight = Annotated[list[str] | None, typer.Option(help="LAYER=W, a style layer's weight (0 leaves it out). Repeatable.")]
Statistic = Annotated[str | None, typer.Option(help="wasserstein, gram, moments or sliced [wasserstein].")]
Protect = Annotated[
    str | None, typer.Option(help="Grey picture, white where the content is kept (eyes, mouths), or `faces` to find them.")
]
ProtectWeight = Annotated[float | None, typer.Option(help="How many times the content counts where it is protected [20].")]
Crop = Annotated[bool | None, typer.Option("--crop/--no-crop", help="Cut off a painting's frame or scanned border [crop].")]
RecipeFile = Annotated[Path | None, typer.Option(help="TOML file with any of a recipe's fields.")]
Deterministic = Annotated[bool, typer.Option("--deterministic", help="The same bytes on CUDA too, slower.")]
Frames = Annotated[int, typer.Option(min=0, max=1000, help="Keep N intermediate pictures and make a film.")]
