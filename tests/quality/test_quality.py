"""LPIPS, SSIM and multi-scale SSIM against slow or differently built computations of the same formulas."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from torch import nn

from tests.helpers import noisy, refused, sample, smooth
from underpaint import quality
from underpaint.networks import registry, weights
from underpaint.quality import Lpips, find_lpips, load_lpips, multiscale_ssim, ssim

NAME = "lpips_squeeze.safetensors"


def random_lpips(seed=0):
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in quality.lpips_shapes().items():
        if name.startswith("linear"):
            tensors[name] = torch.rand(shape, generator=generator)
        else:
            tensors[name] = torch.randn(shape, generator=generator) * (2 / math.prod(shape[1:])) ** 0.5
    return tensors


@pytest.fixture
def lpips_file(weights_folder):
    if not (weights_folder / NAME).is_file():
        pytest.skip(f"needs {NAME} in the folder of weights")
    return weights_folder / NAME


@pytest.fixture
def empty_machine(tmp_path, monkeypatch):
    """No variable, and a cache folder without a file."""
    monkeypatch.delenv(weights.VARIABLE, raising=False)
    monkeypatch.setattr(weights, "cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


class Module(nn.Module):
    """torchvision.models.squeezenet.Fire."""

    def __init__(self, inputs, squeeze, expand):
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)


def pool():
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def reference(tensors, a, b):
    """As lpips 0.1 has it: torchvision's squeezenet1_1().features cut into seven slices, pictures in -1..1, float64."""
    features = nn.Sequential(
        nn.Conv2d(3, 64, 3, 2), nn.ReLU(),
        pool(), Module(64, 16, 64), Module(128, 16, 64),
        pool(), Module(128, 32, 128), Module(256, 32, 128),
        pool(), Module(256, 48, 192), Module(384, 48, 192), Module(384, 64, 256), Module(512, 64, 256),
    )  # fmt: skip
    features.load_state_dict({k.removeprefix("backbone."): v for k, v in tensors.items() if k.startswith("backbone.")})
    features.double()
    slices = [features[start:stop] for start, stop in [(0, 2), (2, 5), (5, 8), (8, 10), (10, 11), (11, 12), (12, 13)]]
    shift = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64)[None, :, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64)[None, :, None, None]
    x, y = (((picture.double() * 2 - 1) - shift) / scale for picture in (a, b))
    total = 0.0
    with torch.no_grad():
        for place, part in enumerate(slices):
            x, y = part(x), part(y)
            unit_x, unit_y = (f / (f.pow(2).sum(1, keepdim=True).sqrt() + 1e-10) for f in (x, y))
            head = tensors[f"linear.lin{place}.model.1.weight"].double()
            total += (head * (unit_x - unit_y) ** 2).sum(1).mean().item()
    return total


def test_lpips_equals_the_published_form(lpips_file):
    tensors = load_file(lpips_file)
    lpips = load_lpips(lpips_file)
    dunes, gale = sample("dunes.jpg", (123, 90)), sample("gale.jpg", (123, 90))
    for a, b in [(dunes, gale), (dunes, noisy(dunes, 0.1)), (smooth(67, 90, 0), smooth(67, 90, 1))]:
        expected = reference(tensors, a, b)
        assert expected > 0.05
        assert lpips(a, b) == pytest.approx(expected, abs=1e-5)


def test_lpips_orders_pictures(lpips_file):
    lpips, picture = load_lpips(lpips_file), sample("dunes.jpg", (96, 80))
    distances = [lpips(picture, noisy(picture, amount)) for amount in (0, 0.02, 0.05, 0.1, 0.2)]
    assert distances[0] == 0
    assert distances == sorted(set(distances))


@pytest.mark.parametrize(("height", "width"), [(17, 17), (18, 40), (64, 33), (65, 50)])
def test_lpips_of_any_weights_and_size(height, width):
    tensors = random_lpips()
    lpips, a, b = Lpips(tensors), smooth(height, width, 0), smooth(height, width, 1)
    assert lpips(a, b) == pytest.approx(reference(tensors, a, b), rel=1e-4)
    assert lpips(a, b) == lpips(b, a)
    assert lpips(a, a.clone()) == 0


