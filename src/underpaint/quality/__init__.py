"""Quality, measured: how near a pastiche is to its style, and how much of its content it kept. Nothing here is optimised.

`MEASURES` names all measures, `measure` and `Measures` take them; each function's docstring has its formula, range, direction
and source. No single figure is the quality: a content picture left as it was keeps everything, and a style picture in its
place keeps nothing.
"""

from underpaint.quality.colors import colour_distance, palette
from underpaint.quality.heldout import StyleJudge
from underpaint.quality.lpips import Lpips, find_lpips, load_lpips, lpips_shapes
from underpaint.quality.measures import MEASURES, Measure, Measured, Measures, measure
from underpaint.quality.patches import PatchJudge
from underpaint.quality.ssim import multiscale_ssim, ssim
from underpaint.quality.strokes import strokes, weave
from underpaint.quality.structure import cfsd, edges, self_similarity

__all__ = [
    "MEASURES",
    "Lpips",
    "Measure",
    "Measured",
    "Measures",
    "PatchJudge",
    "StyleJudge",
    "cfsd",
    "colour_distance",
    "edges",
    "find_lpips",
    "load_lpips",
    "lpips_shapes",
    "measure",
    "multiscale_ssim",
    "palette",
    "self_similarity",
    "ssim",
    "strokes",
    "weave",
]
