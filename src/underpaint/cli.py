"""The command line. It calls the package's public interface and shows what comes of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from underpaint.errors import UnderpaintError

app = typer.Typer(
    name="underpaint",
    help="Neural style transfer that explains itself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(stderr=True)


class Preset(StrEnum):
    """How much time to spend."""

    draft = "draft"
    standard = "standard"
    fine = "fine"


Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run. Default: out/CONTENT-STYLE.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show nothing but errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON at the end.")]
Weights = Annotated[Path | None, typer.Option(help="Weights file, or folder that holds it.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Network = Annotated[str | None, typer.Option(help="compact, vgg19 or vgg16 [compact].")]
PresetOption = Annotated[Preset | None, typer.Option(help="How much time to spend [standard].")]
Optimizer = Annotated[str | None, typer.Option(help="adam or lbfgs.")]
Seed = Annotated[int | None, typer.Option(help="What all randomness hangs on [0].")]
Precision = Annotated[str | None, typer.Option(help="float32 or bf16.")]
Strength = Annotated[float | None, typer.Option(help="From content (0) to style (1) [0.5].")]
StyleLayers = Annotated[str | None, typer.Option(help="Style layers, e.g. relu1_1,relu3_1.")]
LayerWeight = Annotated[list[str] | None, typer.Option(help="LAYER=W, a style layer's weight (0 leaves it out). Repeatable.")]
Statistic = Annotated[str | None, typer.Option(help="gram, moments or sliced.")]
RecipeFile = Annotated[Path | None, typer.Option(help="TOML file with any of a recipe's fields.")]
Deterministic = Annotated[bool, typer.Option("--deterministic", help="The same bytes on CUDA too, slower.")]
Frames = Annotated[int, typer.Option(min=0, max=1000, help="Keep N intermediate pictures and make a film.")]


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
    precision: Precision = None,
    start: Annotated[str | None, typer.Option(help="content, noise, or a picture file.")] = None,
    strength: Strength = None,
    style_weight: Annotated[float | None, typer.Option(help="Weight of all style terms.")] = None,
    content_weight: Annotated[float | None, typer.Option(help="Weight of all content terms.")] = None,
    smoothness: Annotated[float | None, typer.Option(help="Weight of the smoothness term.")] = None,
    layer_weight: LayerWeight = None,
    style_layers: StyleLayers = None,
    content_layers: Annotated[str | None, typer.Option(help="Content layers, e.g. relu4_2.")] = None,
    statistic: Statistic = None,
    style_weights: Annotated[str | None, typer.Option(help="Shares of several styles, e.g. 2,1.")] = None,
    style_scale: Annotated[float | None, typer.Option(help="Size of the style relative to the pastiche.")] = None,
    pooling: Annotated[str | None, typer.Option(help="max or average.")] = None,
    keep_color: Annotated[str | None, typer.Option(help="luminance, histogram or covariance.")] = None,
    content_mask: Annotated[Path | None, typer.Option(help="Grey picture: regions of the content.")] = None,
    style_mask: Annotated[Path | None, typer.Option(help="Grey picture: regions of the style.")] = None,
    recipe: RecipeFile = None,
    carry: Annotated[Path | None, typer.Option("--from", help="Finished run to carry to a larger --size.")] = None,
    weights: Weights = None,
    frames: Frames = 0,
    deterministic: Deterministic = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Paint CONTENT in the style of STYLE."""
    from underpaint import recipe as recipes
    from underpaint import session

    fields = _given(
        network=network,
        polish=polish,
        size=size,
        preset=None if preset is None else preset.value,
        iterations=_numbers("--iterations", iterations, int),
        optimizer=optimizer,
        seed=seed,
        precision=precision,
        start=_start_kind(start),
        strength=strength,
        style_weight=style_weight,
        content_weight=content_weight,
        smoothness=smoothness,
        style_layers=_layers(style_layers),
        content_layers=_layers(content_layers),
        statistic=statistic,
        style_weights=_numbers("--style-weights", style_weights, float),
        style_scale=style_scale,
        pooling=pooling,
        keep_color=keep_color,
    )
    options = _options(weights, device, deterministic, frames, quiet)
    if carry is not None:
        if content is not None:
            raise UnderpaintError("--from: the pictures are the run's own; leave CONTENT and STYLE out")
        if size is None:
            raise UnderpaintError("--from: say how large with --size N")
        del fields["size"]
        folder = out or carry.with_name(f"{carry.name}-{size}")
        _paint(session.carry_on(carry, size, out=folder, options=options, **fields), quiet, as_json)
        return
    if content is None or not style:
        raise UnderpaintError("CONTENT and STYLE: name a photograph and at least one painting")
    base = None if recipe is None else recipes.make(recipes.read_toml(recipe), source=f"--recipe {recipe}: ")
    if layer_weight:
        fields["style_layers"] = _layer_weights(layer_weight, fields.get("style_layers"), base)
    prepared = session.start(
        content,
        list(style),
        out=out or Path("out") / f"{content.stem}-{style[0].stem}",
        recipe=base,
        content_mask=content_mask,
        style_mask=style_mask,
        start_from=start if fields.get("start") == "file" else None,
        options=options,
        **fields,
    )
    _paint(prepared, quiet, as_json)


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(help="Folder of a run that was stopped or killed.")],
    device: Device = "auto",
    weights: Weights = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a run or an explanation that was stopped or killed."""
    from underpaint import explaining, session

    if (folder / explaining.SETTINGS).exists():
        _explain(explaining.resume(folder, _options(weights, device, False, 0, quiet)), quiet, as_json)
        return
    _paint(session.resume(folder, _options(weights, device, False, 0, quiet)), quiet, as_json)


@app.command()
def explain(
    content: Annotated[Path, typer.Argument(help="The photograph.", show_default=False)],
    style: Annotated[Path, typer.Argument(help="The painting.", show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", help="Folder. Default: out/CONTENT-STYLE-why.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Complete tables of coalitions.")] = 1,
    permutations: Annotated[
        int | None, typer.Option(help="Of 9 to 16 style layers: orders to sample Shapley values by, an even number [16].")
    ] = None,
    judge: Annotated[str | None, typer.Option(help="Network that judges: compact, vgg19, vgg16 [the run's].")] = None,
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
    recipe: RecipeFile = None,
    device: Device = "auto",
    precision: Precision = None,
    weights: Weights = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Paint CONTENT in the style of STYLE and explain it: which layer painted what, how sure that is, and whether it holds
    when the layer is taken away. The same command goes on where it was stopped."""
    from underpaint import explaining

    fields, base = _run_fields(
        recipe,
        layer_weight,
        style_layers,
        network=network,
        size=size,
        preset=preset,
        optimizer=optimizer,
        seed=seed,
        strength=strength,
        statistic=statistic,
        precision=precision,
    )
    folder = out or Path("out") / f"{content.stem}-{style.stem}-why"
    options = _options(weights, device, False, 0, quiet)
    fields |= {"seeds": seeds, "judge": judge, "check_sanity": sanity, "permutations": permutations}
    _explain(explaining.start(content, style, out=folder, recipe=base, options=options, **fields), quiet, as_json)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, an ablation or an explanation.")],
    weights: Weights = None,
) -> None:
    """Write the page of a run, an ablation or an explanation, report.html: one file that opens without any connection."""
    from underpaint.report import page

    with console.status("writing the page") if console.is_terminal else nullcontext():
        path = page.build(folder, weights)
    console.print(f"{path}", highlight=False)


