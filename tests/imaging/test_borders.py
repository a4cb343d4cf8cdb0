"""Borders: their width to the pixel, what is none, and that a run's style, its mask and its transparency lose the same."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.losses.test_objective import network, picture
from underpaint import samples
from underpaint.errors import UnderpaintError
from underpaint.imaging import borders, images
from underpaint.imaging.borders import Margins
from underpaint.recipe import make
from underpaint.runs.folder import recipe_of
from underpaint.runs.scene import Pictures, Scene, check, seen

WHITE, BLACK, GREY, PAPER = (1, 1, 1), (0, 0, 0), (0.55, 0.55, 0.55), (0.93, 0.89, 0.8)


def painting(name="gale", width=240):
    rgb = images.read(samples.style_path(name)).rgb
    return images.resize(rgb, images.size_for(rgb.shape, width))


def framed(rgb, margins, colour=WHITE):
    """The picture with a border painted around it."""
    top, right, bottom, left = margins
    height, width = rgb.shape[:2]
    out = np.empty((height + top + bottom, width + left + right, 3), np.float32)
    out[:] = colour
    out[top : top + height, left : left + width] = rgb
    return out


def jpeg(rgb, quality=85):
    file = io.BytesIO()
    Image.fromarray(np.rint(rgb * 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file), np.float32) / 255


@pytest.mark.parametrize("name", samples.styles())
@pytest.mark.parametrize("width", [120, 240, 640])
def test_a_picture_without_a_border_keeps_every_pixel(name, width):
    assert borders.find(painting(name, width)) == Margins()


@pytest.mark.parametrize("name", samples.photographs())
def test_a_photograph_has_no_border(name):
    assert borders.find(images.read(samples.photograph(name)).rgb) == Margins()


UNLIKE = [
    (name, colour)
    for name in samples.styles()
    for colour in (WHITE, BLACK, GREY, PAPER)
    if (name, colour) != ("dunes", PAPER)
]
"""Borders that differ from the picture: the sky of `dunes` is of the paper's colour."""


@pytest.mark.parametrize(("name", "colour"), UNLIKE)
@pytest.mark.parametrize("margins", [(9, 9, 9, 9), (12, 7, 3, 5), (1, 2, 1, 2), (6, 0, 8, 0), (0, 5, 0, 0), (0, 0, 0, 4)])
def test_a_clean_border_is_found_to_the_pixel(name, colour, margins):
    assert borders.find(framed(painting(name), margins, colour)) == margins


def test_each_side_is_its_own():
    """Turned, a picture's margins turn with it."""
    rgb = framed(painting(), (12, 7, 3, 5), PAPER)
    for turn in range(4):
        margins = np.roll((12, 7, 3, 5), -turn)
        assert borders.find(np.rot90(rgb, turn)) == tuple(margins)


@pytest.mark.parametrize(("name", "colour"), UNLIKE)
def test_a_noisy_border_is_found_whole(name, colour):
    """Grain, JPEG: everything of the border goes, and at most two rows of the picture, into which it is blurred."""
    margins = np.array([10, 8, 6, 12])
    rgb = framed(painting(name), margins, colour)
    grain = np.random.default_rng(0).normal(0, 0.012, rgb.shape)
    found = np.array(borders.find(jpeg(np.clip(rgb + grain, 0, 1))))
    assert ((margins <= found) & (found <= margins + 2)).all()


def test_a_frame_with_a_mat_is_two_bands():
    wood, mat = (0.35, 0.2, 0.1), (0.9, 0.88, 0.85)
    assert borders.find(framed(framed(painting(), [6] * 4, mat), [7] * 4, wood)) == (13, 13, 13, 13)


def test_a_border_may_lean():
    """A scan that was not laid straight: the margin's deepest point goes."""
    rgb = framed(painting(width=640), (2, 0, 0, 0))
    across = np.arange(rgb.shape[1])
    depth = 2 + 12 * across / len(across)
    rgb[np.arange(len(rgb))[:, None] < depth] = 1
    assert borders.find(rgb).top in (14, 15)
    assert max(borders.find(rgb)[1:]) == 0


