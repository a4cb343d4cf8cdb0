"""Commands that explain: explain, where, ablate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from underpaint.cli.fields import given, networks_of, numbers_of, options_of, run_fields
from underpaint.cli.options import (
    AsJson,
    Crop,
    Device,
    LayerWeight,
    Network,
    Optimizer,
    Precision,
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
from underpaint.cli.terminal import answer, app
from underpaint.cli.work import ablate_on, across_on, explain_on, folder_of
from underpaint.errors import UnderpaintError
from underpaint.execution import cores
from underpaint.storage.files import named


@app.command()
def explain(
    content: Annotated[Path, typer.Argument(help="The photograph.", show_default=False)],
    style: Annotated[Path, typer.Argument(help="The painting.", show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", help="Folder. Default: out/CONTENT-STYLE-why.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Complete tables of coalitions.")] = 1,
    permutations: Annotated[
        int | None, typer.Option(help="Of 9 to 16 style layers: orders to sample Shapley values by, an even number [16].")
    ] = None,
    judge: Annotated[str | None, typer.Option(help="Networks that judge, with commas [the run's, and another].")] = None,
    sanity: Annotated[
        bool, typer.Option("--sanity", help="Also with the network's weights shuffled, block by block.")
    ] = False,
    network: Network = None,
    size: Annotated[int | None, typer.Option(help="Longest side of the pastiche, pixels [256].")] = None,
    preset: PresetOption = None,
    optimizer: Optimizer = None,
    seed: Seed = None,
    strength: Strength = None,
    style_layers: StyleLayers = None,
    layer_weight: LayerWeight = None,
    statistic: Statistic = None,
    protect: Protect = None,
    protect_weight: ProtectWeight = None,
    crop: Crop = None,
    recipe: RecipeFile = None,
    device: Device = "auto",
    threads: Threads = "auto",
    workers: Workers = 1,
    precision: Precision = None,
    weights: Weights = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Paint CONTENT in the style of STYLE and explain it: which layer painted what, how sure that is, and whether it holds
    when the layer is taken away. The same command resumes where it was stopped."""
    from underpaint.explanation import explaining
    from underpaint.networks import registry

    names = networks_of(network, style_layers=style_layers, layer_weight=layer_weight)
    fields, base = run_fields(
        recipe,
        layer_weight,
        style_layers,
        quiet,
        network=names[0] if names else None,
        size=size,
        preset=preset,
        optimizer=optimizer,
        seed=seed,
        strength=strength,
        statistic=statistic,
        crop=crop,
        precision=precision,
        protect_weight=protect_weight,
    )
    fields |= given(protect=protect)
    folder = out or Path("out") / f"{content.stem}-{style.stem}-why"
    options = options_of(weights, device, False, 0, quiet, cores.use(threads, folder, workers), workers)
    fields |= {"seeds": seeds, "judge": judge, "check_sanity": sanity, "permutations": permutations}
    if len(names) < 2:
        explain_on(explaining.start(content, style, out=folder, recipe=base, options=options, **fields), quiet, as_json)
        return
    # What cannot be is said before anything is painted; weights are given to those that do not have their own.
    given_to = {name: weights if registry.file_of(name) is not None else None for name in names}
    folders = [folder / folder_of(name) for name in names]
    for name, own in zip(names, folders, strict=True):
        each = replace(options, weights=given_to[name])
        made = explaining.start(content, style, out=own, recipe=base, options=each, **fields | {"network": name})
        explain_on(made, quiet, as_json)
    across_on(folder, folders, quiet, as_json)


@app.command()
def where(
    folder: Annotated[Path, typer.Argument(help="Folder of an explanation.")],
    box: Annotated[str, typer.Option(help="LEFT,TOP,WIDTH,HEIGHT in pixels of the pastiche.")],
    out: Annotated[Path | None, typer.Option("--out", help="A new .png file. Default: where.png in the folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show which layers painted a box of an explained pastiche, and where in the style picture it comes from."""
    from underpaint.explanation.result import Explanation

    numbers = numbers_of("--box", box, int)
    if numbers is None or len(numbers) != 4:
        raise UnderpaintError(f"--box {box}: give LEFT,TOP,WIDTH,HEIGHT, e.g. 40,30,64,64")
    path = folder / "where.png" if out is None else named(out, "--out")
    if out is not None and path.exists():
        raise UnderpaintError(f"{path}: is there already; name a new file")
    left, top, width, height = numbers
    shares = Explanation.load(folder).draw_region((left, top, width, height), path)
    if as_json:
        answer(json.dumps({"picture": str(path), "shares": shares}))
        return
    for term, share in shares.items():
        answer(f"{term:>20}  {share:6.1%}")
    answer(f"{path}")


@app.command()
def ablate(
    content: Annotated[Path, typer.Argument(help="The photograph.", show_default=False)],
    style: Annotated[Path, typer.Argument(help="The painting.", show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", help="Folder. Default: out/CONTENT-STYLE-ablation.")] = None,
    configs: Annotated[
        str | None,
        typer.Option(
            help="all, none, shallow, mid, deep, drop:LAYER, only:LAYER or layers with + between them, with commas. "
            "Default: all, shallow, mid, deep and each layer left out."
        ),
    ] = None,
    judge: Annotated[str | None, typer.Option(help="Networks that judge, with commas [the run's].")] = None,
    network: Network = None,
    size: Annotated[int | None, typer.Option(help="Longest side of the pastiche, pixels [256].")] = None,
    preset: PresetOption = None,
    optimizer: Optimizer = None,
    seed: Seed = None,
    strength: Strength = None,
    style_layers: StyleLayers = None,
    layer_weight: LayerWeight = None,
    statistic: Statistic = None,
    protect: Protect = None,
    protect_weight: ProtectWeight = None,
    crop: Crop = None,
    recipe: RecipeFile = None,
    device: Device = "auto",
    threads: Threads = "auto",
    workers: Workers = 1,
    precision: Precision = None,
    weights: Weights = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Paint CONTENT in the style of STYLE with some of the style layers at a time. The same command resumes where it was
    stopped."""
    from underpaint.explanation import ablating

    fields, base = run_fields(
        recipe,
        layer_weight,
        style_layers,
        quiet,
        network=network,
        size=size,
        preset=preset,
        optimizer=optimizer,
        seed=seed,
        strength=strength,
        statistic=statistic,
        crop=crop,
        precision=precision,
        protect_weight=protect_weight,
    )
    fields |= given(protect=protect)
    wanted = None if configs is None else [name.strip() for name in configs.split(",")]
    folder = out or Path("out") / f"{content.stem}-{style.stem}-ablation"
    options = options_of(weights, device, False, 0, quiet, cores.use(threads, folder, workers), workers)
    made = ablating.start(content, style, out=folder, configs=wanted, judge=judge, recipe=base, options=options, **fields)
    ablate_on(made, quiet, as_json)
