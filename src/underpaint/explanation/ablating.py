"""Ablating: the same run with some of its style layers, for a few configurations that are named.

A folder holds ablation.json (recipe, inputs, configurations), the pictures, coalitions.csv as an explanation has it,
ablation.csv (one row a configuration) and gallery.png. The same command resumes where it was stopped.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from underpaint import quality
from underpaint.captions import captioned, listed, short
from underpaint.errors import UnderpaintError
from underpaint.execution import device
from underpaint.explanation import gallery
from underpaint.explanation.coalitions.painter import Painter, Progress, judges_of, open_judge
from underpaint.explanation.coalitions.table import Table
from underpaint.explanation.coalitions.task import coalitions
from underpaint.explanation.schemas import AblationFile
from underpaint.explanation.shapley.players import groups, mask_of, named
from underpaint.imaging.images import Source
from underpaint.networks.registry import anatomy
from underpaint.quality.panel import HEADLINE
from underpaint.recipe import Recipe, kept, plain
from underpaint.runs.claim import create_folder, owned
from underpaint.runs.folder import hashes_of, keep_inputs, read_inputs
from underpaint.runs.keywords import Keywords, spelt_out
from underpaint.runs.options import Options
from underpaint.runs.prepared import Prepared
from underpaint.runs.start import own_weights
from underpaint.runs.wish import Wish, prepare
from underpaint.storage import documents
from underpaint.storage.files import named as named_path
from underpaint.storage.files import sweep
from underpaint.storage.owner import Owner

FILE, ROWS = "ablation.json", "ablation.csv"
SIZE = 256
"""Longest side where none is given: an ablation is many runs."""


@dataclass(frozen=True)
class Ablation:
    """What came of it: `outcomes` by configuration and judge, and the folder."""

    folder: Path
    configs: dict[str, tuple[str, ...]]
    outcomes: dict[str, dict[str, float]]

    def __repr__(self) -> str:
        values = listed({name: of[HEADLINE] for name, of in self.outcomes.items()})
        return f"Ablation({len(self.configs)} configurations; J: {values}; {short(self.folder)})"

    def _repr_html_(self) -> str:
        """All its pictures and a line about them, for notebooks."""
        return captioned((self.folder / gallery.FILE).read_bytes(), repr(self))


class Ablating:
    """An ablation being made: iterate over it, then `result` is there.

    Args:
        wish: what every configuration's run is like.
        configs: names as `underpaint.explanation.coalitions.paint.named` reads them.
        judge: the network that judges, or several; the run's own when None.
        folder: where it goes, or where it was begun.
    """

    @device.own_settings()
    def __init__(self, wish: Wish, configs: Sequence[str], judge: str | Sequence[str] | None, folder: Path) -> None:
        self.folder, self.players = folder, tuple(wish.recipe.style_layers)
        self.configs = {config: named(config, self.players, anatomy(wish.recipe.network)) for config in configs}
        self.prepared = Prepared.of(wish)
        judges = judges_of(judge) or (wish.recipe.network,)
        self.judges = {name: open_judge(name, self.prepared) for name in judges}
        others = {name: self.judges[name].network for name in judges[1:]}
        lpips = quality.find_lpips(wish.options.weights, self.prepared.device)
        self.painter = Painter(self.prepared.scene, self.judges[judges[0]].network, lpips, others)
        self.owner = Owner(folder)
        self._new = not (folder / FILE).exists()
        if self._new:
            create_folder(folder)
        with owned(self.owner, lambda: self._new):
            self._claim(",".join(judges))
            self.table = Table(folder, self.players)

    def _claim(self, judge: str) -> None:
        """Writes ablation.json, or checks that the one there is of the same run."""
        path = self.folder / FILE
        own: dict[str, Any] = {"recipe": self.prepared.recipe.model_dump(mode="json"), "judge": judge}
        if path.exists():
            facts = read_facts(self.folder)
            hashes = {role: picture.sha256 for role, picture in self.prepared.scene.pictures.by_role().items()}
            recipe = kept(facts["recipe"], source=f"{path}: ")
            if (recipe, facts["judge"]) != (self.prepared.recipe, judge) or hashes_of(facts["inputs"]) != hashes:
                raise UnderpaintError(f"--out {self.folder}: holds the ablation of another run; name another folder")
            inputs = facts["inputs"]
            chosen = {"cores": facts["cores"]} if "cores" in facts else {}
        else:
            cores = self.prepared.options.cores
            chosen = {} if cores is None else {"cores": cores.facts()}
            inputs = keep_inputs(self.folder, self.prepared.scene.pictures)
        environment = device.describe(self.prepared.device)
        networks = self.prepared.networks
        facts = own | {"inputs": inputs, "configs": self.configs, "networks": networks, "environment": environment} | chosen
        documents.write_json(path, facts)

    def __iter__(self) -> Generator[Progress]:
        return device.stepwise(self._owned(), lambda: device.painting(self.prepared.device))

    def _owned(self) -> Generator[Progress]:
        """All of it; of an ablation that fails before anything is painted nothing stays."""
        with owned(self.owner, lambda: self._new and not self.table.rows):
            sweep(self.folder)
            yield from self._configurations()

    def _configurations(self) -> Iterator[Progress]:
        masks = list(dict.fromkeys(mask_of(layers, self.players) for layers in self.configs.values()))
        keys = [(0, mask) for mask in masks if (0, mask) not in self.table.rows]
        inputs = read_facts(self.folder)["inputs"]
        with closing(coalitions(self.prepared, self.table, self.painter, inputs, keys, self.judges)) as ahead:
            for key in keys:
                for done in ahead.enter(*key):
                    yield Progress(len(masks) - len(keys) + done, len(masks), "configurations")
        last = len(self.prepared.recipe.sizes()) - 1
        scene = self.prepared.scene
        gallery.draw_coalitions(self.folder, self.table, scene.content(last), scene.style(0, last), self.configs)
        self._write()
        yield Progress(len(masks), len(masks), "done")

    @property
    def result(self) -> Ablation:
        """What came of it, once all are painted."""
        rows = {name: self.table.rows[0, mask_of(layers, self.players)] for name, layers in self.configs.items()}
        return Ablation(self.folder, self.configs, {name: dict(row.outcomes) for name, row in rows.items()})

    def _write(self) -> None:
        """ablation.csv: each configuration's layers, outcomes, and by how much J is above that of all layers."""
        result = self.result
        judges = list(next(iter(result.outcomes.values())))
        whole = self.table.rows.get((0, (1 << len(self.players)) - 1))
        rows = []
        for name, outcomes in result.outcomes.items():
            row = self.table.rows[0, mask_of(self.configs[name], self.players)]
            more = "" if whole is None else repr(outcomes[HEADLINE] - whole.outcomes[HEADLINE])
            layers = " ".join(self.configs[name])
            rows.append([name, layers, *(repr(outcomes[j]) for j in judges), more, row.picture])
        documents.write_rows(self.folder / ROWS, ["config", "layers", *judges, f"{HEADLINE}_minus_all", "picture"], rows)


