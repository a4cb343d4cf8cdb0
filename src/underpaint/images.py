"""Pictures in and out: the only place that touches picture files."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

from underpaint import png16
from underpaint.errors import UnderpaintError
from underpaint.files import write_bytes

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
MIN_SIDE = 32
MAX_SIDE = 20_000
MAX_PIXELS = 150_000_000
_LIMIT = f"at most {MAX_SIDE:,} px a side and {MAX_PIXELS // 10**6} megapixels are read; make it smaller"


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as it was given.

    Attributes:
        rgb: (height, width, 3) float32, sRGB, 0..1.
        alpha: (height, width) float32, 0..1; None when it is opaque.
        name: the file's name, or what else it came from.
        sha256: of the file's bytes, or of the array's.
        path: the file, or None.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    name: str
    sha256: str
    path: Path | None = None


Source = str | os.PathLike[str] | np.ndarray | torch.Tensor | Image.Image | Picture


def read(source: Source, field: str = "picture", min_side: int = MIN_SIDE) -> Picture:
    """Any source as a picture: oriented as EXIF says, colours converted from its ICC profile to sRGB.

    Files are PNG, JPEG, WebP or TIFF, told by their content; grey, palette, CMYK, alpha; 8 and 16 bit (16-bit
    pictures with an ICC profile other than sRGB are converted at 8 bits). Arrays are (H, W), (H, W, 1), (H, W, 3)
    or (H, W, 4), tensors (C, H, W) or (1, C, H, W): bool, uint8, uint16, or floats in 0..1. Other types do not
    say what is white.

    Args:
        source: a file name, array, tensor, PIL image or picture.
        field: what to call it in an error.
        min_side: the shortest side that is taken, pixels.

    Raises:
        UnderpaintError: missing, not a picture, damaged, too small, too large; values out of range.
    """
    if isinstance(source, Picture):
        picture = source
    elif isinstance(source, torch.Tensor):
        picture = _from_array(_as_array(source, field), field)
    elif isinstance(source, np.ndarray):
        picture = _from_array(source, field)
    elif isinstance(source, Image.Image):
        rgb, alpha = _split(_decoded(source))
        picture = Picture(rgb, alpha, "image", _array_hash(rgb, alpha))
    elif isinstance(source, str | os.PathLike):
        picture = _from_file(Path(source), field)
    else:
        raise UnderpaintError(f"{field}: a {type(source).__name__} is not a picture; give a file name or an array")
    height, width = picture.rgb.shape[:2]
    if min(height, width) < min_side:
        raise UnderpaintError(
            f"{field} {picture.name}: is {width}×{height} px; a short side under {min_side} px is too small, "
            "use a larger picture"
        )
    return picture


def _from_file(path: Path, field: str) -> Picture:
    where = f"{field} {path}"
    if path.is_dir():
        raise UnderpaintError(f"{where}: is a folder; name a picture file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnderpaintError(f"{where}: {error.strerror}; name a picture file that can be read") from None
    if not data:
        raise UnderpaintError(f"{where}: is empty; name a PNG, JPEG, WebP or TIFF file")
    rgb, alpha = _decode(data, where)
    return Picture(rgb, alpha, path.name, hashlib.sha256(data).hexdigest(), path)


def dimensions(path: str | os.PathLike[str], field: str = "picture") -> tuple[int, int]:
    """Width and height of a picture file, from its header: nothing is decoded, however large it claims to be.

    Raises:
        UnderpaintError: missing, not a picture, or damaged.
    """
    where = f"{field} {path}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                return image.size
    except Image.DecompressionBombError:
        raise UnderpaintError(f"{where}: is too large; {_LIMIT}") from None
    except UnidentifiedImageError:
        raise UnderpaintError(f"{where}: is not a PNG, JPEG, WebP or TIFF picture; convert it to one") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise UnderpaintError(f"{where}: is damaged or cut off ({error}); save it anew") from None


def _decode(data: bytes, where: str) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures; the limits below are ours.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            _check_extent(image.size, where)
            if deep := _deep(data, image):
                return deep
            return _split(_decoded(image))
    except Image.DecompressionBombError:
        raise UnderpaintError(f"{where}: is too large; {_LIMIT}") from None
    except UnidentifiedImageError:
        raise UnderpaintError(f"{where}: is not a PNG, JPEG, WebP or TIFF picture; convert it to one") from None
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        struct.error,
        Image.DecompressionBombWarning,
    ) as error:
        raise UnderpaintError(f"{where}: is damaged or cut off ({error}); save it anew") from None


def _check_extent(size: tuple[int, int], where: str) -> None:
    width, height = size
    if max(size) > MAX_SIDE or width * height > MAX_PIXELS:
        raise UnderpaintError(f"{where}: is {width}×{height} px; {_LIMIT}")


def _deep(data: bytes, image: Image.Image) -> tuple[np.ndarray, np.ndarray | None] | None:
    """16-bit (or floating-point) colour that Pillow would cut to 8 bits; None for everything else."""
    profile = image.info.get("icc_profile")
    if profile and not _is_srgb(profile):
        return None
    if image.format == "PNG" and png16.is_deep(data):
        array = png16.decode(data)
    elif image.format == "TIFF" and (tiff := _tiff(data)) is not None:
        array = tiff
    else:
        return None
    return _split(_scaled(array, "TIFF"), image.getexif().get(274, 1))


def _tiff(data: bytes) -> np.ndarray | None:
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        if page.dtype not in (np.uint16, np.float32, np.float64) or page.samplesperpixel not in (3, 4):
            return None
        if page.photometric != tifffile.PHOTOMETRIC.RGB:
            return None
        array = np.asarray(page.asarray())
    return array.transpose(1, 2, 0) if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE else array


def _is_srgb(profile: bytes) -> bool:
    try:
        description = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError):
        return False
    return "srgb" in description.lower()


def _decoded(image: Image.Image) -> np.ndarray:
    """(H, W, 3 or 4) float32, oriented and in sRGB."""
    profile = image.info.get("icc_profile")
    kind = image.format
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        samples = np.asarray(image)
        if image.mode == "I" and kind == "PNG":  # Pillow's own type for 16 bit of grey
            samples = samples.astype(np.uint16)
        return _scaled(samples, kind or "picture")
    if image.mode in ("P", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
    alpha = image.getchannel("A") if "A" in image.getbands() and image.mode != "LAB" else None
    if image.mode in ("LA", "RGBA", "RGBa", "1"):
        image = image.convert({"LA": "L", "1": "L"}.get(image.mode, "RGB"))
    if profile:
        image = _to_srgb(image, profile)
    rgb = np.asarray(image.convert("RGB"), np.float32) / 255
    if alpha is None:
        return rgb
    return np.dstack([rgb, np.asarray(alpha, np.float32) / 255])


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        warnings.warn("an ICC profile that does not fit its picture was ignored", stacklevel=2)
        return image
    return image if converted is None else converted


def _scaled(array: np.ndarray, what: str) -> np.ndarray:
    """Samples as float32 in 0..1, (H, W, 1, 3 or 4). The type says the range: it is never guessed from the values."""
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise UnderpaintError(f"{what}: an array of shape {array.shape} is not a picture; use (height, width, 3)")
    if array.dtype == np.bool_:
        return array.astype(np.float32)
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        return (array.astype(np.float64) / np.iinfo(array.dtype).max).astype(np.float32)
    if array.dtype.kind != "f":
        raise UnderpaintError(
            f"{what}: {array.dtype} does not say what is white; convert it, with .astype(np.uint8) where 255 is, "
            ".astype(np.uint16) where 65535 is, or divide it so that 1.0 is"
        )
    scaled = array.astype(np.float32)
    if not np.isfinite(scaled).all() or scaled.min() < 0 or scaled.max() > 1:
        raise UnderpaintError(f"{what}: has values outside 0..1 or that are not numbers; scale it to 0..1 or uint8")
    return scaled


def _split(array: np.ndarray, orientation: int = 1) -> tuple[np.ndarray, np.ndarray | None]:
    array = _orient(array, orientation)
    rgb = np.ascontiguousarray(array[..., :3] if array.shape[2] > 1 else np.repeat(array, 3, axis=2))
    alpha = np.ascontiguousarray(array[..., 3]) if array.shape[2] == 4 else None
    return rgb, None if alpha is None or alpha.min() >= 1 else alpha


def _orient(array: np.ndarray, orientation: int) -> np.ndarray:
    """EXIF's orientations 1 to 8."""
    turned = array.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else array
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    return turned[:, ::-1] if orientation in (2, 3, 6, 7) else turned


