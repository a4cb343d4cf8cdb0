"""Kinds of picture files: each is read as what it shows, or refused in one line that says what to do."""

import io
import os
import struct
import sys
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

import underpaint
from tests.helpers import refused
from underpaint.imaging import formats, images, png16

HEIGHT, WIDTH = 40, 48


def ramp(channels=3, top=255, dtype=np.uint8):
    """Samples that differ from their neighbours; the last channel is transparency where there are 2 or 4."""
    samples = np.random.default_rng(0).integers(0, top + 1, (HEIGHT, WIDTH, channels))
    return samples.astype(dtype)


def png(depth, kind, samples, extra=b"", size=(WIDTH, HEIGHT)):
    """A PNG file with a header of one's own."""
    rows = samples.reshape(HEIGHT, -1)
    rows = rows.astype(">u2").view(np.uint8).reshape(HEIGHT, -1) if depth == 16 else rows
    raw = np.concatenate([np.zeros((HEIGHT, 1), np.uint8), rows], axis=1).tobytes()
    header = png16._chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0))
    return png16.SIGNATURE + header + extra + png16._chunk(b"IDAT", zlib.compress(raw)) + png16._chunk(b"IEND", b"")


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(samples, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **{"metadata": None} | options)
    return buffer.getvalue()


def heic(image):
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the heic extra")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=100)
    return buffer.getvalue()


SMOOTH = np.asarray(Image.fromarray(ramp()[:4, :6]).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
DEEP = ramp(4, 65535, np.uint16)
FLOATS = DEEP / 65535


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("order", ["<", ">"])
def test_float_tiff(dtype, channels, order):
    samples = FLOATS[..., :channels].astype(dtype)
    kind = "rgb" if channels == 3 else "minisblack"
    found = formats.decode(tiff(np.squeeze(samples), photometric=kind, byteorder=order, compression="zlib"), "a.tiff")
    assert np.array_equal(found.rgb, np.broadcast_to(samples.astype(np.float32), (HEIGHT, WIDTH, 3)))
    assert found.alpha is None


@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0, np.nan, np.inf])
def test_float_tiff_outside_0_to_1_is_refused(tmp_path, value):
    samples = np.full((HEIGHT, WIDTH, 3), 0.5, np.float32)
    samples[3, 4, 1] = value
    (tmp_path / "a.tiff").write_bytes(tiff(samples, photometric="rgb"))
    refused(lambda: images.read(tmp_path / "a.tiff", "content"), "content", "a.tiff", "0..1")


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32, np.uint64, np.complex64])
@pytest.mark.parametrize("channels", [1, 3])
def test_tiff_whose_type_does_not_say_what_is_white_is_refused(dtype, channels):
    samples = np.squeeze(np.full((HEIGHT, WIDTH, channels), 100, dtype))
    kind = "rgb" if channels == 3 else "minisblack"
    refused(lambda: formats.decode(tiff(samples, photometric=kind), "content a.tiff"), "content a.tiff")


GREY_ALPHA, KEYED = DEEP[..., [0, 3]], DEEP[..., :3].copy()
KEYED[5:9, 7:20] = 100, 2000, 30000
KEY = png16._chunk(b"tRNS", struct.pack(">3H", 100, 2000, 30000))
GREY_KEY = png16._chunk(b"tRNS", struct.pack(">H", 100))
PREMULTIPLIED = np.dstack([FLOATS[..., :3] * FLOATS[..., 3:], FLOATS[..., 3]]).astype(np.float32)


