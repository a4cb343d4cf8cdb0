"""timm, by a stand-in with its `create_model`: torchvision, which it needs, does not run here."""

import sys
import types

import pytest
import torch
from safetensors.torch import save_file

from tests.helpers import refused
from tests.networks.sources.test_exported import Net
from underpaint.networks import registry
from underpaint.networks.sources import timm as source


@pytest.fixture
def stand_in(monkeypatch):
    def create_model(name, pretrained=True, num_classes=1000, global_pool="avg"):
        if name != "smallnet":
            raise RuntimeError(f"Unknown model ({name})")
        assert not pretrained
        assert (num_classes, global_pool) == (0, "")
        model = Net()
        model.pretrained_cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}
        return model

    module = types.ModuleType("timm")
    module.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", module)
    source.source.cache_clear()
    yield
    source.source.cache_clear()


def test_its_layers_and_numbers_are_the_models(stand_in, tmp_path):
    net = Net()
    for parameter in net.parameters():
        parameter.data.mul_(1.1)
    save_file(net.state_dict(), tmp_path / "smallnet.safetensors")
    anatomy = registry.anatomy("timm:smallnet")
    assert list(anatomy.style_layers) == ["pixels", "blocks.1", "blocks.3", "blocks.5", "blocks.7"]
    network = registry.open_network("timm:smallnet", ["blocks.3"], given=tmp_path, enlarge=1).network
    image = torch.rand(1, 3, 40, 48)
    shown = (image - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor([0.2, 0.25, 0.3])[:, None, None]
    expected = net.eval().blocks[:4](net.stem(shown))
    assert torch.allclose(network.features(image, ["blocks.3"])["blocks.3"], expected, atol=1e-5)


def test_what_it_has_not_is_one_line(stand_in, tmp_path):
    refused(lambda: registry.anatomy("timm:nothing"), "timm:nothing", "Unknown model")
    save_file({"a": torch.zeros(1)}, tmp_path / "smallnet.safetensors")
    refused(lambda: registry.open_network("timm:smallnet", ["blocks.3"], given=tmp_path), "smallnet.safetensors")


def test_without_timm_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    source.source.cache_clear()
    refused(lambda: registry.anatomy("timm:resnet18"), "timm cannot be imported here")
