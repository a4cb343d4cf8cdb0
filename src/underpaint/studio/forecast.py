"""Forecast: what a run will take, told while the form is filled in."""

from __future__ import annotations

import threading
import time

from underpaint.errors import UnderpaintError
from underpaint.execution import device
from underpaint.explanation import explaining
from underpaint.jobs.runner import Runner
from underpaint.networks import precision, registry
from underpaint.recipe import Recipe, make
from underpaint.runs.estimate import duration, forecast, pace
from underpaint.studio.form import Form

STALE = 60.0
"""Seconds after which a network is timed again: a machine is now more busy, now less."""

START = 5.0
"""Seconds, roughly, that a job's process takes to come up and to make its page (`benchmarks/studio.py told`)."""


class Forecast:
    """Knows how fast the networks are here. Each is timed once a minute at most, however many visitors ask: the process of
    the pages must not paint.

    Args:
        runner: whose device and weights are used.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self._lock = threading.Lock()
        self._paces: dict[tuple[object, ...], tuple[float, float]] = {}
        self._choice: precision.Choice | None = None

    def __call__(self, asked: Form) -> str:
        """Time and memory in words; nothing where the form is not filled in yet, or wrong."""
        if asked.content is None or not asked.paintings:
            return ""
        try:
            recipe = make(asked.recipe())
            width, height = self.runner.dimensions(asked.content.path)
            file = registry.file_of(recipe.network)
            if file and not registry.available(recipe.network, self.runner.weights_for(recipe.network)):
                return f"The weights of {recipe.network} will be fetched first ({file.megabytes} MB)."
            # As runs and explanations take `auto`: see `Recipe.precision`.
            painted, explained = (
                forecast(each, (height, width), {each.network: self._pace(each)}) for each in self._settled(recipe)
            )
        except UnderpaintError:  # said when it is started
            return ""
        runs = explaining.COALITION * (2 ** len(recipe.style_layers) + explaining.REPEATS + explaining.PAINTING)
        words = f"About {duration(START + painted.seconds)} and {painted.bytes / 2**30:.1f} GiB"
        return f"{words}; explained, about {duration(START + explained.seconds * runs)}."

    def _settled(self, recipe: Recipe) -> tuple[Recipe, Recipe]:
        """The recipe as a run has it, and as an explanation has it, with a precision in place of `auto`."""
        if recipe.precision != "auto":
            return recipe, recipe
        with self._lock:
            if self._choice is None:
                self._choice = precision.choose(device.choose(self.runner.device))
        return (
            recipe.model_copy(update={"precision": self._choice.chosen}),
            recipe.model_copy(update={"precision": "float32"}),
        )

    def _pace(self, recipe: Recipe) -> float:
        """Seconds a pixel of the network's way there and back."""
        layers = [*recipe.content_layers, *recipe.style_layers]
        key = recipe.network, recipe.precision, *sorted(layers)
        with self._lock:
            known, when = self._paces.get(key, (0.0, -STALE))
            if time.monotonic() - when >= STALE:
                chosen = device.choose(self.runner.device)
                opened = registry.open_network(
                    recipe.network,
                    layers,
                    pooling=recipe.pooling,
                    device=chosen,
                    precision=device.precision(recipe.precision, chosen),
                    given=self.runner.weights_for(recipe.network),
                )
                known = pace(recipe, opened.network)
                self._paces[key] = known, time.monotonic()
            return known
