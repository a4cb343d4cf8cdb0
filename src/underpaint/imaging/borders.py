"""Borders: the frame, the mat or the scanner's margin around a picture, found and measured.

A border is told from the picture by its inner edge, which is straight and runs along the whole side, and by its colour, which
hardly changes along it. That is more than trimming by colour asks for, which eats a pale sky or the paper around a drawing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

LONGEST = 1024
"""Larger pictures are looked at in blocks of pixels, so that this many span their longest side."""

SMALLEST = 32
"""Pixels of the shortest side that can be told to have a border."""

MOST = 0.125
"""The largest share of a side's length that is taken for a border; what is wider belongs to the picture."""

ALONE = 0.04
"""The same for a border on one side alone: no other side has one of that colour."""

TILT = 0.02
"""How far an edge may lean, over the length of its side."""

WEDGE = 0.4
"""The share of its side over which a leaning border, which runs out, must be seen."""

STRAIGHT = 0.9
"""The share of a side along which its edge must be where a straight line says."""

SUPPORTED = 0.65
"""The same, if another side has a border of that colour."""

AFTER = 4
"""Rows of picture that are looked at after the last that may be border."""

SAME = 0.08
"""Colours that differ by less, in every channel, are one colour."""

STEP = 0.15
"""By how much, in some channel, a picture must differ from its border to show an edge."""

LINE = 0.06
"""The same, of lightness, for a line along the very edge, which is blurred into the picture."""

LAYERS = 4
"""At most so many bands and lines, one within the other."""

BLOCKS = 24
"""Pieces of a side whose edges a straight line is laid through."""


class Margins(NamedTuple):
    """Pixels to take off each side."""

    top: int = 0
    right: int = 0
    bottom: int = 0
    left: int = 0

    def __str__(self) -> str:
        """In words: "12 px at the top and 9 px at the left"."""
        words = [f"{pixels} px at the {side}" for side, pixels in self._asdict().items() if pixels]
        return " and ".join([", ".join(words[:-1]), *words[-1:]] if len(words) > 1 else words)

    def off(self, array: np.ndarray) -> np.ndarray:
        """An (H, W) or (H, W, c) array without them."""
        height, width = array.shape[:2]
        return array[self.top : height - self.bottom, self.left : width - self.right]

    def scaled(self, down: float, across: float) -> Margins:
        """The same margins of a picture that is `down` times as high and `across` times as wide."""
        return Margins(*(round(m * f) for m, f in zip(self, (down, across, down, across), strict=True)))


