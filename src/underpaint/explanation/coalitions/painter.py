"""Painting coalitions: what they share is prepared once, and each is judged and kept as it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from underpaint import quality
from underpaint.errors import UnderpaintError
from underpaint.explanation.coalitions.paint import Painted, paint
from underpaint.explanation.coalitions.perturb import perturbed
from underpaint.explanation.coalitions.table import Row, Table, picture_of
from underpaint.explanation.shapley.players import members
from underpaint.imaging import images
from underpaint.networks import registry
from underpaint.networks.base import Network
from underpaint.optimizers.loop import Stage
from underpaint.quality.panel import Panel, PatchJudge, StyleJudge
from underpaint.recipe import plain
from underpaint.runs.prepared import Prepared
from underpaint.runs.scene import Scene

SECONDS = ("vgg19", "compact", "vgg16")
"""Networks that judge beside the painter where nobody named one."""


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
        others: further networks that judge, by name.
    """

    def __init__(
        self,
        scene: Scene,
        judge: Network,
        lpips: quality.Lpips | None,
        others: Mapping[str, Network] | None = None,
    ) -> None:
        self._scene, self._judge, self._lpips, self._others = scene, judge, lpips, dict(others or {})
        self._known: tuple[int, Scene, list[Stage], Panel] | None = None

    def scene(self, perturbation: int) -> tuple[Scene, list[Stage], Panel]:
        """Everything that the coalitions of a perturbation share."""
        if self._known is None or self._known[0] != perturbation:
            scene = self._scene
            if perturbation:
                recipe, pictures = perturbed(scene.recipe, scene.pictures, perturbation)
                scene = Scene(recipe, pictures, scene.network, scene.polish)
            stages = [scene.stage(scale) for scale in range(len(scene.recipe.sizes()))]
            self._known = perturbation, scene, stages, panel(scene, self._judge, self._lpips, self._others)
        return self._known[1:]

    def paint(self, perturbation: int, active: Sequence[str]) -> Iterator[Painted | float]:
        """See `underpaint.explanation.coalitions.paint.paint`."""
        scene, stages, _ = self.scene(perturbation)
        yield from paint(scene.recipe, stages.__getitem__, active)

    def enter(self, table: Table, perturbation: int, mask: int, known: Painted | None = None) -> Iterator[float]:
        """As `make`, and puts the row into the table."""
        for step in self.make(table.folder, table.players, perturbation, mask, known):
            if isinstance(step, Row):
                table.add(step)
            else:
                yield step

    def make(
        self, folder: Path, players: Sequence[str], perturbation: int, mask: int, known: Painted | None = None
    ) -> Iterator[float | Row]:
        """Paints a coalition, unless that is known, judges it and writes its picture; yields how far it is, 0..1, and at last
        its row."""
        begun = time.perf_counter()
        for step in () if known is not None else self.paint(perturbation, members(mask, players)):
            if isinstance(step, Painted):
                known = step
            else:
                yield step
        assert known is not None
        scene, stages, panel = self.scene(perturbation)
        outcomes = panel.outcomes(known.image, stages[-1].objective)
        picture = picture_of(perturbation, mask, players)
        path = folder / picture
        path.parent.mkdir(parents=True, exist_ok=True)
        rgb, alpha = scene.finish(known.image)
        images.write(path, rgb, alpha=alpha)
        yield Row(perturbation, mask, outcomes, known.last_fall, time.perf_counter() - begun, picture)


def open_judge(name: str, painting: Prepared) -> registry.Opened:
    """The network that judges, up to all its layers, in float32."""
    return registry.open_network(
        name,
        registry.anatomy(name).names,
        device=painting.device,
        given=given_for(name, painting.recipe.networks(), painting.options.weights),
        announce=painting.options.announce,
        progress=painting.options.progress,
    )


def given_for(name: str, painters: Sequence[str], given: Path | None) -> Path | None:
    """Where a judge's weights are looked for: where the user says, but a file is the painter's, and another network's may lie
    beside it."""
    if given is None or name in painters or not given.is_file():
        return given
    file = registry.file_of(name)
    names = () if file is None else (file.filename, *file.aliases)
    return given.parent if any((given.parent / each).is_file() for each in names) else None


def judges_of(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """Networks that judge, by name, from a list or a text with commas; none where none is given.

    Raises:
        UnderpaintError: there is no such network.
    """
    given = plain(given)
    names = given.split(",") if isinstance(given, str) else given or ()
    found = [registry.anatomy(name.strip()).name for name in names]
    return tuple(dict.fromkeys(found))


def second(painter: str, given: Path | None = None) -> str | None:
    """A network of other weights than the painter's that judges beside it where nobody named one: the first of `SECONDS` that
    is available."""
    own = registry.anatomy(painter).name
    for name in SECONDS:
        with suppress(UnderpaintError):  # a folder that was named, and does not hold this one
            if name != own and registry.available(name, given_for(name, [own], given)):
                return name
    return None


def panel(scene: Scene, judge: Network, lpips: quality.Lpips | None, others: Mapping[str, Network] | None = None) -> Panel:
    """The judges of a scene's pictures at its last size."""
    last = len(scene.recipe.sizes()) - 1
    if len(scene.pictures.styles) > 1:
        raise UnderpaintError("style: several given; coalitions of layers are judged against one style picture")
    content, style = scene.content(last), scene.style(0, last)
    optimised = [*scene.recipe.style_layers, *scene.recipe.content_layers]
    layers = judge.anatomy.held_out(optimised)
    more = {
        name: StyleJudge(other, content, style, other.anatomy.held_out(optimised)) for name, other in (others or {}).items()
    }
    return Panel(StyleJudge(judge, content, style, layers), PatchJudge(content, style), content, lpips, more)
