"""Real weights where they are, and a tiny VGG where they are not needed."""

import importlib.util
import os

# Before PyTorch starts: tests run one a core (`-n`), and two threads on tiny pictures are slower than one. They wait asleep:
# spinning threads of one process starve the next.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

import underpaint
from underpaint.networks import precision, vgg
from underpaint.networks.weights import CACHE_VARIABLE

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
WEIGHTS = SHARED / "weights"


def random_tensors(name="vgg19", width=4, seed=0, dtype=torch.float32):
    """Weights of the right shape, `width` channels everywhere."""
    generator = torch.Generator().manual_seed(seed)
    tensors, channels = {}, 3
    for layer in vgg.layer_names(name):
        key = vgg.keras_name(layer)
        scale = (2 / (9 * channels)) ** 0.5
        if channels == 3:
            scale /= 100
        weight = torch.randn(width, channels, 3, 3, generator=generator, dtype=torch.float64) * scale
        tensors[key + ".weight"] = weight.to(dtype)
        tensors[key + ".bias"] = (torch.rand(width, generator=generator, dtype=torch.float64) * 0.1).to(dtype)
        channels = width
    return tensors


@pytest.fixture(scope="session", autouse=True)
def settled_machine(tmp_path_factory):
    """Tests paint alike on every machine, and so do the commands that they start: `auto` precision is known to be float32
    here, and `auto` threads are those of this process. What trials find goes into a cache folder of the tests' own."""
    cache = tmp_path_factory.mktemp("cache")
    place, slow = torch.device("cpu"), precision.Times(float32=1.0, bf16=1.0)
    counts = range(1, 1 + max(torch.get_num_threads(), os.cpu_count() or 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(cache))
        patch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
        precision._remember({precision._key(place, threads): slow for threads in counts})
        yield


@pytest.fixture
def weights_folder():
    """The folder of real weights: $UNDERPAINT_WEIGHTS or ../shared/weights."""
    folder = Path(os.environ.get("UNDERPAINT_WEIGHTS", WEIGHTS))
    if not (folder / "vgg19_imagenet_conv.safetensors").is_file():
        pytest.skip("needs ../shared/weights/vgg19_imagenet_conv.safetensors")
    return folder


@pytest.fixture(scope="session")
def yardstick():
    """The project's judge, ../shared/tools/judge.py, as a module: a second implementation."""
    path = SHARED / "tools/judge.py"
    if not path.is_file():
        pytest.skip("needs ../shared/tools/judge.py")
    spec = importlib.util.spec_from_file_location("judge", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def reference_pictures():
    """Pastiches of one pair in ../shared/data/reference, and the pair's style."""
    style, folder = SHARED / "data/pairs/style/starry_night.jpg", SHARED / "data/reference"
    pictures = sorted(folder.glob("tubingen_starry_night_*.png"))
    if not pictures or not style.is_file():
        pytest.skip("needs ../shared/data/reference")
    return pictures, style


def write_tiny_weights(folder):
    """A safetensors file of a tiny VGG-19, for runs that take a second."""
    from safetensors.torch import save_file

    path = folder / "tiny.safetensors"
    save_file(random_tensors(), path)
    return path


def write_pair(folder):
    """Two small pictures."""
    generator = np.random.default_rng(0)
    for name in ("content", "style"):
        small = generator.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(small).resize((128, 96), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    return folder / "content.png", folder / "style.png"


@pytest.fixture
def tiny_weights(tmp_path):
    return write_tiny_weights(tmp_path)


@pytest.fixture
def pair(tmp_path):
    return write_pair(tmp_path)


@pytest.fixture(scope="session")
def compact_explained(tmp_path_factory):
    """A small explanation by the compact network, its page beside it. It is settled: everything is said of it. The first
    worker that needs it makes it; the others wait and read it."""
    shared = os.environ.get("PYTEST_XDIST_WORKER") is not None
    folder = tmp_path_factory.getbasetemp().parent if shared else tmp_path_factory.mktemp("report")
    with FileLock(folder / "report.lock"):
        if (folder / "why/report.html").exists():
            return underpaint.Explanation.load(folder / "why")
        return explained_by_compact(folder)


def explained_by_compact(folder):
    from underpaint import samples
    from underpaint.report import page

    content = np.asarray(Image.fromarray(samples.photograph("astronaut")).resize((128, 96)))
    y, x = np.mgrid[:96, :128]
    waves = np.sin(x / 4 + y / 6)
    style = np.stack([127 + 100 * waves, 127 + 60 * waves + 30 * np.sin(x / 9 - y / 5), 60 - 40 * waves], -1).astype(np.uint8)
    found = underpaint.explain(content, style, out=folder / "why", size=64, iterations=(12,))
    assert found.state == "settled"
    page.build(found.folder)
    return found


@pytest.fixture(scope="module")
def chromium():
    """A real browser."""
    from tests.browser import launch, playwright

    with playwright.sync_playwright() as engine:
        browser = launch(engine)
        yield browser
        browser.close()