@pytest.mark.parametrize(
    ("data", "rgb", "alpha"),
    [
        (png(16, 0, DEEP[..., :1]), FLOATS[..., :1], None),
        (png(16, 0, KEYED[..., :1], GREY_KEY), KEYED[..., :1] / 65535, KEYED[..., 0] != 100),
        (png(16, 2, DEEP[..., :3]), FLOATS[..., :3], None),
        (png(16, 2, KEYED, KEY), KEYED / 65535, (KEYED != [100, 2000, 30000]).any(2)),
        (png(16, 4, GREY_ALPHA), FLOATS[..., :1], FLOATS[..., 3]),
        (png(16, 6, DEEP), FLOATS[..., :3], FLOATS[..., 3]),
        (png(8, 4, ramp(2)), ramp(2)[..., :1] / 255, ramp(2)[..., 1] / 255),
        (tiff(DEEP[..., 0], photometric="minisblack"), FLOATS[..., :1], None),
        (tiff(DEEP[..., 0], photometric="miniswhite"), 1 - FLOATS[..., :1], None),
        (tiff(GREY_ALPHA, photometric="minisblack", extrasamples=["unassalpha"]), FLOATS[..., :1], FLOATS[..., 3]),
        (tiff(DEEP, photometric="rgb", extrasamples=["unassalpha"]), FLOATS[..., :3], FLOATS[..., 3]),
        (tiff(DEEP, photometric="rgb", extrasamples=["unspecified"]), FLOATS[..., :3], None),
        (tiff(PREMULTIPLIED, photometric="rgb", extrasamples=["assocalpha"]), FLOATS[..., :3], FLOATS[..., 3]),
        (tiff(DEEP[..., :3].transpose(2, 0, 1), photometric="rgb", planarconfig="separate"), FLOATS[..., :3], None),
        (tiff(DEEP[..., :3], photometric="rgb", bigtiff=True, tile=(16, 16)), FLOATS[..., :3], None),
        (saved(Image.fromarray(ramp()), "TIFF", compression="tiff_lzw"), ramp() / 255, None),
        (saved(Image.fromarray(ramp(4)), "PNG"), ramp(4)[..., :3] / 255, ramp(4)[..., 3] / 255),
        (saved(Image.fromarray(ramp(4)), "WEBP", lossless=True, exact=True), ramp(4)[..., :3] / 255, ramp(4)[..., 3] / 255),
        (saved(Image.fromarray(ramp()[..., 0] > 99), "TIFF"), ramp()[..., :1] > 99, None),
        (saved(Image.fromarray(ramp()[..., 0] > 99), "PNG", transparency=0), ramp()[..., :1] > 99, ramp()[..., 0] > 99),
        (saved(Image.fromarray(ramp()[..., 0]), "GIF"), ramp()[..., :1] / 255, None),
    ],
)  # fmt: skip
def test_samples_are_read_as_they_are(data, rgb, alpha):
    found = formats.decode(data, "a file")
    assert np.allclose(found.rgb, np.broadcast_to(rgb, found.rgb.shape), atol=1e-4 if data[:2] == b"II" else 1e-7)
    assert (found.alpha is None) == (alpha is None)
    assert alpha is None or np.allclose(found.alpha, alpha)
    assert found.notes == ()


@pytest.mark.parametrize(
    "data", [lambda: saved(Image.fromarray(SMOOTH), "AVIF", quality=100), lambda: heic(Image.fromarray(SMOOTH))]
)
def test_avif_and_heic(tmp_path, data):
    (tmp_path / "photo").write_bytes(data())
    assert np.abs(images.read(tmp_path / "photo").rgb - SMOOTH / 255).mean() < 0.02
    assert images.dimensions(tmp_path / "photo") == (WIDTH, HEIGHT)


def test_what_to_install_is_said(monkeypatch):
    made = heic(Image.fromarray(SMOOTH))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    refused(lambda: formats.decode(made, "content a.heic"), "content a.heic", "pip install 'underpaint[heic]'")
    monkeypatch.setattr(formats.features, "check_module", lambda name: name != "avif")
    made = saved(Image.fromarray(SMOOTH), "AVIF")
    refused(lambda: formats.decode(made, "content a.avif"), "content a.avif", "pip install -U pillow")


FRAMES = [Image.fromarray(np.full((HEIGHT, WIDTH, 3), value, np.uint8)) for value in (60, 120, 180)]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF", "deep TIFF"])
def test_of_several_pictures_the_first_with_a_note(kind):
    if kind == "deep TIFF":
        data = tiff(np.stack([np.full((HEIGHT, WIDTH, 3), v * 257, np.uint16) for v in (60, 120, 180)]), photometric="rgb")
    else:
        data = saved(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:])
    found = formats.decode(data, "a file")
    assert found.notes == ("the first of its 3 pictures is used",)
    assert np.allclose(found.rgb, 60 / 255, atol=0.02)


