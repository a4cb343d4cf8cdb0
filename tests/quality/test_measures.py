"""Structure, colours and the gauge: slow loops, closed forms on made-up feature maps, and what must hold of any measure."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import sobel
from scipy.optimize import linear_sum_assignment
from skimage.color import deltaE_cie76, rgb2lab
from torch.nn import functional as F

from tests.conftest import random_tensors
from tests.helpers import noisy, refused, sample, smooth
from underpaint.networks import registry, vgg
from underpaint.quality import (
    MEASURES,
    Lpips,
    Measures,
    StyleJudge,
    cfsd,
    colour_distance,
    edges,
    measure,
    palette,
    sliced,
    strokes,
    weave,
)
from underpaint.quality import lpips_shapes as shapes
from underpaint.quality import self_similarity as similarity
from underpaint.quality.colors import _transport

TINY = vgg.Vgg("vgg19", random_tensors(), "relu5_1")


class Fixed:
    """A network whose feature maps are given: by the picture's first value, (1, C, h, w) for every layer."""

    name, anatomy, layers, device = "fixed", TINY.anatomy, vgg.layer_names("vgg19"), torch.device("cpu")

    def __init__(self, **maps):
        self.maps = {round(float(key[1:]) / 10, 1): value for key, value in maps.items()}

    def features(self, image, layers):
        return dict.fromkeys(layers, self.maps[round(float(image[0, 0, 0, 0]), 1)])


def flat(value, height=32, width=32):
    return torch.full((1, 3, height, width), float(value))


