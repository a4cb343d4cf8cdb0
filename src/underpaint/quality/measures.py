"""All measures of a pastiche at once, against its content, its style and nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch

from underpaint.errors import UnderpaintError
from underpaint.networks import weights
from underpaint.networks.anatomy import DEPTHS
from underpaint.networks.base import Network
from underpaint.quality.colors import colour_distance, palette
from underpaint.quality.heldout import HEADLINE, StyleJudge
from underpaint.quality.lpips import Lpips
from underpaint.quality.pair import check_pair, check_picture
from underpaint.quality.patches import PatchJudge
from underpaint.quality.ssim import multiscale_ssim, ssim
from underpaint.quality.strokes import strokes, weave
from underpaint.quality.structure import cfsd, edges, self_similarity


@dataclass(frozen=True)
class Measure:
    """What a figure says.

    Attributes:
        what: in words.
        against: the picture that the pastiche is compared with; "itself" where there is none.
        better: whether "lower" or "higher" is nearer to that picture, or what is "near 1".
        low, high: the range; `high` is None where there is no top.
    """

    what: str
    against: Literal["content", "style", "itself"]
    better: Literal["lower", "higher", "near 1"]
    low: float
    high: float | None


MEASURES: Mapping[str, Measure] = {
    "heldout": Measure("style on held-out layers of all depths; 1 is the content", "style", "lower", 0, None),
    "heldout_shallow": Measure("fine texture and colour: held-out layers of blocks 1 and 2", "style", "lower", 0, None),
    "heldout_middle": Measure("strokes: held-out layer of block 3", "style", "lower", 0, None),
    "heldout_deep": Measure("forms and arrangements: held-out layers of blocks 4 and 5", "style", "lower", 0, None),
    "patches": Measure("colour and texture, without any network; 1 is the content", "style", "lower", 0, None),
    "colour": Measure("colours, wherever they are, in ΔE", "style", "lower", 0, None),
    "palette": Measure("alien colours: over 1, some that the style lacks", "style", "near 1", 0, None),
    "strokes": Measure("clear strokes: under 1 mushy, over 1 more combed than the style", "style", "near 1", 0, None),
    "lpips": Measure("perceptual distance", "content", "lower", 0, None),
    "ssim": Measure("structural similarity, in windows of 11 px", "content", "higher", -1, 1),
    "ms_ssim": Measure("structural similarity at five sizes", "content", "higher", 0, 1),
    "edges": Measure("edges in their places", "content", "higher", -1, 1),
    "self_similarity": Measure("which places are alike, by cosine distances", "content", "lower", 0, 2),
    "cfsd": Measure("which places are alike, by correlations", "content", "lower", 0, None),
    "weave": Measure("a grid like canvas: over 1, fine detail runs upright and level", "itself", "near 1", 0, 4),
}
"""All measures by name, in the order of a table. docs/quality.md has their formulas."""

NO_LPIPS = (
    f"LPIPS: its weights are not at hand; put {weights.LPIPS.filename} into a folder that ${weights.VARIABLE} names, "
    "or give --weights"
)


@dataclass(frozen=True)
class Measured:
    """One pastiche's figures.

    Attributes:
        values: by name of `MEASURES`, in its order.
        missing: why each of the others is not there, one line each.
    """

    values: dict[str, float]
    missing: dict[str, str]


class Gauge:
    """Measures pastiches of one content and style: what they share is prepared once.

    Args:
        content: (1, 3, H, W), sRGB, 0..1, at the pastiches' size.
        style: (1, 3, h, w), at the size at which it is looked at beside them; None where there is no single one.
        network: what `heldout`, `self_similarity` and `cfsd` look through.
        optimised: layers that any term of any of the pastiches looked at; `heldout` takes others.
        lpips: where its weights are at hand, see `find_lpips`.

    Raises:
        ValueError: not pictures of these shapes.
    """

    def __init__(
        self,
        content: torch.Tensor,
        style: torch.Tensor | None,
        *,
        network: Network,
        optimised: Sequence[str] = (),
        lpips: Lpips | None = None,
    ) -> None:
        for picture in (content,) if style is None else (content, style):
            check_picture(picture, "quality", 1)
        self.content, self._style = content, style
        self.network, self.optimised, self.lpips = network, tuple(optimised), lpips

    def __call__(self, pastiche: torch.Tensor) -> Measured:
        """Measures (1, 3, H, W), sRGB, 0..1; what cannot be measured is left out with the reason.

        Raises:
            UnderpaintError: it has another size than the content.
        """
        check_pair(pastiche, self.content, "quality", 1)
        found: dict[str, float] = {}
        missing: dict[str, str] = {}
        for name, compute in self._each(pastiche).items():
            try:
                value = compute()
                found |= value if isinstance(value, dict) else {name: value}
            except UnderpaintError as error:
                missing |= dict.fromkeys(_parts(name), str(error))
        return Measured({name: found[name] for name in MEASURES if name in found}, missing)

    def _each(self, x: torch.Tensor) -> dict[str, Callable[[], float | dict[str, float]]]:
        content, network = self.content, self.network
        return {
            HEADLINE: lambda: self._heldout(x),
            "patches": lambda: self._patches(x),
            "colour": lambda: colour_distance(x, self.style),
            "palette": lambda: palette(x, self.style),
            "strokes": lambda: strokes(x, self.style),
            "lpips": lambda: self._lpips(x),
            "ssim": lambda: ssim(x, content),
            "ms_ssim": lambda: multiscale_ssim(x, content),
            "edges": lambda: edges(x, content),
            "self_similarity": lambda: self_similarity(x, content, network),
            "cfsd": lambda: cfsd(x, content, network),
            "weave": lambda: weave(x),
        }

    @property
    def style(self) -> torch.Tensor:
        """The style picture.

        Raises:
            UnderpaintError: there is no single one.
        """
        if self._style is None:
            raise UnderpaintError("style: no single style picture to compare with")
        return self._style

    @cached_property
    def _heldout(self) -> StyleJudge:
        return StyleJudge(self.network, self.content, self.style, self._layers)

    @property
    def _layers(self) -> dict[str, tuple[str, ...]]:
        return self.network.anatomy.held_out(self.optimised, self.network.layers)

    @cached_property
    def _patches(self) -> PatchJudge:
        if torch.equal(self.content, self.style):
            raise UnderpaintError("patches: content and style are one picture, and its distance to itself divides nothing")
        return PatchJudge(self.content, self.style)

    def _lpips(self, x: torch.Tensor) -> float:
        if self.lpips is None:
            raise UnderpaintError(NO_LPIPS)
        return self.lpips(x, self.content)


def _parts(name: str) -> list[str]:
    """`heldout` is several figures."""
    return [HEADLINE, *(f"{HEADLINE}_{depth}" for depth in DEPTHS)] if name == HEADLINE else [name]


def measure(
    pastiche: torch.Tensor,
    content: torch.Tensor,
    style: torch.Tensor,
    *,
    network: Network,
    optimised: Sequence[str] = (),
    lpips: Lpips | None = None,
) -> Measured:
    """All measures of one pastiche (1, 3, H, W); see `Gauge`, which measures several.

    Raises:
        UnderpaintError: pastiche and content differ in size.
    """
    return Gauge(content, style, network=network, optimised=optimised, lpips=lpips)(pastiche)
