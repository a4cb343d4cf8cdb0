"""An explanation: what was found out about a run, from its folder; and the conclusions that it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

from underpaint import commands
from underpaint.captions import captioned, listed, short
from underpaint.errors import UnderpaintError
from underpaint.execution import device
from underpaint.explanation import attribution, explaining, files, gallery, sanity_checks, spatial, validation
from underpaint.explanation.account import column_stats
from underpaint.explanation.account.ledger import CLAMP, START
from underpaint.explanation.account.observer import kappa
from underpaint.explanation.attribution import Attribution, Basis, RunFacts, by_layer
from underpaint.explanation.coalitions.table import Table
from underpaint.explanation.explaining import Explaining
from underpaint.explanation.shapley.exact import Estimate, Game
from underpaint.explanation.shapley.players import label, mask_of, stem
from underpaint.explanation.shapley.sampled import Order
from underpaint.explanation.validation import State
from underpaint.explanation.verdict import verdict
from underpaint.imaging import images
from underpaint.imaging.images import Source
from underpaint.networks.anatomy import DEPTHS
from underpaint.quality.panel import HEADLINE, SEES
from underpaint.runs.folder import Run, read_inputs
from underpaint.runs.keywords import Keywords, spelt_out
from underpaint.runs.scene import seen
from underpaint.storage import documents
from underpaint.storage.files import named
from underpaint.storage.owner import Owner


@dataclass(repr=False)
class Explanation:
    """Which layer painted what, how sure that is, and whether it holds when the layer is taken away.

    Attributes:
        folder: where everything lies; schema.md there says what is what.
        run: the pastiche.
        players: the style layers.
        table: every coalition's outcomes.
        attributions: every method's figures, by name.
        validation: validation.json.
        orders: those whose coalitions were painted (`underpaint.explanation.shapley.sampled`); none where every subset was.
    """

    folder: Path
    run: Run
    players: tuple[str, ...]
    table: Table
    attributions: dict[str, Attribution]
    validation: dict[str, Any]
    orders: tuple[Order, ...] = ()

    @classmethod
    def load(cls, folder: str | Path) -> Explanation:
        """From its folder.

        Raises:
            UnderpaintError: not the folder of a finished explanation.
        """
        folder = named(folder, "explanation")
        settings = explaining.read_settings(folder)
        if not (folder / files.VALIDATION).exists():
            raise UnderpaintError(f"{folder}: this explanation is not finished; resume it: {commands.resume(folder)}")
        run = Run.load(folder)
        players = tuple(run.recipe.style_layers)
        found = {a.method: a for a in files.read_attributions(folder)}
        orders = explaining.orders_of(run.recipe, settings)
        return cls(folder, run, players, Table(folder, players), found, files.read_validation(folder), orders)

    def game(self, judge: str = HEADLINE) -> Game:
        """What the coalitions are worth in the eyes of a judge (a column of coalitions.csv)."""
        return self.table.game(judge, self.orders)

    @property
    def shapley(self) -> dict[str, Estimate]:
        """The headline judge's Shapley values by layer."""
        return dict(zip(self.players, self.game().shapley(), strict=True))

    @property
    def state(self) -> State:
        """What may be said: only of a settled explanation are shares, rankings and agreement given."""
        return validation.state_of(self.validation)

    @property
    def verdict(self) -> list[str]:
        """The findings in plain words."""
        return list(self.validation["verdict"])

    def ledger(self) -> dict[str, np.ndarray]:
        """`start`, one column a term, `clamp` and `pastiche`: (3, H, W) float32, 0..1 pixel values."""
        return files.read_ledger(self.folder, self.players)

    def acted_in(self, region: np.ndarray) -> dict[str, float]:
        """Each term's share of how a region of the pastiche changed: Σ column · change over it, of Σ ‖change‖².

        Args:
            region: (H, W) bool, of the pastiche's size.

        Raises:
            UnderpaintError: another size, nothing in it, or nothing moved there.
        """
        ledger = self.ledger()
        painted = {n: c for n, c in ledger.items() if n not in (START, files.PASTICHE, files.COLOUR)}
        change = np.sum(list(painted.values()), axis=0)
        return spatial.share_in(spatial.acted(painted, change, dict.fromkeys(painted, 0.0)), region)

    def origin(self, layer: str, region: np.ndarray) -> np.ndarray:
        """Where in the style picture the features of a region come from at a layer: (h, w) float32, summing to 1.

        Nearest neighbours in the style's feature map, cosine of centred features (`underpaint.explanation.spatial.sources`).

        Raises:
            UnderpaintError: no such style layer, or a region of another size.
        """
        if layer not in self.players:
            raise UnderpaintError(f"layer: {layer!r} is not explained; choose {', '.join(self.players)}")
        kept = files.read_spatial(self.folder, [layer])
        return spatial.origin_map(kept.sources[layer], region, kept.style_size)

    def draw_region(self, box: tuple[int, int, int, int], path: Path) -> dict[str, float]:
        """A picture of where a box of the pastiche comes from, by layer; returns `acted_in` of it.

        Args:
            box: left, top, width, height, pixels of the pastiche.
            path: a new .png file.
        """
        height, width = self.run.pastiche.shape[:2]
        left, top, across, down = box
        if min(left, top) < 0 or min(across, down) < 1 or left + across > width or top + down > height:
            raise UnderpaintError(f"box {','.join(map(str, box))}: does not lie in the pastiche of {width}×{height} px")
        region = np.zeros((height, width), bool)
        region[top : top + down, left : left + across] = True
        shares, origins = self.acted_in(region), {layer: self.origin(layer, region) for layer in self.players}
        inputs = read_inputs(self.folder, self.run.facts)
        style = images.resize(seen(self.run.recipe, inputs).styles[0].rgb, next(iter(origins.values())).shape)
        with Owner(self.folder) if path.parent.resolve() == self.folder.resolve() else nullcontext():
            gallery.draw_region(path, self.run.pastiche, box, style, origins, by_layer(shares, self.players))
        return shares

    def __repr__(self) -> str:
        values = listed({layer: e.value for layer, e in self.shapley.items()})
        return f"Explanation({len(self.table.rows)} coalitions; {values}; {short(self.folder)})"

    def _repr_png_(self) -> bytes:
        """The picture, for notebooks."""
        return self.run._repr_png_()

    def _repr_html_(self) -> str:
        """The picture and a line about it, for notebooks."""
        return captioned(self._repr_png_(), repr(self))


