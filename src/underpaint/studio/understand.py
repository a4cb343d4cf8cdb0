"""Understand: ask why the current picture looks like that; its coalitions as they come, then its page."""

from __future__ import annotations

from typing import Any

import gradio as gr

from underpaint.errors import UnderpaintError
from underpaint.jobs.runner import Runner
from underpaint.studio import views
from underpaint.studio.events import PRIVATE, QUICK, TICK, found, told, visitor


class Understand:
    """Builds the tab.

    Args:
        runner: takes the orders.
        current: the name of the page's job.
    """

    def __init__(self, runner: Runner, current: gr.BrowserState) -> None:
        self.runner, self.current = runner, current

    def build(self) -> None:
        """Within a tab."""
        ask = gr.Button("Explain the current picture", variant="primary", elem_id="ask")
        status = gr.HTML("", elem_id="why-status")
        why = gr.HTML(views.explained(None), elem_classes="why", elem_id="why")
        seen = gr.State(())
        ask.click(self._ask, [self.current], [self.current], **PRIVATE)
        gr.Timer(2 * TICK).tick(self._look, [self.current, seen], [status, why, seen], **QUICK)

    def _ask(self, name: str, request: gr.Request) -> str:
        """An explanation of the same pictures by the same recipe."""
        job = found(self.runner, name)
        if job is None:
            raise told(UnderpaintError("paint or choose a picture first"))
        order = job.order
        if order.kind == "explain":
            return name
        files = {role: job.folder / "inputs" / file for role, file in order.pictures.items()}
        asked = order.model_copy(update={"kind": "explain", "visitor": visitor(request), "pictures": {}})
        try:
            return self.runner.submit(asked, files).name
        except UnderpaintError as error:
            raise told(error) from None

    def _look(self, name: str, seen: tuple[Any, ...]) -> tuple[Any, ...]:
        """What has changed since the last look. The page itself is set once: its sliders must stay where they are."""
        job = found(self.runner, name)
        if job is None or job.order.kind != "explain":
            return ("" if seen else gr.skip()), (views.explained(None) if seen else gr.skip()), ()
        progress = job.progress
        now = name, job.state, progress.painted, progress.share
        if seen == now:
            return gr.skip(), gr.skip(), now
        same = bool(seen) and seen[:3] == now[:3]
        return views.status(self.runner, job), gr.skip() if same else views.explained(job), now
