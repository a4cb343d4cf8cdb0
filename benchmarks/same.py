"""Whether two versions of the package make the same: the sum of every file of runs, an ablation, an explanation, its page's
data, figures and tables, all of fixed seeds, but for what tells of time.

    python benchmarks/same.py --write before.json      # with one version
    python benchmarks/same.py --against before.json    # with the other, on the same machine

Commands go through `underpaint` itself, so that nothing here knows how the package is built inside.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors import safe_open

TIMED = {"seconds", "peak_memory_bytes", "sum", "check"}
DATA = re.compile(rb'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)
COMMON = ["--device", "cpu", "--threads", "1", "--precision", "float32", "--quiet"]
PAIR = ["content.png", "style.png"]
COMMANDS = {
    "standard": ["stylize", *PAIR, "--size", "128", "--iterations", "5,7", "--frames", "3", *COMMON],
    "gatys": ["stylize", *PAIR, "--size", "64", "--preset", "gatys", "--iterations", "6", *COMMON],
    "adam": ["stylize", *PAIR, "--size", "64", "--optimizer", "adam", "--iterations", "8", *COMMON],
    "moments": ["stylize", *PAIR, "--size", "64", "--statistic", "moments", "--iterations", "4", "--start", "noise", *COMMON],
    "sliced": ["stylize", *PAIR, "--size", "64", "--statistic", "sliced", "--iterations", "4", *COMMON],
    "masked": [
        *("stylize", *PAIR, "--size", "64", "--iterations", "4", "--content-mask", "mask.png"),
        *("--style-mask", "mask.png", "--protect", "mask.png", "--keep-color", "luminance", *COMMON),
    ],
    "ablation": ["ablate", *PAIR, "--size", "48", "--preset", "draft", "--configs", "all,none,drop:relu1_1", *COMMON],
    "why": ["explain", *PAIR, "--size", "48", "--preset", "draft", "--style-layers", "relu1_1,relu3_1,relu5_1", *COMMON],
    "shuffled": [
        *("explain", *PAIR, "--size", "48", "--preset", "draft", "--style-layers", "relu1_1,relu2_1", "--sanity", *COMMON),
    ],
}
AFTER = [["figures", name, "--format", "svg"] for name in ("why", "ablation")]


def paint(folder: Path) -> None:
    """All commands, in a folder with two small pictures and a mask."""
    numbers = np.random.default_rng(0)
    for name in ("content", "style"):
        small = Image.fromarray(numbers.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        small.resize((144, 108), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    halves = np.zeros((108, 144), np.uint8)
    halves[:, 60:] = 255
    Image.fromarray(halves).save(folder / "mask.png")
    commands = [[*words, "--out", name] for name, words in COMMANDS.items()] + AFTER
    for place, words in enumerate(commands, 1):
        print(f"{place} of {len(commands)}: {' '.join(words[:2])} {words[-1]}", file=sys.stderr)
        command = [sys.executable, "-m", "underpaint", *words]
        told = subprocess.run(
            command, cwd=folder, env=os.environ | {"SOURCE_DATE_EPOCH": "0"}, capture_output=True, text=True
        )
        if told.returncode:
            sys.exit(told.stderr)


def untimed(value: Any) -> Any:
    """JSON without what tells of time."""
    if isinstance(value, dict):
        return {name: untimed(part) for name, part in value.items() if name not in TIMED}
    return [untimed(part) for part in value] if isinstance(value, list) else value


def content(path: Path) -> bytes:
    """What of a file must be the same."""
    raw = path.read_bytes()
    if path.suffix == ".json":
        return json.dumps(untimed(json.loads(raw))).encode()
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return json.dumps([untimed(row) for row in csv.DictReader(file)]).encode()
    if path.suffix == ".html":
        return b"".join(DATA.findall(raw))
    if path.suffix == ".safetensors":
        with safe_open(path, "np") as tensors:
            metadata = untimed(dict(tensors.metadata() or {}))
            parts = [tensors.get_tensor(name).tobytes() for name in sorted(tensors.keys())]
        return json.dumps(metadata, sort_keys=True).encode() + b"".join(parts)
    return raw


def sums() -> dict[str, str]:
    """SHA-256 of every file's `content`, by its name."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paint(folder)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(content(path)).hexdigest() for path in paths}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="where the sums go")
    parser.add_argument("--against", type=Path, help="sums that these must be")
    args = parser.parse_args()
    found = sums()
    if args.write is not None:
        args.write.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if args.against is None:
        return
    before = json.loads(args.against.read_text(encoding="utf-8"))
    differ = sorted(name for name in before.keys() | found.keys() if before.get(name) != found.get(name))
    print("\n".join([*differ, f"{len(found)} files, {len(differ)} differ"]))
    sys.exit(bool(differ))


if __name__ == "__main__":
    main()
