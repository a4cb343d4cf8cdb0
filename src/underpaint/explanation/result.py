"""An explanation: what was found out about a run, from its folder; and the conclusions that it is made of."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from underpaint import commands
from underpaint.captions import captioned, listed, short
from underpaint.errors import UnderpaintError
from underpaint.explanation import explaining, files, gallery, spatial, validation
from underpaint.explanation.account.ledger import START
from underpaint.explanation.attribution import Attribution, by_layer
from underpaint.explanation.coalitions.table import Table
from underpaint.explanation.shapley.exact import Estimate, Game
from underpaint.explanation.shapley.sampled import Order
from underpaint.explanation.validation import State
from underpaint.imaging import images
from underpaint.quality.panel import HEADLINE
from underpaint.runs.folder import Run, read_inputs
from underpaint.runs.scene import seen
from underpaint.storage.files import named
from underpaint.storage.owner import Owner


@dataclass(repr=False)
class Explanation:
    """Which layer painted what, how sure that is, and whether it holds when the layer is taken away.

    Attributes:
        folder: where everything lies; schema.md there says what is what.
        run: the pastiche.
        players: the style layers.
        table: every coalition's outcomes.
        attributions: every method's figures, by name.
        validation: validation.json.
        orders: those whose coalitions were painted (`underpaint.explanation.shapley.sampled`); none where every subset was.
    """

    folder: Path
    run: Run
    players: tuple[str, ...]
    table: Table
    attributions: dict[str, Attribution]
    validation: dict[str, Any]
    orders: tuple[Order, ...] = ()

    @classmethod
    def load(cls, folder: str | Path) -> Explanation:
        """From its folder.

        Raises:
            UnderpaintError: not the folder of a finished explanation.
        """
        folder = named(folder, "explanation")
        settings = explaining.read_settings(folder)
        if not (folder / files.VALIDATION).exists():
            raise UnderpaintError(f"{folder}: this explanation is not finished; resume it: {commands.resume(folder)}")
        run = Run.load(folder)
        players = tuple(run.recipe.style_layers)
        found = {a.method: a for a in files.read_attributions(folder)}
        orders = explaining.orders_of(run.recipe, settings)
        return cls(folder, run, players, Table(folder, players), found, files.read_validation(folder), orders)

    def game(self, judge: str = HEADLINE) -> Game:
        """What the coalitions are worth in the eyes of a judge (a column of coalitions.csv)."""
        return self.table.game(judge, self.orders)

    @property
    def shapley(self) -> dict[str, Estimate]:
        """The headline judge's Shapley values by layer."""
        return dict(zip(self.players, self.game().shapley(), strict=True))

    @property
    def state(self) -> State:
        """What may be said: only of a settled explanation are shares, rankings and agreement given."""
        return validation.state_of(self.validation)

    @property
    def verdict(self) -> list[str]:
        """The findings in plain words."""
        return list(self.validation["verdict"])

    def ledger(self) -> dict[str, np.ndarray]:
        """`start`, one column a term, `clamp` and `pastiche`: (3, H, W) float32, 0..1 pixel values."""
        return files.read_ledger(self.folder, self.players)

    def acted_in(self, region: np.ndarray) -> dict[str, float]:
        """Each term's share of how a region of the pastiche changed: Σ column · change over it, of Σ ‖change‖².

        Args:
            region: (H, W) bool, of the pastiche's size.

        Raises:
            UnderpaintError: another size, nothing in it, or nothing moved there.
        """
        ledger = self.ledger()
        painted = {n: c for n, c in ledger.items() if n not in (START, files.PASTICHE, files.COLOUR)}
        change = np.sum(list(painted.values()), axis=0)
        return spatial.share_in(spatial.acted(painted, change, dict.fromkeys(painted, 0.0)), region)

    def origin(self, layer: str, region: np.ndarray) -> np.ndarray:
        """Where in the style picture the features of a region come from at a layer: (h, w) float32, summing to 1.

        Nearest neighbours in the style's feature map, cosine of centred features (`underpaint.explanation.spatial.sources`).

        Raises:
            UnderpaintError: no such style layer, or a region of another size.
        """
        if layer not in self.players:
            raise UnderpaintError(f"layer: {layer!r} is not explained; choose {', '.join(self.players)}")
        kept = files.read_spatial(self.folder, [layer])
        return spatial.origin_map(kept.sources[layer], region, kept.style_size)

    def draw_region(self, box: tuple[int, int, int, int], path: Path) -> dict[str, float]:
        """A picture of where a box of the pastiche comes from, by layer; returns `acted_in` of it.

        Args:
            box: left, top, width, height, pixels of the pastiche.
            path: a new .png file.
        """
        height, width = self.run.pastiche.shape[:2]
        left, top, across, down = box
        if min(left, top) < 0 or min(across, down) < 1 or left + across > width or top + down > height:
            raise UnderpaintError(f"box {','.join(map(str, box))}: does not lie in the pastiche of {width}×{height} px")
        region = np.zeros((height, width), bool)
        region[top : top + down, left : left + across] = True
        shares, origins = self.acted_in(region), {layer: self.origin(layer, region) for layer in self.players}
        inputs = read_inputs(self.folder, self.run.facts)
        style = images.resize(seen(self.run.recipe, inputs).styles[0].rgb, next(iter(origins.values())).shape)
        with Owner(self.folder) if path.parent.resolve() == self.folder.resolve() else nullcontext():
            gallery.draw_region(path, self.run.pastiche, box, style, origins, by_layer(shares, self.players))
        return shares

    def __repr__(self) -> str:
        values = listed({layer: e.value for layer, e in self.shapley.items()})
        return f"Explanation({len(self.table.rows)} coalitions; {values}; {short(self.folder)})"

    def _repr_png_(self) -> bytes:
        """The picture, for notebooks."""
        return self.run._repr_png_()

    def _repr_html_(self) -> str:
        """The picture and a line about it, for notebooks."""
        return captioned(self._repr_png_(), repr(self))
