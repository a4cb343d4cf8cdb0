"""Pictures in and out, against arrays that are known."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from underpaint.errors import UnderpaintError
from underpaint.imaging import formats, images, png16


@pytest.fixture
def ramp():
    """(40, 48, 3) uint16 with every sample different from its neighbours."""
    return np.random.default_rng(0).integers(0, 65536, (40, 48, 3)).astype(np.uint16)


def refused(source, *words):
    with pytest.raises(UnderpaintError) as caught:
        images.read(source, field="content")
    message = str(caught.value)
    assert "\n" not in message
    assert "content" in message
    for word in words:
        assert word in message
    return message


@pytest.mark.parametrize("ending", ["png", "tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_survive(tmp_path, ramp, ending, channels):
    samples = np.dstack([ramp, ramp[..., :1]])[..., :channels]
    path = tmp_path / f"deep.{ending}"
    alpha = samples[..., 3] / 65535 if channels == 4 else None
    images.write(path, samples[..., :3] / 65535, alpha=alpha, bits=16, metadata={"a": "ü"})
    back = images.read(path)
    assert np.array_equal(np.rint(back.rgb.astype(np.float64) * 65535), samples[..., :3])
    assert (back.alpha is None) == (channels == 3)
    assert images.read_metadata(path)["a"] == "ü"


def test_own_png_is_read_by_pillow_as_the_upper_bytes(tmp_path, ramp):
    images.write(tmp_path / "a.png", ramp / 65535, bits=16)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png").convert("RGB")), ramp >> 8)


def literal_filter(rows, kinds, depth):
    """The PNG specification's filters, byte by byte."""
    height, width = rows.shape
    out = []
    for i in range(height):
        line = [kinds[i]]
        for k in range(width):
            a = int(rows[i, k - depth]) if k >= depth else 0
            b = int(rows[i - 1, k]) if i else 0
            c = int(rows[i - 1, k - depth]) if i and k >= depth else 0
            p = a + b - c
            nearest = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            line.append((int(rows[i, k]) - [0, a, b, (a + b) // 2, nearest][kinds[i]]) % 256)
        out.append(bytes(line))
    return b"".join(out)


def test_all_png_filters(ramp):
    rows = ramp.astype(">u2").view(np.uint8).reshape(40, -1)
    packed = zlib.compress(literal_filter(rows, [i % 5 for i in range(40)], 6))
    header = struct.pack(">IIBBBBB", 48, 40, 16, 2, 0, 0, 0)
    data = png16.SIGNATURE + png16._chunk(b"IHDR", header) + png16._chunk(b"IDAT", packed)
    assert np.array_equal(png16.decode(data), ramp)


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
def test_same_bytes_and_srgb_profile(tmp_path, ramp, ending):
    for name in "ab":
        images.write(tmp_path / f"{name}.{ending}", ramp / 65535, metadata={"recipe": "{}"})
    assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()
    image = Image.open(tmp_path / f"a.{ending}")
    assert formats.is_srgb(image.info["icc_profile"])
    assert images.read_metadata(tmp_path / f"a.{ending}")["recipe"] == "{}"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "tif"])
def test_exif_orientation(tmp_path, orientation, kind):
    truth = np.zeros((40, 64, 3), np.uint8)
    truth[:20, :32] = 255
    truth[:20, 32:, 0] = 255
    stored = {
        1: truth, 2: truth[:, ::-1], 3: truth[::-1, ::-1], 4: truth[::-1],
        5: truth.swapaxes(0, 1), 6: np.rot90(truth, 1), 7: np.rot90(truth, 2).swapaxes(0, 1), 8: np.rot90(truth, -1),
    }[orientation]  # fmt: skip
    path = tmp_path / f"turned.{kind}"
    if kind == "jpg":
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=100, subsampling=0)
    else:
        deep = np.ascontiguousarray(stored).astype(np.uint16) * 257
        tifffile.imwrite(path, deep, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    assert np.abs(images.read(path).rgb - truth / 255).max() < 0.1


def test_grey_palette_cmyk_and_one_bit(tmp_path):
    grey = np.tile(np.arange(0, 240, 6, dtype=np.uint8), (40, 1))
    Image.fromarray(grey).save(tmp_path / "l.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "i16.png")
    assert np.allclose(images.read(tmp_path / "l.png").rgb[..., 1], grey / 255)
    assert np.allclose(images.read(tmp_path / "i16.png").rgb[..., 2], grey / 255)
    palette = Image.fromarray(grey // 120).convert("P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.save(tmp_path / "p.png", transparency=0)
    got = images.read(tmp_path / "p.png")
    assert got.alpha is not None
    assert np.array_equal(got.alpha, (grey >= 120).astype(np.float32))
    assert got.rgb[0, -1].tolist() == [0, 0, 1]
    Image.new("CMYK", (40, 40), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=100)
    assert np.abs(images.read(tmp_path / "cmyk.jpg").rgb - [1, 0, 0]).max() < 0.02
    Image.fromarray(grey > 100).save(tmp_path / "one.png")
    assert set(np.unique(images.read(tmp_path / "one.png").rgb)) == {0.0, 1.0}
    Image.fromarray(np.dstack([grey] * 3)).save(tmp_path / "w.webp", lossless=True)
    assert np.allclose(images.read(tmp_path / "w.webp").rgb[..., 0], grey / 255)


def test_profile_is_converted(tmp_path):
    # Swapped primaries: red and blue columns of the sRGB profile exchanged.
    profile = bytearray(images.srgb_profile())
    tags = {profile[132 + 12 * i : 136 + 12 * i].decode(): 132 + 12 * i for i in range(profile[131])}
    red, blue = (profile[tags[t] + 4 : tags[t] + 12] for t in ("rXYZ", "bXYZ"))
    profile[tags["rXYZ"] + 4 : tags["rXYZ"] + 12] = blue
    profile[tags["bXYZ"] + 4 : tags["bXYZ"] + 12] = red
    # The description says sRGB still; rename it, so that it is not taken for one.
    swapped = bytes(profile).replace("sRGB".encode("utf-16-be"), "xBGR".encode("utf-16-be"))
    Image.new("RGB", (40, 40), (255, 40, 0)).save(tmp_path / "bgr.png", icc_profile=swapped)
    assert np.abs(images.read(tmp_path / "bgr.png").rgb - np.array([0, 40, 255]) / 255).max() < 0.02


def test_arrays_tensors_and_images_agree(ramp):
    small = (ramp >> 8).astype(np.uint8)
    ways = [small, torch.from_numpy(small).permute(2, 0, 1), Image.fromarray(small), small / 255]
    pictures = [images.read(way) for way in ways]
    for picture in pictures:
        assert np.allclose(picture.rgb, small / 255, atol=1e-6)
    assert pictures[0].sha256 == pictures[1].sha256


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.5, np.inf])
def test_arrays_out_of_range_are_refused(value):
    refused(np.full((40, 40, 3), value, np.float32), "0..1")


def test_bad_files(tmp_path):
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(whole, "PNG")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.png").write_bytes(whole.getvalue()[:3000])
    (tmp_path / "text.png").write_text("not a picture")
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    Image.new("L", (30_000, 40)).save(tmp_path / "wide.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "other.bmp")
    refused(tmp_path / "none.png", "none.png", "No such file")
    refused(tmp_path / "empty.png", "empty.png", "empty")
    refused(tmp_path / "cut.png", "cut.png", "damaged")
    refused(tmp_path / "text.png", "text.png", "convert")
    refused(tmp_path / "other.bmp", "other.bmp", "convert")
    refused(tmp_path / "one.png", "one.png", "1×1")
    refused(tmp_path / "wide.png", "wide.png", "30000×40")
    refused(tmp_path, "folder")
    refused(3, "int")


def test_cut_sixteen_bit_png(tmp_path, ramp):
    images.write(tmp_path / "a.png", ramp / 65535, bits=16)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:4000])
    refused(tmp_path / "a.png", "a.png", "damaged")