@pytest.mark.parametrize(("name", "light"), [("dunes", 0), ("gale", 1), ("glass", 1)])
def test_a_line_that_is_blurred_into_the_picture(name, light):
    """The edge's own row, half line and half painting, is of no one colour."""
    rgb = painting(name).copy()
    rgb[0] = 0.5 * rgb[1] + 0.5 * light
    assert borders.find(rgb) == (1, 0, 0, 0)
    rgb[0] = rgb[1] * (1 - 0.05) + 0.05 * light  # the shade of a vignette
    assert borders.find(rgb) == Margins()


def test_large_pictures_are_measured_in_blocks():
    small = painting("gale", 640)
    rgb = framed(np.repeat(np.repeat(small, 4, 0), 4, 1), (40, 60, 40, 60), BLACK)
    found = np.array(borders.find(rgb))
    assert ((found >= [40, 60, 40, 60]) & (found < [46, 66, 46, 66])).all()


def test_what_is_wider_than_an_eighth_belongs_to_the_picture():
    rgb = painting()
    assert borders.find(framed(rgb, [44] * 4)) == Margins()
    height, width = framed(rgb, [24] * 4).shape[:2]
    assert borders.MOST * min(height, width) >= 24
    assert borders.find(framed(rgb, [24] * 4)) == (24, 24, 24, 24)


def test_one_side_alone_must_be_narrow():
    """A sky over a straight horizon is no border; a scanner's strip is."""
    sky = framed(painting(), (20, 0, 0, 0), (0.6, 0.75, 0.95))
    assert borders.find(sky) == Margins()
    assert borders.find(framed(painting(), (6, 0, 0, 0), (0.6, 0.75, 0.95))).top == 6


def drawing():
    """Strokes on white paper, nothing near the edge."""
    rgb = np.ones((160, 200, 3), np.float32)
    random = np.random.default_rng(4)
    for _ in range(60):
        (y, x), (dy, dx) = random.uniform((20, 20), (140, 180)), random.normal(0, 0.7, 2)
        for step in range(25):
            row, column = round(y + dy * step), round(x + dx * step)
            if 3 <= row < 157 and 3 <= column < 197:
                rgb[row - 1 : row + 1, column - 1 : column + 1] = 0.1
    return rgb


@pytest.mark.parametrize(
    "rgb",
    [
        drawing(),
        np.full((64, 80, 3), 0.7, np.float32),
        np.broadcast_to(np.linspace(0, 1, 120, dtype=np.float32)[:, None, None], (120, 150, 3)),
        np.random.default_rng(1).uniform(0, 1, (90, 70, 3)).astype(np.float32),
        np.indices((96, 96)).sum(0)[..., None].repeat(3, 2).astype(np.float32) // 8 % 2,
        np.zeros((1, 1, 3), np.float32),
        np.ones((3, 400, 3), np.float32),
    ],
    ids=["drawing", "flat", "gradient", "noise", "stripes", "pixel", "sliver"],
)
def test_plain_backgrounds_and_patterns_are_no_borders(rgb):
    assert borders.find(rgb) == Margins()


def test_an_oval_on_paper_is_left_alone():
    rgb = painting()
    y, x = np.indices(rgb.shape[:2])
    outside = ((y / rgb.shape[0] - 0.5) ** 2 + (x / rgb.shape[1] - 0.5) ** 2) > 0.25
    rgb = rgb.copy()
    rgb[outside] = WHITE
    assert borders.find(rgb) == Margins()


@pytest.mark.parametrize("margins", [(9, 9, 9, 9), (12, 7, 3, 5), (1, 2, 1, 2)])
def test_cropping_twice_crops_no_more(margins):
    rgb = jpeg(framed(painting(), margins, BLACK))
    once = borders.find(rgb)
    assert once.top >= margins[0]
    assert borders.find(once.off(rgb)) == Margins()


