"""For a paper's text: a paragraph on the methods, and the software's entry for BibTeX, from what a folder tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from underpaint.errors import UnderpaintError
from underpaint.explanation.explaining import REPEATS
from underpaint.explanation.shapley.exact import Game
from underpaint.losses.statistics import statistic
from underpaint.networks.registry import anatomy
from underpaint.optimizers.base import optimizer
from underpaint.recipe import Recipe
from underpaint.report.folder import Evidence
from underpaint.report.latex import escape

AUTHOR, YEAR = "The underpaint developers", 2026
"""As LICENSE has them."""

SEEN = "the sliced Wasserstein distance on held-out layers of"
STARTS = {"content": "the photograph", "noise": "noise", "file": "a given picture"}


def paragraph(e: Evidence) -> str:
    """What was done, as plain text: network and weights, objective, optimiser, steps, seed; of an explanation also judge,
    repeats and the criterion by which layers are told apart.

    Raises:
        UnderpaintError: the folder does not tell.
    """
    sentences = [_painting(e), _objective(e)]
    if e.kind == "ablate":
        sentences.append(
            f"It was painted again with the configurations {', '.join(e.configs)} of the style layers under otherwise "
            f"unchanged conditions, and judged by {SEEN} {e.facts['judge']}."
        )
    elif e.kind == "explain":
        sentences += _explaining(e)
    versions = e.facts["environment"]["versions"]
    sentences.append(f"underpaint {versions['underpaint']}, PyTorch {versions['torch']}.")
    return " ".join(sentences)


def _painting(e: Evidence) -> str:
    r, (height, width) = e.recipe, e.pastiche.shape[:2]
    sizes, schedule = r.sizes(), r.schedule()
    at_most = "at most " if r.stop else ""
    made = e.facts.get("steps")
    total = f", {made} in all" if made is not None and r.stop else ""
    steps = ", ".join(f"{n} at {size} px" for size, n in zip(sizes, schedule, strict=True))
    polish = f"; the last {r.polish} see {anatomy(r.networks()[-1]).told}" if r.polish else ""
    return (
        f"The photograph was stylised by optimising its pixels against a frozen network ({_networks(e)}) with "
        f"{optimizer(r.optimizer).told}, from {STARTS[r.start]} on, from coarse to fine in {at_most}{sum(schedule)} steps "
        f"({steps}{polish}{total}; longest sides) up to {width}×{height} px, with seed {r.seed}, in {r.precision}."
        f"{_shown(r)}"
    )


def _shown(r: Recipe) -> str:
    """What the network was shown in place of the picture itself."""
    moved = f"moved by up to {r.shift} px, another way at every step" if r.shift else ""
    larger = f"enlarged {r.enlarge:g} times" if r.enlarge != 1 else ""
    told = " and ".join(part for part in (larger, moved) if part)
    return f" The network was shown the picture {told}." if told else ""


def _networks(e: Evidence) -> str:
    """Names with weights files and their hashes, where the folder has them."""
    found = [f"{n['name']}, {n['weights']}, SHA-256 {n['sha256']}" for n in e.facts.get("networks", [])]
    return "; ".join(found) or e.recipe.network


def _objective(e: Evidence) -> str:
    r = e.recipe
    more = {"colour": r.color_weight, "palette": r.palette_weight, "smoothness": r.smoothness}
    others = ", ".join(f"{name} ({weight:g})" for name, weight in more.items() if weight)
    if r.smoothness and r.chroma_smoothness != 1:
        others += f", in which differences in colour count {r.chroma_smoothness:g} times"
    return (
        f"Style terms, {statistic(r.statistic).told}, stood at {_weighted(r.style_layers)}, content terms at "
        f"{_weighted(r.content_layers)} with weight {r.content_weight:g} in all, at strength {r.strength:g}"
        + (f"; further terms: {others}." if others else ".")
    )


def _weighted(layers: Mapping[str, float]) -> str:
    return ", ".join(f"{layer} ({weight:g})" for layer, weight in layers.items())


def _explaining(e: Evidence) -> list[str]:
    s, players = e.settings, e.players
    painted = (
        f"The subsets that {s.permutations} orders of the {len(players)} style layers pass through"
        if s.permutations
        else f"All {2 ** len(players)} subsets of the {len(players)} style layers"
    )
    repeats = (
        f"The table was painted {s.seeds} times, from perturbed starts after the first."
        if s.seeds > 1
        else f"{REPEATS} subsets were painted again from a perturbed start to measure the noise."
    )
    judges = " and, apart, of ".join((s.judge, *s.others))
    found = [
        f"{painted} were painted under otherwise unchanged conditions and judged by {SEEN} {judges}.",
        repeats,
        f"Shapley values are {'estimates' if s.permutations else 'exact over that table'}, with 95 % t-intervals.",
        f"Two layers are called different where that is {_criterion(e)}.",
    ]
    try:
        closure = e.validation["checks"]["closure"]
    except UnderpaintError:  # not finished
        return found
    return [*found, f"Pixels were accounted for additively by loss term (closure {closure:.0e})."]


def _criterion(e: Evidence) -> str:
    try:
        return e.game().criterion
    except UnderpaintError:  # not finished
        return Game.criterion


def bibtex(e: Evidence) -> str:
    """The software, in the version that made the folder."""
    version = e.facts["environment"]["versions"]["underpaint"]
    fields = {
        "author": f"{{{AUTHOR}}}",
        "title": "{underpaint}: {neural} style transfer that explains itself",
        "version": version,
        "year": str(YEAR),
        "url": _address(),
    }
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items() if value)
    return f"@software{{underpaint,\n{lines}}}\n"


def _address() -> str:
    """The first that the package names (`[project.urls]`); nothing where it names none."""
    try:
        named = metadata.metadata("underpaint").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:  # a copy of the source that was never installed
        return ""
    return next((each.partition(", ")[2] for each in named), "")


def make(e: Evidence, missing: list[str]) -> Iterator[tuple[Path, bytes]]:
    """The paragraph for LaTeX, and the entry. What the folder lacks for them goes into `missing`, one line each."""
    for name, text in {"methods.tex": lambda e: escape(paragraph(e)) + "\n", "underpaint.bib": bibtex}.items():
        try:
            yield Path(name), text(e).encode()
        except UnderpaintError as error:
            missing.append(f"{name}: {error}")
