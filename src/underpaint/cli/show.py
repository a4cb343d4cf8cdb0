"""Commands that show: report, figures, compare, studio."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from underpaint.cli.fields import options_of
from underpaint.cli.options import AsJson, Device, Weights
from underpaint.cli.terminal import answer, app, console, note
from underpaint.errors import UnderpaintError, printable
from underpaint.storage.files import named


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, an ablation or an explanation.")],
    weights: Annotated[Path | None, typer.Option(help="LPIPS's weights file, or folder that holds it.")] = None,
) -> None:
    """Write the page of a run, an ablation or an explanation, report.html: one file that opens without any connection."""
    from underpaint.networks import weights as places
    from underpaint.report import page

    found = None if weights is None else places.find(places.LPIPS, weights)
    if found is not None and found.path.name != places.LPIPS.filename:
        raise UnderpaintError(f"--weights {weights}: a page needs {places.LPIPS.filename} alone; leave this out")
    with console.status("writing the page") if console.is_terminal else nullcontext():
        path = page.build(folder, weights)
    answer(f"{path}")


@app.command()
def figures(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, an ablation or an explanation.")],
    formats: Annotated[str, typer.Option("--format", help="pdf, svg, png, with commas between them.")] = "pdf",
    out: Annotated[Path | None, typer.Option("--out", help="Folder. Default: figures in FOLDER, replaced.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write figures for a paper (one and two columns wide) and tables as LaTeX and CSV."""
    from underpaint.paper.export import Press

    press = Press(folder, [each.strip() for each in formats.split(",")], out)
    with console.status("drawing") if console.is_terminal else nullcontext():
        written = [str(path) for path in press]
    if as_json:
        answer(json.dumps({"folder": str(press.out), "files": written, "missing": press.missing}))
        return
    for line in press.missing:
        note(f"Not there: {line}")
    note(f"{len(written)} files")
    answer(f"{press.out}")


@app.command()
def compare(
    pastiches: Annotated[list[Path], typer.Argument(help="Run folders, or picture files with --content and --style.")],
    content: Annotated[Path | None, typer.Option(help="The photograph that picture files were made of.")] = None,
    style: Annotated[Path | None, typer.Option(help="The painting that they were made by.")] = None,
    network: Annotated[str, typer.Option(help="Network that looks: compact, vgg19 or vgg16.")] = "compact",
    out: Annotated[Path | None, typer.Option("--out", help="A new .csv file for the figures in full.")] = None,
    device: Device = "auto",
    weights: Weights = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show the table alone, without progress and notes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure several pastiches alike: style, colour, strokes, structure kept, perceptual distance."""
    from underpaint.runs import comparing

    if out is not None and named(out, "--out").exists():
        raise UnderpaintError(f"--out {out}: is there already; name a new file")
    options = options_of(weights, device, False, 0, quiet)
    columns = (TextColumn("{task.description}", markup=False), BarColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=len(pastiches))
        found = comparing.compare(
            pastiches,
            content=content,
            style=style,
            network=network,
            weights=weights,
            device=device,
            progress=lambda done, total, name: bar.update(task, completed=done, total=total, description=printable(name)),
            announce=options.announce,
            download=options.progress,
        )
    if out is not None:
        found.write_csv(out)
    if as_json:
        answer(json.dumps(found.as_dict()))
        return
    _print_comparison(found, quiet)


def _print_comparison(found: Any, quiet: bool) -> None:
    """One column a pastiche, one line a measure: names are long and measures are many."""
    from rich.table import Table

    from underpaint.quality import MEASURES

    table = Table(show_edge=False, pad_edge=False)
    table.add_column("measure")
    for row in found.rows:
        table.add_column(f"{printable(row.name)}\n{row.width}×{row.height}", justify="right", overflow="fold")
    table.add_column("better")
    for name in found.measures:
        m = MEASURES[name]
        cells = [f"{row.values[name]:.3f}" if name in row.values else "-" for row in found.rows]
        table.add_row(name, *cells, f"{m.better} ({m.against})")
    # In a pipe a line is as long as it must be.
    Console(markup=False, emoji=False, highlight=False, width=None if sys.stdout.isatty() else 10_000).print(table)
    if quiet:
        return
    for row in found.rows:
        for line in dict.fromkeys((*row.missing.values(), *row.notes)):
            note(f"{row.name}: {line}")
    for line in found.notes:
        note(f"Note: {line}")


@app.command()
def studio(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 7860,
    runs: Annotated[Path, typer.Option(help="Folder of all runs; it survives the server.")] = Path("out/studio"),
    host: Annotated[str, typer.Option(help="Address to listen on; others need a password.")] = "127.0.0.1",
    host_name: Annotated[list[str] | None, typer.Option(help="Name that browsers may use for it. Repeatable.")] = None,
    root_path: Annotated[str, typer.Option(help="Path under which a proxy shows it, like /studio.")] = "",
    owner: Annotated[bool, typer.Option("--owner", help="Print a link whose opener may stop and remove every run.")] = False,
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

    place = server.Place(host_name or (), root_path, owner)
    with server.listen(host, port) as listener:
        runner = Runner(runs, workers, Limits(size=max_size), device, weights)
        server.serve(runner, listener, place, note)