def test_margins_in_words():
    assert str(Margins(12, 0, 0, 9)) == "12 px at the top and 9 px at the left"
    assert str(Margins(0, 3, 0, 0)) == "3 px at the right"
    assert str(Margins(1, 2, 3, 4)) == "1 px at the top, 2 px at the right, 3 px at the bottom and 4 px at the left"
    assert Margins(1, 2, 3, 4).scaled(2, 0.5) == (2, 1, 6, 2)


MARGINS = (6, 0, 4, 8)


def style(margins=MARGINS, alpha=None):
    return images.Picture(framed(painting(width=120), margins), alpha, "starry.jpg", "")


def test_the_style_is_cropped_and_a_note_says_so():
    bare = images.Picture(painting(width=120), None, "starry.jpg", "")
    for fields in ({}, {"keep_color": "histogram"}):
        scenes = [Scene(make({"size": 64} | fields), Pictures(picture(0), (s,)), network()) for s in (style(), bare)]
        assert np.array_equal(scenes[0].style(0, 0), scenes[1].style(0, 0))
    given, plain = scenes
    says = "starry.jpg: a border of 6 px at the top, 4 px at the bottom and 8 px at the left is cropped; --no-crop keeps it"
    assert says in given.notes
    assert not any("border" in note for note in plain.notes)


def test_without_crop_the_style_is_as_given():
    kept = Scene(make({"size": 64, "crop": False}), Pictures(picture(0), (style(),)), network())
    assert not any("border" in note for note in kept.notes)
    rgb = style().rgb
    wanted = images.resize(rgb, images.size_for(rgb.shape, 64)).transpose(2, 0, 1)
    assert np.array_equal(kept.style(0, len(kept.recipe.sizes()) - 1)[0], wanted)
    pictures = Pictures(picture(0), (style(),))
    assert seen(kept.recipe, pictures) == pictures


def test_only_the_styles_that_have_a_border_are_cropped():
    bare = images.Picture(painting(width=120), None, "bare", "")
    recipe = make({"size": 64})
    first, second = seen(recipe, Pictures(picture(0), (style(), bare))).styles
    assert first.rgb.shape == bare.rgb.shape
    assert second is bare


def test_masks_and_transparency_are_cropped_alike():
    height, width = style().rgb.shape[:2]
    alpha = np.ones((height, width), np.float32)
    alpha[40:60, 50:70] = 0
    coarse = np.zeros((height // 2, width // 2, 3), np.float32)
    coarse[:, width // 4 :] = 1
    mask = images.Picture(coarse, None, "mask", "")
    cropped = seen(make({"size": 64}), Pictures(picture(0), (style(alpha=alpha),), picture(0), mask))
    assert np.array_equal(cropped.styles[0].alpha, alpha[6:-4, 8:])
    assert cropped.style_mask is not None
    assert np.array_equal(cropped.style_mask.rgb, coarse[3:-2, 4:])
    whole = images.Picture(np.zeros((height, width, 3), np.float32), None, "whole", "")
    whole.rgb[:4] = 1
    both = images.Picture(np.zeros((64, 48, 3), np.float32), None, "both", "")
    both.rgb[:32] = 1
    with pytest.raises(UnderpaintError, match="no region of grey 255"):  # it lay in the border
        check(make({"size": 64}), Pictures(picture(0), (style(),), both, whole))
    check(make({"size": 64, "crop": False}), Pictures(picture(0), (style(),), both, whole))


def test_older_runs_cropped_nothing(tmp_path):
    facts = json.loads(json.dumps({"recipe": make({"size": 64}).model_dump(mode="json")}))
    assert recipe_of(facts, tmp_path).crop
    del facts["recipe"]["crop"]
    assert not recipe_of(facts, tmp_path).crop
