"""Explaining: paints with a ledger, paints every coalition, and concludes; each part goes on where it was stopped.

paint        the run itself, in the folder as `stylize` makes it, followed by an `Account`
coalitions   every subset of the style layers, and some of them again from a perturbed start
conclude     attributions, checks and pictures (`underpaint.records` writes them)
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from underpaint import checkpoint, images, judges, quality, session
from underpaint.account import Account
from underpaint.coalitions import Painted, check_players, last_fall, members, paint, perturbed, repeated
from underpaint.cross import CrossMatrix
from underpaint.errors import UnderpaintError
from underpaint.files import write_bytes
from underpaint.images import Source
from underpaint.judges import Panel, PatchJudge, StyleJudge
from underpaint.networks import registry
from underpaint.networks.network import Network
from underpaint.optimise import Stage
from underpaint.path import JudgePath
from underpaint.run import TOTAL, check_free, create_folder, read_facts
from underpaint.scene import Scene
from underpaint.session import Options, Session, Wish
from underpaint.table import Row, Table

PAINTING = 3.0
"""What the run with its ledger costs, in coalitions; for the progress alone."""

REPEATS = 8
"""Coalitions that are painted again from a perturbed start, for an estimate of the noise."""

SETTINGS = "explain.json"


@dataclass(frozen=True)
class Settings:
    """What an explanation is besides its run; part of the folder, and the same when it goes on.

    Attributes:
        seeds: complete tables; the first is the run's own, the others begin perturbed. With one, `REPEATS` coalitions are
            repeated for the noise.
        judge: the network that judges: "compact", "vgg19" or "vgg16".
        groups: named coalitions to paint (`ablate`); None for all.
    """

    seeds: int = 1
    judge: str = "compact"
    groups: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Progress:
    """Where an explanation is: `done` of `total`, in coalitions, and what it is doing."""

    done: float
    total: float
    doing: str


class Painter:
    """Paints and judges coalitions, under one perturbation at a time.

    Args:
        scene: the run's own.
        judge: the network that judges.
        lpips: where its weights are.
    """

    def __init__(self, scene: Scene, judge: Network, lpips: quality.Lpips | None) -> None:
        self._scene, self._judge, self._lpips = scene, judge, lpips
        self._known: tuple[int, Scene, list[Stage], Panel] | None = None

    def scene(self, perturbation: int) -> tuple[Scene, list[Stage], Panel]:
        """Everything that the coalitions of a perturbation share."""
        if self._known is None or self._known[0] != perturbation:
            scene = self._scene
            if perturbation:
                recipe, pictures = perturbed(scene.recipe, scene.pictures, perturbation)
                scene = Scene(recipe, pictures, scene.network, scene.polish)
            stages = [scene.stage(scale) for scale in range(len(scene.recipe.sizes()))]
            self._known = perturbation, scene, stages, panel(scene, self._judge, self._lpips)
        return self._known[1:]

    def paint(self, perturbation: int, active: Sequence[str]) -> Iterator[Painted | float]:
        """See `underpaint.coalitions.paint`."""
        scene, stages, _ = self.scene(perturbation)
        yield from paint(scene.recipe, stages.__getitem__, active)

    def judge(self, perturbation: int, image: torch.Tensor) -> dict[str, float]:
        """Every judge's outcome."""
        _, stages, panel = self.scene(perturbation)
        return panel.outcomes(image, stages[-1].objective)


def panel(scene: Scene, judge: Network, lpips: quality.Lpips | None) -> Panel:
    """The judges of a scene's pictures at its last size."""
    last = len(scene.recipe.sizes()) - 1
    content, style = scene.content(last), scene.style(0, last)
    optimised = [*scene.recipe.style_layers, *scene.recipe.content_layers]
    layers = judges.held_out(judge, optimised)
    return Panel(StyleJudge(judge, content, style, layers), PatchJudge(content, style), content, lpips)