def _as_array(tensor: torch.Tensor, field: str) -> np.ndarray:
    tensor = tensor.detach().cpu()
    if tensor.ndim == 4 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3, 4):
        raise UnderpaintError(f"{field}: a tensor of shape {tuple(tensor.shape)} is not a picture; use (3, height, width)")
    tensor = tensor.float() if tensor.is_floating_point() else tensor
    return tensor.permute(1, 2, 0).numpy()


def _from_array(array: np.ndarray, field: str) -> Picture:
    if not array.size:
        raise UnderpaintError(f"{field}: the array is empty")
    rgb, alpha = _split(_scaled(array, field))
    return Picture(rgb, alpha, "array", _array_hash(rgb, alpha))


def _array_hash(rgb: np.ndarray, alpha: np.ndarray | None) -> str:
    digest = hashlib.sha256(f"{rgb.shape}".encode() + rgb.tobytes())
    if alpha is not None:
        digest.update(alpha.tobytes())
    return digest.hexdigest()


def size_for(extent: tuple[int, ...], longest: int) -> tuple[int, int]:
    """(height, width) scaled so that the longest side is `longest`; neither is under 1."""
    scale = longest / max(extent[:2])
    return max(1, round(extent[0] * scale)), max(1, round(extent[1] * scale))


def resize(array: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """(h, w) or (h, w, c) float32 at another size, Lanczos with antialiasing, clipped to 0..1."""
    height, width = size[:2]
    if array.shape[:2] == (height, width):
        return array.astype(np.float32, copy=False)
    if array.ndim == 3:
        return np.stack([resize(array[..., c], size) for c in range(array.shape[2])], axis=2)
    small = Image.fromarray(array.astype(np.float32)).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(np.clip(np.asarray(small), 0, 1))


def srgb_profile() -> bytes:
    """An sRGB ICC profile. LittleCMS stamps it with the date, which is set to a fixed one here."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = struct.pack(">6H", 2020, 1, 1, 0, 0, 0)
    return bytes(profile)


def check_writable_name(path: Path, field: str = "--out") -> None:
    """Raises an `UnderpaintError` if the ending is not one that `write` knows."""
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".tif", ".tiff"):
        raise UnderpaintError(f"{field} {path}: pictures are written as .png, .jpg or .tiff; choose one of these endings")


def write(
    path: str | os.PathLike[str],
    rgb: np.ndarray,
    *,
    alpha: np.ndarray | None = None,
    bits: int = 8,
    metadata: Mapping[str, str] | None = None,
    quality: int = 95,
) -> None:
    """Writes PNG or TIFF (8 or 16 bit) or JPEG, by the file's ending, with an sRGB profile. Equal input, equal bytes.

    Args:
        rgb: (H, W, 3), 0..1; clipped and rounded to the nearest level.
        alpha: (H, W), 0..1; JPEG has none and gets white in its place.
        bits: 8 or 16.
        metadata: text by key: iTXt in PNG, the image description (JSON) in JPEG and TIFF.
        quality: of JPEG, 1..95.

    Raises:
        UnderpaintError: unknown ending, 16-bit JPEG, or a file that cannot be written.
    """
    path, text = Path(path), dict(metadata or {})
    check_writable_name(path)
    jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    if bits not in (8, 16) or (jpeg and bits == 16):
        raise UnderpaintError(f"bits: {path.name} cannot have {bits} bits; use 8, or 16 with .png or .tiff")
    if jpeg and alpha is not None:
        rgb, alpha = rgb * alpha[..., None] + 1 - alpha[..., None], None
    array = rgb if alpha is None else np.dstack([rgb, alpha])
    top, kind = (255, np.uint8) if bits == 8 else (65535, np.uint16)
    samples = np.rint(np.clip(array.astype(np.float64), 0, 1) * top).astype(kind)
    if path.suffix.lower() in (".tif", ".tiff"):
        write_bytes(path, _tiff_bytes(samples, text))
    elif bits == 16:
        write_bytes(path, png16.encode(samples, srgb_profile(), text))
    else:
        write_bytes(path, _pillow_bytes(samples, text, "JPEG" if jpeg else "PNG", quality))


def _pillow_bytes(samples: np.ndarray, text: Mapping[str, str], kind: str, quality: int) -> bytes:
    extra: dict[str, Any] = {"icc_profile": srgb_profile()}
    if kind == "PNG":
        extra["pnginfo"] = PngImagePlugin.PngInfo()
        for key, value in text.items():
            extra["pnginfo"].add_itxt(key, value)
    else:
        exif = Image.Exif()
        exif[270] = json.dumps(text)
        extra |= {"quality": quality, "subsampling": 0, "exif": exif}
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, kind, **extra)
    return buffer.getvalue()


def _tiff_bytes(samples: np.ndarray, text: Mapping[str, str]) -> bytes:
    import tifffile

    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        samples,
        photometric="rgb",
        compression="zlib",
        description=json.dumps(text),
        metadata=None,
        iccprofile=srgb_profile(),
        extrasamples=["unassalpha"] if samples.shape[2] == 4 else None,
    )
    return buffer.getvalue()


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """What `write` was given as metadata; empty for other files."""
    with Image.open(path, formats=FORMATS) as image:
        if image.format == "PNG":
            image.load()
            return {key: str(value) for key, value in getattr(image, "text", {}).items()}
        try:
            return dict(json.loads(image.getexif().get(270, "{}")))
        except ValueError:
            return {}
