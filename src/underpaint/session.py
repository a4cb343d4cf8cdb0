"""Running: `Session` iterates over a run's steps and keeps its folder; `stylize` and `resume` go to the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol, Unpack, cast

import numpy as np
import torch

from underpaint import checkpoint, commands, convergence, device, faces, images, precision, timelapse
from underpaint.cores import Cores
from underpaint.errors import UnderpaintError
from underpaint.images import Picture, Source
from underpaint.keywords import CarriedFields, Fields, Keywords, spelt_out
from underpaint.networks import registry
from underpaint.optimise import State, Step, optimise
from underpaint.recipe import Recipe, make
from underpaint.run import (
    FORMAT,
    HistoryFile,
    Row,
    Run,
    check_free,
    create_folder,
    keep_inputs,
    read_facts,
    read_history,
    read_inputs,
    recipe_of,
    rows,
    write_facts,
)
from underpaint.scene import PROTECT_WEIGHT_ALONE, Pictures, Scene, check

CHECKPOINT_SECONDS = 10.0
"""A run that is killed loses at most this much work, ..."""

CHECKPOINT_SHARE = 0.05
"""... or more where writing a checkpoint takes longer than this share of the time between two."""


COMPACT_NOTE = "VGG-19 (80 MB) paints a little nearer to the style: add --polish 10, or --network vgg19 (about twice as long)"


@dataclass(frozen=True)
class Options:
    """What does not change the picture.

    Attributes:
        weights: a weights file or folder that the user names.
        device: "auto", "cpu", "cuda" or "mps", or a torch.device.
        deterministic: the same bytes on CUDA too, at some cost.
        frames: how many intermediate pictures to keep.
        announce, progress: told about a download, in words and in bytes.
        cores: how the number of threads was chosen, for run.json alone; the number is PyTorch's own setting.
    """

    weights: Path | None = None
    device: str | torch.device = "auto"
    deterministic: bool = False
    frames: int = 0
    announce: Callable[[str], None] | None = None
    progress: Callable[[int, int | None], None] | None = None
    cores: Cores | None = None


class Watch(Protocol):
    """Follows a run with a ledger, step by step, and goes along in its checkpoints."""

    def see(self, step: Step) -> None:
        """A step that was just made."""
        ...

    def state(self) -> dict[str, torch.Tensor]:
        """What it has to remember."""
        ...


class Session:
    """A run being painted. Iterate over it for its steps; afterwards `run` is there.

    Stopping early (leaving the loop, Ctrl-C, an error) keeps what there is: the folder then holds a
    checkpoint and the picture as it stands, and `resume` goes on. `run` is the picture as it stands at any moment.

    Args:
        recipe, pictures, options: what to do.
        folder: where to keep it, a folder made by `create_folder`; None keeps it in memory only.
        state, seconds, known: where to go on: state, time spent and history so far.

    Attributes:
        recipe: as given, with a precision in place of "auto".
        choice: how that precision was chosen; None where the recipe named it.
        watch: set before the first step, it makes the run keep a ledger and is shown every step.
    """

    def __init__(
        self,
        recipe: Recipe,
        pictures: Pictures,
        options: Options,
        folder: Path | None = None,
        state: State | None = None,
        seconds: float = 0.0,
        known: Sequence[Row] = (),
    ) -> None:
        layers = [*recipe.content_layers, *recipe.style_layers]
        self.folder, self.options = folder, options
        self.device = device.choose(options.device)
        names = [recipe.network, *["vgg19"] * bool(recipe.polish)]
        if options.weights is not None and not set(names) & set(registry.FILES):
            raise UnderpaintError("--weights: the compact network has its own; leave this out, or add --network vgg19")
        self.choice = precision.choose(self.device) if recipe.precision == "auto" else None
        if self.choice is not None:
            recipe = recipe.model_copy(update={"precision": self.choice.chosen})
        self.recipe = recipe
        opened = [self._open(name, layers) for name in names]
        self.scene = Scene(recipe, pictures, *(each.network for each in opened))
        self._opened, self._state, self._seconds = opened, state, seconds
        self._history: list[Row] = list(known)
        self.facts: dict[str, Any] = {}
        self.watch: Watch | None = None
        if recipe.network == "compact" and not recipe.polish:
            self.notes.append(COMPACT_NOTE)

    def _open(self, name: str, layers: Sequence[str]) -> registry.Opened:
        return registry.open_network(
            name,
            layers,
            pooling=self.recipe.pooling,
            device=self.device,
            precision=device.precision(self.recipe.precision, self.device),
            given=self.options.weights,
            announce=self.options.announce,
            progress=self.options.progress,
        )

    @property
    def notes(self) -> list[str]:
        """What a user should know before it starts."""
        return self.scene.notes

    @property
    def networks(self) -> list[dict[str, str]]:
        """Those that paint, in run.json's words."""
        return [
            {
                "name": each.network.name,
                "weights": each.path.name,
                "path": str(each.path.resolve()),
                "sha256": each.sha256,
            }
            for each in self._opened
        ]

    @property
    def steps(self) -> int:
        """How many steps the whole run has (fewer if it may stop on convergence)."""
        return sum(self.recipe.schedule())

    def __iter__(self) -> Iterator[Step]:
        if self.folder is not None:
            return self._recorded(self.folder)
        return self._steps()

    def _steps(self) -> Iterator[Step]:
        """The steps, timed and remembered."""
        begun = time.perf_counter() - self._seconds
        with device.deterministic(self.options.deterministic), device.ieee_float32(self.device):
            for step in optimise(self.recipe, self.scene.stage, self._state, ledger=self.watch is not None):
                self._state = step.state
                if self.watch is not None:
                    self.watch.see(step)
                self._seconds = time.perf_counter() - begun
                self._history += rows(step, self._seconds)
                yield step

    def _recorded(self, folder: Path) -> Iterator[Step]:
        self.facts = self._describe(folder)
        write_facts(folder, self.facts)
        history = HistoryFile(folder / "history.csv", self._history)
        done, due = False, time.monotonic() + CHECKPOINT_SECONDS
        try:
            for step in self._steps():
                history.add(rows(step, self._seconds))
                if self.options.frames:
                    timelapse.keep(folder, step, self.steps, self.options.frames, self.scene.finish)
                if step.scale_done or time.monotonic() > due:
                    begun = time.monotonic()
                    self._checkpoint(folder)
                    ended = time.monotonic()
                    due = ended + max(CHECKPOINT_SECONDS, (ended - begun) / CHECKPOINT_SHARE)
                done = step.final
                yield step
        finally:
            history.close()
            self._close(folder, done)

    def _describe(self, folder: Path) -> dict[str, Any]:
        """run.json at the start, before anything is known of the end."""
        known = read_facts(folder) if (folder / "run.json").exists() else {}
        cores = self.options.cores
        if cores is not None and cores.reason == "begun":
            cores = None
        chosen = {
            "precision": known.get("precision") if self.choice is None else self.choice.facts(),
            "cores": known.get("cores") if cores is None else cores.facts(),
        }
        return {
            "format": FORMAT,
            "status": "running",
            "recipe": self.recipe.model_dump(mode="json"),
            "recipe_sha256": self.recipe.digest(),
            "inputs": known.get("inputs") or keep_inputs(folder, self.scene.pictures),
            "networks": self.networks,
            "frames": self.options.frames,
            "deterministic": self.options.deterministic,
            "notes": self.notes,
            "environment": device.describe(self.device),
            **{name: facts for name, facts in chosen.items() if facts is not None},
        }

    def _checkpoint(self, folder: Path) -> None:
        assert self._state is not None
        carried = None if self.watch is None else self.watch.state()
        checkpoint.write(folder / "checkpoint.safetensors", self._state, self.recipe.digest(), self._seconds, carried)

    def _close(self, folder: Path, done: bool) -> None:
        """The last things of a run, whether it came to its end or not."""
        if self._state is None:
            self.facts["status"] = "stopped"
            write_facts(folder, self.facts)
            return
        self._checkpoint(folder)
        run = self.run
        run.save(folder / "pastiche.png")
        convergence.draw(folder, run.history, self.recipe)
        if done and self.options.frames:
            timelapse.make(folder)
        size = {"height": run.pastiche.shape[0], "width": run.pastiche.shape[1]}
        self.facts |= {
            "status": "finished" if done else "stopped",
            "steps": self._state.step,
            "seconds": round(self._seconds, 3),
            "peak_memory_bytes": device.peak_memory(self.device),
            "pastiche": size,
            "losses": run.losses if self._history else {},
        }
        write_facts(folder, self.facts)

    @property
    def state(self) -> State | None:
        """The optimiser's, None before the first step."""
        return self._state

    @property
    def run(self) -> Run:
        """The picture as it stands, with its history."""
        result = self.scene.stage(0).start if self._state is None else self._state.result
        pastiche, alpha = self.scene.finish(result)
        return Run(self.recipe, self.facts, list(self._history), pastiche, alpha, self.folder, result.clone())

    def finish(self) -> Run:
        """Goes to the end."""
        for _ in self:
            pass
        return self.run


