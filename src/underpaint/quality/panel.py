"""Judges: all that a coalition of layers is measured by, none of which is optimised (but `objective`, which is)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from underpaint.losses.objective import Objective
from underpaint.quality.heldout import HEADLINE, StyleJudge
from underpaint.quality.lpips import Lpips
from underpaint.quality.patches import PatchJudge
from underpaint.quality.sliced import DRAW
from underpaint.quality.ssim import ssim

__all__ = ["HEADLINE", "SEES", "Panel", "PatchJudge", "StyleJudge", "of_network", "sees"]


@dataclass(frozen=True)
class Panel:
    """Every judge of one pair of pictures.

    Attributes:
        style: the headline and its depths.
        patches: without a network.
        content: (1, 3, H, W), what `lpips` and `ssim` compare with.
        lpips: None where its weights are not available.
        others: the headline by the eyes of further networks, by their names.
    """

    style: StyleJudge
    patches: PatchJudge
    content: torch.Tensor
    lpips: Lpips | None = None
    others: Mapping[str, StyleJudge] = field(default_factory=dict)

    def outcomes(self, image: torch.Tensor, objective: Objective) -> dict[str, float]:
        """By column of coalitions.csv; `SEES` says what each is. Lower is nearer to the style, or to the content."""
        terms = {term.name: term for term in objective.measure(image, DRAW)}
        content = [term.raw for name, term in terms.items() if name.startswith("content/")]
        found = self.style(image) | {
            "patches": self.patches(image),
            "ssim_distance": 1 - ssim(image, self.content),
            "content": sum(content) / max(len(content), 1),
            "objective": sum(term.weighted for term in terms.values()),
        }
        found |= {of_network(name): judge(image)[HEADLINE] for name, judge in self.others.items()}
        return found | ({} if self.lpips is None else {"lpips": self.lpips(image, self.content)})


def of_network(name: str) -> str:
    """What the headline is called by the eyes of a further network."""
    return f"{HEADLINE}:{name}"


def sees(judge: str) -> str:
    """What a judge can see: it praises the layers that make that.

    Raises:
        KeyError: there is no such judge.
    """
    kind, _, network = judge.partition(":")
    return f"the same by the eyes of {network}" if network and kind == HEADLINE else SEES[judge]


SEES = {
    "heldout": "style on held-out layers of all depths, at full, half and quarter size",
    "heldout_shallow": "fine texture and colour (held-out layers of blocks 1 and 2)",
    "heldout_middle": "strokes (block 3)",
    "heldout_deep": "forms and large arrangements (blocks 4 and 5)",
    "patches": "colour and fine to middling texture, without any network",
    "objective": "what was optimised: all terms, at the last size",
    "content": "distance to the content picture at the content layers",
    "ssim_distance": "1 − SSIM to the content picture: its structure, not the style",
    "lpips": "perceptual distance to the content picture, not to the style",
}
"""What each judge can see: it praises the layers that make that."""