def default_configs(recipe: Recipe) -> list[str]:
    """All, shallow, middle, deep, and each layer left out: those that have layers here."""
    known = groups(tuple(recipe.style_layers), anatomy(recipe.network))
    return [name for name in known if known[name] and not name.startswith("only:")]


@spelt_out(Keywords)
def start(
    content: Source,
    style: Source,
    *,
    out: str | Path,
    configs: Sequence[str] | None = None,
    judge: str | Sequence[str] | None = None,
    **arguments: Unpack[Keywords],
) -> Ablating:
    """Prepares an ablation, or resumes the one in `out`.

    Args:
        content, style, arguments: as of `underpaint.start`; `size` is 256 when neither it nor a recipe is given.
        configs: `all`, `none`, `shallow`, `mid`, `deep`, `drop:LAYER`, `only:LAYER`, or layers with `+` between them;
            all, shallow, mid, deep and each layer left out when left out.
        judge: the network that judges, or several, whose first is the headline; the run's own when left out.

    Raises:
        UnderpaintError: as `underpaint.start`; no such configuration; `out` holds something else.
    """
    folder = named_path(out, "--out")
    if arguments.get("recipe") is None:
        arguments.setdefault("size", SIZE)
    wish = prepare(content, style, **arguments).exact()
    chosen = default_configs(wish.recipe) if configs is None else list(configs)
    if not chosen:
        raise UnderpaintError("configs: is empty; name at least one, e.g. all, or leave it out")
    return Ablating(wish, chosen, plain(judge), folder)


def read_facts(folder: Path) -> dict[str, Any]:
    """ablation.json.

    Raises:
        UnderpaintError: missing or damaged.
    """
    return documents.read_json(folder / FILE, "run the ablation again, into another --out", AblationFile)


def resume(folder: str | Path, options: Options | None = None) -> Ablating:
    """Goes on with the ablation in a folder.

    Raises:
        UnderpaintError: not the folder of an ablation, or its pictures or weights are not to be had.
    """
    folder = named_path(folder, "resume")
    facts, options = read_facts(folder), options or Options()
    if options.weights is None and "networks" in facts:
        options = replace(options, weights=own_weights(facts))
    recipe = kept(facts["recipe"], source=f"{folder / FILE}: ")
    return Ablating(Wish(recipe, read_inputs(folder, facts), options), list(facts["configs"]), facts["judge"], folder)


@spelt_out(Keywords)
def ablate(
    content: Source,
    style: Source,
    *,
    out: str | Path,
    configs: Sequence[str] | None = None,
    judge: str | Sequence[str] | None = None,
    **arguments: Unpack[Keywords],
) -> Ablation:
    """`start` with all its arguments, then to the end."""
    made = start(content, style, out=out, configs=configs, judge=judge, **arguments)
    for _ in made:
        pass
    return made.result
