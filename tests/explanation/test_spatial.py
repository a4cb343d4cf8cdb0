"""Where layers acted and where features come from: against hand-made pictures, literal loops and exact sums."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.networks.test_compact import small_tensors
from underpaint.errors import UnderpaintError
from underpaint.explanation import spatial
from underpaint.explanation.spatial import Sources
from underpaint.networks.anatomy import Anatomy, Layer
from underpaint.networks.compact import Compact


class Pixels:
    """A network whose features are the picture's own pixels, averaged over cells of its stride.

    Waves of each colour value, since among thousands of random vectors with 3 channels some point the same way.
    """

    layers, precision, device = ("pixels",), torch.float32, torch.device("cpu")

    def __init__(self, stride=1):
        self._stride = stride
        self.anatomy = Anatomy("pixels", "pixels", (Layer("pixels", "shallow", 1, stride, 18),), {}, {}, ())

    def features(self, image, layers):
        waves = torch.cat([torch.sin(k * image) for k in range(1, 12, 2)], dim=1)
        return {"pixels": F.avg_pool2d(waves, self._stride, ceil_mode=True, count_include_pad=False)}


def picture(height, width, seed=0):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def array(tensor):
    return tensor[0].permute(1, 2, 0).numpy()


def ledger(names=("style", "content", "clamp"), size=(20, 30), seed=0):
    generator = np.random.default_rng(seed)
    columns = {name: generator.normal(0, 0.1, (3, *size)).astype(np.float32) for name in names}
    return columns, np.sum([c.astype(np.float64) for c in columns.values()], axis=0)


def slow_gaussian(field, sigma):
    """Literal, at one pixel: a Gaussian cut at 4 sigma, the edge replicated."""
    reach = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
    padded = np.pad(field, reach, mode="edge")
    return np.array(
        [
            [(padded[y : y + 2 * reach + 1, x : x + 2 * reach + 1] * kernel).sum() for x in range(field.shape[1])]
            for y in range(field.shape[0])
        ]
    )


def slow_sources(network, pastiche, style, layer, block):
    """Blocks averaged, centred, normalised and compared one pair at a time."""

    def cells(image):
        f = network.features(image, [layer])[layer][0].double().numpy()
        h, w = (-(-n // block) for n in f.shape[1:])
        return {
            (i, j): f[:, i * block : (i + 1) * block, j * block : (j + 1) * block].mean((1, 2))
            for i in range(h)
            for j in range(w)
        }

    ours, theirs = cells(pastiche), cells(style)
    mean = np.mean(list(theirs.values()), axis=0)
    found = {}
    for here, a in ours.items():
        scores = {
            there: (a - mean) @ (b - mean) / np.linalg.norm(a - mean) / np.linalg.norm(b - mean)
            for there, b in theirs.items()
        }
        found[here] = max(scores.items(), key=lambda item: item[1])
    return found


def test_unsmoothed_maps_sum_to_the_squared_change():
    columns, change = ledger()
    maps = spatial.acted(columns, change, dict.fromkeys(columns, 0))
    assert all(m.dtype == np.float32 and m.shape == (20, 30) for m in maps.values())
    assert np.allclose(sum(maps.values()), (change**2).sum(0), atol=1e-6)


def test_maps_are_smoothed_over_each_terms_own_scale():
    columns, change = ledger(("fine", "coarse"))
    maps = spatial.acted(columns, change, {"fine": 1, "coarse": 2.5})
    for name, sigma in (("fine", 1), ("coarse", 2.5)):
        assert np.allclose(maps[name], slow_gaussian((columns[name] * change).sum(0), sigma), atol=1e-6)


def test_the_sign_says_with_or_against_the_change():
    change = np.full((3, 8, 8), 0.2)
    change[:, :, 4:] = -0.2
    columns = {"with": 1.5 * change, "against": -0.5 * change}
    maps = spatial.acted(columns, change, {"with": 0, "against": 0})
    assert np.allclose(maps["with"], 1.5 * 3 * 0.04)
    assert np.allclose(maps["against"], -0.5 * 3 * 0.04)
    shares = spatial.share_in(maps, np.ones((8, 8), bool))
    assert shares == pytest.approx({"with": 1.5, "against": -0.5})


def test_shares_sum_to_1_and_see_the_region_alone():
    columns, change = ledger()
    maps = spatial.acted(columns, change, dict.fromkeys(columns, 0))
    region = np.zeros((20, 30), bool)
    region[5:9, 10:22] = True
    shares = spatial.share_in(maps, region)
    assert sum(shares.values()) == pytest.approx(1)
    squared = (change**2).sum(0)[region].sum()
    for name, share in shares.items():
        assert share == pytest.approx((columns[name] * change)[:, region].sum() / squared, rel=1e-4)
    smooth = spatial.acted(columns, change, dict.fromkeys(columns, 3))
    assert sum(spatial.share_in(smooth, region).values()) == pytest.approx(1)


def test_a_region_without_movement_has_no_shares():
    change = np.zeros((3, 8, 8))
    change[:, :, 4:] = 0.1
    maps = spatial.acted({"a": change, "b": -change}, change, {"a": 0, "b": 0})
    left = np.zeros((8, 8), bool)
    left[:, :4] = True
    with pytest.raises(UnderpaintError, match="region: nothing moved there"):
        spatial.share_in(maps, left)
    with pytest.raises(UnderpaintError, match="region: the terms there cancel"):
        spatial.share_in(maps, ~left)
    with pytest.raises(UnderpaintError, match="pulled against the change"):
        spatial.share_in({"b": maps["b"]}, ~left)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (np.zeros((4, 5), bool), "region: is empty"),
        (np.ones((5, 4), bool), r"region: has shape \(5, 4\)"),
        (np.ones((4, 5), np.uint8), "region: is of type uint8"),
    ],
)
def test_regions_that_are_refused(region, message):
    with pytest.raises(UnderpaintError, match=message):
        spatial.share_in({"a": np.ones((4, 5), np.float32)}, region)


def test_ledgers_that_are_refused():
    columns, change = ledger(("a",))
    with pytest.raises(UnderpaintError, match="strides: a has none"):
        spatial.acted(columns, change, {})
    with pytest.raises(UnderpaintError, match="strides: a has none"):
        spatial.acted(columns, change, {"a": -1})
    with pytest.raises(UnderpaintError, match="columns: a has shape"):
        spatial.acted({"a": columns["a"][:, 1:]}, change, {"a": 1})
    with pytest.raises(UnderpaintError, match="change: has shape"):
        spatial.acted(columns, change[0], {"a": 1})
    with pytest.raises(UnderpaintError, match="maps: there are none"):
        spatial.share_in({}, np.ones((2, 2), bool))
    with pytest.raises(UnderpaintError, match="maps: have different shapes"):
        spatial.share_in({"a": np.ones((2, 2)), "b": np.ones((2, 3))}, np.ones((2, 2), bool))


def test_a_shifted_style_is_found_where_it_was():
    style = picture(24, 40)
    found = spatial.sources(Pixels(), style.roll((5, -7), (2, 3)), style, "pixels")
    rows, columns = np.indices((24, 40))
    assert found.stride == 1
    assert np.array_equal(found.rows, (rows - 5) % 24)
    assert np.array_equal(found.columns, (columns + 7) % 40)
    assert found.rows.dtype == found.columns.dtype == np.int32
    assert found.similarity.dtype == np.float32
    assert np.allclose(found.similarity, 1, atol=1e-5)


@pytest.mark.parametrize(("stride", "side"), [(1, 2), (2, 2), (4, 4), (1, 3)])
def test_permuted_blocks_are_found_where_they_were(stride, side):
    """1 and 2 px: the first has more than 64 positions a side and is pooled, the second just fits."""
    h, w = 40, 64
    style = picture(h * side, w * side)
    order = np.random.default_rng(1).permutation(h * w)
    blocks = array(style).reshape(h, side, w, side, 3).swapaxes(1, 2).reshape(h * w, side, side, 3)
    mixed = blocks[order].reshape(h, w, side, side, 3).swapaxes(1, 2).reshape(h * side, w * side, 3)
    found = spatial.sources(Pixels(stride), torch.from_numpy(mixed.transpose(2, 0, 1).copy())[None], style, "pixels")
    i, j = np.divmod(order.reshape(h, w), w)
    assert found.stride == side
    assert np.array_equal(found.rows, i * side + side // 2)
    assert np.array_equal(found.columns, j * side + side // 2)
    assert np.array_equal(spatial.paint(found, array(style), (h * side, w * side)), mixed)


@pytest.mark.parametrize("size", [(41, 130), (67, 64), (9, 200)])
def test_cut_off_cells_are_themselves(size):
    """The style as its own pastiche: every cell's source is its own middle, and the collage is the picture."""
    style = picture(*size)
    found = spatial.sources(Pixels(), style, style, "pixels")
    assert max(found.rows.shape) <= spatial.SIDE
    for axis, centres in enumerate((found.rows[:, 0], found.columns[0])):
        for place, centre in enumerate(centres):
            pixels = range(size[axis])[place * found.stride : (place + 1) * found.stride]
            assert centre == pixels[len(pixels) // 2]
    assert np.array_equal(spatial.paint(found, array(style), size), array(style))


@pytest.mark.parametrize("layer", ["relu1_1", "relu2_2", "relu3_1"])
def test_same_as_one_pair_at_a_time(layer, monkeypatch):
    """Other sizes, odd ones, a real chain; pooled to few positions and compared in small chunks."""
    monkeypatch.setattr(spatial, "SIDE", 8)
    monkeypatch.setattr(spatial, "CHUNK", 7)
    network = Compact(small_tensors(torch.float32), "relu3_1")
    pastiche, style = picture(37, 50), picture(45, 33, seed=1)
    found = spatial.sources(network, pastiche, style, layer)
    step = network.anatomy.layer(layer).stride
    expected = slow_sources(network, pastiche, style, layer, found.stride // step)
    assert found.stride == {"relu1_1": 7, "relu2_2": 8, "relu3_1": 8}[layer]
    assert found.rows.shape == (-(-37 // found.stride), -(-50 // found.stride))
    for (i, j), ((row, column), score) in expected.items():
        assert (found.rows[i, j] // found.stride, found.columns[i, j] // found.stride) == (row, column)
        assert found.similarity[i, j] == pytest.approx(score, abs=1e-4)


def test_a_flat_style_is_like_nothing():
    found = spatial.sources(Pixels(), picture(8, 8), torch.full((1, 3, 8, 8), 0.3), "pixels")
    assert np.abs(found.similarity).max() < 0.05


def test_large_pictures_take_little_memory():
    """The full table would be 512⁴ × 4 bytes."""
    style = picture(512, 512)
    found = spatial.sources(Pixels(), style, style, "pixels")
    assert found.stride == 8
    assert found.rows.shape == (64, 64)
    assert np.array_equal(found.rows[:, 0], np.arange(64) * 8 + 4)


def test_sources_that_are_refused():
    network = Compact(small_tensors(torch.float32), "relu1_1")
    with pytest.raises(UnderpaintError, match=r"layer: .*relu9_1"):
        spatial.sources(network, picture(16, 16), picture(16, 16), "relu9_1")
    with pytest.raises(UnderpaintError, match="pastiche: has shape"):
        spatial.sources(network, picture(16, 16)[0], picture(16, 16), "relu1_1")
    with pytest.raises(UnderpaintError, match="style: has shape"):
        spatial.sources(network, picture(16, 16), picture(16, 16).repeat(2, 1, 1, 1), "relu1_1")


def one_source(row, column, shape=(3, 4), stride=4):
    return Sources("x", np.full(shape, row, np.int32), np.full(shape, column, np.int32), np.ones(shape, np.float32), stride)


def test_paint_mirrors_what_the_edge_cut_off():
    """A style of 6 rows has half a second cell: rows 4 and 5, then 5 and 4 again."""
    style = np.arange(6)[:, None, None] * np.ones((1, 4, 3))
    collage = spatial.paint(one_source(5, 2), style, (12, 16))
    assert collage.shape == (12, 16, 3)
    assert np.array_equal(collage[:, 0, 0], [4, 5, 5, 4] * 3)


def test_origin_map_is_where_the_region_came_from():
    """Half the cells are from one place and half from another; regions weigh by their pixels."""
    found = one_source(10, 10)
    found.rows[:, 2:], found.columns[:, 2:] = 50, 70
    region = np.zeros((11, 15), bool)
    region[:, :8] = True
    heat = spatial.origin_map(found, region, (64, 80))
    assert heat.shape == (64, 80)
    assert heat.dtype == np.float32
    assert heat.sum() == pytest.approx(1, abs=1e-5)
    assert np.unravel_index(heat.argmax(), heat.shape) == (10, 10)
    assert heat[30:, 40:].sum() == pytest.approx(0, abs=1e-6)
    assert heat[10, 14] / heat[10, 10] == pytest.approx(np.exp(-0.5), rel=1e-2)  # one cell is one sigma
    region[:, 8:10] = True
    assert spatial.origin_map(found, region, (64, 80))[30:, 40:].sum() == pytest.approx(0.2, abs=1e-4)
    assert spatial.origin_map(one_source(0, 79), region, (64, 80)).sum() == pytest.approx(1, abs=1e-5)


def test_other_pictures_than_those_compared_are_refused():
    found = one_source(10, 10)
    with pytest.raises(UnderpaintError, match="style: 8×80 px is smaller"):
        spatial.origin_map(found, np.ones((12, 16), bool), (8, 80))
    with pytest.raises(UnderpaintError, match="style: 64×9 px is smaller"):
        spatial.paint(found, np.zeros((64, 9, 3)), (12, 16))
    with pytest.raises(UnderpaintError, match="style: has shape"):
        spatial.paint(found, np.zeros((64, 80)), (12, 16))
    with pytest.raises(UnderpaintError, match="size: is 13×16 px"):
        spatial.paint(found, np.zeros((64, 80, 3)), (13, 16))
    with pytest.raises(UnderpaintError, match="region: is 12×12 px"):
        spatial.origin_map(found, np.ones((12, 12), bool), (64, 80))
    with pytest.raises(UnderpaintError, match="region: is empty"):
        spatial.origin_map(found, np.zeros((12, 16), bool), (64, 80))
    with pytest.raises(UnderpaintError, match="region: has shape"):
        spatial.origin_map(found, np.ones((12, 16, 1), bool), (64, 80))
