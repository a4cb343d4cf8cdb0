"""Extensions: what this package has by name (networks, statistics, ...), and other packages may add to.

Another package declares an entry point, in its own pyproject.toml, for instance

    [project.entry-points."underpaint.statistics"]
    histogram = "their_package.histogram:Histogram"

and the name is known wherever this package's own are: docs/extending.md has an example of each kind. What has a name is
loaded when it is asked for, and what an installed package has declared is the only thing that decides: nothing is registered
while a program runs. Names alone can be asked of this module without PyTorch, and without the rooms above it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from underpaint.errors import UnderpaintError

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """One kind of thing by name.

    Args:
        kind: what it is, in one word, as a recipe's field is called: "network", "statistic"; entry points are those of the
            group `underpaint.networks`, `underpaint.statistics`.
        own: this package's, or the address, `module:attribute`, where each lies; an entry point of the same name does not
            replace one.
    """

    def __init__(self, kind: str, own: Mapping[str, T | str]) -> None:
        self.kind, self.group, self._own = kind, f"underpaint.{kind}s", dict(own)

    def __repr__(self) -> str:
        return f"Registry({self.kind}: {', '.join(self)})"

    @property
    def own(self) -> tuple[str, ...]:
        """The names of this package's own."""
        return tuple(self._own)

    def _others(self) -> dict[str, EntryPoint]:
        found = {point.name: point for point in entry_points(group=self.group) if point.name not in self._own}
        return dict(sorted(found.items()))

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from self._others()

    def __len__(self) -> int:
        return len(self._own) + len(self._others())

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._others()

    def __getitem__(self, name: str) -> T:
        """What has the name.

        Raises:
            UnderpaintError: nothing has it, or the package that has it cannot be loaded.
        """
        if name in self._own:
            own = self._own[name]
            loaded: T = EntryPoint(name, own, self.group).load() if isinstance(own, str) else own
            return loaded
        others = self._others()
        if name not in others:
            raise UnderpaintError(f"{self.kind}: {name!r} is not known; choose {' or '.join(self)}")
        try:
            found: T = others[name].load()
        except Exception as error:  # whatever another package raises
            what = f"{self.kind}: {name!r} is {others[name].value}, which cannot be loaded"
            raise UnderpaintError(f"{what} ({type(error).__name__}: {error})") from error
        return found


NETWORKS: Registry[Any] = Registry(
    "network",
    {
        "compact": "underpaint.networks.own:COMPACT",
        "vgg19": "underpaint.networks.own:VGG19",
        "vgg16": "underpaint.networks.own:VGG16",
    },
)
"""A `networks.specification.Specification` each."""

NETWORK_SOURCES: Registry[Any] = Registry(
    "network_source",
    {
        "keras": "underpaint.networks.sources.keras:SOURCE",
        "hf": "underpaint.networks.sources.transformers:SOURCE",
        "timm": "underpaint.networks.sources.timm:SOURCE",
    },
)
"""Networks by a prefix, `keras:NAME`: a `networks.specification.Source` each."""

NETWORK_FILES: Registry[Any] = Registry(
    "network_file",
    {
        ".keras": "underpaint.networks.sources.keras_file:file",
        ".h5": "underpaint.networks.sources.keras_file:file",
        ".pt2": "underpaint.networks.sources.exported:file",
    },
)
"""Networks in files, by the ends of their names: a function each of the file's path that gives a `Specification`."""

STATISTICS: Registry[Any] = Registry(
    "statistic",
    {
        "gram": "underpaint.losses.statistics:Gram",
        "moments": "underpaint.losses.statistics:Moments",
        "wasserstein": "underpaint.losses.statistics:Wasserstein",
        "sliced": "underpaint.losses.statistics:Sliced",
    },
)
"""A `losses.statistics.Statistic` each, made without arguments."""

OPTIMIZERS: Registry[Any] = Registry(
    "optimizer", {"lbfgs": "underpaint.optimizers.lbfgs:LBFGS", "adam": "underpaint.optimizers.adam:Adam"}
)
"""A class each that is an `optimizers.base.Optimizer`."""

TERMS: Registry[Any] = Registry(
    "term",
    {
        "style": "underpaint.runs.terms:style",
        "content": "underpaint.runs.terms:content",
        "color": "underpaint.runs.terms:color",
        "palette": "underpaint.runs.terms:colors_of_the_style",
        "smoothness": "underpaint.runs.terms:smoothness",
    },
)
"""A function each that makes terms (`losses.terms.Term`) of a `runs.terms.View`. A recipe's `terms` weighs those of other
packages."""