def test_bomb_is_refused_from_its_header(tmp_path):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = png16.SIGNATURE + png16._chunk(b"IHDR", header) + png16._chunk(b"IDAT", zlib.compress(bytes(100)))
    (tmp_path / "bomb.png").write_bytes(data)
    refused(tmp_path / "bomb.png", "bomb.png", "large")


def test_no_permission(tmp_path, monkeypatch):
    Image.new("RGB", (64, 64)).save(tmp_path / "locked.png")
    monkeypatch.setattr("pathlib.Path.open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    refused(tmp_path / "locked.png", "locked.png", "Permission denied")


def test_writing_to_nowhere(tmp_path):
    with pytest.raises(UnderpaintError, match="nowhere"):
        images.write(tmp_path / "nowhere" / "a.png", np.zeros((4, 4, 3)))
    with pytest.raises(UnderpaintError, match=r"\.bmp"):
        images.write(tmp_path / "a.bmp", np.zeros((4, 4, 3)))
    with pytest.raises(UnderpaintError, match="16 bits"):
        images.write(tmp_path / "a.jpg", np.zeros((4, 4, 3)), bits=16)
    assert list(tmp_path.iterdir()) == []


def test_resize_keeps_constants_and_sizes():
    assert np.allclose(images.resize(np.full((50, 70, 3), 0.25, np.float32), (25, 35)), 0.25, atol=1e-6)
    assert images.size_for((1024, 768), 256) == (256, 192)
    assert images.size_for((10, 5000), 100) == (1, 100)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint32, np.uint64, np.complex64, object])
def test_a_type_that_does_not_say_what_is_white_is_refused(dtype):
    picture = np.full((40, 48, 3), 100, dtype)
    refused(picture, np.dtype(dtype).name, ".astype(np.uint8)")


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64])
def test_a_tensor_of_such_a_type_is_refused(dtype):
    refused(torch.full((3, 40, 48), 100, dtype=dtype), "does not say what is white")


@pytest.mark.parametrize(
    ("dtype", "white"),
    [("bool", 1), ("uint8", 255), ("<u2", 65535), (">u2", 65535), ("float16", 1), ("float32", 1), ("float64", 1)],
)
def test_white_is_what_the_type_says(dtype, white):
    picture = np.zeros((40, 48, 3), dtype)
    picture[:, 24:] = white
    rgb = images.read(picture).rgb
    assert rgb.dtype == np.float32
    assert rgb.min() == 0
    assert (rgb[:, 24:] == 1).all()


def test_a_turned_grey_file_of_16_bit_is_read(tmp_path):
    """Pillow opens it as 32-bit integers; its format says 16."""
    grey = np.arange(40 * 48, dtype=np.uint16).reshape(40, 48) * 34
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(grey).save(tmp_path / "grey.png", exif=exif)
    assert np.allclose(images.read(tmp_path / "grey.png").rgb[..., 0], np.rot90(grey, -1) / 65535)
