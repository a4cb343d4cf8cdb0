"""Explaining: what has to be painted for an explanation; each part resumes where it was stopped.

- paint: the run itself, in the folder as `stylize` makes it, followed by an `Account`;
- coalitions: every subset of the style layers, or of many layers those of some orders, and some of them again from a
  perturbed start;
- shuffled, when asked for: the run with the network's weights permuted.

What all that means is `underpaint.explanation.conclude.conclude`'s to say.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Unpack

from underpaint import quality
from underpaint.errors import UnderpaintError
from underpaint.execution import device
from underpaint.explanation import sanity_checks as sanity
from underpaint.explanation.coalitions.paint import Painted, last_fall
from underpaint.explanation.coalitions.painter import Painter, Progress, judges_of, open_judge, panel, second
from underpaint.explanation.coalitions.table import Table
from underpaint.explanation.coalitions.task import coalitions
from underpaint.explanation.sanity_checks import accountant
from underpaint.explanation.schemas import SettingsFile
from underpaint.explanation.shapley import sampled
from underpaint.explanation.shapley.players import check_players, groups, repeated
from underpaint.imaging.images import Source
from underpaint.networks import registry
from underpaint.recipe import Recipe, whole
from underpaint.runs.claim import check_free, create_folder, owned
from underpaint.runs.folder import SETTINGS, TOTAL, hashes_of, read_facts, recipe_of
from underpaint.runs.keywords import Keywords, spelt_out
from underpaint.runs.options import Options
from underpaint.runs.prepared import Prepared
from underpaint.runs.session import Session
from underpaint.runs.start import reopen
from underpaint.runs.wish import Wish, prepare
from underpaint.storage import documents
from underpaint.storage.files import named, sweep
from underpaint.storage.owner import Owner

PAINTING = 7.0
"""What the run with its ledger costs, in coalitions; for the progress alone."""

COALITION = 0.7
"""What a coalition costs, in whole runs: half of the layers, and no gradients' norms."""

REPEATS = 8
"""Coalitions that are painted again from a perturbed start, for an estimate of the noise."""

SIZE = 256
"""Longest side where none is given: an explanation is forty runs."""


@dataclass(frozen=True)
class Settings:
    """What an explanation is besides its run; part of the folder, and the same when it is resumed.

    Attributes:
        seeds: complete tables; the first is the run's own, the others begin perturbed. With one, `REPEATS` coalitions are
            repeated for the noise.
        judge: the network that judges.
        others: further networks that judge the same paintings.
        sanity: also paint with the network's weights shuffled (`underpaint.explanation.sanity_checks`).
        permutations: orders whose coalitions are painted (`underpaint.explanation.shapley.sampled`); None where every subset
        is.
    """

    seeds: int = 1
    judge: str = "compact"
    sanity: bool = False
    permutations: int | None = None
    others: tuple[str, ...] = ()


def orders_of(recipe: Recipe, settings: Settings) -> tuple[sampled.Order, ...]:
    """The orders whose coalitions an explanation paints; none where it paints every subset."""
    if settings.permutations is None:
        return ()
    return sampled.orders(recipe.seed, len(recipe.style_layers), settings.permutations)