@spelt_out(Keywords)
def explain(
    content: Source,
    style: Source,
    *,
    out: str | Path,
    seeds: int = 1,
    judge: str | None = None,
    check_sanity: bool = False,
    permutations: int | None = None,
    **arguments: Unpack[Keywords],
) -> Explanation:
    """Paints the content in the style and explains it: `explaining.start` with all its arguments, then to the end.

    >>> found = underpaint.explain("photo.jpg", "painting.jpg", size=256, out="out/why")  # doctest: +SKIP
    >>> found.verdict  # doctest: +SKIP
    """
    made = explaining.start(
        content,
        style,
        out=out,
        seeds=seeds,
        judge=judge,
        check_sanity=check_sanity,
        permutations=permutations,
        **arguments,
    )
    for _ in made:
        pass
    return conclude(made)


@device.own_settings()
def conclude(made: Explaining) -> Explanation:
    """From what was painted to what it means: every file of the explanation but the coalitions' own is written here."""
    with made.owner:
        return _concluded(made)


def _concluded(made: Explaining) -> Explanation:
    session, folder, players = made.session, made.folder, made.players
    state = session.state
    assert state is not None
    run, account = session.run, made.account.ledger.result
    judged = {judge: made.table.game(judge, made.orders) for judge in _judges(made.table)}
    game = judged[HEADLINE]
    watched, last = made.account, len(session.recipe.sizes()) - 1
    facts = RunFacts(run.history, session.scene.stage(last).objective, session.scene.content(last), account)
    found = attribution.attribute(Basis(facts, watched.cross, watched.path, players, game))
    finished = run.pastiche if session.recipe.keep_color == "luminance" else None
    (folder / files.VALIDATION).unlink(missing_ok=True)  # written last: with it there, all files are of one conclusion
    closed = files.write_ledger(folder, account, state.result, finished)
    checks = _checks(made, game, closed)
    every = validation.deletions(game)
    faithful = {a.method: validation.faithfulness(a, game, every) for a in found}
    others = [
        replace(attribution.shapley(other), method=f"shapley:{name}") for name, other in judged.items() if name != HEADLINE
    ]
    files.write_attributions(folder, [*found, *others], checks.state == "settled")
    if game.whole:
        files.write_interactions(folder, judged)
    files.write_cross(folder, made.account.cross, made.account.path, session.recipe.sizes())
    places, products = (torch.stack(each).numpy() for each in zip(*watched.path.products, strict=True))
    documents.write_arrays(
        folder / "products.npz", {"place": places, "products": products, "terms": np.array(watched.path.terms)}
    )
    written = _facts(made, judged, checks, faithful, found, facts)
    _pictures(made, account)
    files.write_schema(folder)
    files.write_validation(folder, written)
    attributions = {a.method: a for a in [*found, *others]}
    return Explanation(folder, run, players, made.table, attributions, written, made.orders)