class Explaining:
    """An explanation being made: iterate over it, then all is painted that `explanation.conclude` needs.

    Args:
        painting: the run, in its folder.
        settings: see `Settings`.
        folder: the run's.
    """

    def __init__(self, painting: Session, settings: Settings, folder: Path) -> None:
        self.session, self.settings, self.folder = painting, settings, folder
        self.players = check_players(list(painting.recipe.style_layers))
        if len(painting.scene.pictures.styles) > 1:
            raise UnderpaintError("style: several given; an explanation is of one style picture")
        opened = registry.open_network(
            settings.judge, registry.layers_of(settings.judge), device=painting.device, given=painting.options.weights
        )
        self.judge = opened.network
        self.lpips = quality.find_lpips(painting.options.weights, painting.device)
        self.table = Table(folder, self.players)
        self.painter = Painter(painting.scene, self.judge, self.lpips)
        self.account = self._account()

    def _account(self) -> Account:
        recipe, scene = self.session.recipe, self.session.scene
        schedule, scales = recipe.schedule(), range(len(recipe.sizes()))
        judge = panel(scene, self.judge, None).style
        cross = CrossMatrix(lambda scale: scene.stage(scale).objective, recipe.seed)
        path = JudgePath(judge, [scene.size(scale) for scale in scales], schedule)
        return Account(cross, path, (len(schedule) - 1, max(1, schedule[-1] // 2)))

    def plan(self) -> list[tuple[int, int]]:
        """Every (perturbation, coalition) that the settings ask for, the whole coalition first."""
        n = len(self.players)
        every = [(1 << n) - 1, *range((1 << n) - 1)]
        plan = [(seed, mask) for seed in range(self.settings.seeds) for mask in every]
        return plan + ([(1, mask) for mask in repeated(n, REPEATS)] if self.settings.seeds == 1 else [])

    def __iter__(self) -> Iterator[Progress]:
        plan = self.plan()
        total = PAINTING + len(plan)
        for share in self._paint():
            yield Progress(share * PAINTING, total, "painting")
        for place, (perturbation, mask) in enumerate(plan):
            if (perturbation, mask) in self.table.rows:
                continue
            for share in self._coalition(perturbation, mask):
                yield Progress(PAINTING + place + share, total, "coalitions")
        yield Progress(total, total, "concluding")

    def _paint(self) -> Iterator[float]:
        """The run with its ledger, unless it is finished; how far it is."""
        if self.session.facts.get("status") == "finished":
            return
        self.session.watch = self.account
        for step in self.session:
            yield self.session.recipe.share_done(step.scale, step.iteration + (not step.final))

    def _coalition(self, perturbation: int, mask: int) -> Iterator[float]:
        begun = time.perf_counter()
        result: Painted | None = None
        if perturbation == 0 and mask == (1 << len(self.players)) - 1:
            # The run itself. It stops nowhere early either, unless its recipe says so.
            state = self.session.state
            assert state is not None
            if not self.session.recipe.stop:
                result = Painted(state.result, last_fall([*state.totals, self.session.run.losses[TOTAL]]))
        if result is None:
            for painted in self.painter.paint(perturbation, members(mask, self.players)):
                if isinstance(painted, Painted):
                    result = painted
                else:
                    yield painted
        assert result is not None
        outcomes = self.painter.judge(perturbation, result.image)
        picture = self.table.picture(perturbation, mask)
        (self.folder / picture).parent.mkdir(parents=True, exist_ok=True)
        rgb, alpha = self.session.scene.finish(result.image)
        images.write(self.folder / picture, rgb, alpha=alpha)
        seconds = time.perf_counter() - begun
        self.table.add(Row(perturbation, mask, outcomes, result.last_fall, seconds, picture))


def start(
    content: Source, style: Source, *, out: str | Path, seeds: int = 1, judge: str | None = None, **arguments: Any
) -> Explaining:
    """Prepares an explanation, or goes on with the one in `out` if that is of the same run.

    Args:
        content, style, arguments: as of `underpaint.start`.
        out: the folder.
        seeds: complete tables of coalitions; may be more than an explanation had before.
        judge: the network that judges; the run's own when left out.

    Raises:
        UnderpaintError: as `underpaint.start`; or `out` holds another run.
    """
    folder = Path(out)
    if seeds < 1:
        raise UnderpaintError(f"--seeds {seeds}: at least one table is needed")
    wish = session.prepare(content, style, **arguments)
    if (folder / SETTINGS).exists() and (folder / "run.json").exists():
        return _go_on(folder, wish, seeds, judge)
    check_free(folder)
    painting = Session(wish.recipe, wish.pictures, wish.options, folder)
    settings = Settings(seeds, judge or wish.recipe.network)
    made = Explaining(painting, settings, folder)
    create_folder(folder)
    _keep(folder, settings)
    return made


def _keep(folder: Path, settings: Settings) -> None:
    write_bytes(folder / SETTINGS, (json.dumps(asdict(settings), indent=1) + "\n").encode())


def read_settings(folder: Path) -> Settings:
    """explain.json.

    Raises:
        UnderpaintError: missing or damaged: not the folder of an explanation.
    """
    path = folder / SETTINGS
    try:
        return Settings(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UnderpaintError(f"{path}: not an explanation ({error}); make one with `underpaint explain`") from None


def _go_on(folder: Path, wish: Wish, seeds: int, judge: str | None) -> Explaining:
    """The explanation in a folder, after a look at whether it is the one that was asked for."""
    facts = read_facts(folder)
    given = [wish.pictures.content, *wish.pictures.styles, wish.pictures.content_mask, wish.pictures.style_mask]
    hashes = [picture.sha256 for picture in (*given, wish.pictures.start) if picture is not None]
    if facts["recipe_sha256"] != wish.recipe.digest() or hashes != [entry["sha256"] for entry in facts["inputs"]]:
        raise UnderpaintError(f"--out {folder}: holds the explanation of another run; name another folder")
    if judge is not None and judge != read_settings(folder).judge:
        raise UnderpaintError(f"--judge {judge}: {folder} is judged by another network; name another --out")
    return resume(folder, wish.options, seeds)


def resume(folder: str | Path, options: Options | None = None, seeds: int = 1) -> Explaining:
    """Goes on with the explanation in a folder; `seeds` may ask for more tables than it has.

    Raises:
        UnderpaintError: not the folder of an explanation, or its pictures or weights are not to be had.
    """
    folder = Path(folder)
    settings = replace(read_settings(folder), seeds=max(seeds, read_settings(folder).seeds))
    painting = session.reopen(folder, options)
    made = Explaining(painting, settings, folder)
    if painting.state is not None and painting.state.ledger is not None:
        made.account.restore(checkpoint.read_watch(folder / "checkpoint.safetensors"), painting.state.ledger.terms)
    _keep(folder, settings)
    return made
