"""The terms on the pixels' colours against slow literal versions, closed forms and finite differences."""

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab
from torch.nn import functional

from tests.conftest import random_tensors
from underpaint.imaging import images
from underpaint.losses import palette
from underpaint.networks.vgg import Vgg
from underpaint.recipe import make
from underpaint.runs.scene import Pictures, Scene


def pixels(n, seed):
    """Colours (3, n), float64, 0..1, not grey on the mean."""
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.uniform(0, 1, (3, n)) * random.uniform(0.3, 1, (3, 1)))


def picture(height, width, seed):
    return pixels(height * width, seed).view(1, 3, height, width)


def quantiles(values, count):
    """`count` of them from ascending values, at the middles of as many equal parts, linear between the samples' middles."""
    own = (np.arange(len(values)) + 0.5) / len(values)
    return np.interp((np.arange(count) + 0.5) / count, own, values)


def blocks(image, side):
    """(1, 3, H, W) as (h, w, 3): means of whole blocks."""
    rgb = image[0].permute(1, 2, 0).numpy()
    small = np.empty((rgb.shape[0] // side, rgb.shape[1] // side, 3))
    for row, column in np.ndindex(small.shape[:2]):
        small[row, column] = rgb[side * row : side * (row + 1), side * column : side * (column + 1)].mean((0, 1))
    return small


def literal(image, styles, parts, side=1):
    """Mean over directions, regions by their area and pixels of (sorted value − style's quantile)², not normalised."""
    rgb, total = blocks(image, side), 0.0
    for style, part in zip(styles, parts, strict=True):
        own = rgb[part]
        for direction in palette.directions().double().numpy():
            ours, theirs = np.sort(own @ direction), np.sort(direction @ style.numpy())
            total += len(own) * np.mean((ours - quantiles(theirs, len(ours))) ** 2)
    return total / rgb[..., 0].size / palette.DIRECTIONS


def slopes_agree(term, image, seeds=(5, 6, 7), step=1e-6):
    """The gradient is that of the value, along random directions: no pixels may change places within the step."""
    _, g = term.value_and_gradient(image)
    assert g.shape == image.shape
    for seed in seeds:
        way = torch.randn(image.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        ahead, back = (term.value_and_gradient(image + sign * step * way)[0] for sign in (1, -1))
        assert (ahead - back) / (2 * step) == pytest.approx(float((g * way).sum()), rel=1e-4)


def test_directions_are_unit_vectors_all_over_half_a_sphere():
    """No axis of colour is overlooked: Σ d dᵀ is near a multiple of the identity."""
    axes = palette.directions().double()
    assert axes.shape == (palette.DIRECTIONS, 3)
    assert torch.allclose(axes.norm(dim=1), torch.ones(palette.DIRECTIONS, dtype=torch.float64))
    spread = torch.linalg.eigvalsh(axes.T @ axes) / palette.DIRECTIONS
    assert float(spread.min()) > 0.2
    assert float(spread.max()) < 0.5


def test_a_goal_ascends_and_keeps_the_mean():
    style = pixels(1000, 1)
    for count in (1000, 4000, 700, 50):
        goal = palette.goal(style, count)
        assert goal.shape == (palette.DIRECTIONS, count)
        assert bool((goal.diff(dim=1) >= 0).all())
        assert torch.allclose(goal.mean(1), palette.directions().double() @ style.mean(1), atol=2e-3)
    one = palette.goal(style[:, :1], 5)
    assert torch.allclose(one, (palette.directions().double() @ style[:, :1]).expand(-1, 5))


def test_a_goal_is_the_style_s_quantiles():
    style = pixels(31, 1)
    for count in (31, 7, 100):
        for direction, found in zip(palette.directions().double(), palette.goal(style, count), strict=True):
            assert np.allclose(found, quantiles(np.sort((direction @ style).numpy()), count), atol=1e-12)


@pytest.mark.parametrize("number", [11 * 13, 40, 900])
def test_color_equals_the_literal_distance(number):
    content, image, style = picture(11, 13, 0), picture(11, 13, 1), pixels(number, 2)
    term = palette.color_term("color", 0.5, content, [style], [])
    whole = [np.ones((11, 13), bool)]
    value, _ = term.value_and_gradient(image)
    assert value == pytest.approx(literal(image, [style], whole) / literal(content, [style], whole), rel=1e-5)
    assert term.value_and_gradient(content)[0] == pytest.approx(1)
    assert (term.name, term.weight, term.halvings) == ("color", 0.5, 0)


def test_color_is_0_for_the_style_s_own_pixels_in_any_order():
    style = pixels(99, 1)
    term = palette.color_term("color", 1, picture(9, 11, 0), [style], [])
    order = torch.randperm(99, generator=torch.Generator().manual_seed(3))
    value, g = term.value_and_gradient(style[:, order].view(1, 3, 9, 11))
    assert value == pytest.approx(0, abs=1e-12)
    assert float(g.abs().max()) < 1e-7


def test_color_of_a_style_like_the_content_is_not_blown_up():
    """The normaliser is at least 1 % of the style's own size."""
    content = picture(9, 11, 0)
    style = content[0].flatten(1)
    term = palette.color_term("color", 1, content, [style], [])
    axes = palette.directions().double()
    assert term.normaliser == pytest.approx(0.01 * float((axes @ style).square().mean()), rel=1e-6)
    assert term.value_and_gradient(content)[0] == pytest.approx(0, abs=1e-12)
    assert palette.color_term("color", 1, content * 0, [style * 0], []).value_and_gradient(content)[1].isfinite().all()


@pytest.mark.parametrize("number", [9 * 11, 40, 300])
def test_color_s_gradient_equals_finite_differences(number):
    term = palette.color_term("color", 1, picture(9, 11, 0), [pixels(number, 1)], [])
    slopes_agree(term, picture(9, 11, 2))


@pytest.mark.parametrize(("most", "halvings"), [(200, 0), (199, 1), (40, 2)])
def test_color_of_large_pictures_looks_at_means(monkeypatch, most, halvings):
    """Odd sides: what does not fill a block is not seen, and gets no gradient."""
    monkeypatch.setattr(palette, "MOST_PIXELS", most)
    side, (height, width) = 2**halvings, (8, 25)
    content, image, style = picture(height, width, 0), picture(height, width, 1), pixels(60, 2)
    term = palette.color_term("color", 1, content, [style], [])
    assert term.halvings == halvings
    whole = [np.ones((height // side, width // side), bool)]
    found, expected = term.value_and_gradient(image)[0], literal(image, [style], whole, side)
    assert found == pytest.approx(expected / literal(content, [style], whole, side), rel=1e-5)
    slopes_agree(term, image)
    g = term.value_and_gradient(image)[1]
    assert bool((g[..., width // side * side :] == 0).all())
    assert float(g[..., : width // side * side].abs().min()) > 0


def regions(height=10, width=13, edge=4):
    """A narrow left part and a broad right one, as masks are given."""
    left = np.zeros((height, width), np.float32)
    left[:, :edge] = 1
    return [left, 1 - left]


@pytest.mark.parametrize("most", [20_000, 60])
def test_color_of_two_regions(monkeypatch, most):
    """Each by its area, the literal distance, and its gradient."""
    monkeypatch.setattr(palette, "MOST_PIXELS", most)
    content, image, styles = picture(10, 12, 0), picture(10, 12, 1), [pixels(70, 2), pixels(30, 3) * 0.5]
    term = palette.color_term("color", 1, content, styles, regions(10, 12))
    side = 2**term.halvings
    assert side == (1 if most > 120 else 2)
    parts = [part[::side, ::side] > 0 for part in regions(10, 12)]
    assert [region.share for region in term.regions] == pytest.approx([1 / 3, 2 / 3])
    expected = literal(image, styles, parts, side) / literal(content, styles, parts, side)
    assert term.value_and_gradient(image)[0] == pytest.approx(expected, rel=1e-5)
    assert term.value_and_gradient(content)[0] == pytest.approx(1)
    slopes_agree(term, image)


def test_a_region_s_colours_do_not_reach_the_other_s_pixels():
    """Neither its style's nor its pixels': the other's gradient is the same but for the shared normaliser."""
    content, image, styles = picture(10, 13, 0), picture(10, 13, 1), [pixels(70, 2), pixels(30, 3)]
    other = image.clone()
    other[..., :4] = picture(10, 4, 5)
    found = []
    for of_left, seen in ((styles[0], image), (pixels(50, 4) * 0.2, image), (styles[0], other)):
        term = palette.color_term("color", 1, content, [of_left, styles[1]], regions())
        found.append(term.value_and_gradient(seen)[1] * term.normaliser)
    for g in found[1:]:
        assert torch.allclose(g[..., 4:], found[0][..., 4:], atol=1e-12)
        assert not torch.allclose(g[..., :4], found[0][..., :4])


def test_each_pixel_belongs_to_one_region():
    """Also where a mask is coarser than the picture, and where a region has no pixel."""
    coarse = np.eye(2, dtype=np.float32)
    places = palette._places([coarse, 1 - coarse, coarse * 0], torch.zeros(1, 3, 6, 8))
    assert sorted(torch.cat(places).tolist()) == list(range(48))
    assert len(places[2]) == 0
    rows, columns = np.divmod(places[0].numpy(), 8)
    assert bool(((rows < 3) == (columns < 4)).all())
    styles = [pixels(20, seed) for seed in range(3)]
    term = palette.color_term("color", 1, picture(6, 8, 0), styles, [coarse, 1 - coarse, coarse * 0])
    assert [region.share for region in term.regions] == [0.5, 0.5]


def warm(n, seed):
    """Reds and yellows (n, 3), 0..1."""
    random = np.random.default_rng(seed)
    return np.stack([random.uniform(0.6, 1, n), random.uniform(0, 0.8, n), random.uniform(0, 0.2, n)], 1)


def test_field_equals_a_search_by_brute_force():
    """Mean of the ten smallest distances in CIELAB, of the colours on the grid: [blue, green, red]."""
    styles = [warm(150, 0), warm(60, 1)[:, ::-1]]
    field = palette.field(styles)
    assert field.shape == (1, 1, palette.GRID, palette.GRID, palette.GRID)
    assert field.dtype == torch.float32
    lab = rgb2lab(np.concatenate(styles)[:, None])[:, 0]
    for r, g, b in [(0, 0, 0), (32, 32, 32), (32, 0, 0), (0, 32, 0), (0, 0, 32), (25, 12, 3), (3, 12, 25), (16, 17, 15)]:
        here = rgb2lab(np.array([[[r, g, b]]]) / (palette.GRID - 1))[0, 0]
        nearest = np.sort(np.linalg.norm(lab - here, axis=1))[:10]
        assert float(field[0, 0, b, g, r]) == pytest.approx(nearest.mean(), rel=1e-5)


def test_field_of_fewer_colours_than_are_asked_for():
    """Of three colours, the mean of all three distances; of one colour, ΔE itself."""
    for styles in ([warm(1, 0)], [warm(2, 0), warm(1, 1)]):
        lab = rgb2lab(np.concatenate(styles)[:, None])[:, 0]
        corner = np.linalg.norm(lab - rgb2lab(np.ones((1, 1, 3)))[0, 0], axis=1).mean()
        assert float(palette.field(styles)[0, 0, -1, -1, -1]) == pytest.approx(corner, rel=1e-5)


def test_field_is_the_same_every_time_and_samples_each_style(monkeypatch):
    """Of many colours some stand for all, as many of each style."""
    monkeypatch.setattr(palette, "SAMPLE", 200)
    many, few = warm(5000, 0), warm(400, 1)[:, ::-1]
    first, again = palette.field([many, few]), palette.field([many, few])
    assert torch.equal(first, again)
    blue, red = palette.field([many, few[:100]])[0, 0, 28, 10, 3], palette.field([many])[0, 0, 28, 10, 3]
    assert float(blue) < 12 < 60 < float(red)


def test_field_takes_no_more_colours_than_it_says(monkeypatch):
    """Five reds and five blues: at the red, half of the ten are as far as the blue."""
    monkeypatch.setattr(palette, "SAMPLE", 10)
    red, blue = np.array([[1.0, 0, 0]]), np.array([[0, 0, 1.0]])
    field = palette.field([red.repeat(50, 0), blue.repeat(50, 0)])
    apart = np.linalg.norm(rgb2lab(red[None])[0, 0] - rgb2lab(blue[None])[0, 0])
    assert float(field[0, 0, 0, 0, -1]) == pytest.approx(apart / 2, rel=1e-5)


def term_of(style, content):
    return palette.palette_term("palette", 0.05, content, [palette.field([style])], [])


def test_palette_is_near_0_for_the_style_s_colours_and_far_for_others():
    """ΔE of the pixels: a few for the style's own, tens for blues; each by itself, in whatever proportions."""
    style = warm(4000, 0)
    term = term_of(style, picture(8, 8, 1))
    own = torch.from_numpy(style[:64].T.copy()).view(1, 3, 8, 8)
    blues = torch.from_numpy(warm(64, 1)[:, ::-1].T.copy()).view(1, 3, 8, 8)
    assert float(term.distance(own)) < 4
    assert float(term.distance(own[..., :1, :1].expand(1, 3, 8, 8))) < 6
    assert float(term.distance(blues)) > 40
    mixed = torch.cat([own, blues], 3)
    assert float(term.distance(mixed)) == pytest.approx((float(term.distance(own)) + float(term.distance(blues))) / 2)


def test_palette_on_the_grid_is_the_field_and_between_it_is_linear():
    field = torch.rand(1, 1, 33, 33, 33, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    term = palette.PaletteTerm("palette", 1, (None,), (field,), 1)
    one = torch.tensor([4, 9, 30], dtype=torch.float64).view(1, 3, 1, 1) / 32
    assert float(term.distance(one)) == pytest.approx(float(field[0, 0, 30, 9, 4]))
    between = one + torch.tensor([0.25, 0, 0], dtype=torch.float64).view(1, 3, 1, 1) / 32
    assert float(term.distance(between)) == pytest.approx(float(0.75 * field[0, 0, 30, 9, 4] + 0.25 * field[0, 0, 30, 9, 5]))
    outside = torch.tensor([-0.3, 9 / 32, 1.2], dtype=torch.float64).view(1, 3, 1, 1)
    assert float(term.distance(outside)) == pytest.approx(float(field[0, 0, 32, 9, 0]))


def test_palette_s_gradient_equals_finite_differences():
    """Within the cells of the grid: the field has kinks where they meet."""
    random = np.random.default_rng(0)
    cells, inside = random.integers(0, 32, (1, 3, 7, 9)), random.uniform(0.1, 0.9, (1, 3, 7, 9))
    image = torch.from_numpy((cells + inside) / 32)
    term = term_of(warm(300, 0), picture(7, 9, 1))
    slopes_agree(term, image)
    with torch.no_grad():
        value, g = term.value_and_gradient(image)
    assert value == pytest.approx(float(term.distance(image)) / term.normaliser)
    assert not g.requires_grad
    assert not image.requires_grad


def test_palette_between_the_grid_s_points_equals_grid_sample():
    """PyTorch's own interpolation and its gradient, also of colours outside 0..1."""
    generator = torch.Generator().manual_seed(3)
    field = torch.rand(1, 1, 33, 33, 33, generator=generator)
    leaf = (torch.rand(3, 200, dtype=torch.float64, generator=generator) * 1.4 - 0.2).requires_grad_()
    at = leaf.T[None, None, None] * 2 - 1
    expected = functional.grid_sample(field.double(), at, align_corners=True, padding_mode="border").flatten()
    (slopes,) = torch.autograd.grad(expected.sum(), leaf)
    values, found = palette.at_colors(field, leaf.detach())
    assert torch.allclose(values, expected)
    assert torch.allclose(found, slopes, atol=1e-9)


def test_palette_lets_black_and_white_go():
    """At the bounds its slopes are those inside."""
    field, corners = palette.field([warm(300, 0)]), torch.tensor([[0.0, 1.0]] * 3, dtype=torch.float64)
    values, slopes = palette.at_colors(field, corners)
    for channel in range(3):
        inside = corners.clone()
        inside[channel] += torch.tensor([1e-6, -1e-6], dtype=torch.float64)
        found = (palette.at_colors(field, inside)[0] - values) / (inside - corners)[channel]
        assert torch.allclose(found, slopes[channel], rtol=1e-4)
    assert float(slopes.abs().min()) > 0


def test_palette_of_regions_is_each_region_s_own():
    """Reds on the left and blues on the right are near it where each is asked for, and far where the other is."""
    left = np.zeros((8, 12), np.float32)
    left[:, :4] = 1
    reds, blues = warm(4000, 0), warm(4000, 1)[:, ::-1]
    fields = [palette.field([reds]), palette.field([blues])]
    term = palette.palette_term("palette", 1, picture(8, 12, 1), fields, [left, 1 - left])
    red, blue = (torch.from_numpy(np.ascontiguousarray(c[:64].T)).view(1, 3, 8, 8) for c in (reds, blues))
    kept, swapped = torch.cat([red[..., :4], blue], 3), torch.cat([blue[..., :4], red], 3)
    assert float(term.distance(kept)) < 4 < 40 < float(term.distance(swapped))
    whole = [palette.palette_term("palette", 1, picture(8, 12, 1), [each], []) for each in fields]
    apart = [float(one.distance(part)) for one, part in zip(whole, (swapped[..., :4], swapped[..., 4:]), strict=True)]
    assert float(term.distance(swapped)) == pytest.approx(apart[0] / 3 + apart[1] * 2 / 3, rel=1e-5)
    random = np.random.default_rng(0)
    cells, inside = random.integers(0, 32, (1, 3, 8, 12)), random.uniform(0.1, 0.9, (1, 3, 8, 12))
    slopes_agree(term, torch.from_numpy((cells + inside) / 32))


def test_palette_begins_at_1_unless_the_content_has_the_style_s_colours():
    content = picture(8, 8, 1)
    term = term_of(warm(300, 0)[:, ::-1], content)
    assert term.normaliser > palette.FLOOR_DELTA_E
    assert term.value_and_gradient(content)[0] == pytest.approx(1)
    style = warm(4000, 0)
    own = torch.from_numpy(style[:64].T.copy()).view(1, 3, 8, 8)
    assert term_of(style, own).normaliser == palette.FLOOR_DELTA_E
    assert term_of(style, own).value_and_gradient(own)[0] < 1


def test_a_style_without_a_share_lends_no_colours():
    reds, blues = (
        images.Picture(colours.reshape(32, 32, 3).astype(np.float32), None, "style", "")
        for colours in (warm(1024, 0), warm(1024, 1)[:, ::-1])
    )
    content = images.Picture(picture(32, 32, 2)[0].permute(1, 2, 0).float().numpy(), None, "content", "")
    network, found = Vgg("vgg19", random_tensors(), "relu5_1"), []
    for styles, shares in [((reds,), ()), ((reds, blues), (1, 0)), ((reds, blues), (1, 1))]:
        recipe = make({"size": 32, "smallest": 32, "crop": False, "style_weights": shares})
        terms = Scene(recipe, Pictures(content, styles), network).stage(0).objective.terms
        found += [term.normaliser for term in terms if term.name == "palette"]
    assert found[0] == found[1] > found[2]
