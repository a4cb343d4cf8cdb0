"""Starting a run: anew, where one was stopped, or from the picture of a finished one; `stylize` goes to its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

from underpaint import commands
from underpaint.errors import UnderpaintError
from underpaint.execution import device
from underpaint.imaging import images
from underpaint.imaging.images import Source
from underpaint.networks import registry
from underpaint.recipe import make
from underpaint.runs import checkpoint
from underpaint.runs.claim import check_free, create_folder
from underpaint.runs.folder import (
    SETTINGS,
    Row,
    Run,
    check_extent,
    last_step,
    read_checkpoint,
    read_facts,
    read_history,
    read_inputs,
    recipe_of,
)
from underpaint.runs.keywords import CarriedFields, Keywords, spelt_out
from underpaint.runs.options import Options
from underpaint.runs.prepared import Prepared
from underpaint.runs.session import Session
from underpaint.runs.wish import Wish, override, prepare, split
from underpaint.storage.files import named
from underpaint.storage.owner import Owner


@spelt_out(Keywords)
def start(
    content: Source, style: Source | Sequence[Source], *, out: str | Path | None = None, **arguments: Unpack[Keywords]
) -> Session:
    """Prepares a run; iterate over the result to paint.

    Args:
        content: a file name, array (H, W, 3), tensor (3, H, W) or PIL image.
        style: one such, or several in a list.
        out: the run's folder; None keeps nothing on disk.
        recipe: where to begin.
        content_mask, style_mask: pictures of up to five greys; equal greys paint each other.
        protect: a grey picture, stretched over the content: where it is white, the content counts `protect_weight` times; or
            "faces", which looks for them.
        start_from: the picture that `start="file"` starts at.
        options: what does not change the picture.
        arguments: fields of a `Recipe`, over those of `recipe` (`size=256, seed=1`), and of `Options`, over those of
            `options` (`device="cpu"`).

    Raises:
        UnderpaintError: a picture, field, layer or weights file is not as it must be; nothing was written.
    """
    owner = None if out is None else Owner(named(out, "--out"))
    if owner is not None:
        check_free(owner.folder)
    wish = prepare(content, style, **arguments)
    session = Session(Prepared.of(wish), owner)
    if owner is not None:
        create_folder(owner.folder)
    return session


@spelt_out(Keywords)
def stylize(
    content: Source, style: Source | Sequence[Source], *, out: str | Path | None = None, **arguments: Unpack[Keywords]
) -> Run:
    """Paints the content in the style and returns the finished run: `start` with all its arguments, then to the end.

    >>> run = underpaint.stylize("photo.jpg", "painting.jpg", size=512, out="out/first")  # doctest: +SKIP
    >>> run.losses["style/relu3_1"]  # doctest: +SKIP
    """
    return start(content, style, out=out, **arguments).finish()


def resume(folder: str | Path, options: Options | None = None) -> Session:
    """Prepares to resume a run that was stopped or killed; ends with the same bytes as an undisturbed one.

    Raises:
        UnderpaintError: not a run folder, a finished run, or pictures or weights that are not the run's own.
    """
    folder = named(folder, "resume")
    if (folder / SETTINGS).exists():
        raise UnderpaintError(f"{folder}: is an explanation; resume it: {commands.resume(folder)}")
    facts = read_facts(folder)
    if facts["status"] == "finished":
        size = recipe_of(facts, folder).size
        raise UnderpaintError(f"{folder}: this run is finished; carry it to a larger size: {commands.carry(folder, size)}")
    return reopen(Owner(folder), options)


def reopen(owner: Owner, options: Options | None = None) -> Session:
    """A run's session as it was left, finished or not. Read while nobody else can write."""
    folder = owner.folder
    with owner:
        facts = read_facts(folder)
        recipe = recipe_of(facts, folder)
        options = _as_before(options or Options(), facts)
        pictures = read_inputs(folder, facts)
        begun, known = None, list[Row]()
        if (folder / checkpoint.FILE).exists():
            begun = read_checkpoint(folder, facts, device.choose(options.device))
            path = folder / "history.csv"
            if facts["status"] == "finished":
                known = read_history(path, last=last_step(facts))
            else:
                known = read_history(path, before=begun.state.step)
    session = Session(Prepared.of(Wish(recipe, pictures, options)), owner, begun, known)
    if begun is not None:
        check_extent(folder, begun.state, session.scene.size(begun.state.scale))
    session.facts = facts
    _check_same(session, facts, folder)
    return session


