"""Makes the folders that stand here, by the version that is here: a run that was stopped, an explanation and an ablation.

    python -m tests.kept.make NAME

Later versions must read, report and resume every NAME (`tests/storage/test_kept.py`): those that are here are never made
again. The pictures are samples of the package, small; the weights are random numbers (`tests/conftest.py`).
"""

import json
import sys
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import save_file

import underpaint
from tests.conftest import random_tensors
from underpaint import samples
from underpaint.storage.documents import write_json

HERE = Path(__file__).parent
WEIGHTS = HERE / "tiny.safetensors"
SIZE = 36, 36
FIELDS = {
    "network": "vgg19",
    "size": 32,
    "smallest": 32,
    "style_layers": {"relu1_1": 1.0, "relu3_1": 1.0},
    "content_layers": {"relu2_2": 1.0},
    "color_weight": 0.0,
    "palette_weight": 0.0,
    "precision": "float32",
}


def scrub(folder: Path) -> None:
    """Takes out of run.json or ablation.json what is this machine's."""
    path = next(path for name in ("run.json", "ablation.json") if (path := folder / name).exists())
    facts = json.loads(path.read_text(encoding="utf-8"))
    for network in facts["networks"]:
        network["path"] = f"/nowhere/{WEIGHTS.name}"
    facts["environment"] |= {"device_name": "a processor", "platform": "Linux", "instruction_set": "DEFAULT"}
    facts.pop("peak_memory_bytes", None)
    write_json(path, facts, indent=2)


def main(name: str) -> None:
    if not WEIGHTS.exists():
        save_file(random_tensors(), WEIGHTS)
    pictures = []
    for part, rgb in (
        ("photo", samples.photograph("chelsea")),
        ("painting", np.asarray(Image.open(samples.style_path("gale")))),
    ):
        pictures.append(HERE / f"{part}.png")
        if not pictures[-1].exists():
            Image.fromarray(rgb[:300, :300, :3]).resize(SIZE).save(pictures[-1])
    options = underpaint.Options(weights=WEIGHTS, device="cpu")
    stopped = HERE / name / "stopped"
    steps = iter(underpaint.start(*pictures, out=stopped, options=options, iterations=[6], **FIELDS))
    list(islice(steps, 4))
    steps.close()
    explained = HERE / name / "explained"
    underpaint.explain(*pictures, out=explained, options=options, iterations=[4], **FIELDS)
    ablated = HERE / name / "ablated"
    underpaint.ablate(*pictures, out=ablated, options=options, iterations=[4], configs=["all", "drop:relu1_1"], **FIELDS)
    for folder in (stopped, explained, ablated):
        scrub(folder)
        for picture in ("convergence.svg", "convergence.png", "gallery.png", "ledger.png"):  # large, and drawn from the rest
            (folder / picture).unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1])
