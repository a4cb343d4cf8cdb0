"""Pictures in and out: the only place that touches picture files."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageCms, PngImagePlugin

from underpaint.errors import UnderpaintError, printable
from underpaint.imaging import formats, png16
from underpaint.storage.files import named, write_bytes

MIN_SIDE = 32


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as it was given.

    Attributes:
        rgb: (height, width, 3) float32, sRGB, 0..1.
        alpha: (height, width) float32, 0..1; None when it is opaque.
        name: the file's name, or what else it came from; what cannot be printed in it is escaped.
        sha256: of the file's bytes, or of the array's.
        path: the file, or None.
        data: the file's bytes, read once: a pipe is empty afterwards, and a file may change; None where there is no file.
        ending: of a copy of the file, by its format, e.g. ".png".
        notes: what a user should know of how it was read, without its name.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    name: str
    sha256: str
    path: Path | None = None
    data: bytes | None = None
    ending: str = ""
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        height, width = self.rgb.shape[:2]
        return f"Picture({self.name}, {width}×{height} px{'' if self.alpha is None else ', with transparency'})"


Source = str | os.PathLike[str] | np.ndarray | torch.Tensor | Image.Image | Picture


def read(source: Source, field: str = "picture", min_side: int = MIN_SIDE) -> Picture:
    """Any source as a picture: oriented as EXIF says, colours converted from its ICC profile to sRGB.

    Files are PNG, JPEG, WebP, TIFF, GIF, AVIF (by Pillow from 11.3 on) or HEIC (by pillow-heif), told by their content; grey,
    palette, CMYK, alpha; 8 and 16 bit (16-bit pictures with an ICC profile other than sRGB are converted at 8 bits), TIFF of
    floats in 0..1 too, which are taken for sRGB. Of several pictures in a file (frames, pages) the first. A file may be a
    pipe: it is read once. Arrays are (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), tensors (C, H, W) or (1, C, H, W): bool,
    uint8, uint16, or floats in 0..1. Other types do not say what is white.

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
        picture = _from_image(source, field)
    elif isinstance(source, str | os.PathLike):
        picture = _from_file(source, field)
    else:
        raise UnderpaintError(f"{field}: a {type(source).__name__} is not a picture; give a file name or an array")
    height, width = picture.rgb.shape[:2]
    if min(height, width) < min_side:
        raise UnderpaintError(
            f"{field} {picture.name}: is {width}×{height} px; a short side under {min_side} px is too small, "
            "use a larger picture"
        )
    return picture


def _from_file(source: str | os.PathLike[str], field: str) -> Picture:
    path = named(source, field)
    where = f"{field} {path}"
    try:
        with path.open("rb") as file:
            data = file.read(formats.MAX_BYTES + 1)
    except IsADirectoryError:
        raise UnderpaintError(f"{where}: is a folder; name a picture file") from None
    except OSError as error:
        raise UnderpaintError(f"{where}: {error.strerror}; name a picture file that can be read") from None
    if not data:
        raise UnderpaintError(f"{where}: is empty; name a picture file, e.g. PNG, JPEG, WebP or TIFF")
    if len(data) > formats.MAX_BYTES:
        raise UnderpaintError(f"{where}: is too large; {formats.LIMIT}")
    found = formats.decode(data, where)
    digest = hashlib.sha256(data).hexdigest()
    return Picture(found.rgb, found.alpha, printable(path.name), digest, path, data, found.ending, found.notes)


def dimensions(path: str | os.PathLike[str], field: str = "picture") -> tuple[int, int]:
    """Width and height of a picture file, from its header: nothing is decoded, however large it claims to be.

    Raises:
        UnderpaintError: missing, not a picture, or damaged.
    """
    return formats.dimensions(Path(path), f"{field} {path}")


def _from_image(image: Image.Image, field: str) -> Picture:
    try:
        samples, notes = formats.of_image(image, field)
    except (OSError, ValueError, SyntaxError, EOFError) as error:  # it may be a file that is not decoded yet
        raise UnderpaintError(f"{field}: the image cannot be decoded ({error}); give another") from None
    rgb, alpha = formats.split(samples)
    return Picture(rgb, alpha, "image", _array_hash(rgb, alpha), notes=notes)


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
    if array.ndim == 3 and array.shape[2] == 2:
        raise UnderpaintError(f"{field}: an array of shape {array.shape} is not a picture; use (height, width, 3)")
    rgb, alpha = formats.split(formats.scaled(array, field))
    return of_samples(rgb, alpha)


def of_samples(rgb: np.ndarray, alpha: np.ndarray | None) -> Picture:
    """(H, W, 3) and (H, W) float32, 0..1, as a picture that was read already had them.

    Raises:
        ValueError: of another shape or kind.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size or (alpha is not None and alpha.shape != rgb.shape[:2]):
        raise ValueError(f"{rgb.shape} is no picture's shape")
    if any(part is not None and part.dtype != np.float32 for part in (rgb, alpha)):
        raise ValueError("is no picture of float32")
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
    new: bool = False,
) -> None:
    """Writes PNG or TIFF (8 or 16 bit) or JPEG, by the file's ending, with an sRGB profile. Equal input, equal bytes.

    Args:
        rgb: (H, W, 3), 0..1; clipped and rounded to the nearest level.
        alpha: (H, W), 0..1; JPEG has none and gets white in its place.
        bits: 8 or 16.
        metadata: text by key: iTXt in PNG, the image description (JSON) in JPEG and TIFF.
        quality: of JPEG, 1..95.
        new: the file must not be there yet.

    Raises:
        UnderpaintError: unknown ending, 16-bit JPEG, or a file that cannot be written.
    """
    path, text = named(path, "file"), dict(metadata or {})
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
        data = _tiff_bytes(samples, text)
    elif bits == 16:
        data = png16.encode(samples, srgb_profile(), text)
    else:
        data = _pillow_bytes(samples, text, "JPEG" if jpeg else "PNG", quality)
    write_bytes(path, data, new=new)


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
    with Image.open(path) as image:
        if image.format == "PNG":
            image.load()
            return {key: str(value) for key, value in getattr(image, "text", {}).items()}
        try:
            return dict(json.loads(image.getexif().get(270, "{}")))
        except ValueError:
            return {}
