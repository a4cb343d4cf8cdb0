"""Pieces of HTML that show a job. Everything that came from outside is escaped. Addresses are relative to the page's, under
whatever path a proxy shows it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from underpaint.errors import UnderpaintError
from underpaint.jobs.job import Job
from underpaint.jobs.runner import Runner
from underpaint.report import page
from underpaint.runs.estimate import duration
from underpaint.studio.shown import plain

NOTHING = '<div class="none">Nothing is painted yet.</div>'


def status(runner: Runner, job: Job | None) -> str:
    """Where it stands, with a bar."""
    if job is None:
        return '<div role="status">Choose pictures, then start.</div>'
    state, progress = job.state, job.progress
    share = 1.0 if state == "finished" else progress.share
    words = {
        "queued": f"waiting, {runner.place(job) or 0} before it",
        "running": f"{progress.doing}, {share:.0%}",
        "paused": f"paused at {share:.0%}",
        "stopped": f"stopped at {share:.0%}; what there is is kept",
        "finished": "finished",
        "failed": f"failed: {plain(job.error, runner.runs)}",
    }[state]
    if state == "running" and progress.left:
        words += f", about {duration(progress.left)} left"
    if state == "running" and progress.coalitions:
        words += f", {progress.painted or 0} of {progress.coalitions} coalitions"
    kind = {"stylize": "Painting", "explain": "Explanation"}[job.order.kind]
    bar = f'<div class="bar"><div style="width: {100 * share:.1f}%"></div></div>'
    title = f"<strong>{kind}: {escape(job.title)}</strong>"
    return f'<div role="status" data-state="{state}">{title}<br>{escape(words)}{bar}</div>'


def picture(job: Job | None) -> str:
    """The picture as it stands."""
    version = 0 if job is None else job.progress.version
    if job is None or not version:
        return NOTHING
    source = f"live/{job.name}?v={version}" if job.state != "finished" else f"pastiche/{job.name}"
    return f'<img src="{source}" data-version="{version}" alt="The pastiche as it stands">'


def curves(job: Job | None, version: int) -> str:
    """How the losses fall."""
    if job is None or not (job.result / "history.csv").exists():
        return ""
    return f'<img src="curves/{job.name}?v={version}" alt="Losses by step">'


def explained(job: Job | None) -> str:
    """An explanation: its page once it is finished, before that the coalitions as they come."""
    if job is None:
        return "<p>Paint a picture, then ask why it looks like that; or choose an explanation in the gallery.</p>"
    if (job.result / page.FILE).exists() and job.order.kind == "explain":
        title = f"The explanation of {escape(job.title)}"
        return f'<iframe src="report/{job.name}" sandbox="allow-scripts" title="{title}"></iframe>'
    cards = "".join(
        f'<figure><img src="coalition/{job.name}/{place}" alt="Painted with {escape(path.stem)}" loading="lazy">'
        f"<figcaption>{escape(path.stem)}</figcaption></figure>"
        for place, path in enumerate(job.coalitions)
    )
    return f'<div class="cards">{cards}</div>' if cards else "<p>The picture itself comes first, then its coalitions.</p>"


def links(job: Job | None) -> str:
    """What can be taken away."""
    if job is None:
        return ""
    more = ["report.html", "figures.zip"] if job.state == "finished" else []
    names = ["pastiche.png", *more, "all.zip"]
    return "".join(f'<a href="download/{job.name}/{name}" download>{name}</a>' for name in names)


def gallery(jobs: list[Job]) -> str:
    """All runs, the newest first."""
    if not jobs:
        return "<p>No runs yet.</p>"
    return '<div class="cards">' + "".join(_card(job) for job in jobs) + "</div>"


def _card(job: Job) -> str:
    has = (job.result / "pastiche.png").exists() or (job.folder / "live.webp").exists()
    shown = f'<img src="pastiche/{job.name}" alt="" loading="lazy">' if has else '<div class="none">-</div>'
    return f'<figure><a href="?run={job.name}">{shown}<figcaption>{escape(label(job))}</figcaption></a></figure>'


def label(job: Job) -> str:
    """A run in a list."""
    try:
        what = {"stylize": "", "explain": "why: "}[job.order.kind] + job.title
    except UnderpaintError:
        what = "damaged"
    return f"{what} ({job.state}, {job.name[4:6]}-{job.name[6:8]} {job.name[9:11]}:{job.name[11:13]}, {job.name[-4:]})"


def taken(size: int, most: int) -> str:
    """What all runs take of what they may, bytes."""
    return f"<p>All runs take {size / 1e6:,.0f} MB of {most / 1e6:,.0f} MB.</p>"


def doomed(jobs: list[Job]) -> str:
    """Runs that would be removed."""
    if not jobs:
        return "<p>No run has to go.</p>"
    rows = "".join(f"<li>{escape(label(job))}, {job.bytes / 1e6:,.1f} MB</li>" for job in jobs)
    return f"<p>The oldest {len(jobs)} would go:</p><ul>{rows}</ul>"


def comparison(jobs: list[Job], found: Mapping[str, Any]) -> str:
    """Two runs side by side, with their figures: `found` as `Comparison.as_dict` has it."""
    figures = "".join(_card(job) for job in jobs)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{row['values'][name]:.3f}</td>" if name in row["values"] else "<td></td>" for row in found["rows"])
        + f"<td>{escape(measure['better'])} ({escape(measure['against'])})</td></tr>"
        for name, measure in found["measures"].items()
    )
    lines = (*found["notes"], *(note for row in found["rows"] for note in row["notes"]))
    notes = "".join(f"<li>{escape(line)}</li>" for line in lines)
    head = "".join(f'<th scope="col">{name}</th>' for name in ("measure", "first", "second", "better"))
    table = f"<table><thead><tr>{head}</tr></thead>"
    return f'<div class="cards wide">{figures}</div>{table}<tbody>{rows}</tbody></table><ul>{notes}</ul>'
