"""The page that puts several networks' explanations of one pair side by side: networks.html, in the folder that holds
theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from underpaint.explanation.across import SEEN, Across, Member
from underpaint.imaging import images
from underpaint.networks.anatomy import DEPTHS
from underpaint.quality.panel import HEADLINE
from underpaint.report.page import FILE as PAGE
from underpaint.report.page import render, templates
from underpaint.report.sections import picture
from underpaint.storage.files import write_bytes
from underpaint.storage.owner import Owner

FILE = "networks.html"
TITLE = "The same picture through several networks"


def build(across: Across) -> Path:
    """Writes the page and returns it.

    Raises:
        UnderpaintError: it cannot be written.
    """
    first = across.members[0].explanation
    names = [entry["name"] for entry in first.run.facts["inputs"][:2]]
    section = {
        "first": across.members[0].told,
        "sentences": across.sentences,
        "members": [_shown(across, member) for member in across.members],
        "depths": DEPTHS,
        "judges": {HEADLINE: "the style in all"} | SEEN,
    }
    subject = f"{names[0]} in the style of {names[1]}"
    data = render(TITLE, subject, {"across": section}, known=templates())
    with Owner(across.folder):
        write_bytes(across.folder / FILE, data)
    return across.folder / FILE


def _shown(across: Across, member: Member) -> dict[str, Any]:
    found = member.explanation
    game = found.game()
    alike = None if member is across.members[0] else across.concordance(member)
    values = found.shapley
    largest = max((abs(e.value) for e in values.values()), default=1.0) or 1.0
    return {
        "name": member.name,
        "told": member.told,
        "data": picture(images.read(found.folder / "pastiche.png", min_side=1).rgb, 512),
        "page": f"{found.folder.relative_to(across.folder).as_posix()}/{PAGE}",
        "state": found.state,
        "before": -float(game.values[0]),
        "after": -float(game.values[-1]),
        "content": found.validation["checks"]["content"],
        "layers": [
            {"name": layer, "value": e.value, "error": e.error, "width": max(0.0, e.value) / largest}
            for layer, e in (values.items() if found.state == "settled" else ())
        ],
        "shares": member.by_depth,
        "alike": alike,
    }
