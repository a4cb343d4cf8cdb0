"""Commands that paint: stylize, resume, save, demo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from underpaint.cli.fields import content_layers_of, given, numbers_of, options_of, recipe_file, start_kind, style_layers_of
from underpaint.cli.options import (
    AsJson,
    Crop,
    Deterministic,
    Device,
    Frames,
    LayerWeight,
    Network,
    Optimizer,
    Out,
    Precision,
    Preset,
    PresetOption,
    Protect,
    ProtectWeight,
    Quiet,
    RecipeFile,
    Seed,
    Statistic,
    Strength,
    StyleLayers,
    Threads,
    Weights,
    Workers,
)
from underpaint.cli.terminal import app
from underpaint.cli.work import ablate_on, explain_on, paint_on
from underpaint.errors import UnderpaintError
from underpaint.execution import cores
from underpaint.storage.files import named


@app.command()
def stylize(
    content: Annotated[Path | None, typer.Argument(help="The photograph.", show_default=False)] = None,
    style: Annotated[list[Path] | None, typer.Argument(help="One or more paintings.", show_default=False)] = None,
    out: Out = None,
    network: Network = None,
    polish: Annotated[int | None, typer.Option(help="Steps with VGG-19 after the compact network's last.")] = None,
    size: Annotated[int | None, typer.Option(help="Longest side of the pastiche, pixels [512].")] = None,
    preset: PresetOption = None,
    iterations: Annotated[
        str | None,
        typer.Option(help="Steps at each size, finest first, e.g. 20,30,40: the last holds for the rest."),
    ] = None,
    optimizer: Optimizer = None,
    seed: Seed = None,
    device: Device = "auto",
    threads: Threads = "auto",
    precision: Precision = None,
    start: Annotated[str | None, typer.Option(help="content, noise, or a picture file.")] = None,
    strength: Strength = None,
    style_weight: Annotated[float | None, typer.Option(help="Weight of all style terms.")] = None,
    content_weight: Annotated[float | None, typer.Option(help="Weight of all content terms.")] = None,
    color_weight: Annotated[float | None, typer.Option(help="Weight of the style's colours, in its proportions.")] = None,
    palette_weight: Annotated[float | None, typer.Option(help="Weight of having no colour that the style lacks.")] = None,
    smoothness: Annotated[float | None, typer.Option(help="Weight of the smoothness term.")] = None,
    layer_weight: LayerWeight = None,
    style_layers: StyleLayers = None,
    content_layers: Annotated[str | None, typer.Option(help="Content layers, e.g. relu4_2.")] = None,
    statistic: Statistic = None,
    style_weights: Annotated[str | None, typer.Option(help="Shares of several styles, e.g. 2,1.")] = None,
    style_scale: Annotated[float | None, typer.Option(help="Size of the style relative to the pastiche.")] = None,
    pooling: Annotated[str | None, typer.Option(help="max or average.")] = None,
    crop: Crop = None,
    keep_color: Annotated[str | None, typer.Option(help="luminance, histogram or covariance.")] = None,
    content_mask: Annotated[Path | None, typer.Option(help="Grey picture: regions of the content.")] = None,
    style_mask: Annotated[Path | None, typer.Option(help="Grey picture: regions of the style.")] = None,
    protect: Protect = None,
    protect_weight: ProtectWeight = None,
    recipe: RecipeFile = None,
    carry: Annotated[Path | None, typer.Option("--from", help="Finished run to carry to a larger --size.")] = None,
    weights: Weights = None,
    frames: Frames = 0,
    deterministic: Deterministic = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Paint CONTENT in the style of STYLE."""
    from underpaint.runs import start as runs
    from underpaint.runs.folder import Run

    fields = given(
        network=network,
        polish=polish,
        size=size,
        preset=None if preset is None else preset.value,
        iterations=numbers_of("--iterations", iterations, int),
        optimizer=optimizer,
        seed=seed,
        precision=precision,
        start=start_kind(start),
        strength=strength,
        style_weight=style_weight,
        content_weight=content_weight,
        color_weight=color_weight,
        palette_weight=palette_weight,
        smoothness=smoothness,
        content_layers=content_layers_of(content_layers),
        statistic=statistic,
        style_weights=numbers_of("--style-weights", style_weights, float),
        style_scale=style_scale,
        pooling=pooling,
        crop=crop,
        keep_color=keep_color,
        protect_weight=protect_weight,
    )
    options = options_of(weights, device, deterministic, frames, quiet, cores.use(threads))
    if carry is not None:
        _alone(content=content, recipe=recipe, start=start, content_mask=content_mask, style_mask=style_mask, protect=protect)
        if size is None:
            raise UnderpaintError("--from: say how large with --size N")
        del fields["size"]
        before = Run.load(carry).recipe
        fields |= given(style_layers=style_layers_of(style_layers, layer_weight, fields, before))
        folder = out or carry.with_name(f"{carry.name}-{size}")
        paint_on(runs.carry_on(carry, size, out=folder, options=options, **fields), quiet, as_json)
        return
    if content is None or not style:
        raise UnderpaintError("CONTENT and STYLE: name a photograph and at least one painting")
    base = recipe_file(recipe, fields, quiet)
    fields |= given(style_layers=style_layers_of(style_layers, layer_weight, fields, base))
    prepared = runs.start(
        content,
        list(style),
        out=out or Path("out") / f"{content.stem}-{style[0].stem}",
        recipe=base,
        content_mask=content_mask,
        style_mask=style_mask,
        protect=protect,
        start_from=start if fields.get("start") == "file" else None,
        options=options,
        **fields,
    )
    paint_on(prepared, quiet, as_json)


