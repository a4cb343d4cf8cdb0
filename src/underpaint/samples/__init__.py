"""Pictures to try underpaint with: photographs from scikit-image and styles painted for this package.

Nothing here is downloaded. The photographs are those that scikit-image carries in its own wheel; the styles
are files in this folder, painted by ``samples/paint.py``. ``SAMPLES.md`` says who made each and its licence.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from underpaint.errors import UnderpaintError

__all__ = ["photograph", "photographs", "style_path", "styles"]

_PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
_STYLES = ("dunes", "gale", "glass")


def photographs() -> list[str]:
    """The names that :func:`photograph` knows, in alphabetical order."""
    return list(_PHOTOGRAPHS)


def photograph(name: str) -> NDArray[np.uint8]:
    """A photograph from scikit-image, for use as content.

    Returns an array of shape (H, W, 3), sRGB bytes, that the caller owns: astronaut (512, 512, 3),
    chelsea (300, 451, 3), coffee (400, 600, 3), rocket (427, 640, 3). Any other name is an
    :class:`~underpaint.errors.UnderpaintError`.
    """
    if name not in _PHOTOGRAPHS:
        raise UnderpaintError(f"no photograph is called {name!r}; choose one of {', '.join(_PHOTOGRAPHS)}")
    from skimage import data

    return np.array(getattr(data, name)(), dtype=np.uint8)


def styles() -> list[str]:
    """The names that :func:`style_path` knows, in alphabetical order."""
    return list(_STYLES)


def style_path(name: str) -> Path:
    """The file of a style picture: a JPEG, RGB, 640 wide and 512 high, so (512, 640, 3) once read.

    Any other name is an :class:`~underpaint.errors.UnderpaintError`.
    """
    if name not in _STYLES:
        raise UnderpaintError(f"no style is called {name!r}; choose one of {', '.join(_STYLES)}")
    return Path(str(files(__name__).joinpath(f"{name}.jpg")))
