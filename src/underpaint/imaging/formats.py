"""Formats: what the bytes of a picture file say, as samples in 0..1, sRGB, oriented as EXIF says.

Pillow decodes most files. What it would cut to 8 bits or does not know goes elsewhere: 16-bit PNG to
`underpaint.imaging.png16`, TIFF of 16 bits or of floats to tifffile, HEIC to pillow-heif where that is installed. Formats are
told by content, never by name.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError, features

from underpaint.errors import UnderpaintError
from underpaint.imaging import png16

ENDINGS = {
    "PNG": ".png",
    "JPEG": ".jpg",
    "MPO": ".jpg",  # what Pillow calls a JPEG with further pictures behind it
    "WEBP": ".webp",
    "TIFF": ".tiff",
    "GIF": ".gif",
    "AVIF": ".avif",
    "HEIC": ".heic",
}
"""What is read, with the endings that copies get."""

KINDS = "PNG, JPEG, WebP or TIFF picture (nor GIF, AVIF or HEIC)"
MAX_SIDE = 20_000
MAX_PIXELS = 150_000_000
MAX_BYTES = 2**31
LIMIT = f"at most {MAX_SIDE:,} px a side and {MAX_PIXELS // 10**6} megapixels are read; make it smaller"

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
LONGEST_HEADER = 4096
"""Bytes, of a safetensors file that holds a picture."""
HEIC_BRANDS = frozenset((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"))
AVIF_BRANDS = frozenset((b"avif", b"avis"))
ORIENTATION, PROFILE = 274, 34675
"""Numbers of two tags of EXIF and TIFF."""


@dataclass(frozen=True)
class Decoded:
    """What a file says.

    Attributes:
        rgb: (H, W, 3) float32, sRGB, 0..1.
        alpha: (H, W) float32, 0..1; None when it is opaque.
        ending: of a file of this format, see `ENDINGS`.
        notes: what a user should know of how it was read, without the file's name.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    ending: str
    notes: tuple[str, ...] = ()


def decode(data: bytes, where: str) -> Decoded:
    """A picture file's bytes as samples.

    Args:
        where: what an error begins with, e.g. "content photo.jpg".

    Raises:
        UnderpaintError: not a picture, damaged, too large, or of a kind that is not read here.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # decoders' own; what a user should know is in the notes
            return _decode(data, where)
    except UnderpaintError:
        raise
    except (Image.DecompressionBombError, MemoryError):
        raise UnderpaintError(f"{where}: is too large; {LIMIT}") from None
    except UnidentifiedImageError:
        raise UnderpaintError(f"{where}: is not a {KINDS}; convert it to one") from None
    except Exception as error:  # what decoders raise at damaged files knows no bounds
        raise UnderpaintError(f"{where}: is damaged or cut off ({error}); save it anew") from None


def _decode(data: bytes, where: str) -> Decoded:
    if data.startswith(TIFF_STARTS) and (deep := _deep_tiff(data, where)) is not None:
        return deep
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") < LONGEST_HEADER:
        return _kept(data, where)
    image, kind = _opened(data, where)
    check_extent(image.size, where)
    notes = _of_several(image)
    if kind == "PNG":
        png16.check(data)
    if kind == "PNG" and png16.is_deep(data) and _may_be_srgb(image):
        if not png16.is_interlaced(data):
            samples = scaled(png16.decode(data), where, image.info.get("transparency"))
            return Decoded(*split(samples, image.getexif().get(ORIENTATION, 1)), ENDINGS[kind], notes)
        notes = (*notes, "is interlaced, and so its 16 bits are read as 8")
    samples, more = of_image(image, where)
    return Decoded(*split(samples), ENDINGS[kind], (*notes, *more))


def _kept(data: bytes, where: str) -> Decoded:
    """What a run keeps of an array (`underpaint.runs.folder.keep_inputs`): `rgb`, and `alpha` where it is not opaque."""
    arrays = safetensors.numpy.load(data)
    rgb, alpha = arrays["rgb"], arrays.get("alpha")
    check_extent((rgb.shape[1], rgb.shape[0]), where)
    samples = rgb if alpha is None else np.dstack([rgb, alpha])
    return Decoded(*split(scaled(samples, where)), ".safetensors")


def _opened(data: bytes, where: str) -> tuple[Any, str]:
    """As Pillow's image, nothing decoded yet, and which of `ENDINGS` it is."""
    brands = _brands(data)
    if brands & AVIF_BRANDS:
        if "avif" not in features.modules or not features.check_module("avif"):
            raise UnderpaintError(
                f"{where}: is AVIF, which Pillow reads from 11.3 on; pip install -U pillow, or convert it to PNG"
            )
    elif brands & HEIC_BRANDS:
        try:
            import pillow_heif
        except ImportError:
            raise UnderpaintError(
                f"{where}: is HEIC; pip install 'underpaint[heic]' (pillow-heif) to read it, or convert it to PNG"
            ) from None
        container = pillow_heif.open_heif(data)
        check_extent(container.size, where)
        image: Any = container.to_pillow()
        image.n_frames = len(container)
        return image, "HEIC"
    known = [kind for kind in ENDINGS if kind not in ("HEIC", "MPO") and (kind != "AVIF" or brands & AVIF_BRANDS)]
    image = Image.open(io.BytesIO(data), formats=known)
    return image, image.format or ""


