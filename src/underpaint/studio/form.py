"""The form: what a visitor filled in, as an order; and an order as words that reproduce it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from underpaint.errors import UnderpaintError
from underpaint.jobs.job import MASKS, Job, Order
from underpaint.recipe import Recipe, make
from underpaint.report import reproduce
from underpaint.report.folder import Evidence
from underpaint.studio.uploads import Upload

LAYERS: Mapping[str, float] = Recipe().style_layers
"""The weights that the sliders start from; left so, a preset's own hold."""
STYLES = 3
"""How many style pictures the page has room for."""


@dataclass(frozen=True)
class Form:
    """Everything on the page of *Make*, as its widgets have it.

    Attributes:
        content, styles: what was uploaded; None where nothing was.
        shares: of the styles.
        protect: the mask of what is protected, and `faces`: look for faces instead.
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
    crop: bool
    keep_color: str
    layers: Mapping[str, float]
    protect: Upload | None = None
    faces: bool = False

    def recipe(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        wanted: dict[str, Any] = {
            "network": self.network,
            "size": int(self.size),
            "preset": self.preset,
            "strength": float(self.strength),
            "seed": int(self.seed),
            "crop": self.crop,
            "keep_color": self.keep_color,
            "style_layers": {layer: float(weight) for layer, weight in self.layers.items() if weight > 0},
        }
        if not wanted["style_layers"]:
            raise UnderpaintError("layers: all weights are 0; give at least one style layer some")
        given = [float(share) for share, style in zip(self.shares, self.styles, strict=True) if style is not None]
        if len(given) > 1 and len(set(given)) > 1:
            wanted["style_weights"] = given
        default = Recipe().model_dump() | {"crop": make({"preset": self.preset}).crop}
        return {name: value for name, value in wanted.items() if name == "size" or value != default.get(name)}

    @property
    def paintings(self) -> list[Path]:
        """The style pictures' files."""
        return [style.path for style in self.styles if style is not None]

    def pictures(self) -> dict[str, Path]:
        """Files by role."""
        return {role: upload.path for role, upload in self._given().items()}

    def order(self, kind: Literal["stylize", "explain"], visitor: str) -> Order:
        """Without pictures, which the runner takes."""
        names = {role: upload.name for role, upload in self._given().items()}
        protect: Literal["faces"] | None = "faces" if self.faces else None
        return Order(kind=kind, recipe=self.recipe(), names=names, protect=protect, visitor=visitor)

    def _given(self) -> dict[str, Upload]:
        """What was uploaded, by role."""
        styles = [style for style in self.styles if style is not None]
        named = {"content": self.content} | {role: getattr(self, role) for role in MASKS}
        given = {role: upload for role, upload in named.items() if upload is not None}
        return given | {f"style{number}": style for number, style in enumerate(styles, 1)}


def command(job: Job) -> str:
    """The command that makes the same again, in the folder that `all.zip` holds."""
    return reproduce.command(Evidence(job.result))


def python(job: Job) -> str:
    """The same in Python."""
    return reproduce.python(Evidence(job.result))
