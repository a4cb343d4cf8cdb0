"""16-bit colour PNG (W3C PNG specification, third edition), which Pillow reads and writes at 8 bits only."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
"""By the type of colour in the header: grey, RGB, and both with alpha."""
_COLOUR_TYPES = {3: 2, 4: 6}


def is_deep(data: bytes) -> bool:
    """Whether this is a 16-bit PNG, grey or in colour."""
    return data.startswith(SIGNATURE) and len(data) >= 33 and data[24] == 16 and data[25] in CHANNELS


def is_interlaced(data: bytes) -> bool:
    """Whether this PNG's rows come in seven passes, which `decode` does not read."""
    return bool(data[28])


def check(data: bytes) -> None:
    """Whether a PNG's picture data, of whatever depth, is as it was written: Pillow looks after all other chunks' CRC alone.

    Raises:
        ValueError: it is not.
    """
    place = len(SIGNATURE)
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        end = place + 8 + length
        chunk, crc = data[place + 4 : end], data[end : end + 4]
        if chunk[:4] == b"IDAT" and zlib.crc32(chunk).to_bytes(4, "big") != crc:
            raise ValueError("its picture data is not as it was written")
        place = end + 4


def decode(data: bytes) -> np.ndarray:
    """The samples, (height, width, 1 to 4) uint16; a transparent colour (tRNS) is not looked at.

    Raises:
        ValueError: the data is damaged.
    """
    width, height = struct.unpack(">II", data[16:24])
    channels = CHANNELS[data[25]]
    packed = b"".join(body for kind, body in _chunks(data) if kind == b"IDAT")
    try:
        raw = zlib.decompressobj().decompress(packed, height * (1 + width * channels * 2))
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(raw) != height * (1 + width * channels * 2):
        raise ValueError("the picture data ends too early")
    rows = np.frombuffer(raw, np.uint8).reshape(height, -1)
    return _unfilter(rows[:, 0], rows[:, 1:].reshape(height, width, channels * 2)).view(">u2").astype(np.uint16)


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, place = [], len(SIGNATURE)
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        if len(body) < length:
            raise ValueError("a chunk is cut off")
        found.append((kind, body))
        place += 12 + length
    return found


def _unfilter(filters: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Undoes the five filters (section 9), along diagonals: every pixel needs its left and upper neighbours only."""
    height, width, depth = rows.shape
    if filters.max(initial=0) > 4:
        raise ValueError("an unknown filter")
    out = np.zeros((height + 1, width + 1, depth), np.int16)
    for diagonal in range(height + width - 1):
        i = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        j = diagonal - i
        a, b, c = out[i + 1, j], out[i, j + 1], out[i, j]
        kind = filters[i][:, None]
        pa, pb, pc = abs(b - c), abs(a - c), abs(a + b - 2 * c)
        paeth = np.where((pa <= pb) & (pa <= pc), a, np.where(pb <= pc, b, c))
        guess = np.select([kind == 0, kind == 1, kind == 2, kind == 3], [0 * a, a, b, (a + b) // 2], paeth)
        out[i + 1, j + 1] = (rows[i, j] + guess) & 255
    return out[1:, 1:].astype(np.uint8)


def encode(samples: np.ndarray, profile: bytes, text: Mapping[str, str]) -> bytes:
    """A PNG file of (height, width, 3 or 4) uint16 with an ICC profile and text entries. Equal input, equal bytes."""
    height, width, channels = samples.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    rows = samples.astype(">u2", order="C").view(np.uint8).reshape(height, -1)
    # Filter 2: each row as its difference to the one above.
    filtered = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    marked = np.concatenate([np.full((height, 1), 2, np.uint8), filtered], axis=1)
    parts = [SIGNATURE, _chunk(b"IHDR", header)]
    parts.append(_chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(profile)))
    parts += [_chunk(b"iTXt", key.encode("latin-1") + b"\0\0\0\0\0" + value.encode()) for key, value in text.items()]
    parts += [_chunk(b"IDAT", zlib.compress(marked.tobytes(), 6)), _chunk(b"IEND", b"")]
    return b"".join(parts)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