def _brands(data: bytes) -> frozenset[bytes]:
    """What a file of ISO's base media format (HEIC, AVIF) says that it is; none for others."""
    if data[4:8] != b"ftyp":
        return frozenset()
    box = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
    return frozenset(box[i : i + 4] for i in (0, *range(8, len(box) - 3, 4)))


def dimensions(path: Path, where: str) -> tuple[int, int]:
    """Width and height from the header: nothing is decoded, however large it claims to be.

    Raises:
        UnderpaintError: missing, not a picture, damaged, or of a kind that is not read here.
    """
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")
            start = file.read(256)
            if _brands(start) or start.startswith(TIFF_STARTS):
                return _dimensions(start + file.read(MAX_BYTES), where)
            file.seek(0)
            with Image.open(file, formats=[kind for kind in ENDINGS if kind not in ("AVIF", "HEIC", "MPO")]) as image:
                return image.size
    except UnderpaintError:
        raise
    except (Image.DecompressionBombError, MemoryError):
        raise UnderpaintError(f"{where}: is too large; {LIMIT}") from None
    except UnidentifiedImageError:
        raise UnderpaintError(f"{where}: is not a {KINDS}; convert it to one") from None
    except Exception as error:  # see `decode`
        raise UnderpaintError(f"{where}: is damaged or cut off ({error}); save it anew") from None


def _dimensions(data: bytes, where: str) -> tuple[int, int]:
    if data.startswith(TIFF_STARTS):
        import tifffile

        with tifffile.TiffFile(io.BytesIO(data)) as file:
            return file.pages.first.imagewidth, file.pages.first.imagelength
    width, height = _opened(data, where)[0].size
    return width, height


def check_extent(size: tuple[int, int], where: str) -> None:
    """Raises an `UnderpaintError` if a picture of this width and height is too large to be decoded."""
    width, height = size
    if max(size) > MAX_SIDE or width * height > MAX_PIXELS:
        raise UnderpaintError(f"{where}: is {width}×{height} px; {LIMIT}")


def _of_several(image: Any) -> tuple[str, ...]:
    """A note if the file holds further pictures: frames of an animation, pages."""
    count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # behind a JPEG lie previews
    return (f"the first of its {count} pictures is used",) if count > 1 else ()


def _may_be_srgb(image: Any) -> bool:
    profile = image.info.get("icc_profile")
    return not profile or is_srgb(profile)


def is_srgb(profile: bytes) -> bool:
    """Whether an ICC profile is one of sRGB, by its description; sRGB's primaries with a linear curve are another."""
    try:
        description = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).lower()
    except (ImageCms.PyCMSError, OSError):
        return False
    return "srgb" in description and "linear" not in description