@dataclass(frozen=True)
class Wish:
    """What a run is asked to be: everything but where it is kept."""

    recipe: Recipe
    pictures: Pictures
    options: Options

    def exact(self) -> Wish:
        """The same with `auto` precision as float32: for runs that are compared with one another, wherever they are made."""
        if self.recipe.precision != "auto":
            return self
        return replace(self, recipe=self.recipe.model_copy(update={"precision": "float32"}))


def prepare(
    content: Source,
    style: Source | Sequence[Source],
    *,
    recipe: Recipe | None = None,
    content_mask: Source | None = None,
    style_mask: Source | None = None,
    protect: Source | None = None,
    start_from: Source | None = None,
    options: Options | None = None,
    **others: Unpack[Fields],
) -> Wish:
    """Reads the pictures, makes the recipe and checks that they fit; the arguments are those of `start`, and so are the
    errors. Nothing is written, no network is opened."""
    several = list(style) if isinstance(style, list | tuple) else [cast("Source", style)]
    chosen, given = _split(options, others)
    if start_from is not None:
        given = {"start": "file"} | given
    wanted = make(_override(recipe, given))
    registry.check_layers(wanted.network, [*wanted.content_layers, *wanted.style_layers])
    if protect is None and "protect_weight" in given:
        raise UnderpaintError(PROTECT_WEIGHT_ALONE)
    photograph = images.read(content, field="content")
    pictures = Pictures(
        photograph,
        tuple(images.read(source, field="style") for source in several),
        None if content_mask is None else images.read(content_mask, field="content mask"),
        None if style_mask is None else images.read(style_mask, field="style mask"),
        None if start_from is None else images.read(start_from, field="start", min_side=1),
        None if protect is None else _protected(protect, photograph),
    )
    check(wanted, pictures)  # here already: before weights are fetched for what cannot be painted
    return Wish(wanted, pictures, chosen)


