"""Uploads: pictures as they came, for the package's own reader to decode, and samples to click instead."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from underpaint import samples
from underpaint.imaging import images
from underpaint.studio.events import QUICK


@dataclass(frozen=True)
class Upload:
    """A picture as it came: where the browser's upload lies, and what it was called there."""

    path: Path
    name: str


def upload(label: str, height: int, name: str | None = None) -> gr.Image:
    """A widget whose value is an `Upload`, or None. Gradio's own would decode the picture before the package does.

    Args:
        height: pixels.
        name: the element's id.
    """
    component = gr.Image(label=label, sources=["upload", "clipboard"], type="filepath", height=height, elem_id=name)
    # On the instance: a subclass of a component makes Gradio write a file beside this one.
    component.preprocess = _as_it_came  # type: ignore[method-assign]
    return component


def _as_it_came(payload: Any) -> Any:
    return None if payload is None else Upload(Path(payload.path), Path(payload.orig_name or "picture").name)


def offer(component: gr.Image, paths: list[Path]) -> None:
    """Pictures to click instead of an upload.

    Not gr.Examples: it updates the component's settings, and Gradio then makes it anew without `_as_it_came`.
    """
    shown = gr.Dataset(components=[component], samples=[[str(path)] for path in paths], type="index", label="or a sample")
    shown.click(lambda place: str(paths[place]), [shown], [component], **QUICK)


def sample_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The sample photographs, written into `folder`, and the sample paintings."""
    folder.mkdir(parents=True, exist_ok=True)
    photographs = []
    for name in samples.photographs():
        path = folder / f"{name}.png"
        if not path.exists():
            images.write(path, samples.photograph(name).astype(np.float32) / 255)
        photographs.append(path)
    return photographs, [samples.style_path(name) for name in samples.styles()]
