"""Builds report.html from the folder of a run, an ablation or an explanation.

The canvas of *recompose* shows pastiche + Σ (w − 1) · column: at all ones it is the pastiche to the last bit, however
coarsely the columns are kept.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from underpaint.errors import UnderpaintError
from underpaint.report.folder import Evidence, Kind
from underpaint.report.sections import SECTIONS, Sections
from underpaint.storage.files import write_bytes
from underpaint.storage.owner import Owner

FILE = "report.html"
LIMIT = 40_000_000
"""A page over this is of no use to a browser."""

TITLES: dict[Kind, str] = {
    "stylize": "A pastiche",
    "ablate": "What each layer is needed for",
    "explain": "Which layer painted what",
}


def build(folder: str | Path, weights: Path | None = None) -> Path:
    """Writes report.html into a folder and returns it. What the folder lacks the page names, and shows the rest.

    Args:
        folder: of `stylize`, `ablate` or `explain`, finished or not.
        weights: where LPIPS's weights may be.

    Raises:
        UnderpaintError: none of these, nothing to show, or the page cannot be written.
    """
    e = Evidence(folder)
    with Owner(e.folder):
        return _build(e, weights)


def _build(e: Evidence, weights: Path | None) -> Path:
    from jinja2 import DictLoader, Environment, StrictUndefined

    sections = Sections(e, weights)
    made: dict[str, dict[str, Any]] = {}
    for name, section in SECTIONS.items():
        found = sections.attempt(lambda s=section: s.make(sections)) if e.kind in section.kinds else None  # type: ignore[misc]
        if found is not None:
            made[name] = found
    if not made:
        raise UnderpaintError(f"{e.folder}: nothing to show: {sections.missing[0]}")
    here = files("underpaint.report") / "templates"
    templates = {each.name: each.read_text("utf-8") for each in here.iterdir()}
    templates |= {f"{name}.html": SECTIONS[name].template or templates[f"{name}.html"] for name in made}
    page = Environment(autoescape=True, undefined=StrictUndefined, loader=DictLoader(templates)).get_template("page.html")
    data = page.render(
        title=TITLES[e.kind],
        subject=_subject(sections, made),
        missing=sections.missing,
        banner=_banner(made),
        sections=made,
        style_sheet=templates["page.css"],
        script=templates["page.js"],
        data=json.dumps(sections.data),
    ).encode()
    if len(data) > LIMIT:
        raise UnderpaintError(f"{e.folder}: its page would be {len(data) / 1e6:.0f} MB; use a smaller picture")
    write_bytes(e.folder / FILE, data)
    return e.folder / FILE


def _banner(made: dict[str, dict[str, Any]]) -> str:
    """What a reader of an explanation that is not settled must know first."""
    told = made.get("verdict", {"state": "settled"})
    return "" if told["state"] == "settled" else str(told["banner"])


def _subject(sections: Sections, made: dict[str, dict[str, Any]]) -> str:
    """What the page is of, in a line."""
    names = sections.attempt(lambda: sections.e.names) or {}
    styles = [name for role, name in names.items() if role.startswith("style") and role[5:].isdigit()]
    words = f"{names['content']} in the style of {' and '.join(styles)}" if "content" in names else sections.e.folder.name
    size = made["pastiche"]["size"] if "pastiche" in made else None
    return words + (f", {size[1]}×{size[0]} px" if size else "")
