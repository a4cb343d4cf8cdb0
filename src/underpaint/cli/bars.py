"""Bars: how far something is, in a terminal live and in a log file by lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from typing import Any

import typer
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from underpaint.cli.terminal import console, note
from underpaint.commands import resume


@contextmanager
def painting(session: Any, quiet: bool) -> Iterator[Callable[[Any], None]]:
    """Shows size, step, every loss and the time left; in a log file, a line for each size.

    Work at a size goes by its pixels, so the bar does too.
    """
    schedule = session.recipe.schedule()
    columns = (
        TextColumn("{task.fields[size]:>9}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}", markup=False),
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
        losses.plain = loss_line(step, session.scene.network.anatomy)
        if step.scale_done and not live and not quiet:
            note(f"{size} px done: {losses.plain}")

    with Live(Group(bar, losses), console=console, refresh_per_second=8) if live else nullcontext():
        yield show


def loss_line(step: Any, anatomy: Any) -> str:
    """Every term's raw value in few words: `total 0.31  style 1_1 0.02 2_1 0.03  content 4_2 0.8  color 0.2 …`."""
    words, kind = [f"total {step.total:.3g}"], ""
    for term in step.terms:
        part, _, layer = term.name.partition("/")
        words.append(("" if part == kind else f" {part} ") + f"{anatomy.short(layer)} {term.raw:.2g}".strip())
        kind = part
    return " ".join(words)


def advance(made: Any, quiet: bool) -> None:
    """Goes through it under a bar that knows the time left; in a log file, a line every tenth."""
    doing, count = (TextColumn(text, markup=False) for text in ("{task.description:>14}", "{task.fields[count]}"))
    hidden = quiet or not console.is_terminal
    bar = Progress(doing, BarColumn(bar_width=32), count, TimeRemainingColumn(), console=console, disable=hidden)
    tenth = 0
    try:
        with bar, closing(iter(made)) as states:
            task = bar.add_task("", total=1.0, count="")
            for state in states:
                share = state.done / max(state.total, 1e-9)
                bar.update(task, completed=share, description=state.doing, count=f"{share:.0%}")
                if int(share * 10) > tenth and not quiet and not console.is_terminal:
                    tenth = int(share * 10)
                    note(f"{share:.0%}, {state.doing}")
    except KeyboardInterrupt:
        note(f"Stopped. Resume with: {resume(made.folder, made.prepared.options.weights)}")
        raise typer.Exit(130) from None


def download_bar() -> Any:
    """A progress callback that opens a bar at the first bytes and closes it at the last."""
    columns = (TextColumn("  weights", markup=False), BarColumn(), DownloadColumn())
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    task = bar.add_task("", total=None)

    def progress(done: int, total: int | None) -> None:
        if not bar.live.is_started:
            bar.start()
        bar.update(task, completed=done, total=total)
        if done == total:
            bar.stop()

    return progress
