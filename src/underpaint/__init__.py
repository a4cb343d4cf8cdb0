"""Neural style transfer that explains itself."""

from underpaint.errors import UnderpaintError
from underpaint.images import Picture
from underpaint.optimise import Step
from underpaint.recipe import Recipe
from underpaint.run import Run
from underpaint.session import Options, Session, carry_on, resume, start, stylize

__all__ = [
    "Options",
    "Picture",
    "Recipe",
    "Run",
    "Session",
    "Step",
    "UnderpaintError",
    "carry_on",
    "resume",
    "start",
    "stylize",
]