KEPT = {
    "content": "the pictures are the run's own; leave CONTENT and STYLE out",
    "recipe": "a run keeps its recipe; leave --recipe out, or give single fields of it by their options",
    "start": "a run goes on from its own picture; leave --start out",
    "content_mask": "a run keeps its masks; leave --content-mask out, or paint anew with it",
    "style_mask": "a run keeps its masks; leave --style-mask out, or paint anew with it",
    "protect": "a run keeps what it protects; leave --protect out, or paint anew with it",
}
"""What cannot be given beside --from, and why."""


def _alone(**others: Any) -> None:
    """Refuses what --from would have to leave unread."""
    for name, value in others.items():
        if value is not None:
            raise UnderpaintError(f"--from: {KEPT[name]}")


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(help="Folder of what was stopped or killed.")],
    device: Device = "auto",
    threads: Annotated[str, typer.Option(help="auto (as many as it had), or how many.")] = "auto",
    workers: Workers = 1,
    weights: Weights = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Resume a run, an explanation or an ablation that was stopped or killed."""
    from underpaint.explanation import ablating, explaining
    from underpaint.runs import start as runs
    from underpaint.runs.folder import SETTINGS

    folder = named(folder, "resume")
    options = options_of(weights, device, False, 0, quiet, cores.use(threads, folder, workers), workers)
    if (folder / SETTINGS).exists():
        explain_on(explaining.resume(folder, options), quiet, as_json)
        return
    if (folder / ablating.FILE).exists():
        ablate_on(ablating.resume(folder, options), quiet, as_json)
        return
    paint_on(runs.resume(folder, options), quiet, as_json)


@app.command()
def save(
    folder: Annotated[Path, typer.Argument(help="Folder of a run.")],
    file: Annotated[Path, typer.Argument(help="A new .png, .jpg or .tiff file.")],
    bits: Annotated[int, typer.Option(help="8, or 16 (.png and .tiff).")] = 8,
) -> None:
    """Write a run's picture in another format or at 16 bits, the recipe in its metadata."""
    from underpaint.runs.folder import Run

    if named(file, "file").exists():
        raise UnderpaintError(f"{file}: is there already; name a new file")
    Run.load(folder).save(file, bits, new=True)


@app.command()
def demo(
    out: Annotated[Path | None, typer.Option(help="Folder. Default: out/demo, with --explain out/demo-why.")] = None,
    why: Annotated[bool, typer.Option("--explain", help="Explain it too, as `underpaint explain` does.")] = False,
    photograph: Annotated[str, typer.Option(help="A sample photograph.")] = "chelsea",
    style: Annotated[str, typer.Option(help="A sample style.")] = "gale",
    network: Annotated[str, typer.Option(help="compact, vgg19 or vgg16.")] = "compact",
    size: Annotated[int | None, typer.Option(help="Longest side, pixels [448, with --explain 256].")] = None,
    preset: Annotated[Preset, typer.Option(help="How much time to spend.")] = Preset.standard,
    device: Device = "auto",
    threads: Threads = "auto",
    precision: Precision = None,
    weights: Weights = None,
    frames: Frames = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Paint a sample photograph in the style of a sample picture."""
    from underpaint import samples
    from underpaint.explanation import explaining
    from underpaint.imaging import images
    from underpaint.runs import start as runs

    content = replace(images.read(samples.photograph(photograph)), name=photograph)
    pictures = content, samples.style_path(style)
    folder = out or Path("out/demo-why" if why else "out/demo")
    options = options_of(weights, device, False, frames, quiet, cores.use(threads, folder if why else None))
    fields: dict[str, Any] = given(network=network, preset=preset.value, precision=precision)
    if why:
        made = explaining.start(*pictures, out=folder, size=size or explaining.SIZE, options=options, **fields)
        explain_on(made, quiet, as_json)
        return
    paint_on(runs.start(*pictures, out=folder, size=size or 448, options=options, **fields), quiet, as_json)
