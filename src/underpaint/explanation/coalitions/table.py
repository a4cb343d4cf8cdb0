"""The table of coalitions on disk: coalitions.csv, one row a coalition, and each one's pastiche beside it.

A row is there as soon as its coalition is painted and judged; a run that is stopped or killed resumes with the next.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from underpaint.captions import listed, short
from underpaint.errors import UnderpaintError
from underpaint.explanation.shapley.exact import Exact, Game
from underpaint.explanation.shapley.noise import ratios
from underpaint.explanation.shapley.players import label, mask_of, members, stem
from underpaint.explanation.shapley.sampled import Order, Sampled
from underpaint.quality.panel import HEADLINE, SEES
from underpaint.storage import documents

FILE = "coalitions.csv"
PERTURBATION = "perturbation"
LAST = ("last_fall", "seconds", "picture")
PICTURE = re.compile(r"coalitions/(perturbation[1-9][0-9]*/)?[A-Za-z0-9_+:-]+\.png")
"""A picture within the folder."""


def picture_of(perturbation: int, mask: int, players: Sequence[str]) -> str:
    """Where a coalition's pastiche goes: coalitions/NAME.png, those of a perturbation in a folder of their own."""
    inner = "" if perturbation == 0 else f"perturbation{perturbation}/"
    return f"coalitions/{inner}{stem(label(mask, players))}.png"


@dataclass(frozen=True)
class Row:
    """One coalition under one perturbation.

    Attributes:
        outcomes: by judge, J: see `underpaint.quality.panel`.
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
            names, *lines = documents.rows_of(path.read_text(encoding="utf-8"))
            if names[: 1 + len(self.players)] != [PERTURBATION, *self.players] or tuple(names[-3:]) != LAST:
                raise UnderpaintError(f"{path}: is of other layers than {', '.join(self.players)}; name another --out")
            judges = names[1 + len(self.players) : -len(LAST)]
            if unknown := {judge for judge in judges if judge not in SEES and not judge.startswith(f"{HEADLINE}:")}:
                raise ValueError(f"there is no judge {min(unknown)!r}")
            for number, cells in enumerate(lines, 2):
                row = self._row(cells, judges)
                if (row.perturbation, row.mask) in self.rows:
                    raise ValueError(f"line {number} is of a coalition that was there already")
                self.rows[row.perturbation, row.mask] = row

    def _row(self, cells: Sequence[str], judges: Sequence[str]) -> Row:
        n = len(self.players)
        (number, *takes), figures, (last_fall, seconds, picture) = cells[: n + 1], cells[n + 1 : -3], cells[-3:]
        if not number.isdecimal() or len(number) > 6 or set(takes) - {"0", "1"}:
            raise ValueError(f"there is no coalition {' '.join(takes)} of perturbation {number[:20]}")
        mask = mask_of([p for p, take in zip(self.players, takes, strict=True) if take == "1"], self.players)
        if not PICTURE.fullmatch(picture):
            raise ValueError(f"{picture[:60]!r} is no coalition's picture")
        outcomes = {judge: documents.number(figure) for judge, figure in zip(judges, figures, strict=True) if figure}
        if blind := {HEADLINE, "content"} - outcomes.keys():
            raise ValueError(f"the judge {min(blind)!r} has not seen {picture}")
        return Row(int(number), mask, outcomes, documents.number(last_fall), documents.number(seconds), picture)

    def picture(self, perturbation: int, mask: int) -> str:
        """See `picture_of`."""
        return picture_of(perturbation, mask, self.players)

    def add(self, row: Row) -> None:
        """Takes in a row and writes the file whole: the row counts once it is on disk."""
        rows = self.rows | {(row.perturbation, row.mask): row}
        judges = list(dict.fromkeys(judge for r in rows.values() for judge in r.outcomes))
        lines = []
        for r in rows.values():
            taking = members(r.mask, self.players)
            parts = ["1" if p in taking else "0" for p in self.players]
            figures = [repr(r.outcomes[judge]) if judge in r.outcomes else "" for judge in judges]
            lines.append([str(r.perturbation), *parts, *figures, repr(r.last_fall), f"{r.seconds:.3f}", r.picture])
        documents.write_rows(self.folder / FILE, [PERTURBATION, *self.players, *judges, *LAST], lines)
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
