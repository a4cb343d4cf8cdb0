"""A network of another package: two convolutions, opened through autograd. See docs/extending.md."""

from pathlib import Path

import torch
from torch import nn

from underpaint.networks.anatomy import Anatomy, Layer
from underpaint.networks.autograd import AutogradNetwork
from underpaint.networks.specification import Specification


def opened(opening, file):
    """The network from its weights' file: here the seed that its weights are drawn from."""
    torch_state = torch.random.get_rng_state()
    torch.manual_seed(int(file.read_text()))
    module = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(12, 16, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(16, 24, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(24, 24, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(24, 32, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(inplace=True),
    )
    torch.random.set_rng_state(torch_state)
    places = {"stem": "1", "stem.b": "3", "block1": "5", "block1.b": "7", "block2": "9", "block2.b": "11"}
    wanted = {layer: places[layer] for layer in opening.layers}
    return AutogradNetwork(module, wanted, lambda x: x * 2 - 1, TINY.anatomy, opening.device, opening.precision)


TINY = Specification(
    Anatomy(
        "tiny",
        "a tiny network",
        (
            Layer("stem", "shallow", 1, 1, 12, "s"),
            Layer("stem.b", "shallow", 1, 1, 16),
            Layer("block1", "middle", 2, 2, 24),
            Layer("block1.b", "middle", 2, 2, 24),
            Layer("block2", "deep", 3, 4, 32),
            Layer("block2.b", "deep", 3, 4, 32),
        ),
        content_layers={"block1": 1.0},
        style_layers={"stem": 2.0, "block1": 1.0, "block2": 0.5},
        judges=(("stem.b",), ("block1.b",), ("block2.b",)),
    ),
    Path(__file__).with_name("example_weights.txt"),
    opened,
)