def find(rgb: np.ndarray) -> Margins:
    """The border of a picture; all 0 where it has none.

    Borders may be several bands deep (a frame, its mat), of any colour, and lean a little. A side never loses more than
    `MOST` of the picture's height or width.

    Args:
        rgb: (H, W, 3) float32, 0..1.
    """
    height, width = rgb.shape[:2]
    if min(height, width) < SMALLEST:
        return Margins()
    block = -(-max(height, width) // LONGEST)
    most = [int(MOST * side) for side in (height, width, height, width)]
    margins = Margins()
    for _ in range(LAYERS):
        inside = margins.off(rgb)
        sides = [_looked_at(np.rot90(inside, turn), block) for turn in range(4)]
        depths = _accepted([_band(side) for side in sides], [_line(side) for side in sides])
        wider = Margins(*(m + d * block for m, d in zip(margins, depths, strict=True)))
        wider = Margins(*(w if w <= top else m for w, m, top in zip(wider, margins, most, strict=True)))
        if wider == margins:
            break
        margins = wider
    return margins


@dataclass(frozen=True)
class Band:
    """A candidate along the top of a picture.

    Attributes:
        depth: rows, to the deepest point of its edge.
        share: of the side's length along which the edge is where a straight line says.
        colour: (3,).
        limit: the rows that it may have without support from the opposite side.
    """

    depth: int
    share: float
    colour: np.ndarray
    limit: int

    def supports(self, other: Band) -> bool:
        """Whether this one is sure and the other, of the same colour, may be part of the same border."""
        return self.share > STRAIGHT and float(np.abs(self.colour - other.colour).max()) < 2 * SAME


def _looked_at(side: np.ndarray, block: int) -> np.ndarray:
    """The rows that may be border, and as many as show what follows, in blocks counted from the top."""
    rows = int(MOST * side.shape[0]) + AFTER * block
    rows, columns = (n // block * block for n in (min(rows, side.shape[0]), side.shape[1]))
    small = side[:rows, :columns].reshape(rows // block, block, columns // block, block, 3).mean((1, 3))
    ends = small.shape[1] // 8  # corners belong to the borders of the other two sides
    return np.asarray(small[:, ends : small.shape[1] - ends], np.float32)


def _band(side: np.ndarray) -> Band | None:
    """The best band of one colour with a straight edge, whatever its colour."""
    thirds = np.array_split(side[0], 3)
    found = [_band_of(side, np.median(third, 0)) for third in thirds]
    return max((band for band in found if band is not None), key=lambda band: band.share, default=None)


def _band_of(side: np.ndarray, colour: np.ndarray) -> Band | None:
    rows, columns = side.shape[:2]
    other = np.abs(side - colour).max(2) > SAME
    depth = np.where(other.any(0), other.argmax(0), rows)  # how far the colour reaches in from each place
    after = side[np.minimum(depth + 1, rows - 1), np.arange(columns)]
    clear = (depth < rows - 2) & (np.abs(after - colour).max(1) > STEP)
    line = _line_through(depth)
    if line is None:
        return None
    height, slope = line
    expected = np.maximum(height + slope * np.arange(columns), 0)
    hit = (np.abs(depth - expected) <= 1.5) & (clear | (expected < 1))
    reached = expected >= 1
    if reached.mean() < WEDGE:
        return None
    reach = abs(slope) * columns / 6  # of the ends, which were not looked at
    deepest = int(np.ceil(np.round(expected.max() + reach, 1)))
    deepest += _blur(side, deepest)
    return Band(deepest, float(hit.mean()), colour, round(ALONE / MOST * (rows - AFTER)))


def _line_through(depth: np.ndarray) -> tuple[float, float] | None:
    """The straight line through most of the blocks' median depths (Theil 1950): where it begins and how it leans.

    None where too little of the side has depth, or it leans too much.
    """
    blocks = [block for block in np.array_split(np.arange(len(depth)), BLOCKS) if len(block)]  # a narrow side has fewer
    x = np.array([block.mean() for block in blocks])
    y = np.array([np.median(depth[block]) for block in blocks])
    x, y = x[y >= 1], y[y >= 1]
    if len(x) < WEDGE * BLOCKS:
        return None
    a, b = np.triu_indices(len(x), 1)
    slope = float(np.median((y[b] - y[a]) / (x[b] - x[a])))
    if abs(slope) > TILT:
        return None
    if abs(slope) * len(depth) < 0.75:
        slope = 0.0
    return float(np.median(y - slope * x)), slope


def _blur(side: np.ndarray, depth: int) -> int:
    """How many rows more an edge is blurred into the picture: 0, 1 or 2."""
    for more in range(2):
        if _step(side, depth + more + 1) < 0.03:
            return more
    return 2


def _step(side: np.ndarray, depth: int) -> float:
    """By how much the picture grows lighter, or darker, below so many rows: the median, or 0 if not all along the side."""
    if depth + 1 > len(side):
        return 0.0
    step = side[depth].mean(1) - side[depth - 1].mean(1)
    middle = float(np.median(step))
    return abs(middle) if np.mean(step * np.sign(middle) > 0.02) > 0.9 else 0.0


def _line(side: np.ndarray) -> int:
    """Rows of a line along the very edge: all lighter or all darker than what follows them."""
    return next((k for k in (1, 2) if _step(side, k) > LINE), 0)


def _accepted(bands: list[Band | None], lines: list[int]) -> list[int]:
    """Rows of border on each side; sides of one colour support each other."""
    depths = []
    for place, band in enumerate(bands):
        if band is None:
            depths.append(lines[place])
            continue
        supported = any(other.supports(band) for other in bands if other is not None and other is not band)
        sure = band.share > SUPPORTED if supported else band.share > STRAIGHT and band.depth <= band.limit
        depths.append(band.depth if sure else lines[place])
    return depths