def test_lpips_of_black_is_finite():
    tensors = {name: torch.zeros(shape) for name, shape in quality.lpips_shapes().items()}
    assert Lpips(tensors)(smooth(32, 32, 0), torch.zeros(1, 3, 32, 32)) == 0


def test_find_lpips_nowhere(empty_machine, tmp_path):
    assert find_lpips() is None
    assert find_lpips(tmp_path) is None
    (tmp_path / "vgg19.safetensors").touch()
    assert find_lpips(tmp_path / "vgg19.safetensors") is None
    refused(lambda: find_lpips(tmp_path / "gone"), "gone", NAME)


def test_find_lpips_order(empty_machine, tmp_path, monkeypatch):
    """Each place's weights give another number."""
    folders = {"cache": empty_machine, "environment": tmp_path / "environment", "given": tmp_path / "given"}
    a, b = smooth(20, 20, 0), smooth(20, 20, 1)
    expected = {}
    for seed, (place, folder) in enumerate(folders.items()):
        folder.mkdir(exist_ok=True)
        tensors = random_lpips(seed)
        save_file(tensors, folder / NAME)
        expected[place] = Lpips(tensors)(a, b)
    assert len(set(expected.values())) == 3
    assert find_lpips()(a, b) == expected["cache"]
    monkeypatch.setenv(weights.VARIABLE, str(folders["environment"]))
    assert find_lpips()(a, b) == expected["environment"]
    assert find_lpips(tmp_path)(a, b) == expected["environment"]
    assert find_lpips(folders["given"])(a, b) == expected["given"]
    assert find_lpips(folders["given"] / NAME)(a, b) == expected["given"]


def test_damaged_lpips_is_refused(empty_machine):
    path, tensors = empty_machine / NAME, random_lpips()
    head = "linear.lin6.model.1.weight"
    save_file(tensors, path)
    whole = path.read_bytes()
    for content in (b"", b"hello, this is text", whole[:100_000]):
        path.write_bytes(content)
        refused(find_lpips, NAME, "damaged")
    for changed, word in [
        ({head: torch.ones(1, 3, 1, 1)}, "shape"),
        ({head: torch.full((1, 512, 1, 1), math.nan)}, "finite"),
    ]:
        save_file(tensors | changed, path)
        refused(find_lpips, NAME, word, head)
    save_file({name: tensor for name, tensor in tensors.items() if name != head}, path)
    refused(find_lpips, NAME, head)


def test_lpips_is_no_style_network():
    assert not any("lpips" in name for name in registry.NETWORKS)


def slow_ssim(a, b):
    """Wang et al. 2004, eqs. 13-16, a window at a time."""
    side = range(-5, 6)
    window = [[math.exp(-(i * i + j * j) / (2 * 1.5**2)) for j in side] for i in side]
    total = sum(map(sum, window))
    height, width = a.shape[2:]
    values = []
    for channel in range(3):
        for y in range(5, height - 5):
            for x in range(5, width - 5):
                sums = dict.fromkeys(("a", "b", "aa", "bb", "ab"), 0.0)
                for i in side:
                    for j in side:
                        w = window[i + 5][j + 5] / total
                        p, q = a[0, channel, y + i, x + j].item(), b[0, channel, y + i, x + j].item()
                        for key, value in {"a": p, "b": q, "aa": p * p, "bb": q * q, "ab": p * q}.items():
                            sums[key] += w * value
                means = sums["a"] ** 2 + sums["b"] ** 2
                covariance = sums["ab"] - sums["a"] * sums["b"]
                variances = sums["aa"] + sums["bb"] - means
                top = (2 * sums["a"] * sums["b"] + 0.01**2) * (2 * covariance + 0.03**2)
                values.append(top / ((means + 0.01**2) * (variances + 0.03**2)))
    return sum(values) / len(values)


@pytest.mark.parametrize(("height", "width"), [(11, 11), (13, 12)])
def test_ssim_equals_the_formula(height, width):
    a = smooth(height, width, 0)
    for b in (noisy(a, 0.1), smooth(height, width, 1), 1 - a):
        assert ssim(a, b) == pytest.approx(slow_ssim(a, b), abs=1e-9)
        assert ssim(a, b) == pytest.approx(ssim(b, a), abs=1e-12)
        assert -1 <= ssim(a, b) < 1
    assert ssim(a, a.clone()) == pytest.approx(1, abs=1e-12)


