"""The pages: make, understand, keep. They show what the job runner has on disk, twice a second."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from underpaint import comparing, session
from underpaint.errors import UnderpaintError
from underpaint.estimate import estimate
from underpaint.files import write_bytes
from underpaint.jobs.job import RESUMABLE, WAITING, Job
from underpaint.jobs.runner import Runner
from underpaint.networks import registry
from underpaint.quality import MEASURES
from underpaint.studio import form, views
from underpaint.studio.form import LAYERS, STYLES, Form, Upload
from underpaint.studio.guard import visitor_of

TICK = 0.5
"""Seconds between two looks at the current job."""

CURVES_EVERY = 4
"""Ticks between two drawings of the losses."""

COLOURS = ("no", "luminance", "histogram", "covariance")

WELCOME = "Paint a photograph in the style of a painting, then ask which layer painted what."

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""Of events: pages call them, nobody else; and nothing flickers while they run."""

QUICK: dict[str, Any] = PRIVATE | {"queue": False}
"""Of events that answer at once and raise nothing. Gradio opens and closes its queue's stream between any two events: with a
look twice a second in the queue, what was asked in that moment never came back, and a page stood still."""


def upload(label: str, height: int, name: str | None = None) -> gr.Image:
    """Takes a picture as it came, for the package's own reader to decode: Gradio would decode it before."""
    component = gr.Image(label=label, sources=["upload", "clipboard"], type="filepath", height=height, elem_id=name)
    # On the instance: a subclass of a component makes Gradio write a file beside this one.
    component.preprocess = _as_it_came  # type: ignore[method-assign]
    return component


def _as_it_came(payload: Any) -> Any:
    return None if payload is None else Upload(Path(payload.path), Path(payload.orig_name or "picture").name)


def _samples(component: gr.Image, paths: list[Path]) -> None:
    """Pictures to click instead of an upload.

    Not gr.Examples: it updates the component's settings, and Gradio then makes it anew without `_as_it_came`.
    """
    shown = gr.Dataset(components=[component], samples=[[str(path)] for path in paths], type="index", label="or a sample")
    shown.click(lambda place: str(paths[place]), [shown], [component], **QUICK)


def _secret(runs: Path) -> str:
    """What browsers' memory is encrypted with: the same after a restart, so that a page finds its job again."""
    path = runs / ".secret"
    if not path.exists():
        write_bytes(path, secrets.token_hex(16).encode())
    return path.read_text(encoding="ascii")


def _visitor(request: gr.Request) -> str:
    headers = dict(request.headers)
    return visitor_of(headers.get("cookie", "")) or headers.get("x-underpaint-visitor", "")


def _found(runner: Runner, name: str | None) -> Job | None:
    """The job of a name that a page remembers, if it is still there."""
    try:
        return runner.job(name) if name else None
    except UnderpaintError:
        return None


