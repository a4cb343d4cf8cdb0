"""The form: what a visitor filled in, as an order; and an order as words that reproduce it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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
        sample_content, sample_style: names of samples, used where nothing was uploaded; empty for none.
        shares: of the styles.
        layers: weight by style layer.
    """

    content: Upload | None
    styles: Sequence[Upload | None]
    sample_content: str
    sample_style: str
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

    def pictures(self, folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
        """Files and names by role; a sample photograph is written into `folder`."""
        files: dict[str, Path] = {}
        names: dict[str, str] = {}

        def take(role: str, upload: Upload | None) -> None:
            if upload is not None:
                files[role], names[role] = upload.path, upload.name

        take("content", self.content or self._sample_photograph(folder))
        styles: list[Upload | None] = [s for s in self.styles if s is not None] or [self._sample_style()]
        for number, style in enumerate(styles, 1):
            take(f"style{number}", style)
        take("content_mask", self.content_mask)
        take("style_mask", self.style_mask)
        return files, names

    def _sample_photograph(self, folder: Path) -> Upload | None:
        if not self.sample_content:
            return None
        path = folder / f"{self.sample_content}.png"
        images.write(path, samples.photograph(self.sample_content).astype("float32") / 255)
        return Upload(path, path.name)

    def _sample_style(self) -> Upload | None:
        if not self.sample_style:
            return None
        path = samples.style_path(self.sample_style)
        return Upload(path, path.name)

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