def test_ssim_orders_pictures():
    picture = sample("dunes.jpg", (96, 80))
    values = [ssim(picture, noisy(picture, amount)) for amount in (0.2, 0.1, 0.05, 0.02, 0)]
    assert values == sorted(set(values))


def whole_and_structure(x, y):
    """One channel's SSIM by scikit-image, and its contrast and structure with SciPy's Gaussian windows, float64."""
    whole = structural_similarity(x, y, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    blurred = lambda z: gaussian_filter(z, 1.5, truncate=3.5)[5:-5, 5:-5]  # noqa: E731
    variances = blurred(x * x) - blurred(x) ** 2 + blurred(y * y) - blurred(y) ** 2
    covariance = blurred(x * y) - blurred(x) * blurred(y)
    return whole, ((2 * covariance + 0.03**2) / (variances + 0.03**2)).mean()


def halved(x):
    if x.shape[0] % 2:
        x = np.concatenate([x, x[-1:]])
    if x.shape[1] % 2:
        x = np.concatenate([x, x[:, -1:]], axis=1)
    return (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4


def reference_multiscale(a, b):
    """Wang et al. 2003, eq. 7, a channel and a scale at a time."""
    values = []
    for x, y in zip(a[0].double().numpy(), b[0].double().numpy(), strict=True):
        value = 1.0
        for weight in (0.0448, 0.2856, 0.3001, 0.2363, None):
            whole, structure = whole_and_structure(x, y)
            value *= max(whole, 0) ** 0.1333 if weight is None else max(structure, 0) ** weight
            x, y = halved(x), halved(y)
        values.append(value)
    return np.mean(values)


@pytest.mark.parametrize(("height", "width"), [(161, 181), (176, 200)])
def test_multiscale_ssim_equals_the_formula(height, width):
    a = sample("dunes.jpg", (width, height))
    for b in (noisy(a, 0.1), sample("gale.jpg", (width, height)), a.flip(3)):
        value = multiscale_ssim(a, b)
        assert value == pytest.approx(reference_multiscale(a, b), abs=1e-9)
        assert value == pytest.approx(multiscale_ssim(b, a), abs=1e-12)
        assert 0 <= value < 0.95
    assert multiscale_ssim(a, a.clone()) == pytest.approx(1, abs=1e-12)
    # A negative structure has no power: it counts as none at all.
    assert multiscale_ssim(a, 1 - a) == 0


def test_multiscale_ssim_of_constant_pictures():
    """Their structure is the same; the luminance of the last scale is left."""
    a, b = torch.full((1, 3, 161, 161), 0.25), torch.full((1, 3, 161, 161), 0.75)
    luminance = (2 * 0.25 * 0.75 + 0.01**2) / (0.25**2 + 0.75**2 + 0.01**2)
    assert multiscale_ssim(a, b) == pytest.approx(luminance**0.1333, rel=1e-9)


def test_multiscale_ssim_orders_pictures():
    picture = sample("dunes.jpg", (200, 170))
    values = [multiscale_ssim(picture, noisy(picture, amount)) for amount in (0.2, 0.1, 0.05, 0.02, 0)]
    assert values == sorted(set(values))


def test_pictures_that_cannot_be_compared():
    lpips = Lpips(random_lpips())
    refused(lambda: ssim(smooth(10, 30, 0), smooth(10, 30, 1)), "SSIM", "30×10", "11 px")
    refused(lambda: multiscale_ssim(smooth(160, 200, 0), smooth(160, 200, 1)), "MS-SSIM", "200×160", "161 px")
    refused(lambda: lpips(smooth(30, 16, 0), smooth(30, 16, 1)), "LPIPS", "16×30", "17 px")
    for measure in (ssim, multiscale_ssim, lpips):
        refused(lambda measure=measure: measure(smooth(20, 30, 0), smooth(30, 20, 1)), "30×20", "20×30", "resize")
        with pytest.raises(ValueError, match="one RGB picture"):
            measure(torch.zeros(1, 1, 20, 20), torch.zeros(1, 1, 20, 20))
