"""Distance to a style without any network: patches of a Laplacian pyramid."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from underpaint.quality.pair import check_picture
from underpaint.quality.sliced import DRAW, SLICES, ascending, shrunk


class PatchJudge:
    """Sliced Wasserstein distance of patches: no network, and blind to what patches mean.

        P(x) = mean over levels of SW(x, style) / SW(content, style)

    where SW is the sliced Wasserstein distance, squared (see `StyleJudge`), of all 5×5 patches of a level of the Laplacian
    pyramid (three levels at most, the last is the low-passed picture), along 64 fixed random directions. A distance, 0
    upwards: 0 is the style's patches in its shares, lower is nearer; 1 is the content picture; no fixed top. Not symmetric.

    Source: Karras et al. 2018, "Progressive Growing of GANs", section 5. Departures: projections of all patches (a
    convolution with random unit filters), not of a sample of them; squares, as of Heitz et al. 2021, for absolute values;
    colours are not normalised, since they are part of a style; relative to the content picture's.

    Args:
        content, style: (1, 3, H, W) and (1, 3, h, w), 0..1, at the pastiche's size and the style's beside it.

    Raises:
        UnderpaintError: a side is under 5 px, less than a patch.
    """

    SIDE = 5

    def __init__(self, content: torch.Tensor, style: torch.Tensor) -> None:
        for picture in (content, style):
            check_picture(picture, "patches", self.SIDE)
        generator = torch.Generator().manual_seed(DRAW)
        filters = torch.randn(SLICES, 3, self.SIDE, self.SIDE, generator=generator)
        self._filters = (filters / filters.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).to(content.device)
        smallest = min(*content.shape[2:], *style.shape[2:])
        self._levels = sum(smallest >> level >= 2 * self.SIDE for level in range(3))
        self._style = [self._sorted(level) for level in self._pyramid(style)]
        self._whole = [self._distance(*pair) for pair in zip(self._pyramid(content), self._style, strict=True)]

    def _pyramid(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The Laplacian levels, finest first, and last what is left (the low-pass picture)."""
        levels = []
        for _ in range(max(self._levels - 1, 0)):
            small = shrunk(image, 2)
            levels.append(image - F.interpolate(small, image.shape[2:], mode="bicubic", align_corners=False))
            image = small
        return [*levels, image]

    def _sorted(self, level: torch.Tensor) -> torch.Tensor:
        return ascending(F.conv2d(level, self._filters)[0].flatten(1))

    def _distance(self, level: torch.Tensor, goal: torch.Tensor) -> float:
        ours = self._sorted(level)
        if goal.shape[1] != ours.shape[1]:
            goal = F.interpolate(goal[None], size=ours.shape[1], mode="linear", align_corners=True)[0]
        return float((ours - goal).square().mean())

    @torch.no_grad()
    def __call__(self, image: torch.Tensor) -> float:
        """Mean over levels, of (1, 3, H, W): 1 as the content, 0 as the style."""
        pairs = zip(self._pyramid(image), self._style, self._whole, strict=True)
        return sum(self._distance(level, goal) / max(whole, 1e-12) for level, goal, whole in pairs) / len(self._style)
