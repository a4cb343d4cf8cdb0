"""The network in the package: its chain against autograd, its file, and what it is the default of."""

import json
import socket

import numpy as np
import pytest
import torch
from safetensors import safe_open

import underpaint
from training.student import PLANS, Student
from underpaint.errors import UnderpaintError
from underpaint.networks import compact, registry, weights
from underpaint.networks.compact import LAYERS, Compact
from underpaint.networks.own import COMPACT
from underpaint.networks.vgg import keras_name


def small_tensors(dtype=torch.float64, seed=0):
    """A tiny compact network: other ranks and widths at every layer."""
    generator = torch.Generator().manual_seed(seed)
    tensors, channels = {}, 3
    for place, layer in enumerate(LAYERS):
        name, rank, width = keras_name(layer), 2 + place % 3, 4 + place % 2

        def random(*shape):
            return torch.randn(*shape, generator=generator, dtype=dtype) * (2 / np.prod(shape[1:])) ** 0.5

        if place == 0:
            tensors[f"{name}.weight"] = random(width, channels, 3, 3)
        else:
            if place % 3 == 0:
                tensors[f"{name}.project.weight"] = random(3, channels, 1, 1)
            tensors[f"{name}.reduce.weight"] = random(rank, 3 if place % 3 == 0 else channels, 3, 3)
            tensors[f"{name}.expand.weight"] = random(width, rank, 1, 1)
        tensors[f"{name}.bias"] = torch.rand(width, generator=generator, dtype=dtype) * 0.1
        channels = width
    return tensors


def test_chain_equals_autograd():
    tensors = small_tensors()
    network = Compact(tensors, precision=torch.float64)
    image = torch.rand(1, 3, 37, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    leaf = image.clone().requires_grad_()
    student = Student(tensors, {})
    student._mean = network._mean
    expected = student.features(leaf)
    tape = network.tape(image, LAYERS)
    cotangents = {layer: torch.randn_like(f) for layer, f in expected.items()}
    (gradient,) = torch.autograd.grad(sum((expected[k] * cotangents[k]).sum() for k in LAYERS), leaf)
    for layer in LAYERS:
        assert torch.allclose(tape.features[layer], expected[layer], atol=1e-12)
    seeds = {layer: (lambda g, c=c: g.add_(c)) for layer, c in cotangents.items()}
    assert torch.allclose(tape.pullback(seeds), gradient, atol=1e-12)
    assert [network.anatomy.layer(layer).stride for layer in ("relu1_1", "relu3_4", "relu5_1")] == [1, 4, 16]


def test_file_is_small_and_half_precision_and_says_whose_it_was():
    assert COMPACT.weights.stat().st_size <= 8_000_000
    with safe_open(COMPACT.weights, "pt") as file:
        assert "Visual Geometry Group" in file.metadata()["attribution"]
        for name in file.keys():  # noqa: SIM118
            tensor = file.get_tensor(name)
            assert tensor.dtype == (torch.int16 if name.startswith("channels.") else torch.float16)
            assert bool(torch.isfinite(tensor).all())


def test_feature_maps_are_vggs_own(weights_folder):
    """Residual energy against VGG-19 on a sample photograph, by layer; training/ measures on many others.

    The goals that were set; relu5_1 (0.22) reaches its on the held-out pictures, and not on every single one.
    """
    from underpaint import samples
    from underpaint.imaging import images

    rgb = images.resize(images.read(samples.photograph("chelsea")).rgb, (160, 224))
    image = torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None]
    teacher = registry.open_network("vgg19", LAYERS, given=weights_folder).network.features(image, LAYERS)
    own = registry.open_network("compact", LAYERS).network.features(image, LAYERS)
    limits = {"relu1_1": 0.01, "relu2_1": 0.03, "relu3_1": 0.06, "relu4_1": 0.04, "relu5_1": 0.25}
    with safe_open(COMPACT.weights, "pt") as file:
        for layer in LAYERS:
            goal = teacher[layer][:, file.get_tensor(f"channels.{layer}").long()]
            missed = float((own[layer] - goal).square().sum() / goal.square().sum())
            assert missed < limits.get(layer, 0.25), layer


def test_it_is_the_default_and_needs_nothing(pair, tmp_path, monkeypatch):
    """No weights folder, no cache, no connection."""
    monkeypatch.delenv(weights.VARIABLE, raising=False)
    monkeypatch.setattr(weights, "cache_folder", lambda: tmp_path / "empty")

    def refuse(*_):
        raise AssertionError("a host was contacted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    run = underpaint.stylize(*pair, size=64, iterations=(3,), out=tmp_path / "run", device="cpu")
    facts = json.loads((tmp_path / "run/run.json").read_text())
    assert run.recipe.network == "compact"
    assert [n["name"] for n in facts["networks"]] == ["compact"]
    assert facts["networks"][0]["sha256"] == weights.sha256(COMPACT.weights)
    assert any("--network vgg19" in note for note in facts["notes"])


def test_nothing_falls_back(pair, tmp_path, monkeypatch, tiny_weights):
    monkeypatch.setenv(weights.VARIABLE, str(tmp_path))
    monkeypatch.setattr(weights, "cache_folder", lambda: tmp_path / "empty")
    monkeypatch.setattr(weights, "fetch", lambda *_: (_ for _ in ()).throw(UnderpaintError("no connection")))
    for fields in ({"network": "vgg19"}, {"polish": 3}):
        with pytest.raises(UnderpaintError, match="no connection"):
            underpaint.start(*pair, size=64, out=tmp_path / "run", **fields)
    with pytest.raises(UnderpaintError, match=r"--weights.*--network vgg19"):
        underpaint.start(*pair, size=64, out=tmp_path / "run", weights=tiny_weights)
    with pytest.raises(UnderpaintError, match="polish"):
        underpaint.start(*pair, size=64, out=tmp_path / "run", network="vgg19", polish=3, weights=tiny_weights)
    assert not (tmp_path / "run").exists()


def test_polish_goes_on_with_vgg(pair, tmp_path, tiny_weights):
    """The last steps are VGG-19's, from the very picture that the compact network ended with, and they are resumed."""
    fields = {"size": 91, "smallest": 64, "iterations": (3,), "device": "cpu"}
    plain = underpaint.stylize(*pair, **fields)
    session = underpaint.start(*pair, polish=4, weights=tiny_weights, out=tmp_path / "run", **fields)
    before = None
    for step in session:
        if step.scale == 1 and step.scale_done:
            before = step.image.clone()
        if step.scale == 2 and step.iteration == 1:
            break
    assert np.array_equal(before[0].permute(1, 2, 0).numpy(), plain.pastiche)
    assert [n["name"] for n in session.facts["networks"]] == ["compact", "vgg19"]
    resumed = underpaint.resume(tmp_path / "run").finish()
    whole = underpaint.stylize(*pair, polish=4, weights=tiny_weights, **fields)
    assert np.array_equal(resumed.pastiche, whole.pastiche)
    assert not np.array_equal(whole.pastiche, plain.pastiche)
    assert whole.recipe.schedule() == (3, 3, 4)
    assert {row.scale for row in whole.history} == {0, 1, 2}


def test_a_damaged_file_is_told(tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(COMPACT.weights.read_bytes()[:1000])
    with pytest.raises(UnderpaintError, match=r"broken\.safetensors: damaged"):
        compact.load(tmp_path / "broken.safetensors", LAYERS)


def test_plans_fit_the_package():
    for plan in PLANS.values():
        assert set(plan.widths) == set(LAYERS[1:])
