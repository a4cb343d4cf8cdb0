"""Concluding: from what was painted to what it means, and every file that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

from underpaint.execution import device
from underpaint.explanation import attribution, explaining, files, gallery, preferences, sanity_checks, spatial, validation
from underpaint.explanation.account import column_stats
from underpaint.explanation.account.ledger import CLAMP, START
from underpaint.explanation.account.observer import kappa
from underpaint.explanation.attribution import Attribution, Basis, RunFacts
from underpaint.explanation.coalitions.table import Table
from underpaint.explanation.explaining import Explaining
from underpaint.explanation.result import Explanation
from underpaint.explanation.robustness import robust
from underpaint.explanation.shapley.exact import Game
from underpaint.explanation.shapley.players import label, mask_of, stem
from underpaint.explanation.verdict import verdict
from underpaint.imaging.images import Source
from underpaint.networks.anatomy import DEPTHS
from underpaint.quality.panel import HEADLINE, sees
from underpaint.runs.keywords import Keywords, spelt_out
from underpaint.storage import documents


@spelt_out(Keywords)
def explain(
    content: Source,
    style: Source,
    *,
    out: str | Path,
    seeds: int = 1,
    judge: str | Sequence[str] | None = None,
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
    written["likes"] = _likes(made)
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
    over = robust(judged, made.settings.judge) if settled else None
    named = {name: mask_of(group, players) for name, group in made.groups.items()}
    return {
        "state": checks.state,
        "players": players,
        "judge_network": made.settings.judge,
        "judge_layers": made.style_judge.layers,
        "judges_see": {name: sees(name) for name in judged},
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
        "verdict": verdict(game, checks, {a.method: faithful[a.method] for a in found if a.kind == "run"}, over),
    } | ({} if over is None else {"robust": over.facts()})


def _deletion_curves(game: Game) -> dict[str, list[float]]:
    """v as layers are taken away, the largest Shapley value first and last; nothing where their coalitions are not known."""
    values = dict(zip(game.players, game.shapley(), strict=True))
    best = sorted(game.players, key=lambda p: -values[p].value)
    curves = {name: validation.deletion_curve(game, each) for name, each in (("shapley", best), ("reversed", best[::-1]))}
    return {name: curve for name, curve in curves.items() if curve is not None}


def _likes(made: Explaining) -> dict[str, list[int]]:
    """likes/LAYER.png for each layer; whose pictures they show."""
    scene, last = made.session.scene, len(made.session.recipe.sizes()) - 1
    weights = made.prepared.opened[0].sha256
    return preferences.draw(made.folder, scene.network, weights, made.players, scene.style(0, last), scene.content(last))


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
