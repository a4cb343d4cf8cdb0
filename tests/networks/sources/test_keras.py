"""Keras Applications through its own code: numbers, weights, descriptions, and models that are not opened."""

import json
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import underpaint
from tests.helpers import keras_weights, refused
from underpaint.errors import UnderpaintError
from underpaint.networks import registry
from underpaint.networks.sources import graph, keras_graph
from underpaint.networks.sources import keras as source

try:
    keras = source.library()
except UnderpaintError as missing:
    pytest.skip(str(missing), allow_module_level=True)

FAMILIES = (
    "VGG16",
    "MobileNet-0.25",
    "MobileNetV2-0.35",
    "MobileNetV3Small",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "ResNet50",
    "ResNet50V2",
    "DenseNet121",
    "InceptionV3",
    "Xception",
    "ConvNeXtTiny",
)


def saved(model, path):
    """A model's weights as safetensors with Keras' names."""
    tensors = {}
    for layer in model.layers:
        for variable in layer.weights:
            tensors[f"{layer.name}/{variable.name}"] = variable.value.detach().contiguous()
    save_file(tensors, path)
    return path


def randomised(model, seed=0):
    """Norms that do something: those of a new model leave everything as it is."""
    generator = torch.Generator().manual_seed(seed)
    for variable in model.variables:
        shape = tuple(variable.shape)
        if variable.name in ("moving_variance", "gamma"):
            variable.assign(0.5 + torch.rand(shape, generator=generator))
        elif variable.name in ("moving_mean", "beta", "bias"):
            variable.assign(0.1 * torch.randn(shape, generator=generator))
    return model


def plain(entry, weights):
    """The model as Keras' users build it, channels last, with these weights."""
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_last")
    try:
        function = getattr(keras.applications, entry.function)
        model = function(weights=None, include_top=False, input_shape=(80, 96, 3), **entry.arguments)
    finally:
        keras.config.set_image_data_format(before)
    model.set_weights(weights)
    return model


@pytest.mark.parametrize("name", FAMILIES)
def test_feature_maps_are_those_of_keras_own_predict(name, tmp_path):
    keras.utils.set_random_seed(0)
    entry = source.table()[name]
    model = randomised(source.build(entry))
    anatomy = source.anatomy(name)
    wanted = [*anatomy.style_layers, *anatomy.content_layers]
    wanted = [layer for layer in dict.fromkeys(wanted) if layer != "pixels"]
    places = {tap[0]: place for tap, place in zip(entry.taps, entry.places, strict=True)}
    network = source_network(model, {layer: places[layer] for layer in wanted}, entry, anatomy)
    image = torch.rand(1, 3, 80, 96, generator=torch.Generator().manual_seed(1))
    found = network.features(image, wanted)
    theirs = plain(entry, model.get_weights())
    outputs = [theirs.operations[places[layer]].output for layer in wanted]
    module = getattr(keras.applications, entry.preprocessing)
    shown = module.preprocess_input(np.ascontiguousarray(image.permute(0, 2, 3, 1).numpy()) * 255)
    expected = keras.Model(theirs.inputs, outputs).predict(shown, verbose=0)
    for layer, one in zip(wanted, expected, strict=True):
        ours = found[layer].permute(0, 2, 3, 1).numpy()
        assert ours.shape == one.shape, layer
        assert np.abs(ours - one).max() <= 1e-5 * max(np.abs(one).max(), 1), layer


def source_network(model, places, entry, anatomy):
    from underpaint.networks.sources.keras_network import KerasNetwork

    return KerasNetwork(model, places, source._preprocess(entry), anatomy, torch.device("cpu"), torch.float32)


def test_every_model_is_described_without_keras_and_can_be_judged():
    assert {"ResNet50", "EfficientNetV2S", "ConvNeXtBase", "Xception"} <= source.table().keys()
    for name, entry in source.table().items():
        anatomy = source.anatomy(name)
        assert len(anatomy.style_layers) >= 4, name
        assert {anatomy.depth(layer) for layer in anatomy.style_layers} == {"shallow", "middle", "deep"}, name
        assert anatomy.held_out([*anatomy.style_layers, *anatomy.content_layers]).keys() == {"shallow", "middle", "deep"}
        assert entry.weights["url"].startswith("https://storage.googleapis.com/")
        assert len(entry.weights["checksum"] or "0" * 32) in (32, 64)


