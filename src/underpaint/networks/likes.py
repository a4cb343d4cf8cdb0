"""What a channel likes to see: a picture made from noise that drives it up (Olah et al. 2017, "Feature Visualization",
Distill).

As there: the picture is a spectrum whose fine frequencies weigh less and whose colours are decorrelated, it is moved by a few
pixels at every step, and a channel's mean over the picture is what grows. Departures: fewer and smaller steps; no rotation
and no scaling.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from underpaint.networks.base import Network

SIDE, STEPS, RATE, JITTER = 96, 32, 0.06, 4

START = 0.3
"""Standard deviation of the spectrum at the start. There: 0.01; from so flat a grey a channel behind a ReLU may be silent
everywhere, and has then no gradient to leave it by."""

COLORS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
"""From decorrelated colours to RGB: the square root of natural pictures' colour covariance, as in the authors' code
(lucid)."""


def likes(network: Network, layer: str, channels: Sequence[int], side: int = SIDE, steps: int = STEPS) -> torch.Tensor:
    """What each channel of a layer likes to see.

    Args:
        network: has the layer.
        channels: whose pictures are made, all at once.
        side: of a picture, pixels.
        steps: of Adam.

    Returns:
        (len(channels), 3, side, side), sRGB, 0..1; the same on every run.
    """
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.fft.fftfreq(side), torch.fft.rfftfreq(side)
    frequency = torch.hypot(rows[:, None], columns[None]).clamp_min(1 / side)
    size = (len(channels), 3, side, side // 2 + 1, 2)
    spectrum = (START * torch.randn(size, generator=generator)).to(network.device)
    scale = (side / frequency / frequency.reciprocal().max()).to(network.device)
    mix = torch.tensor(COLORS, device=network.device)
    with torch.enable_grad():
        spectrum.requires_grad_()
        optimizer = torch.optim.Adam([spectrum], RATE)
        for _ in range(steps):
            down, right = torch.randint(-JITTER, JITTER + 1, (2,), generator=generator).tolist()
            image = torch.roll(_picture(spectrum, scale, mix, side), (down, right), (2, 3))
            tape = network.tape(image.detach(), [layer])
            gradient = tape.pullback({layer: partial(_rising, channels)})
            optimizer.zero_grad()
            torch.autograd.backward(image, gradient)
            optimizer.step()
    return _picture(spectrum.detach(), scale, mix, side).cpu()


def _picture(spectrum: torch.Tensor, scale: torch.Tensor, mix: torch.Tensor, side: int) -> torch.Tensor:
    """(N, 3, side, side), 0..1, of decorrelated spectra (N, 3, side, side // 2 + 1, 2)."""
    plain = torch.fft.irfft2(torch.view_as_complex(spectrum) * scale, s=(side, side), norm="ortho")
    return torch.sigmoid(torch.einsum("rc,nchw->nrhw", mix, plain) * 3)


def _rising(channels: Sequence[int], g: torch.Tensor) -> None:
    """Adds the cotangent of minus each picture's own channel's mean."""
    for place, channel in enumerate(channels):
        g[place, channel] -= 1.0 / g[0, 0].numel()


def involved(style: torch.Tensor, content: torch.Tensor, count: int) -> list[int]:
    """The channels that a painting excites more than a photograph does: by how many of the painting's deviations their means
    differ.

    Args:
        style, content: features (1, C, h, w) of one layer.

    Returns:
        Channels, the most involved first; as many as asked for, or as there are.
    """
    painting, photograph = (f[0].float().flatten(1) for f in (style, content))
    apart = (painting.mean(1) - photograph.mean(1)) / (painting.std(1) + 1e-6 * painting.abs().max() + 1e-12)
    return [int(channel) for channel in apart.argsort(descending=True, stable=True)[:count]]
