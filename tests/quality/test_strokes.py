"""Strokes and weave: slow loops, gratings whose answer is known, and the project's judge, which has code of its own."""

import math

import numpy as np
import pytest
import torch

from tests.helpers import noisy, refused, sample, smooth
from underpaint.imaging.images import read, resize, size_for
from underpaint.quality import palette, strokes, weave
from underpaint.quality.strokes import _coherence, _luma


def grating(degrees, height=96, width=96, cycles=0.2):
    """Waves that run in one direction: at 0 degrees from left to right."""
    y, x = np.mgrid[:height, :width]
    along = math.cos(math.radians(degrees)) * x + math.sin(math.radians(degrees)) * y
    return grey(0.5 + 0.4 * np.sin(2 * np.pi * cycles * along))


def grey(luma):
    return torch.from_numpy(np.ascontiguousarray(luma, dtype=np.float64)).expand(1, 3, *luma.shape)


def noise(height, width, seed=0):
    return grey(np.random.default_rng(seed).normal(0.5, 0.1, (height, width)))


def coherence(picture):
    return _coherence(_luma(picture))


def slow_coherence(luma):
    """Eigenvalues of every pixel's tensor, gathered pixel by pixel."""
    height, width = (side - 2 for side in luma.shape)
    gradients = {}
    for y in range(height):
        for x in range(width):
            part = luma[y : y + 3, x : x + 3]
            across = sum(w * (part[i, 2] - part[i, 0]) for i, w in enumerate((1, 2, 1)))
            down = sum(w * (part[2, i] - part[0, i]) for i, w in enumerate((1, 2, 1)))
            gradients[y, x] = np.array([across, down])

    def mirrored(place, length):
        place %= 2 * length
        return place if place < length else 2 * length - 1 - place

    found = []
    for sigma in (1, 2):
        reach = range(-4 * sigma, 4 * sigma + 1)
        window = {(i, j): math.exp(-(i * i + j * j) / (2 * sigma**2)) for i in reach for j in reach}
        difference = total = 0.0
        for y in range(height):
            for x in range(width):
                tensor = np.zeros((2, 2))
                for (i, j), weight in window.items():
                    gradient = gradients[mirrored(y + i, height), mirrored(x + j, width)]
                    tensor += weight * np.outer(gradient, gradient)
                low, high = np.linalg.eigvalsh(tensor)
                difference, total = difference + high - low, total + high + low
        found.append(difference / total)
    return sum(found) / 2


def test_strokes_equal_the_formula():
    x, y = smooth(19, 20, 0).double(), noise(19, 19)
    luma = [0.299 * p[0, 0] + 0.587 * p[0, 1] + 0.114 * p[0, 2] for p in (x, y)]
    expected = [slow_coherence(p.numpy()) for p in luma]
    assert 0.2 < expected[1] < expected[0] < 0.95
    assert strokes(x, y) == pytest.approx(expected[0] / expected[1], rel=1e-9)


@pytest.mark.parametrize("degrees", [0, 30, 45, 90, 117])
def test_one_direction_is_perfectly_coherent(degrees):
    y, x = np.mgrid[:32, :40] / 64
    ramp = grey(x * math.cos(math.radians(degrees)) + y * math.sin(math.radians(degrees)))
    assert coherence(ramp) == pytest.approx(1, abs=1e-12)
    assert coherence(grating(degrees, 40, 44)) == pytest.approx(1, abs=1e-4)


def test_equal_waves_across_each_other_are_not_coherent():
    """Far finer than a window, the two directions' energies cancel: what is left is the square's own smoothness."""
    crossed = 0.5 * (grating(0, cycles=0.25) + grating(90, cycles=0.25))
    assert coherence(crossed) < 0.35
    assert coherence(noise(96, 96)) < 0.5


def test_strokes_of_the_style_itself_and_of_its_contrast():
    style = sample("gale.jpg", (96, 72))
    assert strokes(style.clone(), style) == 1
    assert strokes(0.2 + 0.5 * style, style) == pytest.approx(1, abs=1e-6)
    assert strokes(1 - style, style) == pytest.approx(1, abs=1e-6)
    assert strokes(style.transpose(2, 3), style) == pytest.approx(1, abs=1e-6)


def test_noise_makes_strokes_mushy():
    style = sample("gale.jpg", (96, 72))
    values = [strokes(noisy(style, amount), style) for amount in (0.4, 0.2, 0.1, 0.05, 0)]
    assert values == sorted(set(values))


@pytest.mark.parametrize(("height", "width"), [(96, 96), (64, 100), (131, 77)])
def test_weave_of_gratings(height, width):
    for degrees in (0, 90):
        assert weave(grating(degrees, height, width)) == pytest.approx(4, abs=1e-3)
    for degrees in (45, 135, 30):
        assert weave(grating(degrees, height, width)) == pytest.approx(0, abs=1e-3)
    # As much along an axis as aslant.
    assert weave(0.5 * (grating(0, height, width) + grating(45, height, width))) == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 72), (128, 160)])