class Pages:
    """Builds them.

    Args:
        runner: whose jobs they show.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def build(self) -> gr.Blocks:
        """The whole application."""
        blocks: gr.Blocks
        with gr.Blocks(title="Underpaint studio", analytics_enabled=False, delete_cache=(3600, 3600)) as blocks:
            gr.Markdown(
                "# Underpaint studio\nPaint a photograph in the style of a painting, then ask which layer painted what."
            )
            current = gr.BrowserState("", storage_key="underpaint-job", secret=_secret(self.runner.runs))
            with gr.Tabs():
                with gr.Tab("Make"):
                    self._make(current)
                with gr.Tab("Understand"):
                    self._understand(current)
                with gr.Tab("Keep") as keep:
                    self._keep(current, keep)
        return blocks

    # Make ------------------------------------------------------------------------------------------------------------

    def _make(self, current: gr.BrowserState) -> None:
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                fields = self._form()
                guess = gr.Markdown("", elem_classes="told")
                with gr.Row():
                    start = gr.Button("Start", variant="primary", elem_id="start")
                    why = gr.Button("Start and explain", elem_id="explain")
            with gr.Column(scale=2, min_width=320):
                status = gr.HTML(views.status(self.runner, None), elem_id="status")
                stage = gr.HTML(views.NOTHING, elem_classes="stage", elem_id="stage")
                with gr.Row():
                    pause = gr.Button("Pause", interactive=False, elem_id="pause")
                    stop = gr.Button("Stop", interactive=False, elem_id="stop")
                    resume = gr.Button("Resume", interactive=False, elem_id="resume")
                curves = gr.HTML("", elem_classes="curves", elem_id="curves")
        shown = [status, stage, curves, pause, stop, resume]
        seen = gr.State(())
        timer = gr.Timer(TICK)
        timer.tick(self._look, [current, seen], [*shown, seen], **QUICK)
        for button, kind in ((start, "stylize"), (why, "explain")):
            button.click(self._submitter(kind), fields, [current], **PRIVATE)
        for button, action in ((pause, self.runner.pause), (stop, self.runner.stop), (resume, self.runner.resume)):
            button.click(self._acting(action), [current], None, **QUICK)
        for field in fields[2:]:
            if isinstance(field, gr.Radio | gr.Slider):
                event = field.release if isinstance(field, gr.Slider) else field.change
                event(self._guess, fields, guess, trigger_mode="always_last", **QUICK)

    def _form(self) -> list[Any]:
        """The widgets, in the order of `_read`."""
        content = upload("Photograph", 200, "content")
        photographs, paintings = form.sample_files(self.runner.runs / ".samples")
        _samples(content, photographs)
        style = upload("Painting", 200, "style")
        _samples(style, paintings)
        size = gr.Slider(64, self.runner.limits.size, 256, step=16, label="Size, longest side in pixels", elem_id="size")
        preset = gr.Radio(["draft", "standard", "fine"], value="standard", label="How much time to spend")
        strength = gr.Slider(0, 1, 0.5, step=0.05, label="From content (0) to style (1)")
        with gr.Accordion("More", open=False):
            network = gr.Radio(["compact", *registry.FILES], value="compact", label="Network")
            keep_color = gr.Radio(
                ["no", "luminance", "histogram", "covariance"], value="no", label="Keep the photograph’s colours"
            )
            seed = gr.Number(0, precision=0, minimum=0, label="Seed")
            layers = [gr.Slider(0, 4, 1, step=0.1, label=f"Weight of {layer}") for layer in LAYERS]
            others = [upload(f"Painting {n}", 120) for n in range(2, STYLES + 1)]
            shares = [gr.Number(1, minimum=0, label=f"Share of painting {n}") for n in range(1, STYLES + 1)]
            masks = [upload(label, 120) for label in ("Mask of the photograph", "Mask of the painting")]
        first = [content, style, size, preset, strength, network, keep_color, seed]
        return [*first, *layers, *others, *shares, *masks]

    @staticmethod
    def _read(values: tuple[Any, ...]) -> Form:
        content, style, size, preset, strength, network, keep_color, seed = values[:8]
        rest = list(values[8:])
        layers = dict(zip(LAYERS, rest[: len(LAYERS)], strict=True))
        rest = rest[len(LAYERS) :]
        styles, shares, masks = [style, *rest[: STYLES - 1]], rest[STYLES - 1 : -2], rest[-2:]
        return Form(
            content=content,
            styles=styles,
            shares=[share or 0 for share in shares],
            content_mask=masks[0],
            style_mask=masks[1],
            network=network,
            size=size,
            preset=preset,
            strength=strength,
            seed=seed or 0,
            keep_color=keep_color,
            layers=layers,
        )

    def _submitter(self, kind: Any) -> Callable[..., str]:
        def submit(request: gr.Request, *values: Any) -> str:
            asked = self._read(values)
            try:
                files, names = asked.pictures()
                return self.runner.submit(asked.order(kind, _visitor(request), names), files).name
            except UnderpaintError as error:
                raise gr.Error(str(error), duration=None, print_exception=False) from None

        return submit

    def _acting(self, action: Callable[[Job], None]) -> Callable[[str], None]:
        def act(name: str) -> None:
            job = _found(self.runner, name)
            if job is not None:
                action(job)

        return act

    def _guess(self, *values: Any) -> str:
        """Time and memory, before anything starts."""
        asked = self._read(values)
        try:
            files, _ = asked.pictures()
            if not {"content", "style1"} <= files.keys() or asked.network != "compact":
                return ""
            wish = session.prepare(files["content"], files["style1"], device=self.runner.device, **asked.recipe())
            found = estimate(session.Session(wish.recipe, wish.pictures, wish.options).scene)
        except UnderpaintError:
            return ""
        return f"About {views.duration(found.seconds)} and {found.bytes / 2**30:.1f} GiB; explained, about 35 times as long."

    def _look(self, name: str, seen: tuple[Any, ...]) -> tuple[Any, ...]:
        """What has changed since the last look; most of the time nothing."""
        job = _found(self.runner, name)
        state = "" if job is None else job.state
        progress = {} if job is None else job.progress
        ticks = (seen[3] + 1) if seen and state == "running" else 0
        now = (name, state, progress.get("share"), ticks, progress.get("version"))
        place = 0 if job is None or state != "queued" else self.runner.place(job)
        if seen and (*seen[:3], *seen[4:]) == (*now[:3], *now[4:], place):
            skip = gr.skip()
            return (skip,) * 6 + ((*now[:4], *now[4:], place),)
        drawn = ticks % CURVES_EVERY == 0
        buttons = [
            gr.update(interactive=state in WAITING),
            gr.update(interactive=state in WAITING),
            gr.update(interactive=state in RESUMABLE),
        ]
        curves = views.curves(job, ticks + int(1000 * float(progress.get("share") or 0))) if drawn or not seen else gr.skip()
        shown = views.status(self.runner, job), views.picture(job), curves
        return (*shown, *buttons, (*now, place))

    # Understand ------------------------------------------------------------------------------------------------------

    def _understand(self, current: gr.BrowserState) -> None:
        with gr.Row():
            ask = gr.Button("Explain the current picture", variant="primary", elem_id="ask")
        status = gr.HTML("", elem_id="why-status")
        why = gr.HTML(views.explained(None), elem_classes="why", elem_id="why")
        seen = gr.State(())
        ask.click(self._ask, [current], [current], **PRIVATE)
        gr.Timer(2 * TICK).tick(self._look_why, [current, seen], [status, why, seen], **QUICK)

    def _ask(self, name: str, request: gr.Request) -> str:
        """An explanation of the same pictures by the same recipe."""
        job = _found(self.runner, name)
        if job is None:
            raise gr.Error("Paint or choose a picture first.", print_exception=False)
        order = job.order
        files = {role: job.folder / "inputs" / file for role, file in order.pictures.items()}
        if order.kind == "explain":
            return name
        if len(order.styles) > 1 or "content_mask" in files:
            raise gr.Error("An explanation takes one style and no masks.", print_exception=False)
        asked = order.model_copy(update={"kind": "explain", "visitor": _visitor(request), "pictures": {}})
        try:
            return self.runner.submit(asked, files).name
        except UnderpaintError as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from None

    def _look_why(self, name: str, seen: tuple[Any, ...]) -> tuple[Any, ...]:
        job = _found(self.runner, name)
        job = job if job is not None and job.order.kind == "explain" else None
        progress = {} if job is None else job.progress
        now = (name if job else "", "" if job is None else job.state, progress.get("painted"), progress.get("share"))
        if seen == now:
            return gr.skip(), gr.skip(), now
        same = bool(seen) and seen[:3] == now[:3]
        status = "" if job is None else views.status(self.runner, job)
        return status, gr.skip() if same else views.explained(job), now

    # Keep ------------------------------------------------------------------------------------------------------------

    def _keep(self, current: gr.BrowserState, tab: gr.Tab) -> None:
        cards = gr.HTML(views.gallery([]), elem_id="gallery")
        with gr.Row():
            first = gr.Dropdown([], label="Run", elem_id="run")
            second = gr.Dropdown([], label="Compare with", elem_id="other")
        with gr.Row():
            opened = gr.Button("Open", elem_id="open")
            compared = gr.Button("Compare the two", elem_id="compare")
            refresh = gr.Button("Look again", elem_id="refresh")
        told = gr.HTML("", elem_classes="links", elem_id="links")
        with gr.Row():
            command = gr.Code("", language="shell", label="As a command", interactive=False)
            python = gr.Code("", language="python", label="As Python", interactive=False)
        table = gr.HTML("", elem_id="comparison")
        with gr.Row():
            sure = gr.Checkbox(False, label="Yes, delete this run and all its files", elem_id="sure")
            remove = gr.Button("Remove", variant="stop", elem_id="remove")
        lists = [cards, first, second]
        tab.select(self._list, None, lists, **QUICK)
        refresh.click(self._list, None, lists, **QUICK)
        first.change(self._about, [first], [told, command, python], **QUICK)
        opened.click(lambda name: name or "", [first], [current], **QUICK)
        compared.click(self._compare, [first, second], [table], api_visibility="private")
        remove.click(self._remove, [first, sure], [*lists, sure], **PRIVATE)

    def _list(self) -> tuple[Any, ...]:
        jobs = self.runner.jobs()
        choices = [(views.label(job), job.name) for job in jobs]
        chosen = choices[0][1] if choices else None
        return views.gallery(jobs), gr.update(choices=choices, value=chosen), gr.update(choices=choices, value=None)

    def _about(self, name: str | None) -> tuple[str, str, str]:
        job = _found(self.runner, name)
        if job is None:
            return "", "", ""
        try:
            return views.links(job), form.command(job), form.python(job)
        except UnderpaintError:
            return views.links(job), "", ""

    def _compare(self, first: str | None, second: str | None) -> str:
        jobs = [job for job in (_found(self.runner, name) for name in (first, second)) if job is not None]
        if len(jobs) < 2:
            raise gr.Error("Choose two runs to compare.", print_exception=False)
        try:
            found = comparing.compare([job.result for job in jobs], device=self.runner.device, weights=self.runner.weights)
        except UnderpaintError as error:
            raise gr.Error(str(error), print_exception=False) from None
        return views.comparison(jobs, found, MEASURES)

    def _remove(self, name: str | None, sure: bool) -> tuple[Any, ...]:
        job = _found(self.runner, name)
        if job is None or not sure:
            raise gr.Error("Choose a run, and tick that you are sure.", print_exception=False)
        try:
            self.runner.remove(job)
        except UnderpaintError as error:
            raise gr.Error(str(error), print_exception=False) from None
        return (*self._list(), False)
