"""Work: a session or an explanation to its end, shown while it lasts, and what came of it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import typer

from underpaint.cli import bars
from underpaint.cli.terminal import answer, console, note
from underpaint.commands import resume


def paint_on(session: Any, quiet: bool, as_json: bool) -> None:
    """Runs a session to its end under a progress bar."""
    if not quiet:
        _announce(session)
    try:
        with bars.painting(session, quiet) as show, closing(iter(session)) as steps:
            for step in steps:
                show(step)
    except KeyboardInterrupt:
        note(f"Stopped. Resume with: {resume(session.folder, session.options.weights)}")
        raise typer.Exit(130) from None
    run = session.run
    if as_json:
        keys = ("status", "steps", "seconds", "losses", "peak_memory_bytes")
        answer(json.dumps({"folder": str(session.folder), **{key: run.facts.get(key) for key in keys}}))
    elif not quiet:
        note(f"Painted in {run.facts['seconds']:.0f} s")
        answer(f"{session.folder / 'pastiche.png'}")


def _announce(session: Any) -> None:
    from underpaint.runs.estimate import estimate

    for line in session.notes:
        note(f"Note: {line}")
    height, width = session.scene.size(-1)
    guess = estimate(session.scene)
    recipe = session.recipe
    note(
        f"{recipe.network} on {session.device} in {recipe.precision}: {width}×{height} px, {session.steps} steps, "
        f"{guess.bytes / 2**30:.1f} GiB, about {guess.seconds:.0f} s{_cores(session)}"
    )


def _cores(session: Any) -> str:
    """` on 1 of 2 cores: the other is busy`, where cores compute."""
    cores = session.options.cores
    return "" if cores is None or session.device.type != "cpu" else f" {cores}"


def explain_on(made: Any, quiet: bool, as_json: bool) -> None:
    """Runs an explanation to its end and says what was found."""
    from underpaint.explanation.conclude import conclude
    from underpaint.report import page
    from underpaint.runs.estimate import duration, estimate

    if not quiet:
        for line in made.prepared.notes:
            note(f"Note: {line}")
        seconds = estimate(made.prepared.scene).seconds * made.runs / made.prepared.options.workers
        drawn = f" ({len(made.orders)} permutations)" if made.orders else ""
        note(
            f"{made.count} coalitions of {len(made.players)} layers{drawn}, about {duration(seconds)}{_cores(made.prepared)}"
        )
    told = console.is_terminal and not quiet
    with made.owner:  # from the first stroke to the last conclusion
        bars.advance(made, quiet)
        with console.status("drawing conclusions") if told else nullcontext():
            found = conclude(made)
    with console.status("writing the page") if told else nullcontext():
        path = page.build(found.folder, made.prepared.options.weights)
    if as_json:
        values = {layer: {"value": e.value, "low": e.low, "high": e.high} for layer, e in found.shapley.items()}
        facts = {"folder": str(found.folder), "state": found.state, "shapley": values, "verdict": found.verdict}
        answer(json.dumps(facts))
    elif not quiet:
        for sentence in found.verdict:
            answer(f"- {sentence}")
        note("All figures lie beside the page; schema.md says what is what")
        answer(f"{path}")


def folder_of(network: str) -> str:
    """A folder's name for a network's explanation beside others'."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", network).strip("-.") or "network"


def across_on(folder: Path, folders: Sequence[Path], quiet: bool, as_json: bool) -> None:
    """Puts finished explanations through several networks on one page."""
    from underpaint.explanation.across import Across
    from underpaint.report import across as pages

    found = Across.load(folder, folders)
    path = pages.build(found)
    if as_json:
        answer(json.dumps({"page": str(path), "sentences": found.sentences}))
    elif not quiet:
        for sentence in found.sentences:
            answer(f"- {sentence}")
        answer(f"{path}")


def ablate_on(made: Any, quiet: bool, as_json: bool) -> None:
    """Runs an ablation to its end and says what came of it."""
    if not quiet:
        for line in made.prepared.notes:
            note(f"Note: {line}")
    bars.advance(made, quiet)
    result, folder = made.result, made.folder
    if as_json:
        answer(json.dumps({"folder": str(folder), "outcomes": result.outcomes}))
    elif not quiet:
        for name, outcomes in result.outcomes.items():
            answer(f"{name:>14}  J {outcomes['heldout']:.3f}  content {outcomes['content']:.3f}")
        answer(f"{folder / 'gallery.png'}")
        answer(f"{folder / 'ablation.csv'}")