@pytest.mark.parametrize("name", ["MobileNet-0.25", "MobileNetV3Small", "ConvNeXtTiny"])
def test_the_table_is_what_building_the_model_gives(name):
    keras.utils.clear_session()
    entry = source.table()[name]
    model = source.build(entry)
    taps = graph.taps(keras_graph.nodes(model))
    assert [[t.name, t.stride, t.channels, t.ends] for t in taps.values()] == [list(tap) for tap in entry.taps]
    assert list(taps) == list(entry.places)


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    """The smallest one's random weights, where they are looked for."""
    folder = tmp_path_factory.mktemp("weights")
    model = keras_weights(folder, "MobileNet-0.25")
    return model, folder


def test_it_paints_with_keras_own_file(mobilenet, pair):
    model, folder = mobilenet
    run = underpaint.stylize(*pair, network="keras:MobileNet-0.25", weights=folder, size=48, iterations=(3,))
    totals = [row.weighted for row in run.history if row.term == "total"]
    assert totals[-1] < totals[0]
    opened = registry.open_network("keras:mobilenet-0.25", ["conv_pw_3_relu"], given=folder)
    kernel = opened.network._network._network._model.get_layer("conv_pw_3").kernel.value
    assert torch.equal(kernel, model.get_layer("conv_pw_3").kernel.value)


def test_weights_by_keras_names_are_taken_too(mobilenet, tmp_path):
    model, folder = mobilenet
    path = saved(model, tmp_path / "own.safetensors")
    image = torch.rand(1, 3, 32, 32)
    a, b = (
        registry.open_network("keras:MobileNet-0.25", ["conv_pw_3_relu"], given=given).network.features(
            image, ["conv_pw_3_relu"]
        )["conv_pw_3_relu"]
        for given in (folder, path)
    )
    assert torch.equal(a, b)


def test_the_gradient_is_that_of_autograd(mobilenet):
    """Keras' model and its preprocessing, written out: a MobileNet takes values from -1 to 1."""
    model, folder = mobilenet
    network = registry.open_network("keras:MobileNet-0.25", ["conv_pw_2_relu"], given=folder, enlarge=1).network
    torch.manual_seed(0)
    image = torch.rand(1, 3, 32, 40)
    tape = network.tape(image, ["conv_pw_2_relu"])
    cotangent = torch.randn_like(tape.features["conv_pw_2_relu"])
    gradient = tape.pullback({"conv_pw_2_relu": lambda g: g.add_(cotangent)})
    leaf = image.clone().requires_grad_()
    features = keras.Model(model.inputs, model.get_layer("conv_pw_2_relu").output)(leaf * 2 - 1, training=False)
    (features * cotangent).sum().backward()
    assert float(leaf.grad.abs().max()) > 0
    assert torch.allclose(gradient, leaf.grad, rtol=1e-3, atol=1e-4 * float(leaf.grad.abs().max()))


def test_shuffling_changes_a_layer_and_not_those_before(mobilenet):
    _, folder = mobilenet
    network = registry.open_network(
        "keras:MobileNet-0.25", registry.anatomy("keras:MobileNet-0.25").names, given=folder
    ).network
    image, layers = torch.rand(1, 3, 32, 32), ["conv_pw_1_relu", "conv_pw_3_relu"]
    before, after = network.features(image, layers), network.shuffled(["conv_pw_3_relu"]).features(image, layers)
    assert torch.equal(before["conv_pw_1_relu"], after["conv_pw_1_relu"])
    assert not torch.equal(before["conv_pw_3_relu"], after["conv_pw_3_relu"])


def test_weights_of_another_network_are_one_line(mobilenet, tmp_path):
    model, folder = mobilenet
    path = saved(model, tmp_path / "own.safetensors")
    layers = ["conv_pw_3_relu"]
    refused(lambda: registry.open_network("keras:MobileNet-0.5", layers, given=path), "own.safetensors", "another network")
    h5 = folder / source.table()["MobileNet-0.25"].weights["filename"]
    refused(lambda: registry.open_network("keras:MobileNet-0.5", layers, given=h5), "not those of")
    odd = tmp_path / "weights.bin"
    odd.write_bytes(b"x")
    refused(lambda: registry.open_network("keras:MobileNet-0.5", layers, given=odd), "neither .h5 nor .safetensors")
    cut = tmp_path / "cut.h5"
    cut.write_bytes(h5.read_bytes()[:2000])
    refused(lambda: registry.open_network("keras:MobileNet-0.25", layers, given=cut), "cut.h5")