def test_weave_of_white_noise_has_no_direction(height, width):
    values = [weave(noise(height, width, seed)) for seed in range(20)]
    assert np.mean(values) == pytest.approx(1, abs=0.05)


def slow_weave(luma):
    """A frequency at a time, each by its own sum over all pixels."""
    height, width = luma.shape
    hann = [[0.5 - 0.5 * math.cos(2 * math.pi * n / (side - 1)) for n in range(side)] for side in (height, width)]
    seen = (luma - luma.mean()) * np.outer(*hann)
    y, x = np.mgrid[:height, :width]
    along = whole = 0.0
    for v in range(-(height // 2), (height + 1) // 2):
        for u in range(-(width // 2), (width + 1) // 2):
            down, across = v / height, u / width
            if 0.12 < math.hypot(down, across) < 0.45:
                power = abs((seen * np.exp(-2j * np.pi * (down * y + across * x))).sum()) ** 2
                to_axis = math.degrees(math.atan2(min(abs(down), abs(across)), max(abs(down), abs(across))))
                whole, along = whole + power, along + (power if to_axis < 11.25 else 0)
    return 4 * along / whole


def test_weave_equals_the_formula():
    for picture in (noise(64, 67), smooth(64, 67, 0).double(), sample("gale.jpg", (67, 64)).double()):
        luma = 0.299 * picture[0, 0] + 0.587 * picture[0, 1] + 0.114 * picture[0, 2]
        assert weave(picture) == pytest.approx(slow_weave(luma.numpy()), rel=1e-6)


def test_a_canvas_raises_weave():
    picture = sample("gale.jpg", (128, 96))
    y, x = np.mgrid[:96, :128]
    canvas = grey(np.sin(np.pi * x / 2) + np.sin(np.pi * y / 2))
    values = [weave((picture + amount * canvas).clamp(0, 1)) for amount in (0, 0.02, 0.05, 0.1)]
    assert values == sorted(set(values))
    assert values[0] < 1.5
    assert values[-1] > 2


def test_pictures_without_strokes_or_detail():
    flat = torch.full((1, 3, 64, 64), 0.3)
    refused(lambda: strokes(smooth(64, 64, 0), flat), "strokes", "one colour")
    assert strokes(flat, smooth(64, 64, 0)) == 0
    refused(lambda: weave(flat), "weave", "no fine detail")
    refused(lambda: strokes(smooth(18, 30, 0), smooth(30, 30, 0)), "strokes", "30×18", "19 px")
    refused(lambda: strokes(smooth(30, 30, 0), smooth(30, 18, 0)), "strokes (style)", "18×30", "19 px")
    refused(lambda: weave(smooth(80, 63, 0)), "weave", "63×80", "64 px")
    with pytest.raises(ValueError, match="one RGB picture"):
        weave(torch.zeros(1, 1, 64, 64))


def framed(picture):
    """Fades to black at the border, where the judge takes what is outside for black."""
    height, width = picture.shape[2:]
    y, x = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in (height, width))
    return picture * torch.from_numpy(np.clip((np.minimum.outer(y, x) - 12) / 10, 0, 1)).float()


def test_samples_agree_with_the_judge(yardstick):
    dunes, gale = sample("dunes.jpg", (128, 96)), sample("gale.jpg", (128, 102))
    for x, y in [(dunes, gale), (gale, dunes), (noisy(dunes, 0.1), gale)]:
        assert palette(x, y) == pytest.approx(yardstick.palette(x, y), rel=1e-3)
        assert weave(x) == pytest.approx(yardstick.upright(x), rel=1e-4)
        x, y = framed(x), framed(y)
        assert strokes(x, y) == pytest.approx(yardstick.coherence(x) / yardstick.coherence(y), rel=1e-4)


def test_pastiches_agree_with_the_judge(yardstick, reference_pictures):
    """The judge's strokes see a frame where a picture ends, so that they come a little nearer to each other."""
    pictures, style = reference_pictures
    ours, theirs = [], []
    for path in pictures:
        rgb = read(path).rgb
        x, longest = torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None], max(rgb.shape[:2])
        y = read(style).rgb
        y = torch.from_numpy(resize(y, size_for(y.shape, longest)).transpose(2, 0, 1).copy())[None]
        seen, known = yardstick.read(path), yardstick.read(style, longest)
        assert palette(x, y) == pytest.approx(yardstick.palette(seen, known), rel=0.02)
        assert weave(x) == pytest.approx(yardstick.upright(seen), rel=1e-4)
        ours.append(strokes(x, y))
        theirs.append(yardstick.coherence(seen) / yardstick.coherence(known))
    assert ours == pytest.approx(theirs, abs=0.015)
    assert np.argsort(ours).tolist() == np.argsort(theirs).tolist()
