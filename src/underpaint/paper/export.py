"""Writes the figures and tables of a folder, and what a paper says of its methods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from underpaint.errors import UnderpaintError
from underpaint.paper import figures, tables
from underpaint.report import methods
from underpaint.report.folder import Evidence
from underpaint.storage.files import named, write_bytes
from underpaint.storage.owner import Owner

FOLDER = "figures"


class Press:
    """Figures and tables being written: iterate over it for their paths.

    Args:
        folder: of `stylize`, `ablate` or `explain`, finished or not.
        formats: of the figures: "pdf", "svg", "png".
        out: where they go; `figures/` in the folder when None, where those of before are replaced.

    Attributes:
        missing: what the folder lacks, one line each, once all is written.

    Raises:
        UnderpaintError: no such folder or format; a file is in `out` already.
    """

    def __init__(self, folder: str | Path, formats: Sequence[str] = ("pdf",), out: str | Path | None = None) -> None:
        self.evidence, self.formats = Evidence(folder), tuple(dict.fromkeys(formats))
        self.out = named(out, "--out") if out is not None else self.evidence.folder / FOLDER
        self._careful = out is not None
        self.missing: list[str] = []
        for kind in self.formats:
            if kind not in figures.FORMATS:
                raise UnderpaintError(f"--format {kind}: choose from {', '.join(figures.FORMATS)}, with commas between them")

    def __iter__(self) -> Iterator[Path]:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnderpaintError(f"--out {self.out}: {error.strerror}; name a folder that can be written") from None
        with Owner(self.out if self._careful else self.evidence.folder):
            yield from self._written()

    def _written(self) -> Iterator[Path]:
        made = chain(
            figures.make(self.evidence, self.formats, self.missing),
            tables.make(self.evidence, self.missing),
            methods.make(self.evidence, self.missing),
        )
        for name, data in made:
            path = self.out / name
            if self._careful and path.exists():
                raise UnderpaintError(f"{path}: is there already; name another --out")
            write_bytes(path, data, new=self._careful)
            yield path
