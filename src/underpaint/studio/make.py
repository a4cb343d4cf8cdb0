"""Make: choose pictures and settings, watch the picture grow, pause, stop and resume it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import gradio as gr

from underpaint.errors import UnderpaintError
from underpaint.jobs.job import RESUMABLE, WAITING, Job
from underpaint.jobs.runner import Runner
from underpaint.networks import registry
from underpaint.studio import views
from underpaint.studio.events import PRIVATE, QUICK, TICK, check, found, may, told, visitor
from underpaint.studio.forecast import Forecast
from underpaint.studio.form import LAYERS, STYLES, Form
from underpaint.studio.uploads import offer, sample_files, upload

CURVES_EVERY = 4
"""Looks between two drawings of the losses."""

PRESETS = ("draft", "standard", "fine", "gatys")
COLOURS = ("no", "luminance", "histogram", "covariance")


class Look(NamedTuple):
    """What a page last saw of its job; `ticks` counts looks while it runs."""

    name: str
    state: str
    share: float | None
    version: int | None
    place: int | None
    ticks: int


class Make:
    """Builds the tab.

    Args:
        runner: takes the orders.
        current: the name of the page's job.
    """

    def __init__(self, runner: Runner, current: gr.BrowserState) -> None:
        self.runner, self.current, self._forecast = runner, current, Forecast(runner)

    def build(self) -> None:
        """Within a tab."""
        with gr.Row():
            with gr.Column(scale=1, min_width=400):
                pictures, settings = self._pictures(), self._settings()
                with gr.Row():
                    start = gr.Button("Start", variant="primary", min_width=120, elem_id="start")
                    why = gr.Button("Start and explain", min_width=120, elem_id="explain")
                guess = gr.Markdown("", elem_classes="told")
                fields = [*pictures, *settings, *self._more()]
            with gr.Column(scale=2, min_width=320):
                status = gr.HTML(views.status(self.runner, None), elem_id="status")
                stage = gr.HTML(views.NOTHING, elem_classes="stage", elem_id="stage")
                with gr.Row():
                    pause = gr.Button("Pause", interactive=False, min_width=90, elem_id="pause")
                    stop = gr.Button("Stop", interactive=False, min_width=90, elem_id="stop")
                    resume = gr.Button("Resume", interactive=False, min_width=90, elem_id="resume")
                curves = gr.HTML("", elem_classes="curves", elem_id="curves")
        seen = gr.State(None)
        shown = [status, stage, curves, pause, stop, resume, seen]
        gr.Timer(TICK).tick(self._look, [self.current, seen], shown, **QUICK)
        start.click(self._stylize, fields, [self.current], **PRIVATE)
        why.click(self._explain, fields, [self.current], **PRIVATE)
        for button, action in ((pause, self.runner.pause), (stop, self.runner.stop), (resume, self.runner.resume)):
            button.click(self._acting(action), [self.current], None, **PRIVATE)
        for field in fields:
            if isinstance(field, gr.Radio | gr.Slider | gr.Image):
                field.change(self._guess, fields, guess, trigger_mode="always_last", **QUICK)

    def _pictures(self) -> list[Any]:
        """The widgets of the two pictures; those of these three methods together are in the order of `_read`."""
        photographs, paintings = sample_files(self.runner.runs / ".samples")
        made = []
        with gr.Row():
            for label, name, samples in (("Photograph", "content", photographs), ("Painting", "style", paintings)):
                with gr.Column(min_width=140):
                    made.append(upload(label, 210, name))
                    offer(made[-1], samples)
        return made

    def _settings(self) -> list[Any]:
        """What most people set."""
        return [
            gr.Slider(64, self.runner.limits.size, 256, step=16, label="Size, longest side in pixels", elem_id="size"),
            gr.Radio(PRESETS, value="standard", label="How much time to spend"),
            gr.Slider(0, 1, 0.5, step=0.05, label="From content (0) to style (1)"),
        ]

    @staticmethod
    def _more() -> list[Any]:
        """What few do."""
        with gr.Accordion("More", open=False):
            network = gr.Radio(list(registry.NETWORKS), value="compact", label="Network")
            keep_color = gr.Radio(COLOURS, value="no", label="Keep the photograph’s colours")
            crop = gr.Checkbox(True, label="Cut off a painting’s frame or scanned border")
            seed = gr.Number(0, precision=0, minimum=0, label="Seed")
            layers = [gr.Slider(0, 8, weight, step=0.05, label=f"Weight of {layer}") for layer, weight in LAYERS.items()]
            others = [upload(f"Painting {n}", 120, f"style{n}") for n in range(2, STYLES + 1)]
            shares = [gr.Number(1, minimum=0, label=f"Share of painting {n}") for n in range(1, STYLES + 1)]
            masks = [
                upload(f"Mask of the {what}", 120, name)
                for what, name in (("photograph", "content_mask"), ("painting", "style_mask"))
            ]
            faces = gr.Checkbox(False, label="Protect faces", elem_id="faces")
            protect = upload("Or a mask, white where the photograph is protected", 120, "protect")
        return [network, keep_color, crop, seed, *layers, *others, *shares, *masks, faces, protect]

    @staticmethod
    def _read(values: tuple[Any, ...]) -> Form:
        content, style, size, preset, strength, network, keep_color, crop, seed = values[:9]
        layers = dict(zip(LAYERS, values[9 : 9 + len(LAYERS)], strict=True))
        rest = list(values[9 + len(LAYERS) :])
        styles, shares, (*masks, faces, protect) = [style, *rest[: STYLES - 1]], rest[STYLES - 1 : -4], rest[-4:]
        return Form(
            content=content,
            styles=styles,
            shares=[share or 0 for share in shares],
            content_mask=masks[0],
            style_mask=masks[1],
            protect=protect,
            faces=faces,
            network=network,
            size=size,
            preset=preset,
            strength=strength,
            seed=seed or 0,
            crop=crop,
            keep_color=keep_color,
            layers=layers,
        )

    def _stylize(self, request: gr.Request, *values: Any) -> str:
        return self._submit("stylize", request, values)

    def _explain(self, request: gr.Request, *values: Any) -> str:
        return self._submit("explain", request, values)

    def _submit(self, kind: Any, request: gr.Request, values: tuple[Any, ...]) -> str:
        asked = self._read(values)
        try:
            return self.runner.submit(asked.order(kind, visitor(request)), asked.pictures()).name
        except UnderpaintError as error:
            raise told(error) from None

    def _acting(self, action: Callable[[Job], None]) -> Callable[[str, gr.Request], None]:
        def act(name: str, request: gr.Request) -> None:
            job = found(self.runner, name)
            if job is None:
                return
            try:
                check(request, job)
                action(job)
            except UnderpaintError as error:
                raise told(error) from None

        return act

    def _guess(self, *values: Any) -> str:
        return self._forecast(self._read(values))

    def _look(self, name: str, seen: Look | None, request: gr.Request) -> tuple[Any, ...]:
        """What has changed since the last look; most of the time nothing."""
        job = found(self.runner, name)
        now = self._seen(name, job, seen)
        if seen is not None and seen == now._replace(ticks=seen.ticks):
            return (*[gr.skip()] * 6, now)
        waits, rests = now.state in WAITING, now.state in RESUMABLE
        own = job is not None and may(request, job)
        buttons = [gr.update(interactive=each and own) for each in (waits, waits, rests)]
        fresh = seen is None or (seen.name, seen.state, seen.version) != (now.name, now.state, now.version)
        curves = views.curves(job, now.version or 0) if fresh and now.ticks % CURVES_EVERY == 0 else gr.skip()
        return (views.status(self.runner, job), views.picture(job), curves, *buttons, now)

    def _seen(self, name: str, job: Job | None, before: Look | None) -> Look:
        if job is None:
            return Look(name, "", None, None, None, 0)
        state, progress = job.state, job.progress
        place = self.runner.place(job) if state == "queued" else None
        ticks = before.ticks + 1 if before is not None and state == "running" else 0
        return Look(name, state, progress.share, progress.version, place, ticks)
