"""In how many pictures a border is found, and how much is cropped, as docs/stylize.md quotes it.

    python benchmarks/borders.py --shared ../shared              # the paintings and the styles of the pairs
    python benchmarks/borders.py FOLDER ... --list               # any folders of pictures; each picture's margins

Needs pictures, no network. Whether what is found is a border, only the eye can tell: `--out` draws every picture with its
border tinted green.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from underpaint.imaging import borders, images
from underpaint.imaging.borders import Margins

FOLDERS = ("data/paintings", "data/pairs/style")
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")


def measure(folder: Path, out: Path | None) -> Iterator[tuple[Path, tuple[int, ...], Margins, float]]:
    """File, height and width, margins, and seconds of every picture in a folder."""
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in ENDINGS):
        rgb = images.read(path).rgb
        begun = time.perf_counter()
        found = borders.find(rgb)
        seconds = time.perf_counter() - begun
        if out is not None and any(found):
            draw(out / f"{path.stem}.png", rgb, found)
        yield path, rgb.shape[:2], found, seconds


def draw(path: Path, rgb: np.ndarray, found: Margins) -> None:
    """The picture with its border tinted."""
    tinted = 0.5 * rgb + 0.5 * np.array([0, 1, 0], np.float32)
    found.off(tinted)[:] = found.off(rgb)
    images.write(path, tinted)


def share(extent: tuple[int, ...], found: Margins) -> float:
    """Of the picture's area that is cropped."""
    height, width = extent
    return 1 - (height - found.top - found.bottom) * (width - found.left - found.right) / (height * width)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--shared", type=Path, help="the project's shared folder: its paintings and the pairs' styles")
    parser.add_argument("--list", action="store_true", help="print each picture's margins")
    parser.add_argument("--out", type=Path, help="draw what was found into this folder")
    args = parser.parse_args()
    folders = [*args.folders, *[args.shared / name for name in FOLDERS if args.shared]]
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
    print("| folder | pictures | with a border | area cropped of these, mean | largest | over 3 px deep | ms, median |")
    print("|---|---|---|---|---|---|---|")
    for folder in folders:
        rows = list(measure(folder, args.out))
        if args.list:
            for path, extent, found, _ in rows:
                if any(found):
                    print(f"{path.name}: {found}, {share(extent, found):.2%}")
        shares = [share(extent, found) for _, extent, found, _ in rows if any(found)]
        deep = sum(max(found) > 3 for _, _, found, _ in rows)
        figures = f"{np.mean(shares):.2%} | {max(shares):.2%}" if shares else "- | -"
        milliseconds = 1000 * np.median([seconds for *_, seconds in rows])
        print(f"| {folder.name} | {len(rows)} | {len(shares)} | {figures} | {deep} | {milliseconds:.0f} |")


if __name__ == "__main__":
    main()
