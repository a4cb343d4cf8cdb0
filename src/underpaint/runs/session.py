"""Running: `Session` iterates over a run's steps and keeps its folder; `stylize` and `resume` go to the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

from underpaint import commands
from underpaint.captions import short
from underpaint.errors import UnderpaintError
from underpaint.execution import device
from underpaint.execution.cores import Cores
from underpaint.imaging import faces, images
from underpaint.imaging.images import Picture, Source
from underpaint.networks import precision, registry
from underpaint.optimizers.loop import State, Step, optimise
from underpaint.recipe import Recipe, make, plain, whole
from underpaint.runs import checkpoint, convergence, timelapse
from underpaint.runs.checkpoint import Checkpoint
from underpaint.runs.folder import (
    SETTINGS,
    HistoryFile,
    Row,
    Run,
    check_extent,
    check_free,
    create_folder,
    hashes_of,
    keep_inputs,
    last_step,
    owned,
    read_checkpoint,
    read_facts,
    read_history,
    read_inputs,
    recipe_of,
    rows,
    write_facts,
    write_history,
)
from underpaint.runs.keywords import CarriedFields, Fields, Keywords, spelt_out
from underpaint.runs.observer import Memory, Observer
from underpaint.runs.scene import PROTECT_WEIGHT_ALONE, Pictures, Scene, check
from underpaint.runs.schemas import FORMAT
from underpaint.storage import documents
from underpaint.storage.files import named, sweep
from underpaint.storage.owner import Owner

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

    def __post_init__(self) -> None:
        """Paths, NumPy's numbers and members of enumerations as Python's own."""
        own = {
            "weights": None if self.weights is None else named(self.weights, "--weights"),
            "device": plain(self.device),
            "deterministic": bool(self.deterministic),
            "frames": whole(self.frames, "frames", least=0),
        }
        for name, value in own.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Moment:
    """A run between two steps, whole. A step ends with one assignment of the next moment: an interrupt, at whatever
    instruction, leaves all of the step or nothing.

    Attributes:
        state: None before the first step.
        seconds: how long it has been running.
        observers: what each had to remember.
        rows: how many rows of history there are.
        step: the last one, without its gradients and its move; None if it was not made here.
    """

    state: State | None = None
    seconds: float = 0.0
    observers: Mapping[str, Memory] = field(default_factory=dict)
    rows: int = 0
    step: Step | None = None


class Session:
    """A run being painted. Iterate over it for its steps; afterwards `run` is there.

    Stopping early (leaving the loop, Ctrl-C, an error) keeps what there is: the folder then holds a
    checkpoint and the picture as it stands, and `resume` goes on. `run` is the picture as it stands at any moment.

    Args:
        recipe, pictures, options: what to do.
        owner: of the folder where it is kept, which `create_folder` made; None keeps it in memory only.
        begun: where to go on.
        known: history so far.

    Attributes:
        recipe: as given, with a precision in place of "auto".
        choice: how that precision was chosen; None where the recipe named it.
        owner, folder: where it is kept, if it is.
    """

    @device.own_settings()
    def __init__(
        self,
        recipe: Recipe,
        pictures: Pictures,
        options: Options,
        owner: Owner | None = None,
        begun: Checkpoint | None = None,
        known: Sequence[Row] = (),
    ) -> None:
        layers = [*recipe.content_layers, *recipe.style_layers]
        self.owner, self.folder, self.options = owner, None if owner is None else owner.folder, options
        self.device = device.choose(options.device)
        names = recipe.networks()
        if options.weights is not None and not any(map(registry.file_of, names)):
            raise UnderpaintError("--weights: the compact network has its own; leave this out, or add --network vgg19")
        self.choice = precision.choose(self.device) if recipe.precision == "auto" else None
        if self.choice is not None:
            recipe = recipe.model_copy(update={"precision": self.choice.chosen})
        self.recipe = recipe
        opened = [self._open(name, layers) for name in names]
        self.scene = Scene(recipe, pictures, *(each.network for each in opened))
        self._opened = opened
        self._history: list[Row] = list(known)
        self._now = Moment() if begun is None else Moment(begun.state, begun.seconds, begun.observers, len(known))
        self.facts: dict[str, Any] = {}
        self._observers: dict[str, Observer] = {}
        if recipe.network == "compact" and not recipe.polish:
            self.notes.append(COMPACT_NOTE)

    def __repr__(self) -> str:
        done = 0 if self._now.state is None else self._now.state.step
        height, width = self.scene.size(-1)
        where = short(self.folder or "not kept")
        return f"Session({self.recipe.network}, {width}×{height} px, {done} of {self.steps} steps, {where})"

    def follow(self, observers: Mapping[str, Observer]) -> None:
        """Shows every step to each of them, in this order.

        Called before the first step, when each gets back what the checkpoint has under its name.
        """
        self._observers = dict(observers)
        self._restore()

    @property
    def remembered(self) -> frozenset[str]:
        """The observers that the run has had so far."""
        return frozenset(self._now.observers)

    def _restore(self) -> None:
        image = None if self._now.state is None else self._now.state.image
        with documents.told((self.folder or Path()) / checkpoint.FILE, "start the run again"):
            for name, observer in self._observers.items():
                observer.restore(self._now.observers.get(name, Memory()), image)

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

    def __iter__(self) -> Generator[Step]:
        steps = self._steps() if self.owner is None else self._recorded(self.owner)
        return device.stepwise(steps, lambda: device.painting(self.device, self.options.deterministic))

    def _steps(self) -> Generator[Step]:
        """The steps, timed and remembered."""
        reached = 0 if self._now.state is None else self._now.state.step
        self._history = [row for row in self.history if row.step < reached]  # the last look is taken again
        self._restore()
        begun = time.perf_counter() - self._now.seconds
        for step in optimise(self.recipe, self.scene.stage, self._now.state, apart=bool(self._observers)):
            for observer in self._observers.values():
                observer.see(step)
            memories = {name: observer.state() for name, observer in self._observers.items()}
            seconds = time.perf_counter() - begun
            self._history += rows(step, seconds)
            last = replace(step, parts={}, move=None, arrival=None)
            self._now = Moment(step.state, seconds, memories, len(self._history), last)
            yield step

    def _recorded(self, owner: Owner) -> Generator[Step]:
        """The steps, recorded; of a new run that fails before its first one nothing stays."""
        folder = owner.folder
        new = not (folder / "run.json").exists()
        with owned(owner, lambda: new and self._now.state is None):
            sweep(folder)
            self.facts = self._describe(folder)
            write_facts(folder, self.facts)
            history = HistoryFile(folder / "history.csv", self.history)
            done, due = False, time.monotonic() + CHECKPOINT_SECONDS
            try:
                with closing(self._steps()) as steps:
                    for step in steps:
                        history.add(self._history[-1 - len(step.terms) :])
                        self._keep_frame(folder)
                        if step.scale_done or time.monotonic() > due:
                            begun = time.monotonic()
                            history.sync()
                            self._checkpoint(folder)
                            ended = time.monotonic()
                            due = ended + max(CHECKPOINT_SECONDS, (ended - begun) / CHECKPOINT_SHARE)
                        done = step.final
                        yield step
            finally:
                history.close()
                self._close(folder, done)

    def _keep_frame(self, folder: Path) -> None:
        """The last step's picture, if it is to be kept."""
        if self.options.frames and self._now.step is not None:
            timelapse.keep(folder, self._now.step, self.steps, self.options.frames, self.scene.finish)

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
        now = self._now
        assert now.state is not None
        of = self.recipe.digest(), hashes_of(self.facts["inputs"])
        checkpoint.write(folder / checkpoint.FILE, Checkpoint(now.state, now.seconds, *of, now.observers))

    def _close(self, folder: Path, done: bool) -> None:
        """The last things of a run, finished or not: every file as of the last whole step, and run.json last."""
        if self._now.state is None:
            self.facts["status"] = "stopped"
            write_facts(folder, self.facts)
            return
        write_history(folder / "history.csv", self.history)
        self._keep_frame(folder)
        self._checkpoint(folder)
        run = self.run
        run.save(folder / "pastiche.png")
        convergence.draw(folder, run.history, self.recipe)
        if done and self.options.frames:
            timelapse.make(folder)
        size = {"height": run.pastiche.shape[0], "width": run.pastiche.shape[1]}
        self.facts |= {
            "status": "finished" if done else "stopped",
            "steps": self._now.state.step,
            "seconds": round(self._now.seconds, 3),
            "peak_memory_bytes": device.peak_memory(self.device),
            "pastiche": size,
            "losses": run.losses if run.history else {},
        }
        write_facts(folder, self.facts)

    @property
    def state(self) -> State | None:
        """The optimiser's, None before the first step."""
        return self._now.state

    @property
    def history(self) -> list[Row]:
        """One row per step and term, so far."""
        return self._history[: self._now.rows]

    @property
    @device.own_settings()
    def run(self) -> Run:
        """The picture as it stands, with its history."""
        result = self.scene.stage(0).start if self._now.state is None else self._now.state.result
        pastiche, alpha = self.scene.finish(result)
        return Run(self.recipe, self.facts, self.history, pastiche, alpha, self.folder, result.clone())

    def finish(self) -> Run:
        """Goes to the end."""
        with closing(iter(self)) as steps:
            for _ in steps:
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
    several = list(style) if isinstance(style, Sequence) and not isinstance(style, str) else [style]
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
    owner = None if out is None else Owner(named(out, "--out"))
    if owner is not None:
        check_free(owner.folder)
    wish = prepare(content, style, **arguments)
    session = Session(wish.recipe, wish.pictures, wish.options, owner)
    if owner is not None:
        create_folder(owner.folder)
    return session


