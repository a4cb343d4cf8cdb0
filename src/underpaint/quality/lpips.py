"""LPIPS: how alike two pictures are to a network whose weights were fitted to people's judgements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F

from underpaint.errors import UnderpaintError
from underpaint.networks import weights
from underpaint.quality.pair import check_pair


class Fire(NamedTuple):
    """A module of SqueezeNet: 1×1 to `squeeze` channels, then 1×1 and 3×3 side by side to `expand` channels each."""

    inputs: int
    squeeze: int
    expand: int
    pooled: bool
    """Whether a max pooling comes before it."""
    tapped: bool
    """Whether LPIPS looks at what it gives."""


STEM = 64
"""Channels of the first convolution, which LPIPS looks at too."""

# By torchvision's index in `squeezenet1_1().features`; the taps are those of lpips.pretrained_networks.squeezenet.
FIRES = {
    3: Fire(64, 16, 64, True, False),
    4: Fire(128, 16, 64, False, True),
    6: Fire(128, 32, 128, True, False),
    7: Fire(256, 32, 128, False, True),
    9: Fire(256, 48, 192, True, True),
    10: Fire(384, 48, 192, False, True),
    11: Fire(384, 64, 256, False, True),
    12: Fire(512, 64, 256, False, True),
}

LPIPS_MIN_SIDE = 17
"""Pixels: below it nothing is left to pool."""


def lpips_shapes() -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of `lpips_squeeze.safetensors`, by name."""
    shapes: dict[str, tuple[int, ...]] = {"backbone.0.weight": (STEM, 3, 3, 3), "backbone.0.bias": (STEM,)}
    for index, fire in FIRES.items():
        parts = {
            "squeeze": (fire.squeeze, fire.inputs, 1, 1),
            "expand1x1": (fire.expand, fire.squeeze, 1, 1),
            "expand3x3": (fire.expand, fire.squeeze, 3, 3),
        }
        for part, shape in parts.items():
            shapes[f"backbone.{index}.{part}.weight"] = shape
            shapes[f"backbone.{index}.{part}.bias"] = shape[:1]
    for place, channels in enumerate([STEM, *(2 * fire.expand for fire in FIRES.values() if fire.tapped)]):
        shapes[_head(place)] = (1, channels, 1, 1)
    return shapes


def _head(place: int) -> str:
    return f"linear.lin{place}.model.1.weight"


class Lpips:
    """LPIPS v0.1, SqueezeNet form: how far apart two pictures are to a network that was fitted to people's judgements.

        d(a, b) = Σ_l mean_p Σ_c w_lc (â_lpc − b̂_lpc)²,    â_lp = a_lp / (‖a_lp‖ + 1e-10)

    over seven layers l of SqueezeNet 1.1, positions p and channels c, w ≥ 0. A distance: 0 is identical, lower is more
    alike; no fixed top, seldom above 1. Symmetric.

    Source: Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
    arXiv:1801.03924, eq. 1, with the published code's weights and epsilon. The weights were fitted to patches of
    64×64 px: pictures of different sizes compare only roughly. Any change of texture counts, the wanted one too: a pastiche
    that is nearer to its style is as a rule further away.

    Args:
        tensors: as `lpips_shapes` lists them, float32; `load_lpips` reads and checks them.
        device: where it computes.
    """

    # lpips.ScalingLayer: ImageNet's means and standard deviations for inputs in -1..1.
    SHIFT = (-0.030, -0.088, -0.188)
    SCALE = (0.458, 0.448, 0.450)

    def __init__(self, tensors: Mapping[str, torch.Tensor], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._tensors = {name: tensors[name].to(self.device, torch.float32) for name in lpips_shapes()}
        self._shift = torch.tensor(self.SHIFT, device=self.device)[:, None, None]
        self._scale = torch.tensor(self.SCALE, device=self.device)[:, None, None]

    @torch.no_grad()
    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> float:
        """The distance, ≥ 0, of two RGB pictures (1, 3, H, W) in 0..1, each side at least 17 px.

        Raises:
            UnderpaintError: the pictures differ in size or are too small.
        """
        check_pair(a, b, "LPIPS", LPIPS_MIN_SIDE)
        distance = torch.zeros((), device=self.device)
        for place, (x, y) in enumerate(zip(self._maps(a), self._maps(b), strict=True)):
            distance += F.conv2d((_unit(x) - _unit(y)).square(), self._tensors[_head(place)]).mean()
        return distance.item()

    def _maps(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        """The tapped feature maps one by one, so that only two pictures' current layers are held."""
        # Contiguous: another order in memory is another order of sums, and equal pictures would differ by 1e-13.
        x = (x.to(self.device, torch.float32).contiguous() * 2 - 1 - self._shift) / self._scale
        x = self._convolve(x, "0", stride=2)
        yield x
        for index, fire in FIRES.items():
            if fire.pooled:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            x = self._convolve(x, f"{index}.squeeze")
            sides = self._convolve(x, f"{index}.expand1x1"), self._convolve(x, f"{index}.expand3x3", padding=1)
            x = torch.cat(sides, 1)
            if fire.tapped:
                yield x

    def _convolve(self, x: torch.Tensor, name: str, stride: int = 1, padding: int = 0) -> torch.Tensor:
        weight, bias = (self._tensors[f"backbone.{name}.{part}"] for part in ("weight", "bias"))
        return F.conv2d(x, weight, bias, stride, padding).relu_()


def _unit(x: torch.Tensor) -> torch.Tensor:
    """Each position's features at length 1."""
    return x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)


def load_lpips(path: Path, device: torch.device | str = "cpu") -> Lpips:
    """LPIPS from its file.

    Raises:
        UnderpaintError: not safetensors, damaged, a tensor missing or of a wrong shape, values that are not finite.
    """
    shapes = lpips_shapes()
    tensors = weights.read_tensors(path, list(shapes))
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise UnderpaintError(f"weights {path}: {name} has shape {tuple(tensors[name].shape)}, not {shape}")
        if not bool(tensors[name].isfinite().all()):
            raise UnderpaintError(f"weights {path}: {name} holds values that are not finite; fetch the file again")
    return Lpips(tensors, device)


def find_lpips(given: Path | None = None, device: torch.device | str = "cpu") -> Lpips | None:
    """LPIPS if `lpips_squeeze.safetensors` is available, else None. Contacts no host.

    Args:
        given: the file or a folder, looked at first; then `$UNDERPAINT_WEIGHTS` and the cache, as for the networks. A
            file of another name, or a folder without it, is the style network's and no error.
        device: where it will compute.

    Raises:
        UnderpaintError: the file is damaged; `given` or the environment's folder does not exist.
    """
    name = weights.LPIPS.filename
    if given is not None and given.exists() and given.name != name and not (given / name).is_file():
        given = None
    place = weights.find(weights.LPIPS, given)
    return None if place is None else load_lpips(place.path, device)
