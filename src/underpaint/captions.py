"""Captions: a picture with a line of text below it, as notebooks show it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from underpaint.errors import printable

if TYPE_CHECKING:
    import numpy as np

WIDEST = 800
"""Pixels; a wider picture is shown smaller."""


def png(rgb: np.ndarray) -> bytes:
    """A picture (H, W, 3), 0..1, as 8-bit PNG."""
    import numpy as np
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def captioned(data: bytes, text: str) -> str:
    """HTML of a PNG file with its caption, whatever characters that has; nothing in it is loaded from anywhere."""
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    caption = html.escape(text)
    image = f'<img src="{source}" alt="{caption}" style="max-width: min(100%, {WIDEST}px)">'
    return f"<figure>{image}<figcaption><code>{caption}</code></figcaption></figure>"


def short(text: object, most: int = 60) -> str:
    """What it says of itself in at most so many characters that can be printed; the middle makes room."""
    line = printable(str(text))
    half = (most - 1) // 2
    return line if len(line) <= most else f"{line[: most - 1 - half]}…{line[len(line) - half :]}"


def listed(values: Mapping[str, float], most: int = 5) -> str:
    """Figures by name in one line; of many the largest ones."""
    largest = sorted(values, key=lambda name: -abs(values[name]))[:most]
    words = [f"{short(name, 20)} {values[name]:.3g}" for name in values if name in largest]
    return ", ".join([*words, f"{len(values) - most} more"] if len(values) > most else words)