@app.command()
def figures(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, an ablation or an explanation.")],
    formats: Annotated[str, typer.Option("--format", help="pdf, svg, png, with commas between them.")] = "pdf",
    out: Annotated[Path | None, typer.Option("--out", help="Folder. Default: figures in FOLDER, replaced.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write figures for a paper (one and two columns wide) and tables as LaTeX and CSV."""
    from underpaint.paper.press import Press

    press = Press(folder, [each.strip() for each in formats.split(",")], out)
    with console.status("drawing") if console.is_terminal else nullcontext():
        written = [str(path) for path in press]
    if as_json:
        print(json.dumps({"folder": str(press.out), "files": written, "missing": press.missing}))
        return
    for line in press.missing:
        console.print(f"Not there: {line}", highlight=False, soft_wrap=True)
    console.print(f"{press.out}: {len(written)} files", highlight=False)


@app.command()
def compare(
    pastiches: Annotated[list[Path], typer.Argument(help="Run folders, or picture files with --content and --style.")],
    content: Annotated[Path | None, typer.Option(help="The photograph that picture files were made of.")] = None,
    style: Annotated[Path | None, typer.Option(help="The painting that they were made by.")] = None,
    network: Annotated[str, typer.Option(help="Network that looks: compact, vgg19 or vgg16.")] = "compact",
    out: Annotated[Path | None, typer.Option("--out", help="A new .csv file for the figures in full.")] = None,
    device: Device = "auto",
    weights: Weights = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure several pastiches alike: style, colour, structure kept, perceptual distance."""
    from underpaint import comparing

    if out is not None and out.exists():
        raise UnderpaintError(f"--out {out}: is there already; name a new file")
    options = _options(weights, device, False, 0, quiet)
    with Progress(console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=len(pastiches))
        found = comparing.compare(
            pastiches,
            content=content,
            style=style,
            network=network,
            weights=weights,
            device=device,
            progress=lambda done, total, name: bar.update(task, completed=done, total=total, description=name),
            announce=options.announce,
            download=options.progress,
        )
    if out is not None:
        found.write_csv(out)
    if as_json:
        print(json.dumps(found.as_dict()))
        return
    _print_comparison(found)


def _print_comparison(found: Any) -> None:
    """One column a pastiche, one line a measure: names are long and measures are many."""
    from rich.table import Table

    from underpaint.quality import MEASURES

    table = Table(show_edge=False, pad_edge=False)
    table.add_column("measure")
    for row in found.rows:
        table.add_column(f"{row.name}\n{row.width}×{row.height}", justify="right", overflow="fold")
    table.add_column("better")
    for name in found.measures:
        m = MEASURES[name]
        cells = [f"{row.values[name]:.3f}" if name in row.values else "-" for row in found.rows]
        table.add_row(name, *cells, f"{m.better} ({m.against})")
    Console().print(table)
    for row in found.rows:
        for line in dict.fromkeys((*row.missing.values(), *row.notes)):
            console.print(f"{row.name}: {line}", highlight=False, soft_wrap=True)
    for line in found.notes:
        console.print(f"Note: {line}", highlight=False, soft_wrap=True)


@app.command()
def where(
    folder: Annotated[Path, typer.Argument(help="Folder of an explanation.")],
    box: Annotated[str, typer.Option(help="LEFT,TOP,WIDTH,HEIGHT in pixels of the pastiche.")],
    out: Annotated[Path | None, typer.Option("--out", help="A new .png file. Default: where.png in the folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show which layers painted a box of an explained pastiche, and where in the style picture it comes from."""
    from underpaint.explanation import Explanation

    numbers = _numbers("--box", box, int)
    if numbers is None or len(numbers) != 4:
        raise UnderpaintError(f"--box {box}: give LEFT,TOP,WIDTH,HEIGHT, e.g. 40,30,64,64")
    path = out or folder / "where.png"
    if out is not None and path.exists():
        raise UnderpaintError(f"{path}: is there already; name a new file")
    left, top, width, height = numbers
    shares = Explanation.load(folder).draw_region((left, top, width, height), path)
    if as_json:
        print(json.dumps({"picture": str(path), "shares": shares}))
        return
    for term, share in shares.items():
        console.print(f"{term:>20}  {share:6.1%}", highlight=False)
    console.print(f"{path}", highlight=False)


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
    judge: Annotated[str | None, typer.Option(help="Network that judges: compact, vgg19, vgg16 [the run's].")] = None,
    network: Network = None,
    size: Annotated[int | None, typer.Option(help="Longest side of the pastiche, pixels [256].")] = None,
    preset: PresetOption = None,
    optimizer: Optimizer = None,
    seed: Seed = None,
    strength: Strength = None,
    style_layers: StyleLayers = None,
    layer_weight: LayerWeight = None,
    statistic: Statistic = None,
    recipe: RecipeFile = None,
    device: Device = "auto",
    precision: Precision = None,
    weights: Weights = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Paint CONTENT in the style of STYLE with some of the style layers at a time. The same command goes on where it was
    stopped."""
    from underpaint import ablating

    fields, base = _run_fields(
        recipe,
        layer_weight,
        style_layers,
        network=network,
        size=size,
        preset=preset,
        optimizer=optimizer,
        seed=seed,
        strength=strength,
        statistic=statistic,
        precision=precision,
    )
    wanted = [] if configs is None else [name.strip() for name in configs.split(",")]
    folder = out or Path("out") / f"{content.stem}-{style.stem}-ablation"
    options = _options(weights, device, False, 0, quiet)
    made = ablating.start(content, style, out=folder, configs=wanted, judge=judge, recipe=base, options=options, **fields)
    _advance(made, quiet)
    result = made.result
    if as_json:
        print(json.dumps({"folder": str(folder), "outcomes": result.outcomes}))
    elif not quiet:
        for name, outcomes in result.outcomes.items():
            console.print(f"{name:>14}  J {outcomes['heldout']:.3f}  content {outcomes['content']:.3f}", highlight=False)
        console.print(f"{folder / 'gallery.png'}, {folder / 'ablation.csv'}", highlight=False)


def _run_fields(
    recipe: Path | None, layer_weight: list[str] | None, style_layers: str | None, **others: Any
) -> tuple[dict[str, Any], Any]:
    """A recipe's fields from flags, and the recipe of --recipe."""
    from underpaint import recipe as recipes

    fields = _given(**{name: getattr(value, "value", value) for name, value in others.items()})
    fields |= _given(style_layers=_layers(style_layers))
    base = None if recipe is None else recipes.make(recipes.read_toml(recipe), source=f"--recipe {recipe}: ")
    if layer_weight:
        fields["style_layers"] = _layer_weights(layer_weight, fields.get("style_layers"), base)
    return fields, base


def _explain(made: Any, quiet: bool, as_json: bool) -> None:
    """Runs an explanation to its end and says what was found."""
    from underpaint.estimate import estimate
    from underpaint.explanation import conclude
    from underpaint.report import page

    if not quiet:
        for note in made.session.notes:
            console.print(f"Note: {note}", highlight=False)
        seconds = estimate(made.session.scene).seconds * made.runs
        drawn = f" ({len(made.orders)} permutations)" if made.orders else ""
        told = f"{made.count} coalitions of {len(made.players)} layers{drawn}, about {_duration(seconds)}"
        console.print(told, highlight=False)
    _advance(made, quiet)
    with nullcontext() if quiet else console.status("drawing conclusions"):
        found = conclude(made)
        path = page.build(found.folder, made.session.options.weights)
    if as_json:
        values = {layer: {"value": e.value, "low": e.low, "high": e.high} for layer, e in found.shapley.items()}
        print(json.dumps({"folder": str(found.folder), "shapley": values, "verdict": found.verdict}))
    elif not quiet:
        for sentence in found.verdict:
            console.print(f"- {sentence}", highlight=False)
        console.print(f"{path}, and all figures beside it (schema.md says what is what)", highlight=False)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _advance(made: Any, quiet: bool) -> None:
    """Goes through it under a bar that knows the time left; in a log file, a line every tenth."""
    columns = (TextColumn("{task.description:>14}"), BarColumn(bar_width=32), TextColumn("{task.fields[count]}"))
    bar = Progress(*columns, TimeRemainingColumn(), console=console, disable=quiet or not console.is_terminal)
    tenth = 0
    try:
        with bar:
            task = bar.add_task("", total=1.0, count="")
            for state in made:
                share = state.done / max(state.total, 1e-9)
                bar.update(task, completed=share, description=state.doing, count=f"{share:.0%}")
                if int(share * 10) > tenth and not quiet and not console.is_terminal:
                    tenth = int(share * 10)
                    console.print(f"{share:.0%}, {state.doing}", highlight=False)
    except KeyboardInterrupt:
        console.print(f"Stopped. The same command goes on from {made.folder}", highlight=False)
        raise typer.Exit(130) from None


@app.command()
def save(
    folder: Annotated[Path, typer.Argument(help="Folder of a run.")],
    file: Annotated[Path, typer.Argument(help="A new .png, .jpg or .tiff file.")],
    bits: Annotated[int, typer.Option(help="8, or 16 (.png and .tiff).")] = 8,
) -> None:
    """Write a run's picture in another format or at 16 bits, the recipe in its metadata."""
    from underpaint.run import Run

    if file.exists():
        raise UnderpaintError(f"{file}: is there already; name a new file")
    Run.load(folder).save(file, bits)


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
    precision: Annotated[str, typer.Option(help="float32 or bf16.")] = "float32",
    weights: Weights = None,
    frames: Frames = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Paint a sample photograph in the style of a sample picture."""
    from underpaint import explaining, images, samples, session

    content = replace(images.read(samples.photograph(photograph)), name=photograph)
    pictures = content, samples.style_path(style)
    options = _options(weights, device, False, frames, quiet)
    fields: dict[str, Any] = {"network": network, "preset": preset.value, "precision": precision}
    if why:
        folder = out or Path("out/demo-why")
        made = explaining.start(*pictures, out=folder, size=size or explaining.SIZE, options=options, **fields)
        _explain(made, quiet, as_json)
        return
    _paint(session.start(*pictures, out=out or Path("out/demo"), size=size or 448, options=options, **fields), quiet, as_json)


@app.command()
def studio(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 7860,
    runs: Annotated[Path, typer.Option(help="Folder of all runs; it survives the server.")] = Path("out/studio"),
    host: Annotated[str, typer.Option(help="Address to listen on; others need a password.")] = "127.0.0.1",
    host_name: Annotated[list[str] | None, typer.Option(help="Name that browsers may use for it. Repeatable.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Jobs at once.")] = 1,
    max_size: Annotated[int, typer.Option(min=64, max=8192, help="Largest side of a pastiche, pixels.")] = 1024,
    device: Device = "auto",
    weights: Weights = None,
) -> None:
    """Open the studio, a local web application: paint, understand and keep, in the browser."""
    try:
        from underpaint.studio import server
    except ImportError as error:
        raise UnderpaintError(f"studio: needs its extra ({error.name}); pip install 'underpaint[studio]'") from None
    from underpaint.jobs.runner import Limits, Runner

    server.check_host(host, server.password())
    runner = Runner(runs, workers, Limits(size=max_size), device, weights)
    console.print(f"Studio: http://{host}:{port}/ (Ctrl-C ends it; runs are kept in {runs})", highlight=False)
    server.serve(runner, host, port, host_name or ())


@app.command()
def networks(weights: Weights = None, as_json: AsJson = False) -> None:
    """List the networks, their layers, and whether their weights are at hand."""
    from underpaint.networks import registry

    found = registry.entries(weights)
    if as_json:
        rows = [{"name": e.name, "layers": e.layers, "weights": e.at_hand and str(e.at_hand)} for e in found]
        print(json.dumps(rows))
        return
    for entry in found:
        print(f"{entry.name}: {_place(entry)}\n  {' '.join(entry.layers)}")


def _place(entry: Any) -> str:
    if entry.url is None:
        return "comes with the package (the default)"
    return f"weights at {entry.at_hand}" if entry.at_hand else f"weights would be downloaded from {entry.url}"


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _numbers(flag: str, text: str | None, kind: type) -> tuple[Any, ...] | None:
    if text is None:
        return None
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise UnderpaintError(f"{flag} {text}: give numbers with commas between them, e.g. 20,30,40") from None


def _layers(text: str | None) -> dict[str, float] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise UnderpaintError(f"layers: {repeated} is named twice; name each once")
    return dict.fromkeys(names, 1.0)


def _layer_weights(pairs: list[str], layers: dict[str, float] | None, base: Any) -> dict[str, float]:
    """The style layers with the weights of `--layer-weight` put in; a layer that was not there joins them."""
    from underpaint.recipe import Recipe

    weights = dict(layers or (base or Recipe()).style_layers)
    for pair in pairs:
        layer, _, weight = pair.partition("=")
        try:
            weights[layer] = float(weight)
        except ValueError:
            raise UnderpaintError(f"--layer-weight {pair}: write LAYER=W, e.g. relu1_1=0.5") from None
    return weights


def _start_kind(start: str | None) -> str | None:
    return start if start in (None, "content", "noise") else "file"


def _options(weights: Path | None, device: str, deterministic: bool, frames: int, quiet: bool) -> Any:
    from underpaint.session import Options

    announce = None if quiet else lambda text: console.print(text, highlight=False)
    return Options(weights, device, deterministic, frames, announce, None if quiet else _download_bar())


def _download_bar() -> Any:
    """A progress callback that opens a bar at the first bytes and closes it at the last."""
    bar = Progress(TextColumn("  weights"), BarColumn(), DownloadColumn(), console=console)
    task = bar.add_task("", total=None)

    def progress(done: int, total: int | None) -> None:
        if not bar.live.is_started:
            bar.start()
        bar.update(task, completed=done, total=total)
        if done == total:
            bar.stop()

    return progress


def _paint(session: Any, quiet: bool, as_json: bool) -> None:
    """Runs a session to its end under a progress bar."""
    if not quiet:
        _announce(session)
    try:
        with _bar(session, quiet) as show:
            for step in session:
                show(step)
    except KeyboardInterrupt:
        console.print(f"Stopped. Go on with: underpaint resume {session.folder}", highlight=False)
        raise typer.Exit(130) from None
    run = session.run
    if as_json:
        keys = ("status", "steps", "seconds", "losses", "peak_memory_bytes")
        print(json.dumps({"folder": str(session.folder), **{key: run.facts.get(key) for key in keys}}))
    elif not quiet:
        console.print(f"{session.folder / 'pastiche.png'} ({run.facts['seconds']:.0f} s)", highlight=False)


def _announce(session: Any) -> None:
    from underpaint.estimate import estimate

    for note in session.notes:
        console.print(f"Note: {note}", highlight=False)
    height, width = session.scene.size(-1)
    guess = estimate(session.scene)
    console.print(
        f"{session.recipe.network} on {session.device}: {width}×{height} px, {session.steps} steps, "
        f"about {guess.seconds:.0f} s and {guess.bytes / 2**30:.1f} GiB",
        highlight=False,
    )


@contextmanager
def _bar(session: Any, quiet: bool) -> Iterator[Callable[[Any], None]]:
    """Shows size, step, every loss and the time left; in a log file, a line for each size.

    Work at a size goes by its pixels, so the bar does too.
    """
    schedule = session.recipe.schedule()
    columns = (
        TextColumn("{task.fields[size]:>9}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}"),
        TimeRemainingColumn(),
    )
    bar, losses = Progress(*columns, console=console), Text()
    task = bar.add_task("", total=1.0, size="", count="")
    live = not quiet and console.is_terminal

    def show(step: Any) -> None:
        n = step.iteration + (0 if step.final else 1)
        done = session.recipe.share_done(step.scale, n)
        size = f"{step.size[1]}×{step.size[0]}"
        bar.update(task, completed=done, size=size, count=f"{n}/{schedule[step.scale]}")
        losses.plain = _losses(step)
        if step.scale_done and not live and not quiet:
            console.print(f"{size} px done: {losses.plain}", highlight=False, soft_wrap=True)

    with Live(Group(bar, losses), console=console, refresh_per_second=8) if live else nullcontext():
        yield show


def _losses(step: Any) -> str:
    """Every term's raw value in few words: `total 0.31  style 1_1 0.02 2_1 0.03  content 4_2 0.8  smoothness 0.01`."""
    words, kind = [f"total {step.total:.3g}"], ""
    for term in step.terms:
        part, _, layer = term.name.partition("/")
        words.append(("" if part == kind else f" {part} ") + f"{layer.removeprefix('relu')} {term.raw:.2g}".strip())
        kind = part
    return " ".join(words)


def main() -> None:
    """The entry point: an error that the user can mend is one line and exit code 2."""
    try:
        app()
    except UnderpaintError as error:
        print(f"underpaint: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("underpaint: stopped", file=sys.stderr)
        sys.exit(130)