class Explaining:
    """An explanation being made: iterate over it, then all is painted that `explanation.conclude` needs.

    Args:
        painting: the run, in its folder.
        settings: see `Settings`.
        owner: the run's folder's.
    """

    @device.own_settings()
    def __init__(self, painting: Session, settings: Settings, owner: Owner) -> None:
        self.session, self.settings, self.owner, self.folder = painting, settings, owner, owner.folder
        self.players = check_players(list(painting.recipe.style_layers))
        self.orders = orders_of(painting.recipe, settings)
        self.groups = groups(self.players, registry.anatomy(painting.recipe.network))
        if painting.device.type == "mps":
            raise UnderpaintError("device: an explanation needs double precision, which Apple's GPUs lack; use --device cpu")
        self._judges = {name: open_judge(name, painting.prepared) for name in (settings.judge, *settings.others)}
        self.judge = self._judges[settings.judge].network
        others = {name: self._judges[name].network for name in settings.others}
        self.table = Table(self.folder, self.players)
        lpips = quality.find_lpips(painting.options.weights, painting.device)
        self.painter = Painter(painting.scene, self.judge, lpips, others)
        self.style_judge = panel(painting.scene, self.judge, None).style
        self.account = accountant(painting.scene, self.style_judge)
        if painting.state is not None and "ledger" not in painting.remembered:
            raise UnderpaintError(f"{self.folder}: its run was painted without a ledger; explain into another folder")
        painting.follow(self.account.observers())

    @property
    def prepared(self) -> Prepared:
        """What its run is painted with."""
        return self.session.prepared

    @property
    def count(self) -> int:
        """How many coalitions are to be painted in all."""
        return len(self.plan())

    @property
    def runs(self) -> float:
        """What is still to be done, in runs as `stylize` makes them: coalitions are shorter, the ledger costs."""
        left = sum(key not in self.table.rows for key in self.plan())
        return COALITION * (left + PAINTING * (self.session.facts.get("status") != "finished"))

    def plan(self) -> list[tuple[int, int]]:
        """Every (perturbation, coalition) that the settings ask for, the whole coalition first."""
        n = len(self.players)
        every = sampled.plan(self.players, self.orders, self.groups) if self.orders else [(1 << n) - 1, *range((1 << n) - 1)]
        plan = [(seed, mask) for seed in range(self.settings.seeds) for mask in every]
        return plan + ([(1, mask) for mask in repeated(n, REPEATS)] if self.settings.seeds == 1 else [])

    def __iter__(self) -> Generator[Progress]:
        return device.stepwise(self._owned(), lambda: device.painting(self.session.device))

    def _owned(self) -> Generator[Progress]:
        with self.owner:
            sweep(self.folder)
            yield from self._parts()

    def _parts(self) -> Iterator[Progress]:
        plan, painting = self.plan(), self.session.scene
        total = PAINTING * (1 + painting.network.anatomy.blocks * self.settings.sanity) + len(plan)
        for share in self._paint():
            yield Progress(share * PAINTING, total, "painting")
        for done in self._coalitions(plan):
            yield Progress(PAINTING + done, total, "coalitions")
        if self.settings.sanity:
            for done in sanity.runs(painting, self.style_judge, self.folder):
                yield Progress(PAINTING * (1 + done) + len(plan), total, "shuffled")
        yield Progress(total, total, "concluding")

    def _paint(self) -> Iterator[float]:
        """The run with its ledger, unless it is finished; how far it is."""
        if self.session.facts.get("status") == "finished":
            return
        with closing(iter(self.session)) as steps:
            for step in steps:
                yield self.session.recipe.share_done(step.scale, step.iteration + (not step.final))

    def _coalitions(self, plan: Sequence[tuple[int, int]]) -> Iterator[float]:
        """Paints what is not in the table, in the plan's order; yields how many are done."""
        keys = self._to_paint(plan)
        inputs = read_facts(self.folder)["inputs"]
        with closing(coalitions(self.prepared, self.table, self.painter, inputs, keys, self._judges)) as ahead:
            for key in plan:
                if key in ahead:
                    for done in ahead.enter(*key):
                        yield len(plan) - len(keys) + done
                elif key not in self.table.rows:
                    yield from self._known(*key)

    def _to_paint(self, plan: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Those that no other row is equal to, and that are not the run itself."""
        found: dict[tuple[int, int], tuple[int, int]] = {}
        there = {(perturbation, mask | self._idle) for perturbation, mask in self.table.rows}
        for perturbation, mask in plan:
            same = perturbation, mask | self._idle
            if same not in there and not self._is_run(perturbation, mask):
                found.setdefault(same, (perturbation, mask))
        return list(found.values())

    @property
    def _idle(self) -> int:
        """The layers of weight 0, which change nothing: with or without them it is the same run, to the last bit."""
        weights = self.session.recipe.style_layers
        return sum(1 << i for i, layer in enumerate(self.players) if not weights[layer])

    def _is_run(self, perturbation: int, mask: int) -> bool:
        """Whether a coalition is the run itself, which stopped nowhere early either."""
        whole = (1 << len(self.players)) - 1
        return perturbation == 0 and mask | self._idle == whole and not self.session.recipe.stop

    def _known(self, perturbation: int, mask: int) -> Iterator[float]:
        """Enters a coalition that another row is equal to, or that is the run itself."""
        for row in list(self.table.rows.values()):
            if row.perturbation == perturbation and row.mask | self._idle == mask | self._idle:
                self.table.add(replace(row, mask=mask))
                return iter(())
        state = self.session.state
        assert state is not None
        known = Painted(state.result, last_fall([*state.totals, self.session.run.losses[TOTAL]]))
        return self.painter.enter(self.table, perturbation, mask, known)


@spelt_out(Keywords)
def start(
    content: Source,
    style: Source,
    *,
    out: str | Path,
    seeds: int = 1,
    judge: str | Sequence[str] | None = None,
    check_sanity: bool = False,
    permutations: int | None = None,
    **arguments: Unpack[Keywords],
) -> Explaining:
    """Prepares an explanation, or resumes the one in `out` if that is of the same run.

    Args:
        content, style, arguments: as of `underpaint.start`; `size` is 256 when neither it nor a recipe is given.
        out: the folder.
        seeds: complete tables of coalitions; may be more than an explanation had before.
        judge: the network that judges, or several, whose first is the headline; the run's own when left out, and beside it
            one with other weights where such are available (`coalitions.painter.second`).
        check_sanity: also paint with the network's weights shuffled, block by block.
        permutations: of more than `coalitions.EXACT` style layers, how many orders' coalitions to paint, an even number;
            16 when left out. May be more than an explanation had before.

    Raises:
        UnderpaintError: as `underpaint.start`; too few or too many layers or permutations; or `out` holds another run.
    """
    owner = Owner(named(out, "--out"))
    folder, seeds = owner.folder, whole(seeds, "--seeds", least=1)
    permutations = None if permutations is None else whole(permutations, "--permutations", least=2)
    asked = judges_of(judge)
    if arguments.get("recipe") is None:
        arguments.setdefault("size", SIZE)
    wish = prepare(content, style, **arguments).exact()
    layers = check_players(list(wish.recipe.style_layers))
    count = sampled.check_permutations(layers, permutations)
    if (folder / SETTINGS).exists() and (folder / "run.json").exists():
        _check_same(folder, wish, asked)
        return _resume(owner, wish.options, seeds, check_sanity, permutations)
    check_free(folder)
    painting = Session(Prepared.of(wish), owner)
    judges = asked or _own_judges(wish)
    settings = Settings(seeds, judges[0], check_sanity, count, judges[1:])
    made = Explaining(painting, settings, owner)
    create_folder(folder)
    with owned(owner, lambda: True):
        _keep(folder, settings)
    return made


def _own_judges(wish: Wish) -> tuple[str, ...]:
    """The painter itself and, where there is one, another."""
    other = second(wish.recipe.network, wish.options.weights)
    return (wish.recipe.network, *([] if other is None else [other]))


def _keep(folder: Path, settings: Settings) -> None:
    told = asdict(settings)
    documents.write_json(folder / SETTINGS, told if settings.others else {n: v for n, v in told.items() if n != "others"})


def read_settings(folder: Path) -> Settings:
    """explain.json.

    Raises:
        UnderpaintError: missing or damaged: not the folder of an explanation.
    """
    path = folder / SETTINGS
    remedy = "it is not an explanation: make one with `underpaint explain`"
    found = documents.read_json(path, remedy, SettingsFile)
    return Settings(**found | {"others": tuple(found.get("others", ()))})


def _check_same(folder: Path, wish: Wish, judges: tuple[str, ...]) -> None:
    """Whether the explanation in a folder is the one that is asked for."""
    facts = read_facts(folder)
    hashes = {role: picture.sha256 for role, picture in wish.pictures.by_role().items()}
    if recipe_of(facts, folder).digest() != wish.recipe.digest() or hashes_of(facts["inputs"]) != hashes:
        raise UnderpaintError(f"--out {folder}: holds the explanation of another run; name another folder")
    kept = read_settings(folder)
    if judges and judges != (kept.judge, *kept.others) and judges != (kept.judge,):
        raise UnderpaintError(f"--judge {','.join(judges)}: {folder} is judged by another network; name another --out")


def resume(
    folder: str | Path,
    options: Options | None = None,
    seeds: int = 1,
    check_sanity: bool = False,
    permutations: int | None = None,
) -> Explaining:
    """Goes on with the explanation in a folder; `seeds`, `check_sanity` and `permutations` may ask for more than it has.

    Raises:
        UnderpaintError: not the folder of an explanation, or its pictures or weights are not to be had.
    """
    folder = named(folder, "resume")
    read_settings(folder)  # is it one at all?
    return _resume(Owner(folder), options, seeds, check_sanity, permutations)


def _resume(owner: Owner, options: Options | None, seeds: int, check_sanity: bool, permutations: int | None) -> Explaining:
    with owner:
        before = read_settings(owner.folder)
        settings = replace(before, seeds=max(seeds, before.seeds), sanity=before.sanity or check_sanity)
        painting = reopen(owner, options)
        asked = before.permutations if permutations is None else permutations
        count = sampled.check_permutations(list(painting.recipe.style_layers), asked)
        if count is not None:
            settings = replace(settings, permutations=max(count, before.permutations or 0))
        made = Explaining(painting, settings, owner)
        if settings != before:
            _keep(owner.folder, settings)
    return made
