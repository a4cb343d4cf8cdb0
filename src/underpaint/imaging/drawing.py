"""Figures to draw on. matplotlib's settings are the whole process's: whoever draws here has them alone meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOCK = threading.RLock()


@contextmanager
def drawing(width: float, height: float, settings: dict[Any, Any]) -> Iterator[Any]:
    """A figure of so many inches with its own canvas, to be drawn on and saved within this context.

    `rc_context` puts back what it found. Two that overlap in two threads put back each other's settings, for good, and a
    figure is drawn with whichever hold when it is saved: so one thread draws at a time.

    Args:
        settings: rcParams that hold meanwhile.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _LOCK, rc_context(settings):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
