"""Weights: where they are looked for, how they arrive, and what is refused. A real server on localhost."""

import hashlib
import http.server
import pickle
import threading

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import random_tensors
from tests.helpers import refused
from underpaint.networks import own, registry, vgg, weights
from underpaint.networks.specification import WeightsFile
from underpaint.networks.weights import Located

BODY = bytes(range(256)) * 1000


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/missing.h5":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[: len(BODY) // 2] if self.path == "/cut.h5" else BODY)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def published(url, md5=None):
    return WeightsFile("net", "net.h5", url, md5 or hashlib.md5(BODY).hexdigest(), 1, ("net.safetensors",))


def test_download_arrives_whole_and_is_then_found(server, tmp_path):
    told, seen = [], []
    file, cache = published(f"{server}/net.h5"), tmp_path / "cache"
    arguments = {"cache": cache, "environ": {}, "announce": told.append, "progress": lambda *n: seen.append(n)}
    assert weights.locate(file, **arguments) == Located(cache / "net.h5", "download")
    assert (cache / "net.h5").read_bytes() == BODY
    assert "127.0.0.1" in told[0]
    assert seen[-1] == (len(BODY), len(BODY))
    assert weights.locate(file, **arguments) == Located(cache / "net.h5", "cache")
    assert len(told) == 1


@pytest.mark.parametrize(
    ("path", "md5", "word"),
    [("/net.h5", "0" * 32, "damaged"), ("/cut.h5", None, "cut"), ("/missing.h5", None, "404")],
)
def test_failed_download_leaves_nothing(server, tmp_path, path, md5, word):
    refused(lambda: weights.fetch(published(server + path, md5), tmp_path), word, server + path, "UNDERPAINT_WEIGHTS")
    assert list(tmp_path.iterdir()) == []


def test_failed_download_keeps_the_older_file(server, tmp_path):
    (tmp_path / "net.h5").write_bytes(b"older")
    refused(lambda: weights.fetch(published(f"{server}/cut.h5"), tmp_path), "cut")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("net.h5", b"older")]


def test_no_server(tmp_path):
    refused(lambda: weights.fetch(published("http://127.0.0.1:9/net.h5"), tmp_path), "refused")


def test_full_disk(server, tmp_path, monkeypatch):
    # A real full device: everything that is written to /dev/full fails with ENOSPC.
    import os
    import tempfile

    def open_full(prefix, dir):
        handle, name = os.open("/dev/full", os.O_WRONLY), os.path.join(dir, prefix)
        open(name, "wb").close()
        return handle, name

    monkeypatch.setattr(tempfile, "mkstemp", open_full)
    refused(lambda: weights.fetch(published(f"{server}/net.h5"), tmp_path), str(tmp_path), "No space left")
    assert list(tmp_path.iterdir()) == []


def test_cache_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    refused(lambda: weights.fetch(published(f"{server}/net.h5"), tmp_path / "file/cache"), "cannot be written")


