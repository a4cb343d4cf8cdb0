"""Players: the style layers, and coalitions of them by number, by name and by group.

A coalition is a whole number whose bit i says whether player i takes part.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from underpaint.errors import UnderpaintError
from underpaint.networks.anatomy import DEPTHS, Anatomy

EXACT = 8
"""Players of which all subsets are run; more would be more than 256 runs. Of more, some are run: see `sampled`."""


LONGEST, SAFE = 200, re.compile(r"[A-Za-z0-9_+:-]+")
"""A name that is a file's as it is."""

MOST = 16
"""Players that can be explained: as many layers as the largest network has."""


def check_players(layers: Sequence[str]) -> tuple[str, ...]:
    """The players of an explanation.

    Raises:
        UnderpaintError: fewer than two or too many.
    """
    if len(layers) < 2:
        raise UnderpaintError(f"style_layers: {len(layers)} given; an explanation compares at least two")
    if len(layers) > MOST:
        raise UnderpaintError(
            f"style_layers: {len(layers)} would take {2 ** len(layers)} runs; name at most {EXACT} layers for exact Shapley "
            f"values, at most {MOST} for estimates (--permutations), or use `underpaint ablate` with the groups that you want"
        )
    return tuple(layers)


def mask_of(members: Sequence[str], players: Sequence[str]) -> int:
    """The coalition of these players."""
    return sum(1 << players.index(name) for name in members)


def members(mask: int, players: Sequence[str]) -> tuple[str, ...]:
    """The players of a coalition, in their order."""
    return tuple(name for i, name in enumerate(players) if mask >> i & 1)


def label(mask: int, players: Sequence[str]) -> str:
    """A coalition's name, fit for a file: `none`, `all`, or its layers with `+` between them."""
    if mask == (1 << len(players)) - 1:
        return "all"
    return "+".join(members(mask, players)) or "none"


def stem(name: str) -> str:
    """A name as a file's, without its ending: itself where every system takes that, else a hash. Joined names of layers grow
    beyond what a file's name may have, 255 bytes, and a layer's may have slashes and dots."""
    if len(name) <= LONGEST and SAFE.fullmatch(name):
        return name
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def groups(players: Sequence[str], anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
    """The named coalitions: `all`, `none`, `shallow`, `mid` and `deep` (as the network's anatomy has them), `drop:L` and
    `only:L`."""
    found = {"all": tuple(players), "none": ()}
    for name in DEPTHS:
        found["mid" if name == "middle" else name] = tuple(p for p in players if anatomy.depth(p) == name)
    found |= {f"drop:{p}": tuple(q for q in players if q != p) for p in players}
    return found | {f"only:{p}": (p,) for p in players}


def repeated(n: int, count: int = 8) -> list[int]:
    """Coalitions to repeat for σ: none, all, then one left out and one alone in turn."""
    whole = (1 << n) - 1
    found = [0, whole]
    for i in range(n):
        found.append(whole - (1 << i) if i % 2 == 0 else 1 << i)
    found += [1 << i if i % 2 == 0 else whole - (1 << i) for i in range(n)]
    return list(dict.fromkeys(found))[:count]


def named(config: str, players: Sequence[str], anatomy: Anatomy) -> tuple[str, ...]:
    """The layers of a configuration: a name in `groups`, or layers with `+` between them.

    Raises:
        UnderpaintError: no such name or layer, a layer named twice, or a group without layers here.
    """
    known = groups(players, anatomy)
    if config in known:
        if not known[config] and config != "none":
            raise UnderpaintError(f"--configs {config}: none of the style layers {', '.join(players)} is in that group")
        return known[config]
    layers = config.split("+")
    for layer in layers:
        if layer not in players:
            simple = ", ".join(name for name in known if ":" not in name)
            raise UnderpaintError(
                f"--configs {config}: {layer!r} is neither a group ({simple}, drop:LAYER, only:LAYER) nor one of the style "
                f"layers {', '.join(players)}"
            )
        if layers.count(layer) > 1:
            raise UnderpaintError(f"--configs {config}: {layer} is named twice; name each once")
    return tuple(p for p in players if p in layers)
