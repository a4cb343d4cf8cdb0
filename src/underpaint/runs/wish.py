"""A wish: what a run is asked to be, read and checked, before any network is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Unpack

from underpaint.errors import UnderpaintError
from underpaint.imaging import faces, images
from underpaint.imaging.images import Picture, Source
from underpaint.networks import registry
from underpaint.recipe import Recipe, make
from underpaint.runs.keywords import Fields
from underpaint.runs.options import Options
from underpaint.runs.scene import PROTECT_WEIGHT_ALONE, Pictures, check


@dataclass(frozen=True)
class Wish:
    """What a run is asked to be: everything but where it is kept."""

    recipe: Recipe
    pictures: Pictures
    options: Options

    def exact(self) -> Wish:
        """The same with `auto` precision as float32: for runs that are compared with one another, wherever they are made."""
        if self.recipe.precision != "auto":
            return self
        return replace(self, recipe=self.recipe.model_copy(update={"precision": "float32"}))


def prepare(
    content: Source,
    style: Source | Sequence[Source],
    *,
    recipe: Recipe | None = None,
    content_mask: Source | None = None,
    style_mask: Source | None = None,
    protect: Source | None = None,
    start_from: Source | None = None,
    options: Options | None = None,
    **others: Unpack[Fields],
) -> Wish:
    """Reads the pictures, makes the recipe and checks that they fit; the arguments are those of `start`, and so are the
    errors. Nothing is written, no network is opened."""
    several = list(style) if isinstance(style, Sequence) and not isinstance(style, str) else [style]
    chosen, given = split(options, others)
    if start_from is not None:
        given = {"start": "file"} | given
    wanted = make(override(recipe, given))
    registry.check_layers(wanted.network, wanted.content_layers, wanted.style_layers)
    if protect is None and "protect_weight" in given:
        raise UnderpaintError(PROTECT_WEIGHT_ALONE)
    photograph = images.read(content, field="content")
    pictures = Pictures(
        photograph,
        tuple(images.read(source, field="style") for source in several),
        None if content_mask is None else images.read(content_mask, field="content mask"),
        None if style_mask is None else images.read(style_mask, field="style mask"),
        None if start_from is None else images.read(start_from, field="start", min_side=1),
        None if protect is None else _protected(protect, photograph),
    )
    check(wanted, pictures)  # here already: before weights are fetched for what cannot be painted
    return Wish(wanted, pictures, chosen)


def _protected(protect: Source, content: Picture) -> Picture:
    """The mask of what is protected; the word `faces` has them looked for."""
    if isinstance(protect, str) and protect == faces.WORD:
        return faces.mask(content)
    return images.read(protect, field="protect")


def split(options: Options | None, others: Mapping[str, Any]) -> tuple[Options, dict[str, Any]]:
    """Keyword arguments as options and fields of a recipe."""
    names = {field.name for field in fields(Options)}
    own = {name: value for name, value in others.items() if name in names}
    return replace(options or Options(), **own), {name: value for name, value in others.items() if name not in names}


def override(recipe: Recipe | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the recipe was given, with the given fields over it. What nobody gave is as preset and optimiser say: as the given
    ones say, where there are such."""
    return ({} if recipe is None else recipe.model_dump(exclude_unset=True)) | dict(given)
