"""Every measure, of pictures that one knows, as docs/quality.md quotes them.

    python benchmarks/measures.py                        # all rows; one of them is painted
    python benchmarks/measures.py content canvas style   # some

Two of the sample pictures, dunes × gale; needs nothing else, but LPIPS is left out where its weights are not available
(`--weights`). Pictures are kept under `--out`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F

import underpaint
from underpaint.imaging import images
from underpaint.runs.comparing import compare

SIZE = 256


def noisy(x: torch.Tensor) -> torch.Tensor:
    """With Gaussian noise, σ = 0.1."""
    return x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def blurred(x: torch.Tensor) -> torch.Tensor:
    """Means of 8×8 px, and between their middles a bilinear course."""
    return F.interpolate(F.avg_pool2d(x, 8), x.shape[2:], mode="bilinear", align_corners=False)


def woven(x: torch.Tensor) -> torch.Tensor:
    """Upright and level waves of 4 px laid over."""
    down, across = (torch.sin(torch.pi / 2 * torch.arange(side)) for side in x.shape[2:])
    return x + 0.05 * (down[:, None] + across)


MADE: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "content": lambda x: x,
    "noise": noisy,
    "blur": blurred,
    "negative": lambda x: 1 - x,
    "moved": lambda x: x.roll(16, 3),
    "canvas": woven,
}
"""Rows that are made of the content, (1, 3, H, W) in 0..1."""

ROWS = ("pastiche", *MADE, "style")


def make(row: str, content: Path, style: Path, png: Path) -> None:
    """Writes a row's picture."""
    if row == "pastiche":
        underpaint.stylize(content, style, size=SIZE).save(png)
        return
    rgb = images.read(style if row == "style" else content).rgb
    small = images.resize(rgb, images.size_for(rgb.shape, SIZE))
    made = MADE.get(row, MADE["content"])(torch.from_numpy(small.transpose(2, 0, 1).copy())[None])
    images.write(png, made.clamp(0, 1)[0].permute(1, 2, 0).numpy())


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="all, when left out")
    parser.add_argument("--network", default="compact")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--out", type=Path, default=Path("out/measures"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    folder = resources.files("underpaint.samples")
    with resources.as_file(folder / "dunes.jpg") as content, resources.as_file(folder / "gale.jpg") as style:
        pictures = {row: args.out / f"{row}.png" for row in args.rows or ROWS}
        for row, png in pictures.items():
            if not png.exists():
                make(row, content, style, png)
        found = compare(
            list(pictures.values()), content=content, style=style, network=args.network, weights=args.weights, device="cpu"
        )
    print("| | " + " | ".join(found.measures) + " |\n" + "|---" * (len(found.measures) + 1) + "|")
    for name, row in zip(pictures, found.rows, strict=True):
        print(f"| {name} | " + " | ".join(f"{row.values[m]:.3f}" if m in row.values else "" for m in found.measures) + " |")


if __name__ == "__main__":
    main()
