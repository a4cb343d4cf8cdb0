"""The optimisers by name, as a recipe spells them."""

from __future__ import annotations

from underpaint.extensions import Registry
from underpaint.optimizers.adam import Adam
from underpaint.optimizers.base import Optimizer
from underpaint.optimizers.lbfgs import LBFGS

OPTIMIZERS: Registry[type[Optimizer]] = Registry("optimizer", {"lbfgs": LBFGS, "adam": Adam})
"""This package's own, and those of others: see `underpaint.extensions`."""


def optimizer(name: str) -> type[Optimizer]:
    """The one of this name.

    Raises:
        UnderpaintError: there is none.
    """
    return OPTIMIZERS[name]
