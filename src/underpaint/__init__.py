"""Neural style transfer that explains itself.

The names below are the whole public interface. They are imported when first asked for, so that
`underpaint --help` does not wait for PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from underpaint.ablating import Ablation, ablate
    from underpaint.errors import UnderpaintError
    from underpaint.explanation import Explanation, explain
    from underpaint.images import Picture
    from underpaint.optimise import Step
    from underpaint.recipe import Recipe
    from underpaint.run import Run
    from underpaint.session import Options, Session, carry_on, resume, start, stylize

    __version__: str

_HOME = {
    "Ablation": "ablating",
    "Explanation": "explanation",
    "ablate": "ablating",
    "explain": "explanation",
    "UnderpaintError": "errors",
    "Picture": "images",
    "Step": "optimise",
    "Recipe": "recipe",
    "Run": "run",
    "Options": "session",
    "Session": "session",
    "carry_on": "session",
    "resume": "session",
    "start": "session",
    "stylize": "session",
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
