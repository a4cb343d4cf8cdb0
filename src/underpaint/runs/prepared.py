"""What a wish needs to be painted: its networks, opened on a device in a precision, and the scene of its pictures."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from underpaint.errors import UnderpaintError
from underpaint.execution import device as devices
from underpaint.networks import precision, registry
from underpaint.networks.precision import Choice
from underpaint.networks.registry import anatomy
from underpaint.recipe import Recipe
from underpaint.runs.options import Options
from underpaint.runs.scene import Scene
from underpaint.runs.wish import Wish

COMPACT_NOTE = "VGG-19 (80 MB) paints a little nearer to the style: add --polish 10, or --network vgg19 (about twice as long)"


@dataclass(frozen=True)
class Prepared:
    """Ready to be painted.

    Attributes:
        scene: its recipe has a precision in place of "auto".
        options: what does not change the picture.
        device: where it is painted.
        opened: the networks that paint.
        choice: how the precision was chosen; None where the recipe named it.
        notes: what a user should know before it starts.
    """

    scene: Scene
    options: Options
    device: torch.device
    opened: tuple[registry.Opened, ...]
    choice: Choice | None = None
    notes: list[str] = field(default_factory=list)

    @classmethod
    @devices.own_settings()
    def of(cls, wish: Wish) -> Prepared:
        """Opens the networks.

        Raises:
            UnderpaintError: no such device, no weights to be had, or pictures, masks and recipe do not fit together.
        """
        recipe, options, place = wish.recipe, wish.options, devices.choose(wish.options.device)
        if options.weights is not None and not any(map(registry.file_of, recipe.networks())):
            name = anatomy(recipe.network).told
            raise UnderpaintError(f"--weights: {name} has its own; leave this out, or add --network vgg19")
        choice = precision.choose(place) if recipe.precision == "auto" else None
        if choice is not None:
            recipe = recipe.model_copy(update={"precision": choice.chosen})
        opened = tuple(_open(name, recipe, options, place) for name in recipe.networks())
        scene = Scene(recipe, wish.pictures, *(each.network for each in opened))
        notes = scene.notes
        if recipe.network == "compact" and not recipe.polish:
            notes.append(COMPACT_NOTE)
        return cls(scene, options, place, opened, choice, notes)

    @property
    def recipe(self) -> Recipe:
        """The scene's."""
        return self.scene.recipe

    @property
    def networks(self) -> list[dict[str, str]]:
        """Those that paint, in run.json's words."""
        return [
            {
                "name": each.network.name,
                "weights": each.path.name,
                "path": str(each.path.resolve()),
                "sha256": each.sha256,
            }
            for each in self.opened
        ]


def _open(name: str, recipe: Recipe, options: Options, place: torch.device) -> registry.Opened:
    return registry.open_network(
        name,
        [*recipe.content_layers, *recipe.style_layers],
        pooling=recipe.pooling,
        enlarge=recipe.enlarge if name == recipe.network else None,
        device=place,
        precision=devices.precision(recipe.precision, place),
        given=options.weights,
        announce=options.announce,
        progress=options.progress,
    )