def _as_before(options: Options, facts: Mapping[str, Any]) -> Options:
    """A run's own frames and determinism, and its device and weights where nothing else is asked for and they are here."""
    before = facts["environment"]["device"]
    own: dict[str, Any] = {"frames": facts["frames"], "deterministic": facts["deterministic"]}
    if options.device == "auto" and before in device.present():
        own["device"] = before
    if options.weights is None:
        own["weights"] = own_weights(facts)
    return replace(options, **own)


def own_weights(facts: Mapping[str, Any]) -> Path | None:
    """The weights file that a run was made with, if it is one that had to be found and is still there."""
    last = facts["networks"][-1]
    if registry.file_of(last["name"]) is None:
        return None
    try:
        return named(last["path"], "weights") if Path(last["path"]).is_file() else None
    except (UnderpaintError, OSError, ValueError):  # no path on this machine
        return None


def _check_same(session: Session, facts: Mapping[str, Any], folder: Path) -> None:
    for opened, before in zip(session.prepared.opened, facts["networks"], strict=True):
        if opened.sha256 == before["sha256"]:
            continue
        found = registry.file_of(before["name"]) is not None
        instead = "name those with --weights" if found else "install the version that made it"
        raise UnderpaintError(f"{opened.path}: not the weights that {folder} was made with ({before['weights']}); {instead}")
    changed = device.differences(facts["environment"], device.describe(session.device))
    if changed:
        session.notes.append(f"the picture may differ in its last digits: {'; '.join(changed)}")


@spelt_out(CarriedFields)
def carry_on(
    folder: str | Path, size: int, *, out: str | Path, options: Options | None = None, **others: Unpack[CarriedFields]
) -> Session:
    """Prepares a run that starts from a finished one's picture and goes to a larger size.

    Args:
        folder: the finished run's.
        size: longest side, pixels, larger than the finished run's.
        out: the new run's folder.
        options, others: as in `start`.

    Raises:
        UnderpaintError: not a finished run, or not a larger size.
    """
    folder, owner = named(folder, "--from"), Owner(named(out, "--out"))
    chosen, given = split(options, others)
    check_free(owner.folder)
    facts = read_facts(folder)
    recipe = recipe_of(facts, folder)
    if facts["status"] != "finished":
        raise UnderpaintError(f"--from {folder}: this run is not finished; first resume it: {commands.resume(folder)}")
    if "start" in given:
        raise UnderpaintError("--start: a run that is carried on starts at its own picture; leave this out")
    if size <= recipe.size:
        raise UnderpaintError(f"--size {size}: the run in {folder} has {recipe.size} px already; name a larger size")
    pictures = read_inputs(folder, facts)
    state = read_checkpoint(folder, facts, torch.device("cpu")).state
    rgb = state.result[0].clamp(0, 1).permute(1, 2, 0).numpy()
    beginning = images.read(np.ascontiguousarray(rgb), field="start", min_side=1)
    carried = {"size": size, "smallest": min(recipe.size + 1, size), "start": "file"}
    wanted = make(override(recipe, carried | given))
    if chosen.weights is None and wanted.network == recipe.network and wanted.polish == recipe.polish:
        chosen = replace(chosen, weights=own_weights(facts))
    session = Session(Prepared.of(Wish(wanted, replace(pictures, start=beginning), chosen)), owner)
    create_folder(owner.folder)
    return session
