"""Keep: all runs of the folder; compare two, take them away, remove one."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Any

import gradio as gr

from underpaint.errors import UnderpaintError
from underpaint.jobs import tasks
from underpaint.jobs.runner import Runner
from underpaint.studio import form, views
from underpaint.studio.events import PRIVATE, QUICK, check, found, may, told

MEGABYTE = 1_000_000


class Keep:
    """Builds the tab.

    Args:
        runner: whose jobs it shows.
        current: the name of the page's job.
    """

    def __init__(self, runner: Runner, current: gr.BrowserState) -> None:
        self.runner, self.current = runner, current

    def build(self, tab: gr.Tab) -> None:
        """Within a tab; looks anew whenever that is chosen."""
        cards = gr.HTML(views.gallery([]), elem_id="gallery")
        with gr.Row():
            first = gr.Dropdown([], label="Run", elem_id="run")
            second = gr.Dropdown([], label="Compare with", elem_id="other")
        with gr.Row():
            opened = gr.Button("Open", elem_id="open")
            compared = gr.Button("Compare the two", elem_id="compare")
            refresh = gr.Button("Look again", elem_id="refresh")
        links = gr.HTML("", elem_classes="links", elem_id="links")
        with gr.Row():
            command, python = (
                gr.Code("", label=label, interactive=False, wrap_lines=True, show_line_numbers=False)
                for label in ("As a command", "As Python")
            )
        table = gr.HTML("", elem_id="comparison")
        with gr.Row():
            sure = gr.Checkbox(False, label="Yes, delete this run and all its files", elem_id="sure")
            remove = gr.Button("Remove", variant="stop", elem_id="remove")
        with gr.Accordion("Make room", open=False, elem_id="room"):
            taken = gr.HTML("", elem_id="taken")
            top = self.runner.limits.disk / MEGABYTE
            most = gr.Slider(0, top, top / 2, step=1, label="All runs together may take at most, MB", elem_id="most")
            doomed = gr.HTML("", elem_id="doomed")
            agreed = gr.Checkbox(False, label="Yes, delete these runs and all their files", elem_id="agreed")
            clear = gr.Button("Remove these runs", variant="stop", elem_id="clear")
        old = gr.State([])
        lists = [cards, first, second]
        tab.select(self._list, None, lists, **QUICK)
        refresh.click(self._list, None, lists, **QUICK)
        first.change(self._about, [first], [links, command, python], **QUICK)
        opened.click(lambda name: name or "", [first], [self.current], **QUICK)
        compared.click(self._compare, [first, second], [table], api_visibility="private")
        remove.click(self._remove, [first, sure], [*lists, sure], **PRIVATE)
        oldest = [taken, doomed, old, agreed]
        tab.select(self._oldest, [most], oldest, **QUICK)
        most.change(self._oldest, [most], oldest, trigger_mode="always_last", **QUICK)
        cleared = clear.click(self._clear, [old, agreed], lists, **PRIVATE)
        cleared.then(self._oldest, [most], oldest, **QUICK)

    def _list(self) -> tuple[Any, ...]:
        jobs = self.runner.jobs()
        choices = [(views.label(job), job.name) for job in jobs]
        chosen = choices[0][1] if choices else None
        return views.gallery(jobs), gr.update(choices=choices, value=chosen), gr.update(choices=choices, value=None)

    def _about(self, name: str | None) -> tuple[str, str, str]:
        job = found(self.runner, name)
        if job is None:
            return "", "", ""
        try:
            return views.links(job), form.command(job), form.python(job)
        except UnderpaintError:  # it has not begun
            return views.links(job), "", ""

    def _compare(self, first: str | None, second: str | None) -> str:
        jobs = [job for job in (found(self.runner, name) for name in (first, second)) if job is not None]
        try:
            if len(jobs) < 2:
                raise UnderpaintError("choose two runs to compare")
            weights = None if self.runner.weights is None else str(self.runner.weights)
            made = self.runner.apart(tasks.compare, [str(job.result) for job in jobs], self.runner.device, weights)
        except UnderpaintError as error:
            raise told(error) from None
        return views.comparison(jobs, made)

    def _remove(self, name: str | None, sure: bool, request: gr.Request) -> tuple[Any, ...]:
        try:
            if not sure:
                raise UnderpaintError("choose a run, and tick that you are sure")
            job = self.runner.job(name or "")
            check(request, job)
            self.runner.remove(job)
        except UnderpaintError as error:
            raise told(error) from None
        return (*self._list(), False)

    def _oldest(self, most: float, request: gr.Request) -> tuple[Any, ...]:
        """What would go, for a visitor to agree to: exactly these are removed then, whatever has come since. Of those that
        they may remove, that is: theirs, or all for the owner."""
        jobs = self.runner.oldest(int(most * MEGABYTE), partial(may, request))
        words = views.taken(self.runner.taken(), self.runner.limits.disk)
        return words, views.doomed(jobs), [job.name for job in jobs], False

    def _clear(self, names: list[str], agreed: bool, request: gr.Request) -> tuple[Any, ...]:
        if not (names and agreed):
            raise told(UnderpaintError("nothing to remove" if not names else "tick that these runs may be deleted"))
        for name in names:
            try:
                job = self.runner.job(name)
                check(request, job)
                self.runner.remove(job)
            except UnderpaintError as error:  # somebody else was quicker, or resumed it
                gr.Warning(escape(str(error)))
        return self._list()
