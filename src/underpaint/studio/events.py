"""Events of a page: how they are sent, which job they are of, who sent them."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from underpaint.errors import UnderpaintError
from underpaint.jobs.job import Job
from underpaint.jobs.runner import Runner
from underpaint.studio.guard import OWNER, VISITOR
from underpaint.studio.shown import plain

TICK = 0.5
"""Seconds between two looks at the current job."""

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""Of events: pages send them, nobody else; and nothing flickers while they run."""

QUICK: dict[str, Any] = PRIVATE | {"queue": False}
"""Of events that answer at once and raise nothing. Gradio opens and closes its queue's stream between any two events: with a
look twice a second in the queue, what was asked in that moment never came back, and a page stood still."""


def visitor(request: gr.Request) -> str:
    """Who sent it, as the guard found out."""
    return str(dict(request.headers).get(VISITOR, ""))


def may(request: gr.Request, job: Job) -> bool:
    """Whether who sent it may stop and remove a job: it is theirs, or they are the owner."""
    headers = dict(request.headers)
    return headers.get(OWNER) == "1" or (bool(job.visitor) and job.visitor == headers.get(VISITOR))


def check(request: gr.Request, job: Job) -> None:
    """Raises an `UnderpaintError` where they may not."""
    if not may(request, job):
        raise UnderpaintError(
            "this run is somebody else's; only they, or who has the link of `--owner`, may stop or remove it"
        )


def found(runner: Runner, name: str | None) -> Job | None:
    """The job of a name that a page remembers, if it is still there and can be read."""
    try:
        job = runner.job(name or "")
        _ = job.order
    except UnderpaintError:
        return None
    return job


def told(error: UnderpaintError) -> gr.Error:
    """An error that the visitor can mend, to be raised: it stays until it is closed. Gradio takes its text for HTML."""
    return gr.Error(escape(plain(str(error))), duration=None, print_exception=False)
