"""All measures of a pastiche at once, against its content, its style and nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch

from underpaint.errors import UnderpaintError
from underpaint.extensions import Registry
from underpaint.networks import weights
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
        of: the figure of a pastiche; raises an `UnderpaintError` where it has none.
    """

    what: str
    against: Literal["content", "style", "itself"]
    better: Literal["lower", "higher", "near 1"]
    low: float
    high: float | None
    of: Callable[[Beside], float]

    def facts(self) -> dict[str, Any]:
        """What it says of itself, for JSON."""
        return {name: value for name, value in vars(self).items() if name != "of"}


NO_LPIPS = (
    f"LPIPS: its weights are not available; put {weights.LPIPS.filename} into a folder that ${weights.VARIABLE} names, "
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


class Measures:
    """Measures pastiches of one content and style: what they share is prepared once.

    Args:
        content: (1, 3, H, W), sRGB, 0..1, at the pastiches' size.
        style: (1, 3, h, w), at the size at which it is looked at beside them; None where there is no single one.
        network: what `heldout`, `self_similarity` and `cfsd` look through.
        optimised: layers that any term of any of the pastiches looked at; `heldout` takes others.
        lpips: where its weights are available, see `find_lpips`.

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
        beside = Beside(pastiche, self)
        values: dict[str, float] = {}
        missing: dict[str, str] = {}
        for name, each in MEASURES.items():
            try:
                values[name] = each.of(beside)
            except UnderpaintError as error:
                missing[name] = str(error)
        return Measured(values, missing)

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
    def heldout(self) -> StyleJudge:
        """The judge by layers that no term looked at."""
        return StyleJudge(self.network, self.content, self.style, self._layers)

    @property
    def _layers(self) -> dict[str, tuple[str, ...]]:
        return self.network.anatomy.held_out(self.optimised, self.network.layers)

    @cached_property
    def patches(self) -> PatchJudge:
        """The judge without a network.

        Raises:
            UnderpaintError: content and style are one picture.
        """
        if torch.equal(self.content, self.style):
            raise UnderpaintError("patches: content and style are one picture, and its distance to itself divides nothing")
        return PatchJudge(self.content, self.style)


class Beside:
    """One pastiche beside its content and style, for a measure's function.

    Attributes:
        image: the pastiche, (1, 3, H, W), sRGB, 0..1.
        shared: what all pastiches of this content and style are measured by.
    """

    def __init__(self, image: torch.Tensor, shared: Measures) -> None:
        self.image, self.shared = image, shared

    @property
    def content(self) -> torch.Tensor:
        """(1, 3, H, W)."""
        return self.shared.content

    @property
    def style(self) -> torch.Tensor:
        """(1, 3, h, w). See `Measures.style`."""
        return self.shared.style

    @property
    def network(self) -> Network:
        """What is looked through."""
        return self.shared.network

    @cached_property
    def heldout(self) -> dict[str, float]:
        """The style on held-out layers, all together and by depth."""
        return self.shared.heldout(self.image)

    @property
    def lpips(self) -> float:
        """From the content.

        Raises:
            UnderpaintError: its weights are not available.
        """
        if self.shared.lpips is None:
            raise UnderpaintError(NO_LPIPS)
        return self.shared.lpips(self.image, self.content)


MEASURES: Registry[Measure] = Registry(
    "measure",
    {
        "heldout": Measure(
            "style on held-out layers of all depths; 1 is the content",
            "style",
            "lower",
            0,
            None,
            lambda x: x.heldout[HEADLINE],
        ),
        "heldout_shallow": Measure(
            "fine texture and colour: held-out layers of blocks 1 and 2",
            "style",
            "lower",
            0,
            None,
            lambda x: x.heldout["heldout_shallow"],
        ),
        "heldout_middle": Measure(
            "strokes: held-out layer of block 3", "style", "lower", 0, None, lambda x: x.heldout["heldout_middle"]
        ),
        "heldout_deep": Measure(
            "forms and arrangements: held-out layers of blocks 4 and 5",
            "style",
            "lower",
            0,
            None,
            lambda x: x.heldout["heldout_deep"],
        ),
        "patches": Measure(
            "colour and texture, without any network; 1 is the content",
            "style",
            "lower",
            0,
            None,
            lambda x: x.shared.patches(x.image),
        ),
        "colour": Measure(
            "colours, wherever they are, in ΔE", "style", "lower", 0, None, lambda x: colour_distance(x.image, x.style)
        ),
        "palette": Measure(
            "alien colours: over 1, some that the style lacks",
            "style",
            "near 1",
            0,
            None,
            lambda x: palette(x.image, x.style),
        ),
        "strokes": Measure(
            "clear strokes: under 1 mushy, over 1 more combed than the style",
            "style",
            "near 1",
            0,
            None,
            lambda x: strokes(x.image, x.style),
        ),
        "lpips": Measure(
            "perceptual distance",
            "content",
            "lower",
            0,
            None,
            lambda x: x.lpips,
        ),
        "ssim": Measure(
            "structural similarity, in windows of 11 px", "content", "higher", -1, 1, lambda x: ssim(x.image, x.content)
        ),
        "ms_ssim": Measure(
            "structural similarity at five sizes", "content", "higher", 0, 1, lambda x: multiscale_ssim(x.image, x.content)
        ),
        "edges": Measure(
            "edges in their places",
            "content",
            "higher",
            -1,
            1,
            lambda x: edges(x.image, x.content),
        ),
        "self_similarity": Measure(
            "which places are alike, by cosine distances",
            "content",
            "lower",
            0,
            2,
            lambda x: self_similarity(x.image, x.content, x.network),
        ),
        "cfsd": Measure(
            "which places are alike, by correlations",
            "content",
            "lower",
            0,
            None,
            lambda x: cfsd(x.image, x.content, x.network),
        ),
        "weave": Measure(
            "a grid like canvas: over 1, fine detail runs upright and level",
            "itself",
            "near 1",
            0,
            4,
            lambda x: weave(x.image),
        ),
    },
)
"""All measures by name, in the order of a table, and those of other packages; docs/quality.md has the formulas."""


def measure(
    pastiche: torch.Tensor,
    content: torch.Tensor,
    style: torch.Tensor,
    *,
    network: Network,
    optimised: Sequence[str] = (),
    lpips: Lpips | None = None,
) -> Measured:
    """All measures of one pastiche (1, 3, H, W); see `Measures`, which measures several.

    Raises:
        UnderpaintError: pastiche and content differ in size.
    """
    return Measures(content, style, network=network, optimised=optimised, lpips=lpips)(pastiche)