def test_read_only_cache_folder(server, tmp_path, monkeypatch):
    import os

    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):  # root may write anywhere, so the system's answer is given for it
        import tempfile

        def denied(**_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(tempfile, "mkstemp", denied)
    refused(lambda: weights.fetch(published(f"{server}/net.h5"), folder), "Permission denied", str(folder))
    folder.chmod(0o700)
    assert list(folder.iterdir()) == []


def test_order_of_the_places(tmp_path):
    file = published("http://127.0.0.1:9/")
    given, environment, cache = (tmp_path / name for name in ("given", "environment", "cache"))
    environ = {weights.VARIABLE: str(environment)}
    for folder in (cache, environment, given):
        folder.mkdir()

    def found(path=None):
        return weights.find(file, path, cache, environ)

    assert found() is None
    (cache / "net.h5").touch()
    assert found() == Located(cache / "net.h5", "cache")
    (environment / "net.safetensors").touch()
    assert found() == Located(environment / "net.safetensors", "environment")
    refused(lambda: found(given), "holds none", "net.h5")
    (given / "net.h5").touch()
    assert found(given) == Located(given / "net.h5", "given")
    assert found(environment / "net.safetensors") == Located(environment / "net.safetensors", "given")
    refused(lambda: found(tmp_path / "nowhere"), "nowhere")
    refused(lambda: weights.find(file, None, cache, {weights.VARIABLE: str(tmp_path / "gone")}), "gone", weights.VARIABLE)


def write_keras(path, name, tensors, nested):
    """The layout that Keras Applications publishes: a group a layer, with `layer/layer/kernel:0` or `layer/layer_W_1:0`."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"input_1"]
        file.create_group("input_1")
        for layer in vgg.layer_names(name):
            key = vgg.keras_name(layer)
            group = file.create_group(key)
            inner = group.create_group(key) if nested else group
            names = ("kernel:0", "bias:0") if nested else (f"{key}_W_1:0", f"{key}_b_1:0")
            inner[names[0]] = tensors[key + ".weight"].permute(2, 3, 1, 0).numpy()
            inner[names[1]] = tensors[key + ".bias"].numpy()


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
@pytest.mark.parametrize("nested", [False, True])
def test_keras_hdf5_is_the_same_network_as_safetensors(tmp_path, name, nested):
    tensors = random_tensors(name)
    write_keras(tmp_path / "net.h5", name, tensors, nested)
    save_file(tensors, tmp_path / "net.safetensors")
    deepest = vgg.layer_names(name)[-1]
    image = torch.rand(1, 3, 40, 33, generator=torch.Generator().manual_seed(0))
    features = []
    for file in ("net.h5", "net.safetensors"):
        opened = registry.open_network(name, [deepest], given=tmp_path / file)
        assert opened.sha256 == hashlib.sha256((tmp_path / file).read_bytes()).hexdigest()
        features.append(opened.network.features(image, [deepest])[deepest])
    assert torch.equal(*features)
    assert features[0].shape == (1, 4, 3, 3)


def test_refused_files(tmp_path):
    tensors = random_tensors()
    layers = ["block1_conv1", "block1_conv2"]

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    with (tmp_path / "net.pth").open("wb") as file:
        pickle.dump(Evil(), file)
    torch.save(tensors, tmp_path / "zip.pth")
    (tmp_path / "text.h5").write_text("hello, this is text")
    save_file(tensors, tmp_path / "good.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "good.safetensors").read_bytes()[:2000])
    write_keras(tmp_path / "good.h5", "vgg19", tensors, True)
    (tmp_path / "cut.h5").write_bytes((tmp_path / "good.h5").read_bytes()[:3000])
    save_file(tensors | {"block1_conv2.weight": torch.zeros(4, 5, 3, 3)}, tmp_path / "shape.safetensors")
    save_file(tensors | {"block1_conv2.bias": torch.full((4,), np.nan)}, tmp_path / "nan.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name, word in {
        "net.pth": "pickle", "zip.pth": "pickle", "text.h5": "neither", "cut.safetensors": "damaged", "cut.h5": "damaged",
        "shape.safetensors": "shapes", "nan.safetensors": "finite", "other.safetensors": "block1_conv1", "none.h5": "No such",
    }.items():  # fmt: skip
        refused(lambda name=name: weights.load(tmp_path / name, layers), name, word)
    assert not (tmp_path / "executed").exists()


def test_addresses_are_those_of_keras():
    """Names, hashes and addresses as keras.applications publishes them (keras/src/applications/vgg19.py, vgg16.py)."""
    assert own.VGG19.file.checksum == "253f8cb515780f3b799900260a226db6"
    assert own.VGG16.file.checksum == "6d6bbae143d832006294945121d1f1fc"
    for file in (own.VGG19.file, own.VGG16.file):
        assert file.url == (
            f"https://storage.googleapis.com/tensorflow/keras-applications/{file.network}/"
            f"{file.network}_weights_tf_dim_ordering_tf_kernels_notop.h5"
        )
        assert file.url.endswith(file.filename)