def _judges(table: Table) -> list[str]:
    """Judges with an outcome for every row."""
    rows = list(table.rows.values())
    return [judge for judge in rows[0].outcomes if all(judge in row.outcomes for row in rows)]


def _checks(made: Explaining, game: Game, closed: float) -> validation.Checks:
    fall = game.fall()
    unsettled = {
        label(row.mask, made.players): row.last_fall
        for row in made.table.rows.values()
        if row.perturbation == 0 and row.last_fall > validation.UNSETTLED
    }
    account = made.account
    return validation.Checks(
        closure=closed,
        cross_residual=account.cross.residual(),
        path_residual=account.path.residual(),
        kappa_half=account.kappa_half,
        kappa=kappa(account.ledger),
        fall=fall.value,
        fall_error=fall.error,
        content=made.table.rows[0, (1 << len(made.players)) - 1].outcomes["content"],
        unsettled=unsettled,
    )


def _facts(
    made: Explaining,
    judged: Mapping[str, Game],
    checks: validation.Checks,
    faithful: Mapping[str, validation.Faithfulness],
    found: Sequence[Attribution],
    facts: RunFacts,
) -> dict[str, Any]:
    """validation.json; shares, rankings and agreement are of a settled explanation alone."""
    players, game = made.players, judged[HEADLINE]
    settled = checks.state == "settled"
    named = {name: mask_of(group, players) for name, group in made.groups.items()}
    return {
        "state": checks.state,
        "players": players,
        "judge_network": made.settings.judge,
        "judge_layers": made.style_judge.layers,
        "judges_see": {name: SEES[name] for name in judged},
        "depths": {depth: [f"block {b}" for b in made.judge.anatomy.blocks_at(depth)] for depth in DEPTHS},
        "groups": {name: {"layers": made.groups[name], "J": -float(game.values[mask])} for name, mask in named.items()},
        "J_none": -float(game.values[0]),
        "J_all": -float(game.values[-1]),
        "tables": game.tables,
        "permutations": made.settings.permutations,
        "noise": {n: None if g.noise is None else g.noise.facts() for n, g in judged.items()},
        "resolved_pairs": [[players[i], players[j]] for i, j in game.resolved()] if settled else [],
        "deletion_curves": _deletion_curves(game) if settled else {},
        "checks": checks.facts(),
        "faithfulness": {name: asdict(f) for name, f in faithful.items()} if settled else {},
        "columns": column_stats.figures({n: c.cpu().numpy() for n, c in facts.account.items() if n not in (START, CLAMP)}),
        "sanity": sanity_checks.summary(made.folder, {a.method: a for a in found}),
        "verdict": verdict(game, checks, {a.method: faithful[a.method] for a in found if a.kind == "run"}),
    }


def _deletion_curves(game: Game) -> dict[str, list[float]]:
    """v as layers are taken away, the largest Shapley value first and last; nothing where their coalitions are not known."""
    values = dict(zip(game.players, game.shapley(), strict=True))
    best = sorted(game.players, key=lambda p: -values[p].value)
    curves = {name: validation.deletion_curve(game, each) for name, each in (("shapley", best), ("reversed", best[::-1]))}
    return {name: curve for name, curve in curves.items() if curve is not None}


def _pictures(made: Explaining, account: Mapping[str, torch.Tensor]) -> None:
    """gallery.png, ledger.png, and for each layer sources/LAYER.png."""
    session, folder = made.session, made.folder
    last = len(session.recipe.sizes()) - 1
    state, network = session.state, session.scene.network_at(last)
    assert state is not None
    style = session.scene.style(0, last)
    gallery.draw_coalitions(folder, made.table, session.scene.content(last), style, made.groups)
    painted = {name: c.cpu().numpy() for name, c in account.items() if name not in (START, CLAMP)}
    change = np.sum([c.cpu().numpy() for name, c in account.items() if name != START], axis=0)
    layers = {name: name.partition("/")[2] for name in painted}
    strides = {name: float(network.anatomy.layer(layer).stride) if layer else 1.0 for name, layer in layers.items()}
    acted = spatial.acted(painted, change, strides)
    gallery.draw_ledger(folder, painted, acted, state.result[0].cpu().numpy())
    (folder / "sources").mkdir(exist_ok=True)
    height, width = state.result.shape[2:]
    sources: dict[str, spatial.Sources] = {}
    for layer in made.players:
        source = spatial.sources(network, state.result, style, layer)
        collage = spatial.paint(source, style[0].permute(1, 2, 0).cpu().numpy(), (height, width))
        gallery.save(folder / "sources" / f"{stem(layer)}.png", collage)
        sources[layer] = source
    files.write_spatial(folder, files.Spatial((style.shape[2], style.shape[3]), sources, acted))
