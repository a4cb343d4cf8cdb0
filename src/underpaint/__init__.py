"""Neural style transfer that explains itself.

The names below are the whole public interface. They are imported when first asked for, so that
`underpaint --help` does not wait for PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from underpaint.errors import UnderpaintError
    from underpaint.explanation.ablating import Ablation, ablate
    from underpaint.explanation.conclude import explain
    from underpaint.explanation.result import Explanation
    from underpaint.imaging.images import Picture
    from underpaint.networks.sources.exported import register
    from underpaint.optimizers.loop import Step
    from underpaint.recipe import Recipe
    from underpaint.runs.folder import Run
    from underpaint.runs.options import Options
    from underpaint.runs.session import Session
    from underpaint.runs.start import carry_on, resume, start, stylize

    __version__: str

_HOME = {
    "Ablation": "explanation.ablating",
    "Explanation": "explanation.result",
    "ablate": "explanation.ablating",
    "explain": "explanation.conclude",
    "UnderpaintError": "errors",
    "Picture": "imaging.images",
    "register": "networks.sources.exported",
    "Step": "optimizers.loop",
    "Recipe": "recipe",
    "Run": "runs.folder",
    "Options": "runs.options",
    "Session": "runs.session",
    "carry_on": "runs.start",
    "resume": "runs.start",
    "start": "runs.start",
    "stylize": "runs.start",
}

__all__ = [
    "Ablation",
    "Explanation",
    "Options",
    "Picture",
    "Recipe",
    "Run",
    "Session",
    "Step",
    "UnderpaintError",
    "ablate",
    "carry_on",
    "explain",
    "register",
    "resume",
    "start",
    "stylize",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("underpaint")
        except PackageNotFoundError:  # a copy of the source that was never installed
            return "unknown"
    if name not in _HOME:
        raise AttributeError(f"module 'underpaint' has no attribute {name!r}")
    return getattr(import_module(f"underpaint.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