def random(height, width, seed=0):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def blurred(picture, side):
    return picture if side == 1 else F.avg_pool2d(picture, side, 1, side // 2, count_include_pad=False)


@pytest.mark.parametrize("count", [7, 40_000])
def test_rows_are_sorted_alike_on_one_thread_and_on_several(count):
    """The larger case is shared out."""
    rows = torch.randn(37, count, generator=torch.Generator().manual_seed(1))
    values, order = sliced.ranked(rows)
    assert torch.equal(values, rows.sort(dim=1).values)
    assert torch.equal(rows.gather(1, order), values)
    assert torch.equal(sliced.ascending(rows), values)


@pytest.fixture(scope="module")
def compact():
    return registry.open_network("compact", registry.anatomy("compact").names).network


# Edges


def slow_edges(a, b):
    """Pearson's correlation of the gradients' magnitudes, by SciPy and NumPy."""
    found = []
    for x in (a, b):
        luma = np.tensordot([0.299, 0.587, 0.114], x[0].double().numpy(), 1)
        found.append(np.hypot(sobel(luma, 0), sobel(luma, 1))[1:-1, 1:-1].ravel())
    return np.corrcoef(*found)[0, 1]


def test_edges_equal_the_formula():
    # Half of 15 px is under the smallest side that is looked at: full size alone.
    a, b = smooth(15, 13, 0), random(15, 13, 1)
    assert edges(a, b) == pytest.approx(slow_edges(a, b), abs=1e-9)
    a, b = smooth(64, 48, 0).double(), random(64, 48, 1).double()
    small = [
        [F.interpolate(x, (64 // f, 48 // f), mode="bicubic", antialias=True, align_corners=False) for x in (a, b)]
        for f in (1, 2, 4)
    ]
    assert edges(a, b) == pytest.approx(np.mean([slow_edges(*pair) for pair in small]), abs=1e-9)
    assert edges(a, b) == pytest.approx(edges(b, a), abs=1e-12)


def test_edges_of_a_known_picture():
    """An edge is an edge: fainter, of the other polarity, but not elsewhere."""
    a = flat(0.2, 40, 40)
    a[..., 20:] = 0.8
    assert edges(a, a.clone()) == pytest.approx(1, abs=1e-9)
    assert edges(a, 1 - a) == pytest.approx(1, abs=1e-6)
    assert edges(a, 0.4 + 0.1 * a) == pytest.approx(1, abs=1e-6)
    assert edges(a, a.transpose(2, 3)) < 0.1
    assert edges(a, a.roll(8, 3)) < 0.6


def test_edges_order_pictures():
    picture = sample("dunes.jpg", (96, 80))
    for worse in (
        [noisy(picture, amount) for amount in (0.2, 0.1, 0.05, 0.02, 0)],
        [blurred(picture, s) for s in (9, 5, 3, 1)],
    ):
        values = [edges(picture, w) for w in worse]
        assert values == sorted(set(values))


def test_edges_that_are_not_there():
    refused(lambda: edges(flat(0.5), random(32, 32)), "edges", "one colour")
    refused(lambda: edges(random(10, 40), random(10, 40, 1)), "40×10", "11 px")
    refused(lambda: edges(random(20, 30), random(30, 20)), "resize")


# Which places are alike


def slow_grid(features, size):
    """Bilinear values (n, C) at the middles of a grid's cells, one by one."""
    features = features[0].double().numpy()
    _, h, w = features.shape
    found = []
    for i in range(size[0]):
        for j in range(size[1]):
            y, x = (min(max((k + 0.5) * n / m - 0.5, 0), n - 1) for k, n, m in ((i, h, size[0]), (j, w, size[1])))
            top, left = int(y), int(x)
            bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
            v, u = y - top, x - left
            upper = (1 - u) * features[:, top, left] + u * features[:, top, right]
            lower = (1 - u) * features[:, bottom, left] + u * features[:, bottom, right]
            found.append((1 - v) * upper + v * lower)
    return np.array(found)


def slow_similarity(a, b, size):
    shares = []
    for picture in (a, b):
        maps = TINY.features(picture, ["relu1_2", "relu2_2", "relu3_3", "relu4_3"])
        places = [slow_grid(each, size) for each in maps.values()]
        n = len(places[0])
        distance = np.zeros((n, n))
        for i in range(n):
            for j in range(n):
                for f in places:
                    length = np.linalg.norm(f[i]) * np.linalg.norm(f[j])
                    cosine = f[i] @ f[j] / length if length else 0
                    distance[i, j] += (1 - cosine) / 4 if i != j else 0
        shares.append(distance / distance.sum(0))
    return np.abs(shares[0] - shares[1]).sum() / n


def slow_cfsd(pastiche, content, size):
    ours, theirs = (slow_grid(TINY.features(x, ["relu3_1"])["relu3_1"], size) for x in (pastiche, content))
    scale = np.mean([f @ f for f in theirs])
    total = 0.0
    for i in range(len(ours)):
        p, q = ([math.exp(f[i] @ g / scale) for g in f] for f in (theirs, ours))
        p, q = ([each / sum(row) for each in row] for row in (p, q))
        total += sum(u * math.log(u / v) for u, v in zip(p, q, strict=True))
    return total / len(ours)


@pytest.mark.parametrize(("height", "width", "size"), [(32, 40, (8, 10)), (45, 33, (11, 8))])
def test_similarity_and_cfsd_equal_the_formulas(height, width, size):
    a, b = smooth(height, width, 0), random(height, width, 1)
    assert similarity(a, b, TINY) == pytest.approx(slow_similarity(a, b, size), rel=1e-5)
    assert cfsd(a, b, TINY) == pytest.approx(slow_cfsd(a, b, size), rel=1e-4)
    assert cfsd(a, b, TINY) != pytest.approx(cfsd(b, a, TINY), rel=0.01)
    assert similarity(a, b, TINY) == pytest.approx(similarity(b, a, TINY), rel=1e-9)
    assert similarity(a, a.clone(), TINY) == cfsd(a, a.clone(), TINY) == 0


def halves(first, second):
    """Feature maps (1, 2, 8, 8) whose upper half is one vector and lower half another: one position a place."""
    maps = torch.zeros(1, 2, 8, 8)
    maps[0, :, :4], maps[0, :, 4:] = (torch.tensor(v)[:, None, None] for v in (first, second))
    return maps


def test_similarity_of_known_places():
    """Two halves that are orthogonal: half of the places are at distance 1. In a picture of one kind, none is."""
    two, one, swapped = halves((1.0, 0.0), (0.0, 1.0)), halves((1.0, 1.0), (2.0, 2.0)), halves((0.0, 7.0), (3.0, 0.0))
    network = Fixed(_1=two, _2=one, _3=swapped, _4=two.transpose(2, 3))
    assert similarity(flat(0.1), flat(0.2), network) == pytest.approx(1, abs=1e-6)
    assert similarity(flat(0.1), flat(0.3), network) == pytest.approx(0, abs=1e-6)
    # Halves the other way: a quarter of all pairs are apart in both, a quarter in each alone, each 1/32 of its column.
    assert similarity(flat(0.1), flat(0.4), network) == pytest.approx(1, abs=1e-6)


def test_cfsd_of_known_places():
    """S is e : 1 for the half that a place is in and the other; against no correlation at all, 1 : 1."""
    network = Fixed(_1=halves((1.0, 0.0), (0.0, 1.0)), _2=halves((0.0, 0.0), (0.0, 0.0)))
    e = math.e
    expected = e / (1 + e) * math.log(2 * e / (1 + e)) + 1 / (1 + e) * math.log(2 / (1 + e))
    assert cfsd(flat(0.2), flat(0.1), network) == pytest.approx(expected, rel=1e-6)


def test_similarity_and_cfsd_do_not_depend_on_the_features_scale():
    a, b = torch.rand(1, 5, 8, 8), torch.rand(1, 5, 8, 8)
    for measured in (similarity, cfsd):
        values = [measured(flat(0.1), flat(0.2), Fixed(_1=a * k, _2=b * k)) for k in (1e-3, 1, 1e3)]
        assert values == pytest.approx([values[1]] * 3, rel=1e-4)
        assert values[1] > 0


def test_similarity_and_cfsd_order_pictures(compact):
    picture = sample("dunes.jpg", (96, 80))
    for measured in (similarity, cfsd):
        for better in ([noisy(picture, n) for n in (0, 0.02, 0.05, 0.1, 0.2)], [blurred(picture, s) for s in (1, 3, 5, 9)]):
            values = [measured(picture, each, compact) for each in better]
            assert values == sorted(set(values))
            assert values[0] == 0
    assert similarity(picture, random(80, 96), compact) < 2


def test_a_grid_of_a_large_picture_is_bounded(compact):
    a, b = random(40, 300), random(40, 300, 1)
    assert similarity(a, b, compact) > 0
    refused(lambda: similarity(random(31, 40), random(31, 40, 1), compact), "40×31", "32 px")
    shallow = vgg.Vgg("vgg19", random_tensors(), "relu2_1")
    refused(lambda: similarity(a, b, shallow), "relu2_2", "vgg19")
    refused(lambda: cfsd(a, b, shallow), "relu3_1")


# Colours


@pytest.mark.parametrize(("one", "other"), [((0, 0, 0), (1, 1, 1)), ((0.2, 0.5, 0.9), (0.7, 0.1, 0.3))])
def test_colour_distance_of_two_colours_is_their_delta_e(one, other):
    a, b = (torch.tensor(c, dtype=torch.float64).view(1, 3, 1, 1).expand(1, 3, 5, 7) for c in (one, other))
    expected = float(deltaE_cie76(rgb2lab(np.array(one, float)), rgb2lab(np.array(other, float))))
    assert colour_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert one != (0, 0, 0) or expected == pytest.approx(100, abs=1e-3)


def test_colour_distance_sees_no_places_and_no_sizes():
    a = random(6, 10)
    shuffled = a.flatten(2)[:, :, torch.randperm(60, generator=torch.Generator().manual_seed(0))].view(a.shape)
    assert colour_distance(a, shuffled) == pytest.approx(0, abs=1e-9)
    assert colour_distance(a, torch.cat([a, a, shuffled], 2)) == pytest.approx(0, abs=1e-9)
    # Half of the pixels moved from black to white.
    half = flat(0, 4, 6)
    half[..., 3:] = 1
    assert colour_distance(flat(0, 5, 5), half) == pytest.approx(100 * 0.5**0.5, rel=1e-5)


def test_colour_distance_is_at_most_the_best_assignments():
    a, b = random(6, 8, 0), random(6, 8, 1) ** 2
    colours = [rgb2lab(x[0].double().permute(1, 2, 0).reshape(-1, 3).numpy()) for x in (a, b)]
    squares = ((colours[0][:, None] - colours[1]) ** 2).sum(2)
    best = math.sqrt(squares[linear_sum_assignment(squares)].mean())
    assert 0.5 * best < colour_distance(a, b) <= best
    assert colour_distance(a, b) == pytest.approx(colour_distance(b, a), rel=1e-12)


def test_transport_of_unequal_numbers_is_that_of_copies():
    generator = np.random.default_rng(0)
    for n, m in [(1, 5), (4, 6), (7, 5)]:
        x, y = generator.normal(size=n), generator.normal(size=m)
        copies = np.sort(np.repeat(x, m)) - np.sort(np.repeat(y, n))
        assert _transport(x, y) == pytest.approx(np.square(copies).mean(), rel=1e-12)


def test_colour_distance_of_large_pictures_is_of_a_grid():
    a, b = smooth(700, 800, 0), smooth(700, 800, 1)
    assert colour_distance(a, b) == pytest.approx(colour_distance(a[..., ::2, ::2], b[..., ::2, ::2]), rel=1e-9)


def test_colour_distance_orders_pictures():
    picture = sample("dunes.jpg", (60, 50))
    values = [colour_distance(picture, (picture + shift).clamp(0, 1)) for shift in (0, 0.02, 0.05, 0.1, 0.3)]
    assert values == sorted(set(values))


def slow_palette(x, y):
    """Of pictures so small that every pixel is drawn: all distances, one colour at a time."""
    ours, own = (rgb2lab(p[0].double().permute(1, 2, 0).reshape(-1, 3).numpy()) for p in (x, y))

    def mean(colours):
        found = []
        for colour in colours:
            distances = sorted(math.dist(colour, other) for other in own)[:5]
            found.append(sum(distances) / len(distances))
        return max(sum(found) / len(found), 0.5)

    return mean(ours) / mean(own)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (9, 14)])
def test_palette_equals_the_formula(size):
    style = random(*size)
    for pastiche in (random(7, 5, 1), style.flip(2), 0.3 * random(7, 5, 1), flat(0.5, 3, 3)):
        assert palette(pastiche, style) == pytest.approx(slow_palette(pastiche, style), rel=1e-9)
    assert palette(style.clone(), style) == pytest.approx(1, rel=1e-12)


def test_palette_of_its_own_colours_is_pure():
    style = sample("gale.jpg", (160, 120))
    assert palette(style.clone(), style) == pytest.approx(1, abs=0.05)
    assert palette(style.flip(2), style) == palette(style.flip(2), style)
    # Places and shares do not matter: a half of the pixels has the same colours.
    assert palette(style[..., ::2], style) == pytest.approx(1, abs=0.05)


def test_palette_sees_colours_that_the_style_lacks():
    style, tint = sample("gale.jpg", (160, 120)), torch.tensor([0.3, -0.1, -0.3]).view(1, 3, 1, 1)
    values = [palette((style + amount * tint).clamp(0, 1), style) for amount in (0, 0.1, 0.3, 0.6, 1)]
    assert values == sorted(set(values))
    assert values[-1] > 3
    # A few alien pixels are seen too, as many as there are.
    spotted = style.clone()
    spotted[..., :4] = torch.tensor([1.0, 0.0, 1.0]).view(1, 3, 1, 1)
    assert palette(spotted, style) > 1.3
    # And colours of the style that are missing are not: that is `colour`'s to see.
    assert palette(style.mean((2, 3), keepdim=True).expand_as(style), style) < 2


def test_palette_of_grey_and_flat_styles():
    """Their colours lie on one another: what an eye cannot tell is no distance."""
    grey, other = (smooth(50, 60, seed).mean(1, keepdim=True).expand(1, 3, 50, 60) for seed in (0, 1))
    assert palette(other, grey) == pytest.approx(1, abs=0.3)
    assert palette(flat(0.4), flat(0.4)) == 1
    assert palette(flat(0), flat(1)) == pytest.approx(100 / 0.5, rel=1e-3)
    tinted = grey + torch.tensor([0.1, 0.0, -0.1]).view(1, 3, 1, 1)
    assert 5 < palette(tinted.clamp(0, 1), grey) < 100


# All together


def some_lpips():
    generator = torch.Generator().manual_seed(0)
    return Lpips({name: torch.rand(shape, generator=generator) / math.prod(shape[1:]) for name, shape in shapes().items()})


def test_gauge_takes_every_measure_in_its_range():
    content, style = smooth(161, 170, 0), smooth(120, 170, 1)
    for pastiche in (random(161, 170, 2), 0.5 * content + 0.5 * random(161, 170, 3)):
        found = measure(pastiche, content, style, network=TINY, lpips=some_lpips())
        assert list(found.values) == list(MEASURES)
        assert not found.missing
        for name, value in found.values.items():
            assert MEASURES[name].low <= value <= (math.inf if MEASURES[name].high is None else MEASURES[name].high)
        assert found.values["palette"] == palette(pastiche, style)
        assert found.values["strokes"] == strokes(pastiche, style)
        assert found.values["weave"] == weave(pastiche)


def test_gauge_at_the_ends(compact):
    """The content as a pastiche keeps all of it; the style as one is nearest to itself."""
    content, style = sample("dunes.jpg", (96, 72)), sample("gale.jpg", (96, 72))
    gauge = Measures(content, style, network=compact)
    kept, taken = gauge(content.clone()).values, gauge(style.clone()).values
    for name, each in MEASURES.items():
        if name in ("lpips", "ms_ssim") or each.against == "itself":
            continue
        best = kept if each.against == "content" else taken
        ideal = 0 if each.better == "lower" else 1
        # Of the palette other pixels are drawn.
        assert best[name] == pytest.approx(ideal, abs=0.05 if name == "palette" else 1e-6), name
        # A photograph's edges can be as clear as a painting's strokes.
        other = taken if each.against == "content" else kept
        assert name == "strokes" or abs(other[name] - ideal) > 0.02, name
    assert all(kept[name] == pytest.approx(1, abs=1e-6) for name in kept if name.startswith("heldout"))


def test_gauge_leaves_out_what_it_cannot_measure(compact):
    small, style = random(16, 20, 0), random(16, 20, 1)
    found = measure(random(16, 20, 2), small, style, network=compact)
    heldout = {name for name in MEASURES if name.startswith("heldout")}
    assert set(found.values) == heldout | {"patches", "colour", "palette", "ssim", "edges"}
    assert set(found.values) | set(found.missing) == set(MEASURES)
    assert "lpips_squeeze.safetensors" in found.missing["lpips"]
    assert "161 px" in found.missing["ms_ssim"]
    tiny = measure(random(4, 4, 2), random(4, 4, 0), random(4, 4, 1), network=compact, lpips=some_lpips())
    assert {"ssim", "edges", "patches", "lpips", "strokes", "weave"} <= set(tiny.missing)
    assert all("\n" not in why for why in (*found.missing.values(), *tiny.missing.values()))


def test_gauge_without_a_single_style(compact):
    content = random(64, 64)
    found = Measures(content, None, network=compact)(random(64, 64, 1))
    assert {MEASURES[name].against for name in found.values} == {"content", "itself"}
    assert all(name in found.missing for name, each in MEASURES.items() if each.against == "style")


def test_gauge_of_one_picture_as_content_and_style(compact):
    found = measure(random(32, 40, 1), random(32, 40), random(32, 40), network=compact)
    assert "patches" in found.missing
    assert all(0 <= found.values[name] < 1000 for name in found.values if MEASURES[name].against == "style")


def test_gauge_judges_by_layers_that_were_not_optimised():
    content, style, pastiche = (random(32, 40, seed) for seed in range(3))
    optimised = ["relu1_2", "relu3_3"]
    judge = StyleJudge(TINY, content, style, TINY.anatomy.held_out(optimised, TINY.layers))
    found = measure(pastiche, content, style, network=TINY, optimised=optimised).values
    assert {name: found[name] for name in found if name.startswith("heldout")} == judge(pastiche)
    assert found["heldout"] != measure(pastiche, content, style, network=TINY).values["heldout"]
    everything = measure(pastiche, content, style, network=TINY, optimised=TINY.layers)
    assert "heldout_deep" in everything.missing
    assert "patches" in everything.values


def test_gauge_refuses_another_size(compact):
    gauge = Measures(random(32, 40), random(32, 32), network=compact)
    refused(lambda: gauge(random(40, 32)), "32×40", "40×32", "resize")
    with pytest.raises(ValueError, match="one RGB picture"):
        Measures(torch.zeros(1, 1, 32, 32), None, network=compact)


def test_every_measure_is_explained():
    text = (Path(__file__).parents[2] / "docs/quality.md").read_text(encoding="utf-8")
    for name, each in MEASURES.items():
        if not name.startswith("heldout_"):
            assert re.search(rf"^\| `{name}`.* \| {each.against} \| {each.better} \|", text, re.MULTILINE), name
            assert re.search(rf"^### .*\b{name}\b", text, re.MULTILINE), name
