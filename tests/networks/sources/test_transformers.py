"""Vision transformers through the transformers library: tokens are its own hidden states, and lie where their patches do."""

import json
from dataclasses import replace

import pytest
import torch

import underpaint
from tests.helpers import refused
from underpaint.networks import registry
from underpaint.networks.sources import transformers as source
from underpaint.networks.sources.transformer_network import opened
from underpaint.networks.specification import Opening

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 24, "num_hidden_layers": 6, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 64}
KINDS = {
    "vit": (transformers.ViTConfig, transformers.ViTModel, 1),
    "dinov2": (transformers.Dinov2Config, transformers.Dinov2Model, 1),
    "dinov2_with_registers": (transformers.Dinov2WithRegistersConfig, transformers.Dinov2WithRegistersModel, 5),
    "clip_vision_model": (transformers.CLIPVisionConfig, transformers.CLIPVisionModel, 1),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A small model of each kind, with random weights, as the library saves it."""
    found = {}
    for kind, (config, model, _) in KINDS.items():
        torch.manual_seed(1)
        folder = tmp_path_factory.mktemp(kind)
        made = model(config(**SMALL, patch_size=16))
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.normal_(std=0.2)
        made.save_pretrained(folder)
        found[kind] = folder
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(64, 64), (48, 96)])
def test_tokens_are_the_librarys_hidden_states(folders, kind, size):
    """With patches side by side, as the library has them."""
    folder = folders[kind]
    shape = replace(source._shape(json.loads((folder / "config.json").read_text()), folder), step=16)
    told, layers = source.describe("x", "x", shape), ("patches", "block1", "block4", "block4.keys", "block4.similarity")
    opening = Opening("x", layers, "max", torch.device("cpu"), torch.float32)
    network = opened(told, shape, source._preprocess(folder, shape), opening, folder / "model.safetensors")
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(2))
    found = network.features(image, list(layers))
    model = KINDS[kind][1].from_pretrained(folder).eval()
    mean, std = (torch.tensor(each)[:, None, None] for each in source.MEANS[kind])
    extra = {} if "dinov2" in kind else {"interpolate_pos_encoding": True}
    with torch.no_grad():
        states = model((image - mean) / std, output_hidden_states=True, **extra).hidden_states
    rows, columns = size[0] // 16, size[1] // 16
    for number in (1, 4):
        tokens = states[number][:, KINDS[kind][2] :].transpose(1, 2).reshape(1, 24, rows, columns)
        assert torch.allclose(found[f"block{number}"], tokens, rtol=1e-5, atol=1e-5 * float(tokens.abs().max()))
    assert found["patches"].shape == (1, 24, rows, columns)
    keys = found["block4.keys"].flatten(2)[0].T
    unit = keys / keys.norm(dim=1, keepdim=True)
    literal = (unit @ unit.T).T.reshape(1, rows * columns, rows, columns)
    assert torch.allclose(found["block4.similarity"], literal, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_paints_by_overlapping_patches(folders, kind, pair):
    name = f"hf:{folders[kind]}"
    anatomy = registry.anatomy(name)
    network = registry.open_network(name, anatomy.names, enlarge=1).network
    found = network.features(torch.rand(1, 3, 50, 61), ["block2"])
    assert found["block2"].shape == (1, 24, 6, 7)  # 56 × 64 px: whole patches, each 8 px from the last
    run = underpaint.stylize(*pair, network=name, size=48, iterations=(2,), smallest=48)
    assert run.pastiche.shape == (36, 48, 3)


def test_the_gradient_is_right(folders):
    network = registry.open_network(f"hf:{folders['vit']}", ["block2"], enlarge=1).network
    torch.manual_seed(0)
    image, direction = torch.rand(1, 3, 32, 40), torch.randn(1, 3, 32, 40)
    tape = network.tape(image, ["block2"])
    cotangent = torch.randn_like(tape.features["block2"])
    gradient = tape.pullback({"block2": lambda g: g.add_(cotangent)})

    def value(x):
        return float((network.features(x, ["block2"])["block2"].double() * cotangent).sum())

    slope = (value(image + 1e-3 * direction) - value(image - 1e-3 * direction)) / 2e-3
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=2e-2)


def test_two_of_five_style_layers_are_shallow_one_is_middle_two_are_deep(folders):
    anatomy = registry.anatomy(f"hf:{folders['vit']}")
    assert list(anatomy.style_layers) == ["pixels", "block1", "block2", "block3", "block4"]
    assert [anatomy.depth(layer) for layer in anatomy.style_layers] == ["shallow"] * 2 + ["middle"] + ["deep"] * 2
    judges = anatomy.held_out([*anatomy.style_layers, *anatomy.content_layers])
    assert judges == {"shallow": ("patches",), "middle": ("block2.keys",), "deep": ("block5",)}
    large = source.describe("x", "x", source.Shape("vit", 12, 192, 16, 1, 8))
    assert list(large.style_layers) == ["pixels", "block1", "block3", "block5", "block7"]
    assert large.held_out(large.style_layers) == {"shallow": ("block2",), "middle": ("block4",), "deep": ("block6",)}
    refused(lambda: source.describe("x", "x", source.Shape("vit", 4, 192, 16, 1, 8)), "4 blocks")


def test_similarity_keeps_structure_as_content(folders, pair):
    layers = {"block5.similarity": 1.0}
    session = underpaint.start(*pair, network=f"hf:{folders['vit']}", size=48, content_layers=layers, smallest=48)
    found = {term.name: term.raw for term in session.scene.stage(0).objective.measure(session.scene.stage(0).start)}
    assert found["content/block5.similarity"] == pytest.approx(0, abs=1e-8)


def test_similarity_is_no_style(folders, pair):
    layers = {"block5.similarity": 1.0}
    refused(
        lambda: underpaint.start(*pair, network=f"hf:{folders['vit']}", style_layers=layers), "block5.similarity", "content"
    )


def test_shuffling_a_block_changes_it_and_not_those_before(folders):
    network = registry.open_network(f"hf:{folders['vit']}", registry.anatomy(f"hf:{folders['vit']}").names).network
    image, layers = torch.rand(1, 3, 32, 32), ["block2", "block4"]
    within = [layer for layer in network.layers if layer.startswith("block4")]
    before, after = network.features(image, layers), network.shuffled(within).features(image, layers)
    assert torch.equal(before["block2"], after["block2"])
    assert not torch.allclose(before["block4"], after["block4"])


def test_what_is_no_model_of_a_known_kind_is_one_line(folders, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    name = f"hf:{folder}"
    refused(lambda: registry.anatomy(name), "model", "config.json")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    refused(lambda: registry.anatomy(name), "bert", "vit")
    (folder / "config.json").write_text("{")
    refused(lambda: registry.anatomy(name), "config.json")
    (folder / "config.json").write_text('{"model_type": "vit", "patch_size": "16"}')
    refused(lambda: registry.anatomy(name), "patch_size")
    (folder / "config.json").write_text((folders["vit"] / "config.json").read_text())
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    refused(lambda: registry.anatomy(name), "model.safetensors", "carry code")
    (folder / "model.safetensors").write_bytes((folders["dinov2"] / "model.safetensors").read_bytes())
    refused(lambda: registry.open_network(name, ["block1"]), "model")
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    refused(lambda: registry.open_network(name, ["block1"]), "cannot be loaded")


def test_what_is_not_here_is_not_fetched_unasked(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    refused(lambda: registry.anatomy("hf:nobody/nothing-here"), "not on this machine", "--fetch hf:nobody/nothing-here")
    refused(lambda: registry.anatomy("hf:no body"), "neither a folder nor an ID")
