"""What each layer likes to see: pictures of its most involved channels, so that a layer's name means something to a reader.

Involved are those that the painting excites more than the photograph does (`networks.likes`). Pictures are kept in the user's
cache folder, by the network's weights, layer and channel: the next explanation through the same network finds most of them
there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from underpaint.errors import UnderpaintError
from underpaint.explanation.shapley.players import stem
from underpaint.imaging import images
from underpaint.networks import likes
from underpaint.networks.anatomy import PIXELS
from underpaint.networks.base import Network
from underpaint.networks.weights import cache_folder

FOLDER = "likes"
CHANNELS = 4
"""How many of a layer's channels are shown."""


@torch.no_grad()
def draw(
    folder: Path, network: Network, weights: str, layers: Sequence[str], style: torch.Tensor, content: torch.Tensor
) -> dict[str, list[int]]:
    """Writes likes/LAYER.png, a row of pictures, of every layer that has channels to ask.

    Args:
        folder: of the explanation.
        network: the painter.
        weights: the hash of its weights.
        style, content: (1, 3, H, W), 0..1.

    Returns:
        By layer, whose pictures these are, in their order.
    """
    (folder / FOLDER).mkdir(exist_ok=True)
    found: dict[str, list[int]] = {}
    for layer in layers:
        if layer == PIXELS.name:  # its channels are pixels, which like themselves
            continue
        painting, photograph = (network.features(picture, [layer])[layer] for picture in (style, content))
        channels = likes.involved(painting, photograph, CHANNELS)
        row = _pictures(network, weights, layer, channels)
        images.write(folder / FOLDER / f"{stem(layer)}.png", np.concatenate(row, 1))
        found[layer] = channels
    return found


def _pictures(network: Network, weights: str, layer: str, channels: Sequence[int]) -> list[np.ndarray]:
    """(side, side, 3) each, from the cache or made now."""
    home = cache_folder() / FOLDER / weights[:16]
    paths = [home / f"{stem(layer)}-{channel}-{likes.SIDE}-{likes.STEPS}.png" for channel in channels]
    known = [_kept(path) for path in paths]
    missing = [place for place, picture in enumerate(known) if picture is None]
    if missing:
        made = likes.likes(network, layer, [channels[place] for place in missing])
        for place, picture in zip(missing, made.permute(0, 2, 3, 1).numpy(), strict=True):
            known[place] = rounded = np.rint(picture * 255) / 255  # as a file has it
            with contextlib.suppress(OSError, UnderpaintError):  # a cache that cannot be written is made anew
                home.mkdir(parents=True, exist_ok=True)
                images.write(paths[place], rounded)
    return [picture for picture in known if picture is not None]


def _kept(path: Path) -> np.ndarray | None:
    """A picture of the cache; None where there is none, or it is damaged."""
    if not path.exists():
        return None
    try:
        rgb = images.read(path, min_side=1).rgb
    except (OSError, UnderpaintError):
        return None
    return rgb if rgb.shape == (likes.SIDE, likes.SIDE, 3) else None
