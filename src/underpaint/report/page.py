"""Builds report.html from the folder of a run, an ablation or an explanation.

The canvas of *recompose* shows pastiche + Σ (w − 1) · column: at all ones it is the pastiche to the last bit, however
coarsely the columns are kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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


def templates() -> dict[str, str]:
    """Every template, style sheet and script by its file's name."""
    return {each.name: each.read_text("utf-8") for each in (files("underpaint.report") / "templates").iterdir()}


def render(
    title: str,
    subject: str,
    sections: Mapping[str, Mapping[str, Any]],
    *,
    known: Mapping[str, str],
    banner: str = "",
    missing: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
) -> bytes:
    """A page, as one file that asks for nothing.

    Args:
        sections: by name, what the template `NAME.html` finds as `s`.
        known: the templates, see `templates`.
        data: what the page's script needs.
    """
    from jinja2 import DictLoader, Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, loader=DictLoader(known))
    return (
        environment.get_template("page.html")
        .render(
            title=title,
            subject=subject,
            missing=missing,
            banner=banner,
            sections=sections,
            style_sheet=known["page.css"],
            script=known["page.js"],
            data=json.dumps(data or {}),
        )
        .encode()
    )


def _build(e: Evidence, weights: Path | None) -> Path:
    sections = Sections(e, weights)
    made: dict[str, dict[str, Any]] = {}
    for name, section in SECTIONS.items():
        found = sections.attempt(lambda s=section: s.make(sections)) if e.kind in section.kinds else None  # type: ignore[misc]
        if found is not None:
            made[name] = found
    if not made:
        raise UnderpaintError(f"{e.folder}: nothing to show: {sections.missing[0]}")
    known = templates()
    known |= {f"{name}.html": SECTIONS[name].template or known[f"{name}.html"] for name in made}
    subject, banner = _subject(sections, made), _banner(made)
    data = render(TITLES[e.kind], subject, made, known=known, banner=banner, missing=sections.missing, data=sections.data)
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
