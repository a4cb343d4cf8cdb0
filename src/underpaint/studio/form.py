"""The form: what a visitor filled in, as an order; and an order as words that reproduce it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from underpaint import images, samples
from underpaint.errors import UnderpaintError
from underpaint.evidence import Evidence
from underpaint.jobs.job import Job, Order
from underpaint.recipe import Recipe
from underpaint.report.sections import reproduce

LAYERS = tuple(Recipe().style_layers)
STYLES = 3
"""How many style pictures the page has room for."""


@dataclass(frozen=True)
class Upload:
    """A picture as it came: where the browser's upload lies, and what it was called there."""

    path: Path
    name: str


@dataclass(frozen=True)
class Form:
    """Everything on the page of *Make*, as its widgets have it.

    Attributes:
        content, styles: what was uploaded; None where nothing was.
        shares: of the styles.
        layers: weight by style layer.
    """

    content: Upload | None
    styles: Sequence[Upload | None]
    shares: Sequence[float]
    content_mask: Upload | None
    style_mask: Upload | None
    network: str
    size: float
    preset: str
    strength: float
    seed: float
    keep_color: str
    layers: Mapping[str, float]

    def recipe(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        wanted: dict[str, Any] = {
            "network": self.network,
            "size": int(self.size),
            "preset": self.preset,
            "strength": float(self.strength),
            "seed": int(self.seed),
            "keep_color": self.keep_color,
            "style_layers": {layer: float(weight) for layer, weight in self.layers.items() if weight > 0},
        }
        if not wanted["style_layers"]:
            raise UnderpaintError("layers: all weights are 0; give at least one style layer some")
        given = [float(share) for share, style in zip(self.shares, self.styles, strict=True) if style is not None]
        if len(given) > 1 and len(set(given)) > 1:
            wanted["style_weights"] = given
        default = Recipe().model_dump()
        return {name: value for name, value in wanted.items() if name == "size" or value != default.get(name)}

    def pictures(self) -> tuple[dict[str, Path], dict[str, str]]:
        """Files and names by role."""
        styles = [style for style in self.styles if style is not None]
        named = {"content": self.content, "content_mask": self.content_mask, "style_mask": self.style_mask}
        given = {role: upload for role, upload in named.items() if upload is not None}
        given |= {f"style{number}": style for number, style in enumerate(styles, 1)}
        return {role: upload.path for role, upload in given.items()}, {role: upload.name for role, upload in given.items()}

    def order(self, kind: Literal["stylize", "explain"], visitor: str, names: dict[str, str]) -> Order:
        """Without pictures, which the runner takes.

        Raises:
            UnderpaintError: an explanation of several styles, or with masks.
        """
        if kind == "explain" and ("style2" in names or "content_mask" in names):
            raise UnderpaintError("explain: takes one style and no masks; leave the others out")
        return Order(kind=kind, recipe=self.recipe(), names=names, visitor=visitor)


def command(job: Job) -> str:
    """The command that makes the same again."""
    return reproduce(Evidence(job.result))


def python(job: Job) -> str:
    """The same in Python."""
    order = job.order
    styles = [order.names.get(role, role) for role in order.styles]
    arguments = [repr(order.names.get("content", "content")), repr(styles[0] if len(styles) == 1 else styles)]
    masks = [f"{role}={order.names[role]!r}" for role in ("content_mask", "style_mask") if role in order.names]
    fields = [f"{name}={value!r}" for name, value in order.recipe.items()]
    verb = {"stylize": "stylize", "explain": "explain"}[order.kind]
    inner = ",\n    ".join([*arguments, *masks, *fields, 'out="out/again"'])
    return f"import underpaint\n\nunderpaint.{verb}(\n    {inner},\n)"


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