def _deep_tiff(data: bytes, where: str) -> Decoded | None:
    """A TIFF of 16-bit or floating-point samples, grey or RGB; None for those that Pillow reads as well."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page, count = file.pages.first, len(file.pages)
        check_extent((page.imagewidth, page.imagelength), where)
        if page.dtype is None or (page.bitspersample <= 8 and page.dtype.kind in "bu"):
            return None
        if page.dtype.kind != "f" and (page.dtype != np.uint16 or page.bitspersample != 16):
            raise UnderpaintError(
                f"{where}: its samples are {page.dtype} of {page.bitspersample} bits, which does not say what is white; "
                "save it with 8 or 16 bits, or as floats in 0..1"
            )
        profile = page.tags.valueof(PROFILE)
        if page.dtype.kind == "u" and profile and not is_srgb(bytes(profile)):
            return None
        samples = _samples(page, where)
        if samples is None:
            return None
        notes = (f"the first of its {count} pictures is used",) if count > 1 else ()
        return Decoded(*split(samples, page.tags.valueof(ORIENTATION, 1)), ENDINGS["TIFF"], notes)


def _samples(page: Any, where: str) -> np.ndarray | None:
    """Of a tifffile page, as `scaled` has them; None where Pillow may know its colours or its compression."""
    from tifffile import PHOTOMETRIC, PLANARCONFIG

    channels = {PHOTOMETRIC.RGB: 3, PHOTOMETRIC.MINISBLACK: 1, PHOTOMETRIC.MINISWHITE: 1}.get(page.photometric)
    if channels is None:
        return None
    try:
        array = np.asarray(page.asarray())
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        if page.dtype.kind == "u" or channels == 1:
            return None
        told = f"its floats are compressed ({error}); save it without compression, or with deflate"
        raise UnderpaintError(f"{where}: {told}") from None
    if page.planarconfig == PLANARCONFIG.SEPARATE and array.ndim == 3:
        array = array.transpose(1, 2, 0)
    samples = scaled(array, where)
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        samples[..., 0] = 1 - samples[..., 0]
    return _with_extra(samples, channels, page.extrasamples)


def _with_extra(samples: np.ndarray, channels: int, extra: tuple[int, ...]) -> np.ndarray:
    """The colours of a TIFF, with the channel after them if that is transparency; colours that it was multiplied into are
    divided by it again."""
    if samples.shape[2] == channels or (extra and extra[0] not in (1, 2)):
        return samples[..., :channels]
    samples = samples[..., : channels + 1]
    if extra and extra[0] == 1:
        alpha = samples[..., channels:]
        samples[..., :channels] = np.clip(samples[..., :channels] / np.where(alpha > 0, alpha, 1), 0, 1)
    return samples


def of_image(image: Any, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pillow's image as (H, W, 1 to 4) float32, oriented and in sRGB, with notes.

    Raises:
        UnderpaintError: floats or integers that do not say what is white.
    """
    profile, kind, notes = image.info.get("icc_profile"), image.format, tuple[str, ...]()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        samples = np.asarray(image)
        if image.mode == "I" and kind == "PNG":  # Pillow's own type for 16 bit of grey
            samples = samples.astype(np.uint16)
        return scaled(samples, where), ()
    if image.mode in ("P", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
    alpha = image.getchannel("A") if "A" in image.getbands() and image.mode != "LAB" else None
    if image.mode in ("LA", "RGBA", "1"):
        image = image.convert({"LA": "L", "1": "L"}.get(image.mode, "RGB"))
    if profile:
        image, notes = _to_srgb(image, profile)
    rgb = np.asarray(image.convert("RGB"), np.float32) / 255
    if alpha is None:
        return rgb, notes
    return np.dstack([rgb, np.asarray(alpha, np.float32) / 255]), notes


def _to_srgb(image: Any, profile: bytes) -> tuple[Any, tuple[str, ...]]:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image, ("its ICC profile does not fit it and is ignored",)
    return image if converted is None else converted, ()


def scaled(array: np.ndarray, where: str, key: int | tuple[int, ...] | None = None) -> np.ndarray:
    """Samples as float32 in 0..1, (H, W, 1 to 4). The type says the range: it is never guessed from the values.

    Args:
        where: what an error begins with.
        key: samples that are transparent (PNG's tRNS); they become 0 in a channel more.

    Raises:
        UnderpaintError: a type or a shape that is not a picture's, values out of range.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        raise UnderpaintError(f"{where}: an array of shape {array.shape} is not a picture; use (height, width, 3)")
    if key is not None and array.shape[2] in (1, 3):
        shown = (array != np.asarray(key, array.dtype)).any(axis=2)
        array = np.dstack([array, shown * np.iinfo(array.dtype).max]).astype(array.dtype)
    if array.dtype == np.bool_:
        return array.astype(np.float32)
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        return (array.astype(np.float64) / np.iinfo(array.dtype).max).astype(np.float32)
    if array.dtype.kind != "f":
        raise UnderpaintError(
            f"{where}: {array.dtype} does not say what is white; convert it, with .astype(np.uint8) where 255 is, "
            ".astype(np.uint16) where 65535 is, or divide it so that 1.0 is"
        )
    within = array.astype(np.float32)
    if not np.isfinite(within).all() or within.min() < 0 or within.max() > 1:
        raise UnderpaintError(f"{where}: has values outside 0..1 or that are not numbers; scale it to 0..1 or uint8")
    return within


def split(array: np.ndarray, orientation: int = 1) -> tuple[np.ndarray, np.ndarray | None]:
    """Samples (H, W, 1 to 4) as colours (H, W, 3) and alpha (H, W), None where all is opaque, turned as EXIF says."""
    array = _orient(array, orientation)
    channels = array.shape[2]
    rgb = np.ascontiguousarray(array[..., :3] if channels > 2 else np.repeat(array[..., :1], 3, axis=2))
    alpha = np.ascontiguousarray(array[..., -1]) if channels in (2, 4) else None
    return rgb, None if alpha is None or alpha.min() >= 1 else alpha


def _orient(array: np.ndarray, orientation: int) -> np.ndarray:
    """EXIF's orientations 1 to 8."""
    turned = array.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else array
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    return turned[:, ::-1] if orientation in (2, 3, 6, 7) else turned
