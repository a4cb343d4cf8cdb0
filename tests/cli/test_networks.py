"""Networks by the command line: told, fetched from a server on localhost, explained side by side."""

import functools
import http.server
import json
import threading

import pytest

import underpaint
from tests.helpers import refused
from tests.networks.sources.test_exported import HOW, Net
from underpaint.explanation.across import Across
from underpaint.networks import registry


@pytest.fixture
def run(monkeypatch, capsys):
    import sys

    from underpaint import cli

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["underpaint", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return call


def test_a_network_is_told_layer_by_layer(run):
    code, out, _ = run("networks", "keras:resnet50")
    assert code in (0, None)
    assert "conv2_block1_out" in out
    assert "judges deep" in out
    assert "MIT" in out
    code, out, _ = run("networks", "compact", "--json")
    told = json.loads(out)
    assert told["style_layers"]["relu1_1"] == 4.0
    assert {layer["name"]: layer["stride"] for layer in told["layers"]}["relu3_1"] == 4
    code, out, _ = run("networks")
    assert "keras:NAME" in out
    assert "ConvNeXtTiny" in out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("keras:ResNet51", "ResNet50"),
        ("vgg91", "vgg19"),
        ("nothing.pt2", "no such file"),
        ("hf:nobody/nothing", "--fetch"),
    ],
)
def test_what_is_not_known_is_one_line(run, name, words, pair):
    for command in (["networks", name], ["stylize", *pair, "--network", name, "--out", "unused"]):
        code, _, err = run(*command)
        assert code == 2
        assert words in err
        assert err.count("\n") == 1


def test_a_layer_that_there_is_not_has_near_ones_named(pair, tmp_path):
    name = underpaint.register(Net(), tmp_path / "mine.pt2", **HOW)
    refused(lambda: underpaint.start(*pair, network=name, style_layers={"blocks.11": 1.0}), "blocks.11", "blocks.1")


def test_weights_are_fetched_when_asked_for(run, tmp_path, monkeypatch):
    """From a real server: what arrives is kept, and is where painting looks for it."""
    from underpaint.networks.sources import keras as source

    served = tmp_path / "served"
    served.mkdir()
    entry = source.table()["MobileNet-0.25"]
    (served / entry.weights["filename"]).write_bytes(b"as published")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}/{entry.weights['filename']}"
    monkeypatch.setitem(entry.weights, "url", address)
    monkeypatch.setenv("UNDERPAINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    try:
        code, out, err = run("networks", "--fetch", "keras:MobileNet-0.25")
    finally:
        server.shutdown()
        server.server_close()
    assert code in (0, None)
    assert "127.0.0.1" in err
    assert "states no hash" in err
    assert (tmp_path / "cache" / entry.weights["filename"]).read_bytes() == b"as published"
    assert "weights at" in out


def test_keras_own_cache_is_looked_into(tmp_path, monkeypatch):
    from underpaint.networks.sources import keras as source

    monkeypatch.setenv("UNDERPAINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    assert not registry.available("keras:MobileNet-0.25")
    (tmp_path / "keras/models").mkdir(parents=True)
    (tmp_path / "keras/models" / source.table()["MobileNet-0.25"].weights["filename"]).write_bytes(b"x")
    assert registry.available("keras:MobileNet-0.25")


def test_several_networks_stand_on_one_page(run, pair, tmp_path):
    mine = underpaint.register(Net(), tmp_path / "mine.pt2", told="Mine", **HOW)
    recipe = tmp_path / "short.toml"
    recipe.write_text("iterations = [2]\nsize = 48\n")
    out = tmp_path / "why"
    words = ["explain", *pair, "--network", f"compact,{mine}", "--recipe", recipe, "--out", out, "--quiet"]
    code, told, err = run(*words, "--json")
    assert code in (0, None), err
    facts = json.loads(told.splitlines()[-1])
    page = (out / "networks.html").read_text()
    assert str(out / "networks.html") == facts["page"]
    assert len(facts["sentences"]) == 3
    assert "Mine" in page
    folders = sorted(path.parent for path in out.glob("*/validation.json"))
    assert len(folders) == 2
    assert all((folder / "report.html").exists() for folder in folders)
    found = Across.load(out, folders)
    players = {member.name: tuple(member.explanation.players) for member in found.members}
    assert players[mine] == ("pixels", "blocks.1", "blocks.3", "blocks.5", "blocks.7")
    judged = found.members[0].explanation.validation
    assert judged["checks"]["closure"] < 1e-4
    for member in found.members:  # a column for each layer, which add up to the picture
        assert {f"style/{layer}" for layer in member.explanation.players} <= member.explanation.ledger().keys()
        assert member.explanation.validation["checks"]["closure"] < 1e-4
        assert (member.explanation.folder / "likes").is_dir()
    refused(lambda: Across.load(out, folders[:1]), "two or more")


def test_several_networks_have_no_layers_in_common(run, pair, tmp_path):
    words = ["explain", *pair, "--network", "compact,vgg19", "--out", tmp_path / "why"]
    for more in (["--style-layers", "relu1_1,relu3_1"], ["--layer-weight", "relu1_1=0"]):
        code, _, err = run(*words, *more)
        assert code == 2
        assert err.startswith(f"underpaint: {more[0]}: layers have other names")
    assert not (tmp_path / "why").exists()


def test_a_network_named_twice_is_one(run, pair, tmp_path):
    out, recipe = tmp_path / "why", tmp_path / "short.toml"
    recipe.write_text("iterations = [1]\nsize = 48\nstyle_layers = { relu1_1 = 1.0, relu3_1 = 1.0 }\n")
    words = ["--network", "compact,compact,", "--recipe", recipe, "--out", out, "--quiet"]
    code, _, err = run("explain", *pair, *words)
    assert code in (0, None), err
    assert (out / "run.json").exists()


def test_another_network_judges_the_same_paintings(pair, tmp_path):
    mine = underpaint.register(Net(), tmp_path / "mine.pt2", **HOW)
    layers = {"relu1_1": 1.0, "relu3_1": 1.0}
    found = underpaint.explain(
        *pair, out=tmp_path / "why", size=48, iterations=(2,), style_layers=layers, judge=["compact", mine]
    )
    outcomes = found.table.rows[0, 3].outcomes
    assert f"heldout:{mine}" in outcomes
    assert found.game(f"heldout:{mine}").players == ("relu1_1", "relu3_1")
    assert f"shapley:heldout:{mine}" in found.attributions
    assert found.validation["judges_see"][f"heldout:{mine}"].endswith(mine)
    again = underpaint.Explanation.load(found.folder)
    assert again.table.rows.keys() == found.table.rows.keys()
    if found.state == "settled":
        assert found.validation["robust"]["judges"] == ["compact", mine]
    refused(
        lambda: underpaint.explain(
            *pair, out=tmp_path / "why", size=48, iterations=(2,), style_layers=layers, judge="compact,vgg16"
        ),
        "judged by another network",
    )