def _split(options: Options | None, others: Mapping[str, Any]) -> tuple[Options, dict[str, Any]]:
    """Keyword arguments as options and fields of a recipe."""
    names = {field.name for field in fields(Options)}
    own = {name: value for name, value in others.items() if name in names}
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
    folder = named(folder, "resume")
    if (folder / SETTINGS).exists():
        raise UnderpaintError(f"{folder}: is an explanation; go on with it: {commands.resume(folder)}")
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
    session = Session(recipe, pictures, options, owner, begun, known)
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
    for opened, before in zip(session._opened, facts["networks"], strict=True):
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
    chosen, given = _split(options, others)
    check_free(owner.folder)
    facts = read_facts(folder)
    recipe = recipe_of(facts, folder)
    if facts["status"] != "finished":
        raise UnderpaintError(f"--from {folder}: this run is not finished; first go on with it: {commands.resume(folder)}")
    if "start" in given:
        raise UnderpaintError("--start: a run that is carried on starts at its own picture; leave this out")
    if size <= recipe.size:
        raise UnderpaintError(f"--size {size}: the run in {folder} has {recipe.size} px already; name a larger size")
    pictures = read_inputs(folder, facts)
    state = read_checkpoint(folder, facts, torch.device("cpu")).state
    rgb = state.result[0].clamp(0, 1).permute(1, 2, 0).numpy()
    beginning = images.read(np.ascontiguousarray(rgb), field="start", min_side=1)
    carried = {"size": size, "smallest": min(recipe.size + 1, size), "start": "file"}
    wanted = make(_override(recipe, carried | given))
    if chosen.weights is None and wanted.network == recipe.network and wanted.polish == recipe.polish:
        chosen = replace(chosen, weights=own_weights(facts))
    session = Session(wanted, replace(pictures, start=beginning), chosen, owner)
    create_folder(owner.folder)
    return session
