"""Faces: where they are in a picture, and the mask that protects them.

The detector is scikit-image's: a cascade of multi-block local binary patterns (Viola & Jones 2001; Liao et al. 2007,
"Learning Multi-scale Block Local Binary Patterns for Face Recognition") with the frontal-face weights that come in its wheel.
It sees faces that look at the camera, more or less upright; a profile, or a face that fills a small part of the picture,
needs a mask.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from underpaint.errors import UnderpaintError
from underpaint.imaging import images
from underpaint.imaging.images import Picture

WORD = "faces"
"""What is given in place of a mask."""

LONGEST = 384
"""Pixels: a larger picture is looked at at this size."""

SMALLEST = 32
"""Side of the smallest window, pixels. The cascade knows windows from 24 px, where most of what it finds is none; and a face
that is smaller has no eyes at the sizes of a pastiche."""

ALIKE = 0.2
"""Windows whose middles and sides differ by less than this share of the smaller side are one face (OpenCV's grouping)."""

VOTES = 8
"""Windows that must agree on a face, in the picture and in its mirror image alike: a pattern that looks like a face by chance
seldom does both ways."""

WIDTH, HEIGHT, RISE = 0.5, 0.68, 0.08
"""Half axes of a face's ellipse, forehead to chin, and how far its middle lies above the window's, in sides of the window."""

RIM = 0.25
"""The ellipse fades out over this share of its axes."""


@dataclass(frozen=True)
class Face:
    """A square around brows, nose and mouth: its middle and its side, in pixels of the picture."""

    x: float
    y: float
    side: float


def find(rgb: np.ndarray) -> tuple[Face, ...]:
    """The faces of a picture (H, W, 3), 0..1, the largest first."""
    scale = min(1.0, LONGEST / max(rgb.shape[:2]))
    small = images.resize(rgb, images.size_for(rgb.shape[:2], round(scale * max(rgb.shape[:2]))))
    seen = _windows(small)
    mirrored = _windows(small[:, ::-1])
    mirrored[:, 0] = small.shape[1] - mirrored[:, 0]
    found = []
    for members, own in _groups(np.concatenate([seen, mirrored]), len(seen)):
        if min(own.sum(), (~own).sum()) >= VOTES:
            x, y, side = members.mean(0) / scale
            found.append(Face(float(x), float(y), float(side)))
    return tuple(sorted(found, key=lambda face: -face.side))


def _windows(rgb: np.ndarray) -> np.ndarray:
    """Every window that the cascade takes for a face, (n, 3): middle x, y and side, not merged."""
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    height, width = rgb.shape[:2]
    if min(height, width) < SMALLEST:
        return np.zeros((0, 3))
    file = lbp_frontal_face_cascade_filename()  # type: ignore[no-untyped-call]
    boxes = Cascade(file).detect_multi_scale(
        img=np.rint(np.ascontiguousarray(rgb) * 255).astype(np.uint8),
        scale_factor=1.1,
        step_ratio=1.0,
        min_size=(SMALLEST, SMALLEST),
        max_size=(min(height, width), min(height, width)),
        min_neighbor_number=1,
        intersection_score_threshold=2.0,  # no share of an overlap reaches it: nothing is merged there
    )
    middles = [(box["c"] + box["width"] / 2, box["r"] + box["height"] / 2, box["width"]) for box in boxes]
    return np.array(middles, np.float64).reshape(-1, 3)


def _groups(windows: np.ndarray, own: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Windows that are of one face, each group with which of them are among the first `own`."""
    from scipy.sparse.csgraph import connected_components

    apart = np.abs(windows[:, None] - windows[None]).max(2, initial=0)
    near = apart <= ALIKE * np.minimum(windows[:, None, 2], windows[None, :, 2])
    count, labels = connected_components(near, directed=False)
    first = np.arange(len(windows)) < own
    return [(windows[labels == group], first[labels == group]) for group in range(count)]


def cover(faces: tuple[Face, ...], height: int, width: int) -> np.ndarray:
    """A soft ellipse for each face, (height, width) float32: 1 inside, fading to 0 over its rim.

    Args:
        faces: in pixels of a picture of that size.
    """
    whole = np.zeros((height, width), np.float32)
    rows, columns = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    for face in faces:
        down, right = rows - (face.y - RISE * face.side), columns - face.x
        radius = np.hypot(down / (HEIGHT * face.side), right / (WIDTH * face.side))
        whole = np.maximum(whole, np.clip((1 + RIM / 2 - radius) / RIM, 0, 1))
    return whole.astype(np.float32)


def mask(picture: Picture) -> Picture:
    """A grey picture, white where `picture` has faces, of its shape and at most `LONGEST` pixels a side.

    Raises:
        UnderpaintError: none was found.
    """
    found = find(picture.rgb)
    if not found:
        raise UnderpaintError(
            f"protect: no face found in {picture.name}; "
            "give a grey picture that is white where the content is to be kept, --protect FILE"
        )
    scale = min(1.0, LONGEST / max(picture.rgb.shape[:2]))
    height, width = images.size_for(picture.rgb.shape[:2], round(scale * max(picture.rgb.shape[:2])))
    grey = cover(tuple(Face(f.x * scale, f.y * scale, f.side * scale) for f in found), height, width)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    return replace(images.of_samples(rgb, None), name=WORD)