def _protected(protect: Source, content: Picture) -> Picture:
    """The mask of what is protected; the word `faces` has them looked for."""
    if isinstance(protect, str) and protect == faces.WORD:
        return faces.mask(content)
    return images.read(protect, field="protect")


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
    folder = None if out is None else Path(out)
    if folder is not None:
        check_free(folder)
    wish = prepare(content, style, **arguments)
    session = Session(wish.recipe, wish.pictures, wish.options, folder)
    if folder is not None:
        create_folder(folder)
    return session


def _split(options: Options | None, others: Mapping[str, Any]) -> tuple[Options, dict[str, Any]]:
    """Keyword arguments as options and fields of a recipe."""
    names = {field.name for field in fields(Options)}
    own = {name: value for name, value in others.items() if name in names}
    if own.get("weights") is not None:
        own["weights"] = Path(own["weights"])
    return replace(options or Options(), **own), {name: value for name, value in others.items() if name not in names}


def _override(recipe: Recipe | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the recipe was given, with the given fields over it. What nobody gave is as preset and optimiser say: as the given
    ones say, where there are such."""
    return ({} if recipe is None else recipe.model_dump(exclude_unset=True)) | dict(given)


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
    """Prepares to go on with a run that was stopped or killed; ends with the same bytes as an undisturbed one.

    Raises:
        UnderpaintError: not a run folder, a finished run, or pictures or weights that are not the run's own.
    """
    if read_facts(Path(folder))["status"] == "finished":
        size = recipe_of(read_facts(Path(folder)), Path(folder)).size
        raise UnderpaintError(
            f"{folder}: this run is finished; carry it to a larger size: {commands.carry(Path(folder), size)}"
        )
    return reopen(folder, options)


def reopen(folder: str | Path, options: Options | None = None) -> Session:
    """A run's session as it was left, finished or not."""
    folder = Path(folder)
    facts = read_facts(folder)
    recipe = recipe_of(facts, folder)
    options = _as_before(options or Options(), facts)
    where = device.choose(options.device)
    pictures = read_inputs(folder, facts)
    state, seconds, known = None, 0.0, []
    if (folder / "checkpoint.safetensors").exists():
        state, seconds = checkpoint.read(folder / "checkpoint.safetensors", where, recipe.digest())
        finished = facts["status"] == "finished"
        known = read_history(folder / "history.csv", before=None if finished else state.step)
    session = Session(recipe, pictures, options, folder, state, seconds, known)
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
    return Path(last["path"]) if last["name"] in registry.FILES and Path(last["path"]).is_file() else None


def _check_same(session: Session, facts: Mapping[str, Any], folder: Path) -> None:
    for opened, before in zip(session._opened, facts["networks"], strict=True):
        if opened.sha256 == before["sha256"]:
            continue
        instead = "name those with --weights" if before["name"] in registry.FILES else "install the version that made it"
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
    folder, (chosen, given) = Path(folder), _split(options, others)
    check_free(Path(out))
    facts = read_facts(folder)
    recipe = recipe_of(facts, folder)
    if facts["status"] != "finished":
        raise UnderpaintError(f"--from {folder}: this run is not finished; first go on with it: {commands.resume(folder)}")
    if "start" in given:
        raise UnderpaintError("--start: a run that is carried on starts at its own picture; leave this out")
    if size <= recipe.size:
        raise UnderpaintError(f"--size {size}: the run in {folder} has {recipe.size} px already; name a larger size")
    pictures = read_inputs(folder, facts)
    state, _ = checkpoint.read(folder / "checkpoint.safetensors", torch.device("cpu"), recipe.digest())
    rgb = state.result[0].clamp(0, 1).permute(1, 2, 0).numpy()
    beginning = images.read(np.ascontiguousarray(rgb), field="start", min_side=1)
    carried = {"size": size, "smallest": min(recipe.size + 1, size), "start": "file"}
    wanted = make(_override(recipe, carried | given))
    if chosen.weights is None and wanted.network == recipe.network and wanted.polish == recipe.polish:
        chosen = replace(chosen, weights=own_weights(facts))
    session = Session(wanted, replace(pictures, start=beginning), chosen, Path(out))
    create_folder(Path(out))
    return session
