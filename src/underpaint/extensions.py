"""Extensions: what this package has by name (networks, statistics, ...), and other packages may add to.

Another package declares an entry point, in its own pyproject.toml, for instance

    [project.entry-points."underpaint.statistics"]
    histogram = "their_package.histogram:Histogram"

and the name is known wherever this package's own are. An entry point is loaded when it is asked for by name, and what an
installed package has declared is the only thing that decides: nothing is registered while a program runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from underpaint.errors import UnderpaintError

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """One kind of thing by name.

    Args:
        kind: what it is, in one word, as a recipe's field is called: "network", "statistic"; entry points are those of the
            group `underpaint.networks`, `underpaint.statistics`.
        own: this package's; an entry point of the same name does not replace one.
    """

    def __init__(self, kind: str, own: Mapping[str, T]) -> None:
        self.kind, self.group, self._own = kind, f"underpaint.{kind}s", dict(own)

    def __repr__(self) -> str:
        return f"Registry({self.kind}: {', '.join(self)})"

    def _others(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group) if point.name not in self._own}

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from sorted(self._others())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._others()

    def __getitem__(self, name: str) -> T:
        """What has the name.

        Raises:
            UnderpaintError: nothing has it, or the package that has it cannot be loaded.
        """
        if name in self._own:
            return self._own[name]
        others = self._others()
        if name not in others:
            raise UnderpaintError(f"{self.kind}: {name!r} is not known; choose {' or '.join([*self._own, *sorted(others)])}")
        try:
            found: T = others[name].load()
        except Exception as error:  # whatever another package raises
            told = f"{type(error).__name__}: {error}"
            raise UnderpaintError(
                f"{self.kind}: {name!r} is {others[name].value}, which cannot be loaded ({told})"
            ) from error
        return found
