"""The page: three tabs over the job runner, and what a browser remembers."""

from __future__ import annotations

from typing import Any

import gradio as gr

from underpaint.jobs.runner import Runner
from underpaint.studio.events import QUICK, found
from underpaint.studio.keep import Keep
from underpaint.studio.make import Make
from underpaint.studio.understand import Understand

WELCOME = "# Underpaint studio\nPaint a photograph in the style of a painting, then ask which layer painted what."

UPLOAD_SECONDS = 3600
"""How long an upload is kept; jobs have copies of their own."""


def build(runner: Runner, told: str) -> gr.Blocks:
    """The page over a runner's jobs. `told` encrypts what browsers remember; every page knows it."""

    def linked(request: gr.Request) -> Any:
        """The job that the page's address names, `?run=NAME`; else the one that the page remembers."""
        name = dict(request.query_params).get("run")
        return name if found(runner, name) is not None else gr.skip()

    cleared = UPLOAD_SECONDS, UPLOAD_SECONDS
    blocks: gr.Blocks
    with gr.Blocks(title="Underpaint studio", analytics_enabled=False, delete_cache=cleared) as blocks:
        gr.Markdown(WELCOME)
        current = gr.BrowserState("", storage_key="underpaint-job", secret=told)
        with gr.Tabs():
            with gr.Tab("Make"):
                Make(runner, current).build()
            with gr.Tab("Understand"):
                Understand(runner, current).build()
            with gr.Tab("Keep") as tab:
                Keep(runner, current).build(tab)
        blocks.load(linked, None, [current], **QUICK)
    return blocks
