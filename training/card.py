"""The model card: what the compact network is, what it was made from, and how near it came."""

from __future__ import annotations

import json
from collections.abc import Mapping

from training.student import Student
from underpaint.networks.compact import LAYERS
from underpaint.networks.vgg import keras_name

ATTRIBUTION = (
    "Derived from VGG-19 by the Visual Geometry Group, University of Oxford (Simonyan & Zisserman 2014, "
    "arXiv:1409.1556), licensed CC BY 4.0; factored, made narrower and fine-tuned for underpaint."
)


def text(student: Student, facts: Mapping[str, object], figures: Mapping[str, object]) -> str:
    """Markdown."""
    numbers = sum(t.numel() for t in student.tensors.values())
    lines = ["# The compact network", "", ATTRIBUTION, ""]
    lines += [f"{numbers / 1e6:.2f} million numbers, {student.operations() / 1e3:.1f} thousand multiplications per pixel", ""]
    lines += [
        "| layer | channels that its 3×3 sees | rank | channels of VGG-19 kept |",
        "|---|---|---|---|",
        f"| {LAYERS[0]} | 3 | | {student.channels[LAYERS[0]].numel()} |",
    ]
    for layer in LAYERS[1:]:
        reduce, expand = (student.tensors[f"{keras_name(layer)}.{part}.weight"] for part in ("reduce", "expand"))
        brought = ", by a 1×1" if f"{keras_name(layer)}.project.weight" in student.tensors else ""
        lines.append(f"| {layer} | {reduce.shape[1]}{brought} | {expand.shape[1]} | {expand.shape[0]} |")
    lines += ["", "## How it was made", "", "```json", json.dumps(facts, indent=1), "```", ""]
    lines += ["## Figures on held-out pictures", "", "```json", json.dumps(figures, indent=1), "```", ""]
    lines += [
        "Residual energy: squared error of the feature maps over VGG-19's own energy. Gradient cosine: between both",
        "networks' style gradients by the pixels, at the start, the middle and the end of runs painted by VGG-19, at full",
        "resolution and after averaging 2×2 pixels. How it paints: `benchmarks/compact.py`.",
    ]
    return "\n".join(lines) + "\n"
