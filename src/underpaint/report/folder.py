"""Evidence: what the folder of a run, an ablation or an explanation holds, piece by piece.

Reports and figures are made of it. Each piece is read when it is asked for, and says by itself that it is missing: a folder
that is incomplete, damaged or of another version still gives what there is.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from underpaint import commands
from underpaint.errors import UnderpaintError
from underpaint.explanation import ablating, explaining, files
from underpaint.explanation.attribution import Attribution
from underpaint.explanation.coalitions.table import FILE as COALITIONS
from underpaint.explanation.coalitions.table import Table
from underpaint.explanation.explaining import Settings
from underpaint.explanation.shapley.exact import Game
from underpaint.explanation.shapley.players import groups
from underpaint.explanation.validation import State, state_of
from underpaint.imaging import images
from underpaint.networks.anatomy import Anatomy
from underpaint.networks.registry import anatomy
from underpaint.quality.panel import HEADLINE
from underpaint.recipe import Recipe, make
from underpaint.runs.folder import SETTINGS, Row, Run, last_step, read_facts, read_history, read_inputs, recipe_of
from underpaint.runs.scene import Pictures
from underpaint.storage.files import named

Kind = Literal["stylize", "ablate", "explain"]


class Evidence:
    """A folder's pieces. Every property raises an `UnderpaintError` if its files are missing or cannot be read.

    Args:
        folder: of a run (`stylize`), an ablation (`ablate`) or an explanation (`explain`), finished or not.

    Raises:
        UnderpaintError: none of these.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = named(folder, "folder")
        self.kind: Kind = self._kind()

    def _kind(self) -> Kind:
        kinds: dict[str, Kind] = {
            SETTINGS: "explain",
            ablating.FILE: "ablate",
            "run.json": "stylize",
            "pastiche.png": "stylize",
        }
        for name, kind in kinds.items():
            if (self.folder / name).is_file():
                return kind
        raise UnderpaintError(f"{self.folder}: not a folder of `underpaint stylize`, `ablate` or `explain`; name one")

    @cached_property
    def facts(self) -> dict[str, Any]:
        """run.json, or ablation.json."""
        if self.kind != "ablate":
            return read_facts(self.folder)
        return ablating.read_facts(self.folder)

    @cached_property
    def recipe(self) -> Recipe:
        """What was painted."""
        if self.kind == "ablate":
            return make(self.facts["recipe"], source=f"{self.folder / ablating.FILE}: ")
        return recipe_of(self.facts, self.folder)

    @cached_property
    def names(self) -> dict[str, str]:
        """The pictures' names by role: `content`, `style1`, ..."""
        return {entry["role"]: entry["name"] for entry in self.facts["inputs"]}

    @cached_property
    def inputs(self) -> Pictures:
        """The pictures, as they were given."""
        return read_inputs(self.folder, self.facts)

    @cached_property
    def pastiche(self) -> np.ndarray:
        """(H, W, 3) sRGB, 0..1: in full precision, or as pastiche.png has it; of an ablation, that of all layers or of the
        first configuration."""
        if self.kind == "ablate":
            whole = (1 << len(self.players)) - 1
            return self.painted(whole if (0, whole) in self.table.rows else next(iter(self.table.rows))[1])
        try:
            return Run.load(self.folder).pastiche
        except UnderpaintError:
            return images.read(self.folder / "pastiche.png", min_side=1).rgb

    @cached_property
    def history(self) -> list[Row]:
        """Every term's loss by step."""
        found = read_history(self.folder / "history.csv", last=self._last_step)
        if not found:
            raise UnderpaintError(f"{self.folder / 'history.csv'}: no step is in it yet")
        return found

    @property
    def _last_step(self) -> int | None:
        """`underpaint.runs.folder.last_step`; None where run.json cannot be read."""
        try:
            return last_step(self.facts)
        except UnderpaintError:
            return None

    @cached_property
    def players(self) -> tuple[str, ...]:
        """The style layers."""
        return tuple(self.recipe.style_layers)

    @cached_property
    def anatomy(self) -> Anatomy:
        """The network's that painted."""
        return anatomy(self.recipe.network)

    @cached_property
    def table(self) -> Table:
        """The coalitions that are painted."""
        found = Table(self.folder, self.players)
        if not found.rows:
            raise UnderpaintError(f"{self.folder / COALITIONS}: no coalition is painted yet; run the command again to resume")
        return found

    def painted(self, mask: int) -> np.ndarray:
        """(H, W, 3): the pastiche of a coalition."""
        row = self.table.rows.get((0, mask))
        if row is None:
            raise UnderpaintError(f"{self.folder / COALITIONS}: not all coalitions are there; run the command again")
        return images.read(self.folder / row.picture, min_side=1).rgb

    @cached_property
    def configs(self) -> dict[str, tuple[str, ...]]:
        """The named coalitions: of an ablation those that were asked for, of an explanation all that have layers."""
        if self.kind == "ablate":
            return {name: tuple(layers) for name, layers in self.facts["configs"].items()}
        return {name: layers for name, layers in groups(self.players, self.anatomy).items() if layers or name == "none"}

    @cached_property
    def settings(self) -> Settings:
        """What an explanation is besides its run."""
        return explaining.read_settings(self.folder)

    @cached_property
    def attributions(self) -> dict[str, Attribution]:
        """Every method's figures, by name."""
        self._finished()
        found = {a.method: a for a in files.read_attributions(self.folder)}
        for a in found.values():
            self._check_layers(files.ATTRIBUTION, a.values)
        return found

    def _check_layers(self, file: str, layers: Iterable[str]) -> None:
        if tuple(layers) != self.players:
            raise UnderpaintError(f"{self.folder / file}: is of other layers than the recipe's; {files.AGAIN}")

    @cached_property
    def validation(self) -> dict[str, Any]:
        """validation.json."""
        self._finished()
        found = files.read_validation(self.folder)
        self._check_layers(files.VALIDATION, found["players"])
        return found

    @property
    def state(self) -> State:
        """What may be said of an explanation."""
        return state_of(self.validation)

    @cached_property
    def ledger(self) -> dict[str, np.ndarray]:
        """`start`, one column a term, `clamp` and `pastiche`: (3, H, W)."""
        self._finished()
        return files.read_ledger(self.folder, self.players)

    @cached_property
    def spatial(self) -> files.Spatial:
        """Where layers acted, and where in the style picture they looked."""
        self._finished()
        return files.read_spatial(self.folder, self.players)

    def game(self, judge: str = HEADLINE) -> Game:
        """What an explanation's coalitions are worth in the eyes of a judge."""
        return self.table.game(judge, explaining.orders_of(self.recipe, self.settings))

    def _finished(self) -> None:
        """Raises if the folder is of an explanation that has not come to its end."""
        if self.kind == "explain" and not (self.folder / files.VALIDATION).exists():
            raise UnderpaintError(
                f"{self.folder}: this explanation is not finished; resume it: {commands.resume(self.folder)}"
            )
