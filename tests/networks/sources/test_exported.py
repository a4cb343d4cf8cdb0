"""A program of torch.export is read as data: its numbers are the module's, and nothing in the file is run."""

import io
import json
import pickle
import zipfile

import pytest
import torch
from torch import nn

import underpaint
from tests.helpers import refused
from underpaint.networks import registry
from underpaint.networks.sources.program import Program
from underpaint.recipe import make

HOW = {"mean": [127.0, 120.0, 110.0], "std": [64.0, 60.0, 58.0]}


class Block(nn.Module):
    def __init__(self, taken, given, stride):
        super().__init__()
        self.conv = nn.Conv2d(taken, given, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(given)
        self.act = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(given, given, 3, 1, 1)
        self.shortcut = nn.Conv2d(taken, given, 1, stride)

    def forward(self, x):
        return self.second(self.act(self.norm(self.conv(x)))) + self.shortcut(x)


class Net(nn.Module):
    """A small residual pyramid, strides 2 to 16."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU6())
        shape = [(6, 6, 1), (6, 6, 1), (6, 8, 2), (8, 8, 1), (8, 10, 2), (10, 10, 1), (10, 12, 2), (12, 12, 1)]
        self.blocks = nn.Sequential(*(Block(*each) for each in shape))
        for norm in (m for m in self.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.running_mean.uniform_(-0.2, 0.2)
            norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        return self.blocks(self.stem(x))


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    net = Net()
    return net, underpaint.register(net, tmp_path_factory.mktemp("net") / "mine.pt2", told="Mine", licence="MIT", **HOW)


def test_its_numbers_are_the_modules(registered):
    net, name = registered
    opened = registry.open_network(name, registry.anatomy(name).names, enlarge=1)
    for height, width in ((48, 64), (45, 37)):
        image = torch.rand(1, 3, height, width)
        shown = (image * 255 - torch.tensor(HOW["mean"])[:, None, None]) / torch.tensor(HOW["std"])[:, None, None]
        found = opened.network.features(image, ["stem", "blocks.1", "blocks.4"])
        expected = {"stem": net.stem(shown)}
        expected["blocks.1"] = net.blocks[:2](expected["stem"])
        expected["blocks.4"] = net.blocks[:5](expected["stem"])
        for layer, features in expected.items():
            assert torch.allclose(found[layer], features, atol=1e-5), layer


def test_it_is_described_by_its_graph(registered):
    _, name = registered
    anatomy = registry.anatomy(name)
    assert anatomy.told == "Mine"
    assert list(anatomy.style_layers) == ["pixels", "blocks.1", "blocks.3", "blocks.5", "blocks.7"]
    assert registry.specification(name).licence == "MIT"


def test_it_paints_and_has_the_gradient_of_autograd(registered, pair):
    net, name = registered
    network = registry.open_network(name, ["blocks.3"], enlarge=1).network
    image = torch.rand(1, 3, 40, 40)
    tape = network.tape(image, ["blocks.3"])
    gradient = tape.pullback({"blocks.3": lambda g: g.fill_(1.0)})
    leaf = image.clone().requires_grad_()
    shown = (leaf * 255 - torch.tensor(HOW["mean"])[:, None, None]) / torch.tensor(HOW["std"])[:, None, None]
    net.blocks[:4](net.stem(shown)).sum().backward()
    assert torch.allclose(gradient, leaf.grad, rtol=1e-3, atol=1e-4)
    run = underpaint.stylize(*pair, network=name, size=48, iterations=(3,))
    totals = [row.weighted for row in run.history if row.term == "total"]
    assert totals[-1] < totals[0]


def test_shuffling_a_layer_changes_it_and_what_comes_after(registered):
    _, name = registered
    network = registry.open_network(name, registry.anatomy(name).names).network
    image = torch.rand(1, 3, 32, 32)
    before = network.features(image, ["blocks.1", "blocks.3"])
    within = [layer for layer in network.layers if layer.startswith("blocks.3")]
    after = network.shuffled(within).features(image, ["blocks.1", "blocks.3"])
    assert torch.equal(before["blocks.1"], after["blocks.1"])
    assert not torch.allclose(before["blocks.3"], after["blocks.3"])


def rewritten(name, tmp_path, change):
    """A copy whose parts `change` sees as {inner path: bytes}; its TOML beside it."""
    with zipfile.ZipFile(name) as archive:
        parts = {each: archive.read(each) for each in archive.namelist()}
    change(parts)
    path = tmp_path / "other.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        for each, data in parts.items():
            archive.writestr(each, data)
    path.with_suffix(".toml").write_text("[preprocess]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n")
    return path


def part(parts, ending):
    return next(each for each in parts if each.endswith(ending))


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_sample_inputs_are_never_unpickled(registered, tmp_path):
    marker = tmp_path / "was run"

    def arm(parts):
        buffer = io.BytesIO()
        torch.save(Bomb(marker), buffer)
        parts[part(parts, "sample_inputs/model.pt")] = buffer.getvalue()

    path = rewritten(registered[1], tmp_path, arm)
    assert registry.open_network(str(path), ["blocks.1"]).network.layers
    assert not marker.exists()
    pickle.loads(pickle.dumps(Bomb(marker))).close()  # it would have gone off
    assert marker.exists()


def graph_edit(edit):
    def change(parts):
        name = part(parts, "models/model.json")
        told = json.loads(parts[name])
        edit(told)
        parts[name] = json.dumps(told).encode()

    return change


def first_node(told, word):
    return next(n for n in told["graph_module"]["graph"]["nodes"] if word in n["target"])


BAD = {
    "another operator": (lambda t: first_node(t, "relu").update(target="torch.hub.load"), "not on the list"),
    "a file": (lambda t: first_node(t, "relu").update(target="torch.ops.aten.from_file.default"), "not on the list"),
    "no operator": (lambda t: first_node(t, "relu").update(target="torch.ops.aten.relu.__class__"), "does not have"),
    "a text": (
        lambda t: first_node(t, "relu")["inputs"].append({"name": "x", "arg": {"as_string": "os"}, "kind": 1}),
        "text",
    ),
    "another format": (lambda t: t["schema_version"].update(major=99), "format is 99"),
    "no nodes": (lambda t: t["graph_module"].pop("graph"), "damaged"),
    "one size": (
        lambda t: t["graph_module"]["graph"]["tensor_values"]["x"]["sizes"].__setitem__(2, {"as_int": 224}),
        "dynamic_shapes",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_program_that_is_not_what_it_should_be_is_refused(registered, tmp_path, what):
    edit, words = BAD[what]
    path = rewritten(registered[1], tmp_path, graph_edit(edit))
    refused(lambda: registry.anatomy(str(path)), "other.pt2", words)


def test_pickled_weights_are_refused(registered, tmp_path):
    def pickled(parts):
        name = part(parts, "weights_config.json")
        told = json.loads(parts[name])
        next(iter(told["config"].values()))["use_pickle"] = True
        parts[name] = json.dumps(told).encode()

    refused(lambda: registry.anatomy(str(rewritten(registered[1], tmp_path, pickled))), "pickled")


def test_weights_larger_than_their_bytes_are_refused(registered, tmp_path):
    def cut(parts):
        name = part(parts, "weights/weight_0")
        parts[name] = parts[name][:8]

    refused(lambda: registry.anatomy(str(rewritten(registered[1], tmp_path, cut))), "damaged")


def test_a_file_cut_anywhere_is_one_line(registered, tmp_path):
    from pathlib import Path

    data = Path(registered[1]).read_bytes()
    path = tmp_path / "cut.pt2"
    path.with_suffix(".toml").write_text("[preprocess]\n")
    for length in range(0, len(data), len(data) // 12 or 1):
        path.write_bytes(data[:length])
        refused(lambda: Program(path), "cut.pt2")


def test_training_mode_is_refused(tmp_path):
    dynamic = torch.export.Dim.DYNAMIC
    program = torch.export.export(Net().train(), (torch.rand(2, 3, 64, 48),), dynamic_shapes=({2: dynamic, 3: dynamic},))
    torch.export.save(program, tmp_path / "train.pt2")
    refused(lambda: Program(tmp_path / "train.pt2"), "train.pt2")


TOMLS = {
    "nothing beside it": (None, "preprocess"),
    "no preprocessing": ('told = "x"\n', "preprocess"),
    "no TOML": ("[preprocess", "TOML"),
    "a field that there is not": ("[preprocess]\nscale = 2\n", "preprocess.scale"),
    "a deviation of 0": ("[preprocess]\nstd = [1, 0, 1]\n", "preprocess.std"),
    "a layer that there is not": ('[preprocess]\n[layers]\na = "blocks.1x"\n', "blocks.1"),
    "a field of no recipe": ("[preprocess]\n[recipe]\nenlarging = 2\n", "enlarging"),
}


@pytest.mark.parametrize("what", TOMLS)
def test_what_stands_beside_it_is_checked(registered, tmp_path, what):
    text, words = TOMLS[what]
    path = rewritten(registered[1], tmp_path, lambda parts: None)
    path.with_suffix(".toml").unlink()
    if text is not None:
        path.with_suffix(".toml").write_text(text)
    refused(lambda: make({"network": str(path)}), words)


def test_named_layers_are_those_of_its_toml(registered, tmp_path):
    path = rewritten(registered[1], tmp_path, lambda parts: None)
    layers = "".join(f'{name} = "{where}"\n' for name, where in {
        "first": "stem", "a": "blocks.0", "b": "blocks.1", "c": "blocks.2", "d": "blocks.3", "e": "blocks.4", "f": "blocks.5",
        "g": "blocks.7",
    }.items())  # fmt: skip
    path.with_suffix(".toml").write_text(f"[preprocess]\nmean = [1, 2, 3]\n[layers]\n{layers}[recipe]\nenlarge = 1.5\n")
    anatomy = registry.anatomy(str(path))
    assert anatomy.names == ("pixels", "first", "a", "b", "c", "d", "e", "f", "g")
    assert anatomy.recipe["enlarge"] == 1.5


def test_registering_overwrites_nothing_and_leaves_nothing_behind(tmp_path):
    taken = tmp_path / "mine.pt2"
    taken.write_bytes(b"x")
    refused(lambda: underpaint.register(Net(), taken, **HOW), "mine.pt2")
    assert taken.read_bytes() == b"x"
    refused(lambda: underpaint.register(nn.Conv2d(3, 4, 3), tmp_path / "flat.pt2", **HOW), "no usable layers")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.pt2"]

    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    refused(lambda: underpaint.register(Branching(), tmp_path / "other.pt2", **HOW), "torch.export cannot follow")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.pt2"]
