"""The explicit chain against autograd, and what the issue promises of odd sizes."""

import pytest
import torch
import torch.nn.functional as F

from tests.conftest import random_tensors
from underpaint.errors import UnderpaintError
from underpaint.networks import chain, vgg
from underpaint.networks.vgg import Vgg


def literal(tensors, image, layers, pooling):
    """VGG-19 as it is usually written: autograd, BGR 0..255, the mean subtracted, replicated first border."""
    x = image.flip(1) * 255 - torch.tensor(chain.MEAN_RGB[::-1], dtype=image.dtype).view(1, 3, 1, 1)
    found = {}
    for layer in vgg.layer_names("vgg19"):
        if layer.endswith("_1") and layer != "relu1_1":
            if pooling == "max":
                x = F.max_pool2d(x, 2, ceil_mode=True)
            else:
                x = F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False) * vgg.AVERAGE_POOL_GAIN[int(layer[4]) - 2]
        if layer == "relu1_1":
            x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        key = vgg.keras_name(layer)
        padding = 0 if layer == "relu1_1" else 1
        x = F.relu(F.conv2d(x, tensors[key + ".weight"], tensors[key + ".bias"], padding=padding))
        if layer in layers:
            found[layer] = x
    return found


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("size", [(48, 32), (37, 51)])
def test_features_and_pullback_equal_autograd(pooling, size):
    tensors = random_tensors(dtype=torch.float64)
    layers = ["relu1_1", "relu2_2", "relu3_1", "relu5_1"]
    network = Vgg("vgg19", tensors, "relu5_1", pooling, precision=torch.float64)
    image = torch.rand(1, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    tape = network.tape(image, layers)
    leaf = image.clone().requires_grad_()
    expected = literal(tensors, leaf, layers, pooling)
    cotangents = {layer: torch.randn_like(f) for layer, f in expected.items()}
    (gradient,) = torch.autograd.grad(sum((expected[k] * cotangents[k]).sum() for k in layers), leaf)
    for layer in layers:
        assert torch.allclose(tape.features[layer], expected[layer], atol=1e-12)
        assert torch.equal(network.features(image, layers)[layer], tape.features[layer])
    seeds = {layer: (lambda g, c=c: g.add_(c)) for layer, c in cotangents.items()}
    for _ in range(2):  # a tape is not used up
        assert torch.allclose(tape.pullback(seeds), gradient, atol=1e-12)


def test_gradient_reaches_every_pixel(weights_folder):
    from underpaint.networks.registry import open_network

    network = open_network("vgg19", ["relu5_1"], given=weights_folder).network
    image = torch.rand(1, 3, 250, 187, generator=torch.Generator().manual_seed(0))
    tape = network.tape(image, ["relu5_1"])
    g = tape.pullback({"relu5_1": lambda g: g.add_(tape.features["relu5_1"])})
    assert g.shape == image.shape
    assert bool((g.abs().amax(1) > 0).all())


def test_unknown_layer_names_the_ones_there():
    network = Vgg("vgg19", random_tensors(), "relu2_1")
    assert network.layers == ("relu1_1", "relu1_2", "relu2_1")
    with pytest.raises(UnderpaintError, match="relu1_1, relu1_2, relu2_1"):
        network.tape(torch.rand(1, 3, 32, 32), ["relu3_1"])