def test_notes_reach_the_user(tmp_path):
    FRAMES[0].save(tmp_path / "moving.gif", save_all=True, append_images=FRAMES[1:])
    session = underpaint.start(tmp_path / "moving.gif", SMOOTH, size=48, preset="draft", device="cpu")
    assert "moving.gif: the first of its 3 pictures is used" in session.notes


def test_linear_light_is_not_taken_for_srgb():
    profile = images.srgb_profile()
    assert formats.is_srgb(profile)
    # The description keeps its length: "sRGB built-in" becomes "sRGB linear  ".
    linear = profile.replace("sRGB built-in".encode("utf-16-be"), "sRGB linear  ".encode("utf-16-be"))
    assert linear != profile
    assert not formats.is_srgb(linear)


def test_a_profile_that_does_not_fit_is_told():
    found = formats.decode(saved(Image.fromarray(SMOOTH), "PNG", icc_profile=b"no profile"), "a file")
    assert found.notes == ("its ICC profile does not fit it and is ignored",)
    assert np.allclose(found.rgb, SMOOTH / 255)


KINDS = ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "AVIF", "HEIC", "deep PNG", "deep TIFF", "float TIFF"]


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_refused_in_one_line_or_read(kind):
    """Flipped bits, cuts and stretches of zeros, seeded: whatever a decoder raises, the user sees one line."""
    whole = {
        "HEIC": lambda: heic(Image.fromarray(SMOOTH)),
        "deep PNG": lambda: png(16, 6, DEEP),
        "deep TIFF": lambda: tiff(DEEP, photometric="rgb", extrasamples=["unassalpha"], compression="zlib"),
        "float TIFF": lambda: tiff(FLOATS[..., :3].astype(np.float32), photometric="rgb"),
    }.get(kind, lambda: saved(Image.fromarray(SMOOTH), kind))()
    random = np.random.default_rng(7)
    for _ in range(40):
        data = bytearray(whole[: random.integers(1, len(whole) + 1)] if random.random() < 0.4 else whole)
        for place in random.integers(0, min(len(data), 400), random.integers(0, 6)):
            data[place] = random.integers(256)
        if random.random() < 0.2:
            start = random.integers(len(data))
            data[start : start + 20] = bytes(20)
        try:
            rgb = formats.decode(bytes(data), "content a file").rgb
        except underpaint.UnderpaintError as error:
            told = str(error)
        else:
            told = f"content a file: {rgb.shape}"
            assert rgb.dtype == np.float32
            assert rgb.min() >= 0
            assert rgb.max() <= 1
        assert told.startswith("content a file: ")


def large_tiff(dtype):
    """A small one whose header says 60,000 × 60,000."""
    data = tiff(np.zeros((8, 8, 3), dtype), photometric="rgb")
    for tag in (256, 257):
        place = next(data.index(start) for kind in (3, 4) if (start := struct.pack("<HH", tag, kind)) in data)
        data = data[:place] + struct.pack("<HHII", tag, 4, 1, 60_000) + data[place + 12 :]
    return data


@pytest.mark.parametrize(
    "data",
    [
        large_tiff(np.uint8),
        large_tiff(np.uint16),
        b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + saved(Image.fromarray(SMOOTH), "GIF")[10:],
        png(16, 6, DEEP, size=(60_000, 60_000)),
    ],
    ids=["tiff", "deep tiff", "gif", "deep png"],
)
def test_a_file_that_claims_to_be_large_is_refused_from_its_header(data):
    refused(lambda: formats.decode(data, "content a file"), "content a file", "make it smaller")


def test_names_that_are_no_text_are_spelt_out(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/photo\xff\n\x1b[31m.png")
    Image.fromarray(SMOOTH).save(path)
    picture = images.read(path)
    assert picture.name == r"photo\udcff\n\x1b[31m.png"
    assert picture.path.read_bytes() == picture.data


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 300, "x/" * 3000])
def test_names_that_cannot_be_are_refused(name):
    refused(lambda: images.read(name, "content"), "content")
