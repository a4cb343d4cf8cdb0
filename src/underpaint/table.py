"""The table of coalitions on disk: coalitions.csv, one row a coalition, and each one's pastiche beside it.

A row is there as soon as its coalition is painted and judged; a run that is stopped or killed goes on with the next.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from underpaint import documents
from underpaint.captions import listed, short
from underpaint.coalitions import label, mask_of, members
from underpaint.errors import UnderpaintError
from underpaint.files import write_bytes
from underpaint.game import Exact, Game
from underpaint.noise import ratios
from underpaint.sampled import Order, Sampled

FILE = "coalitions.csv"
PERTURBATION = "perturbation"
LAST = ("last_fall", "seconds", "picture")


@dataclass(frozen=True)
class Row:
    """One coalition under one perturbation.

    Attributes:
        outcomes: by judge, J: see `underpaint.judges`.
        last_fall: the share of its total's fall, at the last size, that came in the last tenth of the steps.
        seconds: what painting and judging took.
        picture: the pastiche's file, relative to the folder.
    """

    perturbation: int
    mask: int
    outcomes: Mapping[str, float]
    last_fall: float
    seconds: float
    picture: str

    def __repr__(self) -> str:
        return f"Row(perturbation={self.perturbation}, mask={self.mask:b}, {listed(self.outcomes, 4)})"


class Table:
    """The rows of a folder, in the order in which they were made.

    Args:
        folder: holds coalitions.csv, or will.
        players: the style layers, the columns' names.
    """

    def __init__(self, folder: Path, players: Sequence[str]) -> None:
        self.folder, self.players = folder, tuple(players)
        self.rows: dict[tuple[int, int], Row] = {}
        if (folder / FILE).exists():
            self._read()

    def __repr__(self) -> str:
        return f"Table({len(self.rows)} rows; {short(', '.join(self.players))}; {short(self.folder)})"

    def _read(self) -> None:
        path = self.folder / FILE
        with documents.told(path, "take out what is damaged and run the command again"):
            reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
            names = list(reader.fieldnames or ())
            if names[: 1 + len(self.players)] != [PERTURBATION, *self.players] or tuple(names[-3:]) != LAST:
                raise UnderpaintError(f"{path}: is of other layers than {', '.join(self.players)}; name another --out")
            judges = names[1 + len(self.players) : -len(LAST)]
            for number, line in enumerate(reader, 2):
                try:
                    row = self._row(line, judges)
                except (TypeError, ValueError):
                    raise ValueError(f"line {number} is damaged") from None
                self.rows[row.perturbation, row.mask] = row

    def _row(self, line: Mapping[str, str], judges: Sequence[str]) -> Row:
        mask = mask_of([p for p in self.players if line[p] == "1"], self.players)
        outcomes = {judge: float(line[judge]) for judge in judges if line[judge]}
        return Row(int(line[PERTURBATION]), mask, outcomes, float(line["last_fall"]), float(line["seconds"]), line["picture"])

    def picture(self, perturbation: int, mask: int) -> str:
        """Where a coalition's pastiche goes: coalitions/NAME.png, those of a perturbation in a folder of their own."""
        inner = "" if perturbation == 0 else f"perturbation{perturbation}/"
        return f"coalitions/{inner}{label(mask, self.players)}.png"

    def add(self, row: Row) -> None:
        """Takes in a row and writes the file whole: the row counts once it is on disk."""
        rows = self.rows | {(row.perturbation, row.mask): row}
        judges = list(dict.fromkeys(judge for r in rows.values() for judge in r.outcomes))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([PERTURBATION, *self.players, *judges, *LAST])
        for r in rows.values():
            taking = members(r.mask, self.players)
            parts = ["1" if p in taking else "0" for p in self.players]
            figures = [repr(r.outcomes[judge]) if judge in r.outcomes else "" for judge in judges]
            writer.writerow([r.perturbation, *parts, *figures, repr(r.last_fall), f"{r.seconds:.3f}", r.picture])
        write_bytes(self.folder / FILE, text.getvalue().encode())
        self.rows = rows

    def outcomes(self, judge: str) -> dict[tuple[int, int], float]:
        """J by (perturbation, coalition)."""
        found = {key: row.outcomes[judge] for key, row in self.rows.items() if judge in row.outcomes}
        if not found:
            known = sorted({name for row in self.rows.values() for name in row.outcomes})
            raise UnderpaintError(f"judge: {judge!r} is not in {self.folder / FILE}; it has {', '.join(known)}")
        return found

    def game(self, judge: str, drawn: Sequence[Order]) -> Game:
        """What the coalitions are worth in the eyes of a judge.

        Args:
            drawn: the orders whose coalitions were painted; none where all subsets were.

        Raises:
            UnderpaintError: no such judge, or coalitions are missing.
        """
        outcomes = self.outcomes(judge)
        known = ratios(self.players, judge), self.copies()
        return Sampled.of(self.players, outcomes, drawn, *known) if drawn else Exact.of(self.players, outcomes, *known)

    def copies(self) -> np.ndarray | None:
        """(2ⁿ,): the coalition whose picture each row has, itself where none is known; None where each row has its own."""
        painted = {
            (row.perturbation, row.picture): mask
            for (_, mask), row in self.rows.items()
            if row.picture == self.picture(row.perturbation, mask)
        }
        found = np.arange(1 << len(self.players))
        for (perturbation, mask), row in self.rows.items():
            found[mask] = painted.get((perturbation, row.picture), mask)
        return None if (found == np.arange(len(found))).all() else found
