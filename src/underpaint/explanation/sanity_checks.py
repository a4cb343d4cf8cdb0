"""Sanity: the same run with the network's weights shuffled, block by block from the deepest on.

An attribution that does not change when the network forgets what it learnt says nothing of the network (Adebayo et al.
2018, "Sanity Checks for Saliency Maps", arXiv:1810.03292, cascading randomisation). Random networks already carry some style,
so the picture's own quality stands beside it: J of a network that sees, whatever the one that paints has lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from underpaint.explanation import attribution
from underpaint.explanation.account.cross_matrix import CrossMatrix
from underpaint.explanation.account.judge_path import JudgePath
from underpaint.explanation.account.ledger import Ledger
from underpaint.explanation.account.observer import Account
from underpaint.explanation.attribution import Attribution, Basis, RunFacts
from underpaint.optimizers.loop import optimise
from underpaint.quality.panel import HEADLINE, StyleJudge
from underpaint.runs.folder import Row, rows
from underpaint.runs.scene import Scene
from underpaint.storage import documents

FILE = "sanity.csv"
HEADER = ("shuffled", "method", "layer", "value")
REMEDY = "remove it and run the command again"
PICTURE = "picture"
"""The method under which a run's own J stands."""


def accountant(scene: Scene, judge: StyleJudge) -> Account:
    """What follows a run of this scene."""
    schedule, scales = scene.recipe.schedule(), range(len(scene.recipe.sizes()))
    ledger = Ledger()
    cross = CrossMatrix(lambda scale: scene.stage(scale).objective, ledger, scene.recipe.seed)
    path = JudgePath(judge, ledger, [scene.size(scale) for scale in scales], schedule, scene.network.device)
    return Account(ledger, cross, path, (len(schedule) - 1, max(1, schedule[-1] // 2)))


def runs(scene: Scene, judge: StyleJudge, folder: Path) -> Iterator[float]:
    """Paints with the last block, the last two, ..., all shuffled; writes sanity.csv after each; yields how many are done."""
    known, blocks = _read(folder), scene.network.anatomy.blocks
    for first in range(blocks, 0, -1):
        name = f"blocks {first}-{blocks}"
        if any(line[0] == name for line in known):
            continue
        layers = [name for name in scene.network.layers if scene.network.anatomy.layer(name).block >= first]
        other = Scene(scene.recipe, scene.pictures, scene.network.shuffled(layers, scene.recipe.seed), scene.polish)
        account, history = accountant(other, judge), list[Row]()
        for step in optimise(other.recipe, other.stage, apart=True):
            account.ledger.see(step)
            account.see(step)
            history += rows(step, 0.0)
            yield blocks - first + other.recipe.share_done(step.scale, step.iteration + (not step.final))
        last = len(other.recipe.sizes()) - 1
        facts = RunFacts(history, other.stage(last).objective, other.content(last), account.ledger.result)
        found = attribution.attribute(Basis(facts, account.cross, account.path, tuple(other.recipe.style_layers)))
        known += [(name, PICTURE, "", repr(judge(step.image)[HEADLINE]))]
        known += [(name, a.method, layer, repr(value)) for a in found for layer, value in a.values.items()]
        _write(folder, known)


def _read(folder: Path) -> list[tuple[str, str, str, str]]:
    if not (folder / FILE).exists():
        return []
    with documents.told(folder / FILE, REMEDY):
        lines = documents.read_rows(folder / FILE, REMEDY, HEADER)
        found = [(line["shuffled"], line["method"], line["layer"], line["value"]) for line in lines]
        for *_, value in found:
            documents.number(value)
        pictures = {shuffled for shuffled, method, *_ in found if method == PICTURE}
        if odd := {shuffled for shuffled, *_ in found} - pictures:
            raise ValueError(f"has no picture of {min(odd)}")
        return found


def _write(folder: Path, lines: Sequence[tuple[str, str, str, str]]) -> None:
    documents.write_rows(folder / FILE, HEADER, lines)


def summary(folder: Path, real: dict[str, Attribution]) -> dict[str, dict[str, float]]:
    """By what was shuffled: the picture's J, and each method's rank correlation (Spearman) with the real network's."""
    found: dict[str, dict[str, float]] = {}
    for shuffled, method, layer, value in _read(folder):
        found.setdefault(shuffled, {})
        if method == PICTURE:
            found[shuffled][PICTURE] = float(value)
        else:
            found[shuffled][f"{method}/{layer}"] = float(value)
    return {name: _compared(values, real) for name, values in found.items()}


def _compared(values: dict[str, float], real: dict[str, Attribution]) -> dict[str, float]:
    from scipy.stats import spearmanr  # slow to import, and rarely wanted

    said = {PICTURE: values[PICTURE]}
    for method, a in real.items():
        if all(f"{method}/{layer}" in values for layer in a.values):
            ours = [values[f"{method}/{layer}"] for layer in a.values]
            said[method] = float(spearmanr(ours, list(a.values.values())).statistic)
    return said
