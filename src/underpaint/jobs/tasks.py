"""What is done apart: plain data in, plain data out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from underpaint.imaging import images
from underpaint.imaging.images import Picture
from underpaint.jobs.job import Order
from underpaint.paper.export import Press
from underpaint.runs import comparing
from underpaint.runs.wish import prepare

FIGURES = ("pdf", "svg", "png")


def dimensions(path: str, field: str) -> tuple[int, int]:
    """Width and height of a picture."""
    return images.dimensions(path, field)


def check(order: str, pictures: Mapping[str, str]) -> None:
    """Whether an order's pictures can be read and fit its recipe, as `runs.wish.prepare` has it.

    Pictures are decoded one after the other. Where nothing but their size counts, that is all that is kept of them.

    Args:
        order: as JSON.
        pictures: file by role.

    Raises:
        UnderpaintError: they cannot, or do not.
    """
    asked = Order.model_validate_json(order)
    whole = {"content_mask", "style_mask", "protect"}
    whole |= {"style1"} if "style_mask" in pictures else set()  # its border is cut off, and the mask's with it
    whole |= {"content"} if asked.protect == "faces" else set()
    read = {role: _read(role, path, role in whole) for role, path in pictures.items()}
    given: dict[str, Any] = asked.masks(read) | asked.recipe
    prepare(read["content"], [read[role] for role in asked.styles], **given)


def _read(role: str, path: str, whole: bool) -> Picture:
    """A picture; or one of the same size and the same mean opacity, which takes no room."""
    picture = images.read(path, field=role.rstrip("0123456789").replace("_", " "))
    if whole:
        return picture
    alpha = None if picture.alpha is None else np.broadcast_to(picture.alpha.mean(), picture.alpha.shape)
    return replace(picture, rgb=np.broadcast_to(np.float32(0.5), picture.rgb.shape), alpha=alpha)


def compare(folders: list[str], device: str, weights: str | None) -> dict[str, Any]:
    """Pastiches measured alike: see `underpaint.runs.comparing.compare`."""
    given = None if weights is None else Path(weights)
    return comparing.compare([Path(folder) for folder in folders], device=device, weights=given).as_dict()


def figures(folder: str) -> list[str]:
    """Writes a folder's figures and tables for a paper; their paths."""
    return [str(path) for path in Press(folder, FIGURES)]