def test_names_that_there_are_not():
    refused(lambda: registry.anatomy("keras:ResNet51"), "ResNet50")
    refused(lambda: registry.anatomy("keras:NASNetMobile"), "NASNet", "PyTorch backend")
    refused(lambda: registry.anatomy("keras:MobileNet").layer("conv9_relu"), "conv9_relu", "conv_pw_1_relu")


def own_model(extra=None):
    """A small model that begins with its own preprocessing."""
    layers = keras.layers
    image = x = layers.Input((None, None, 3))
    x = layers.Rescaling(1 / 255)(x)
    for place, (filters, strides) in enumerate([(4, 2), (4, 1), (6, 2), (6, 1), (8, 2), (8, 1), (8, 1), (8, 2), (8, 1)]):
        x = layers.Conv2D(filters, 3, strides, "same", activation="relu", name=f"c{place}")(x)
    if extra is not None:
        x = extra(x)
    return keras.Model(image, x)


@pytest.mark.parametrize("kind", [".keras", ".h5"])
def test_a_model_of_ones_own_paints(tmp_path, pair, kind):
    path = tmp_path / f"mine{kind}"
    model = own_model()
    model.save(path)
    anatomy = registry.anatomy(str(path))
    assert list(anatomy.style_layers) == ["pixels", "c1", "c3", "c6", "c8"]
    network = registry.open_network(str(path), ["c3"], enlarge=1).network
    image = torch.rand(1, 3, 32, 40)
    expected = keras.Model(model.inputs, model.get_layer("c3").output).predict(
        image.permute(0, 2, 3, 1).numpy() * 255, verbose=0
    )
    assert np.allclose(network.features(image, ["c3"])["c3"].permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)
    run = underpaint.stylize(*pair, network=str(path), size=48, iterations=(2,))
    assert run.pastiche.shape == (36, 48, 3)


def test_a_model_that_does_not_say_how_pictures_go_in_needs_a_toml(tmp_path):
    model = own_model()
    inner = keras.Model(model.layers[1].output, model.output)
    path = tmp_path / "bare.keras"
    inner.save(path)
    refused(lambda: registry.anatomy(str(path)), "bare.toml", "preprocess")
    (tmp_path / "bare.toml").write_text("[preprocess]\nmean = [0, 0, 0]\n")
    assert registry.anatomy(str(path)).style_layers


@pytest.mark.parametrize("kind", [".keras", ".h5"])
def test_lambda_layers_and_what_is_not_keras_own_are_not_opened(tmp_path, kind):
    path = tmp_path / f"code{kind}"
    own_model(keras.layers.Lambda(lambda x: x)).save(path)
    refused(lambda: registry.anatomy(str(path)), f"code{kind}", "Lambda")

    @keras.saving.register_keras_serializable("mine")
    class Odd(keras.layers.Layer):
        def call(self, x):
            return x

    other = tmp_path / f"odd{kind}"
    own_model(Odd()).save(other)
    refused(lambda: registry.anatomy(str(other)), f"odd{kind}", "Odd")


def test_damaged_models_are_one_line(tmp_path):
    path = tmp_path / "mine.keras"
    own_model().save(path)
    data = path.read_bytes()
    for length in (0, 10, len(data) // 2):
        (tmp_path / "cut.keras").write_bytes(data[:length])
        refused(lambda: registry.anatomy(str(tmp_path / "cut.keras")), "cut.keras")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    told = json.loads(parts["config.json"])
    told["module"] = "os"
    with zipfile.ZipFile(tmp_path / "os.keras", "w") as archive:
        for name, part in (parts | {"config.json": json.dumps(told).encode()}).items():
            archive.writestr(name, part)
    refused(lambda: registry.anatomy(str(tmp_path / "os.keras")), "os.keras", "code")
    refused(lambda: registry.anatomy(str(tmp_path / "none.h5")), "none.h5", "no such file")


def test_keras_own_setting_is_as_it_was(mobilenet):
    before = keras.config.image_data_format()
    source.build(source.table()["MobileNet-0.25"])
    assert keras.config.image_data_format() == before
