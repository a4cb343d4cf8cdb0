"""Paints the style pictures that ship with underpaint.

Every picture is painted from nothing but a seed: no photograph and no other picture is read. A picture is a
plan (colours, the direction of the brush and, for one of them, the shapes) that thousands of brush strokes
then carry out, from wide to narrow. A stroke has bristles, runs dry, lifts its bristles unevenly, picks up a
little of the paint below it and leaves a relief; at the end that relief is lit from the upper left.

    python samples/paint.py                  paint all of them into src/underpaint/samples
    python samples/paint.py gale --out DIR   paint one of them somewhere else
    python samples/paint.py --png --width 1280

All lengths are in units of 1/640 of the picture's width, so a small picture is the large one made small.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

REFERENCE = 640.0  # one unit of length is the picture's width over this
SIZE = (640, 512)  # width, height
OVERSAMPLING = 2
OUT = Path(__file__).resolve().parents[1] / "src" / "underpaint" / "samples"
QUALITY = {"gale": 90, "glass": 90, "dunes": 90}
SEEDS = {"gale": 11, "glass": 23, "dunes": 5}


# Colour: the paint is mixed in OKLab, where a mixture of two colours looks like one.


def to_lab(rgb: Floats) -> Floats:
    """OKLab (..., 3) of sRGB (..., 3) in 0..1."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_lms = np.array([[0.4122215, 0.5363325, 0.0514460], [0.2119035, 0.6806995, 0.1073970],
                       [0.0883025, 0.2817188, 0.6299787]])  # fmt: skip
    from_lms = np.array([[0.2104543, 0.7936178, -0.0040720], [1.9779985, -2.4285922, 0.4505937],
                         [0.0259040, 0.7827718, -0.8086758]])  # fmt: skip
    return np.asarray(np.cbrt(linear @ to_lms.T) @ from_lms.T, np.float32)


def to_rgb(lab: Floats) -> Floats:
    """SRGB (..., 3) in 0..1 of OKLab (..., 3), clipped to what sRGB can show."""
    to_lms = np.array([[1.0, 0.3963378, 0.2158038], [1.0, -0.1055613, -0.0638542],
                       [1.0, -0.0894842, -1.2914855]])  # fmt: skip
    from_lms = np.array([[4.0767417, -3.3077116, 0.2309699], [-1.2684380, 2.6097574, -0.3413194],
                         [-0.0041961, -0.7034186, 1.7076147]])  # fmt: skip
    linear = np.clip(((lab @ to_lms.T) ** 3) @ from_lms.T, 0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(encoded, np.float32)


def tubes(*colours: str) -> Floats:
    """OKLab (n, 3) of n colours written as six hexadecimal digits."""
    rgb = [[int(c[k : k + 2], 16) / 255 for k in (0, 2, 4)] for c in colours]
    return to_lab(np.array(rgb, np.float32))


def ramp(colours: Floats, at: Floats) -> Floats:
    """The colour (..., 3) at positions 0..1 along evenly spaced colours (n, 3)."""
    stops = np.linspace(0.0, 1.0, len(colours))
    return np.stack([np.interp(at, stops, colours[:, k]) for k in range(3)], axis=-1).astype(np.float32)


def smooth(low: float, high: float, x: NDArray[np.floating]) -> Floats:
    """0 below low, 1 above high and a smooth step between."""
    u = np.clip((x - low) / (high - low), 0.0, 1.0)
    return np.asarray(u * u * (3 - 2 * u), np.float32)


def clouds(rng: np.random.Generator, shape: tuple[int, int], grain: float, unit: float) -> Floats:
    """Smooth noise (H, W), mean 0 and deviation 1, with features about `grain` units in size.

    The random numbers lie on a lattice that does not depend on the picture's resolution.
    """
    height, width = shape
    step = grain / 2.5
    rows = int(np.ceil(height / unit / step)) + 4
    columns = int(np.ceil(width / unit / step)) + 4
    lattice = ndimage.gaussian_filter(rng.standard_normal((rows, columns)), 1.0, mode="wrap")
    lattice = (lattice - lattice.mean()) / lattice.std()
    y = (np.arange(height) + 0.5) / (unit * step) + 1
    x = (np.arange(width) + 0.5) / (unit * step) + 1
    return sample(ndimage.spline_filter(lattice), np.add.outer(y, 0 * x), np.add.outer(0 * y, x), 3)


def sample(field: NDArray[np.floating], y: NDArray[np.floating], x: NDArray[np.floating], order: int = 1) -> Floats:
    """The field (H, W) at places y, x of any one shape."""
    values = ndimage.map_coordinates(field, [y, x], order=order, mode="nearest", prefilter=False)
    return np.asarray(values, np.float32)


# The brush.


@dataclass
class Plan:
    """What to paint: arrays over the oversampled picture (H, W)."""

    colour: Floats  # (H, W, 3), OKLab
    angle: Floats  # (H, W), the brush's direction
    shapes: Ints | None = None  # (H, W), a stroke does not leave the shape it began in


@dataclass
class Layer:
    """One pass over the picture with one brush; lengths in units."""

    width: float
    length: float
    spacing: float
    opacity: float = 0.95
    relief: float = 1.0
    dry: float = 0.3  # 0: a full brush; 1: hardly any paint
    tooth: float = 0.0  # how far the ground's grain breaks the stroke
    colour_jitter: float = 0.02
    angle_jitter: float = 0.12
    lift: float = 0.4  # how unevenly the bristles leave the ground
    pick_up: float = 0.12
    where: Floats | None = None  # (H, W), the chance of a stroke beginning here
    second: Floats | None = None  # (n, 3), now and then one of these colours rides along in the brush
    rides: float = 0.25


class Painting:
    """A canvas of paint (OKLab and relief) and the strokes that go on it."""

    def __init__(self, size: tuple[int, int], seed: int, ground: Floats) -> None:
        self.size = size
        self.width = size[0] * OVERSAMPLING
        self.height = size[1] * OVERSAMPLING
        self.shape = (self.height, self.width)
        self.unit = self.width / REFERENCE
        self.rng = np.random.default_rng(seed)
        self.paint = np.zeros((self.height * self.width, 4), np.float32)
        self.paint[:, :3] = ground
        y, x = np.mgrid[0 : self.height, 0 : self.width].astype(np.float32)
        self.x = (x + 0.5) / self.height  # 0..1.25 for a picture of 5 to 4
        self.y = (y + 0.5) / self.height  # 0..1
        # Bristles: noise that is fine across the brush (second axis) and long along it (first axis).
        raw = self.rng.standard_normal((1024, 512))
        fine = ndimage.gaussian_filter(raw, (26, 0.75), mode="wrap")
        raw = self.rng.standard_normal((1024, 512))
        coarse = ndimage.gaussian_filter(raw, (60, 3.0), mode="wrap")
        mixed = fine / fine.std() + 0.8 * coarse / coarse.std()
        self.bristles = np.clip(0.5 + 0.22 * mixed / mixed.std(), 0, 1).astype(np.float32)
        self.streaks = np.clip(0.5 + 0.3 * coarse / coarse.std(), 0, 1).astype(np.float32)
        self.grain = np.zeros(self.height * self.width, np.float32)

    def clouds(self, grain: float) -> Floats:
        """Smooth noise (H, W)."""
        return clouds(self.rng, self.shape, grain, self.unit)

    def weave(self, pitch: float, depth: float) -> None:
        """Give the ground the relief and the grain of a woven canvas."""
        wobble = self.clouds(40.0) * 0.5
        u = 2 * np.pi * self.x * self.height / self.unit / pitch + wobble
        v = 2 * np.pi * self.y * self.height / self.unit / pitch + wobble
        threads = np.maximum(np.sin(u) * np.cos(v * 0.5), np.sin(v) * np.cos(u * 0.5))
        rough = threads + 0.35 * self.clouds(3.0)
        self.grain = (0.5 + 0.3 * rough).astype(np.float32).ravel()
        self.paint[:, 3] += depth * self.grain

    def tooth(self, grain: float, depth: float) -> None:
        """Give the ground the relief and the grain of rough paper."""
        rough = self.clouds(grain) + 0.6 * self.clouds(grain * 2.3)
        self.grain = (0.5 + 0.3 * rough / 1.17).astype(np.float32).ravel()
        self.paint[:, 3] += depth * self.grain

    def seeds(self, spacing: float) -> tuple[Floats, Floats]:
        """Places (n,), (n,) in pixels: one in each cell of a lattice, in random order, past the edges too."""
        height, width = self.height / self.unit, self.width / self.unit
        rows, columns = int(np.ceil(height / spacing)) + 2, int(np.ceil(width / spacing)) + 2
        r, c = np.mgrid[0:rows, 0:columns]
        y = (r - 1 + self.rng.random(r.shape)).ravel() * spacing
        x = (c - 1 + self.rng.random(c.shape)).ravel() * spacing
        order = self.rng.permutation(y.size)
        return (y[order] * self.unit).astype(np.float32), (x[order] * self.unit).astype(np.float32)

    def lay(self, plan: Plan, layer: Layer) -> int:
        """Cover the picture with one layer of strokes; returns how many there were."""
        y, x = self.seeds(layer.spacing)
        chance = self.rng.random(y.size)
        numbers = self.rng.standard_normal((y.size, 8)).astype(np.float32)
        uniform = self.rng.random((y.size, 6)).astype(np.float32)
        row = np.clip(y, 0, self.height - 1).astype(int)
        column = np.clip(x, 0, self.width - 1).astype(int)
        keep = np.ones(y.size, bool) if layer.where is None else chance < layer.where[row, column]
        # A stroke runs as far behind its seed as before it.
        steps = 24
        length = layer.length * np.exp(0.28 * numbers[:, 0]) * self.unit
        pace = length / (2 * steps)
        turn = layer.angle_jitter * numbers[:, 1]
        bend = 0.35 * layer.angle_jitter * numbers[:, 2]
        cosine, sine = np.cos(plan.angle), np.sin(plan.angle)
        halves = []
        for way in (-1.0, 1.0):
            py, px = y.copy(), x.copy()
            last_x = way * sample(cosine, py, px)
            last_y = way * sample(sine, py, px)
            track = []
            for k in range(steps):
                dx, dy = sample(cosine, py, px), sample(sine, py, px)
                sign = np.where(dx * last_x + dy * last_y < 0, -1.0, 1.0)
                dx, dy = dx * sign, dy * sign
                last_x, last_y = 0.5 * last_x + 0.5 * dx, 0.5 * last_y + 0.5 * dy
                norm = np.hypot(last_x, last_y) + 1e-6
                last_x, last_y = last_x / norm, last_y / norm
                off = turn + bend * (k / steps)
                px = px + pace * (last_x * np.cos(off) - last_y * np.sin(off))
                py = py + pace * (last_x * np.sin(off) + last_y * np.cos(off))
                track.append(np.stack([py, px], axis=-1))
            halves.append(np.stack(track, axis=1))
        middle = np.stack([y, x], axis=-1)[:, None, :]
        paths = np.concatenate([halves[0][:, ::-1], middle, halves[1]], axis=1)
        paths = ndimage.gaussian_filter1d(paths, 2.0, axis=1, mode="nearest").astype(np.float32)
        paths[uniform[:, 0] < 0.5] = paths[uniform[:, 0] < 0.5, ::-1]

        jitter = numbers[:, 3:6] * np.array([1.0, 0.4, 0.4], np.float32) * layer.colour_jitter
        main = plan.colour[row, column] + jitter
        other = main + numbers[:, [6, 7, 2]] * np.array([1.2, 0.5, 0.5], np.float32) * layer.colour_jitter
        if layer.second is not None:
            rides = uniform[:, 1] < layer.rides
            chosen = layer.second[(uniform[:, 2] * len(layer.second)).astype(int)]
            other[rides] = 0.35 * main[rides] + 0.65 * chosen[rides]
        widths = layer.width * np.exp(0.2 * numbers[:, 6]) * self.unit
        for n in np.flatnonzero(keep):
            shape = None if plan.shapes is None else int(plan.shapes[row[n], column[n]])
            self.stroke(paths[n], float(widths[n]), main[n], other[n], layer, uniform[n], plan.shapes, shape)
        return int(keep.sum())

    def stroke(
        self,
        path: Floats,
        width: float,
        main: Floats,
        other: Floats,
        layer: Layer,
        luck: Floats,
        shapes: Ints | None = None,
        shape: int | None = None,
    ) -> None:
        """One stroke along a path (k, 2) of y, x in pixels."""
        hops = np.hypot(*np.diff(path, axis=0).T)
        reach = np.concatenate([[0.0], np.cumsum(hops)]).astype(np.float32)
        total = float(reach[-1])
        half = max(width / 2, 0.6)
        if total < 1.0:
            return
        along = np.linspace(0, total, max(int(total / 0.66), 4), dtype=np.float32)
        py = np.interp(along, reach, path[:, 0]).astype(np.float32)
        px = np.interp(along, reach, path[:, 1]).astype(np.float32)
        ty, tx = np.gradient(py), np.gradient(px)
        norm = np.hypot(ty, tx) + 1e-6
        across = np.linspace(-1, 1, max(int(2 * half / 0.66), 4), dtype=np.float32)
        iy = (py[:, None] + (tx / norm)[:, None] * across * half).astype(np.int32)
        ix = (px[:, None] - (ty / norm)[:, None] * across * half).astype(np.int32)
        inside = (iy >= 0) & (iy < self.height) & (ix >= 0) & (ix < self.width)
        if not inside.any():
            return
        at = np.where(inside, iy * self.width + ix, 0)

        # The bristles' own pattern, one texel to half a unit across and to one unit along.
        u = (along / self.unit + luck[3] * 1024).astype(int) % 1024
        v = (across * half / self.unit * 2 + luck[4] * 512).astype(int) % 512
        bristle = self.bristles[u[:, None], v]
        s = along / total
        fray = self.bristles[(u[0] + 311) % 1024, v]  # where each bristle leaves the ground
        tail = total * layer.lift * luck[5] * (0.15 + 0.85 * fray)
        end = np.clip((total - along[:, None] - tail) / (0.12 * total + 1.0), 0, 1)
        head = min(half * 0.9, 0.3 * total) + 1e-3
        blunt = 1 - (0.25 + 0.5 * luck[2]) * (1 - np.clip(along / head, 0, 1)) ** 2
        edge = np.clip((blunt[:, None] * (1.04 - 0.3 * (1 - bristle)) - np.abs(across)) * half / 0.9, 0, 1)
        end *= np.clip((along[:, None] - 0.7 * head * fray) / (0.04 * total + 1.0), 0, 1)
        level = layer.dry * (0.35 + 0.65 * s)[:, None]
        cover = bristle
        if layer.tooth > 0:
            cover = (1 - layer.tooth) * bristle + layer.tooth * self.grain[at]
        body = np.clip((cover - level * 0.95 + 0.06) / 0.16, 0, 1)
        alpha = layer.opacity * edge * end * body * inside
        if shapes is not None and shape is not None:
            alpha *= shapes.ravel()[at] == shape

        # From here on only the places that take paint.
        wet = np.flatnonzero(alpha > 0.004)
        if wet.size == 0:
            return
        i, j = wet // len(across), wet % len(across)
        where, bristle, alpha = at.ravel()[wet], bristle.ravel()[wet], alpha.ravel()[wet]
        below = self.paint[where]
        first = int(np.clip(path[0, 0], 0, self.height - 1)) * self.width
        start = self.paint[first + int(np.clip(path[0, 1], 0, self.width - 1)), :3]
        streak = smooth(0.45, 0.75, self.streaks[u[i], (v[j] + 171) % 512])
        smear = layer.pick_up * (0.5 + 0.5 * s)[i]
        rim = 0.35 * np.exp(-(((np.abs(across) - 0.84) / 0.12) ** 2))
        blob = 0.3 * np.exp(-(((s - 0.93 + 0.25 * luck[5]) / 0.06) ** 2))
        thick = layer.relief * min(half / self.unit, 9.0) ** 0.6 * self.unit
        fresh = np.empty_like(below)
        for k in range(3):
            mixed = main[k] + (other[k] - main[k]) * streak
            if k == 0:
                mixed += 0.09 * (bristle - 0.5)
            fresh[:, k] = mixed + smear * (start[k] - mixed)
        fresh[:, 3] = thick * (0.3 + 0.9 * bristle + rim[j] + blob[i]) + 0.12 * below[:, 3]
        self.paint[where] = below + alpha[:, None] * (fresh - below)

    def light(self, strength: float, gloss: float) -> Bytes:
        """The picture (H, W, 3), bytes: the relief lit from the upper left, and brought down to size."""
        lab = self.paint[:, :3].reshape(*self.shape, 3)
        relief = self.paint[:, 3].reshape(self.shape) / self.unit
        relief = ndimage.gaussian_filter(relief, 0.45 * self.unit)
        gy, gx = np.gradient(relief, 1 / self.unit)
        slope = (-(0.62 * gx + 0.78 * gy)) * -1.0
        slope = slope / (1 + 0.5 * np.abs(slope))
        shade = np.clip(strength * slope, -0.22, 0.2)
        rgb = to_rgb(lab)
        linear = rgb**2.2 * np.exp(1.7 * shade)[..., None]
        shine = gloss * np.clip(slope - 0.35, 0, 1) ** 1.5
        linear = linear + shine[..., None] * np.array([1.0, 0.98, 0.92])
        small = linear.reshape(self.size[1], OVERSAMPLING, self.size[0], OVERSAMPLING, 3).mean((1, 3))
        out = np.clip(small, 0, 1) ** (1 / 2.2)
        return np.asarray(out * 255 + 0.5).astype(np.uint8)


def streaming(noise: Floats, angle: Floats, reach: float, steps: int = 28) -> Floats:
    """Noise (H, W) dragged along the directions (H, W) for `reach` pixels either way; deviation 1."""
    thin = 2
    noise, angle = noise[::thin, ::thin], angle[::thin, ::thin]
    cosine, sine = np.cos(angle), np.sin(angle)
    y0, x0 = np.mgrid[0 : noise.shape[0], 0 : noise.shape[1]].astype(np.float32)
    total = noise.copy()
    for way in (-1.0, 1.0):
        y, x = y0.copy(), x0.copy()
        for _ in range(steps):
            dx, dy = sample(cosine, y, x), sample(sine, y, x)
            x = x + way * dx * reach / steps / thin
            y = y + way * dy * reach / steps / thin
            total += sample(noise, y, x)
    total = (total - total.mean()) / total.std()
    return np.repeat(np.repeat(total, thin, 0), thin, 1)


# The pictures.


def gale(size: tuple[int, int] = SIZE, seed: int = SEEDS["gale"]) -> Bytes:
    """Oil: a night wind over a running sea, in blues with ochre light. Returns (H, W, 3), bytes."""
    p = Painting(size, seed, tubes("6b4a2f")[0])
    p.weave(2.6, 0.5)
    x, y = p.x, p.y
    horizon = 0.69 + 0.03 * np.sin(4.4 * x + 2.4) + 0.008 * p.clouds(140.0)

    # The wind blows from the lower left and curls over twice; the sea runs in long crests.
    def eddy(cx: float, cy: float, turn: float, core: float, lean: float = 0.0) -> tuple[Floats, Floats]:
        u, v = x - cx, (y - cy) + lean * (x - cx)
        r2 = 0.8 * u**2 + 1.25 * v**2
        near = np.exp(-r2 / 0.05).astype(np.float32)
        return np.asarray(turn * 0.5 * np.log(r2 + core * core), np.float32), near

    first, near_first = eddy(0.80, 0.37, 0.30, 0.07, 0.15)
    second, near_second = eddy(0.2, 0.13, -0.13, 0.06, -0.2)
    third, near_third = eddy(1.2, 0.06, -0.12, 0.06)
    sky = first + second + third - 0.34 * y - 0.13 * x * (1 - x) + 0.016 * p.clouds(120.0)
    swell = 0.038 * np.sin(7.4 * x + 5.0 * y + 0.5) + 0.013 * np.sin(16.0 * x - 9.0 * y)
    sea = -0.6 * (y - swell) + 0.006 * p.clouds(60.0)
    wet = smooth(-0.012, 0.02, y - horizon)
    slopes = [np.gradient(ndimage.gaussian_filter(stream, 2 * p.unit)) for stream in (sky, sea)]
    vx = -((1 - wet) * slopes[0][0] / 0.5 + wet * slopes[1][0])
    vy = (1 - wet) * slopes[0][1] / 0.5 + wet * slopes[1][1]
    inward = 0.5 * near_first - 0.45 * near_second - 0.4 * near_third
    angle = (np.arctan2(vy, vx) + inward * (1 - wet)).astype(np.float32)

    broad = streaming(p.clouds(52.0), angle, 130 * p.unit)
    narrow = streaming(p.clouds(17.0), angle, 80 * p.unit)
    run = 0.75 * broad + 0.5 * narrow

    night = tubes("0a1130", "12214f", "1d4087", "2a67a8", "4e9abf", "93c7c9", "dfe6cd")
    amber = tubes("6e3319", "a9561f", "d28c2a", "ecb94b", "f6dd98")
    rise = smooth(0.0, 0.7, y)
    dawn = np.exp(-(((x - 0.2) / 0.4) ** 2)) * np.exp(-(((horizon - y) / 0.13) ** 2))
    curl = near_first * 0.85 + near_second * 0.5
    cold = ramp(night, np.clip(0.2 + 0.19 * run + 0.2 * rise + 0.22 * curl + 0.1 * dawn, 0, 1))
    ribbon = smooth(0.5, 1.5, broad + 0.35 * narrow + 0.7 * curl + 1.5 * dawn - 0.25 * (1 - rise))
    lamp = np.exp(-(((x - 0.80) ** 2 + (y - 0.37) ** 2) / 0.006))
    heat = np.clip(0.95 * ribbon * smooth(0.1, 0.8, 0.85 * curl + 1.3 * dawn + 0.25 * rise) + lamp, 0, 1)
    warm = ramp(amber, np.clip(0.38 + 0.2 * run + 0.28 * dawn + 0.35 * lamp, 0, 1))
    air = cold + heat[..., None] * (warm - cold)

    deep = tubes("08141f", "0c2b3d", "124b58", "23777a", "64ad9c", "c3dcbb", "f3ecd0")
    face = np.sin(7.4 * x + 5.0 * y + 0.5 - 0.9)
    depth = smooth(0.0, 0.3, y - horizon)
    water = ramp(deep, np.clip(0.4 + 0.2 * np.minimum(run, 1.1) + 0.17 * face - 0.16 * depth, 0, 1))
    lane = np.exp(-(((x - 0.27 - 0.05 * np.sin(22 * y)) / (0.07 + 0.5 * (y - 0.62))) ** 2))
    shine = smooth(0.45, 1.15, lane + 0.35 * narrow + 0.2 * face - 0.15)
    water = water + (0.9 * shine)[..., None] * (ramp(amber, np.clip(0.5 + 0.22 * narrow, 0, 1)) - water)
    colour = air + wet[..., None] * (water - air)
    plan = Plan(colour.astype(np.float32), angle)
    bright = Plan((colour + np.array([0.06, 0.0, 0.012])).astype(np.float32), angle)

    tints = tubes("1d4087", "93c7c9", "d28c2a", "12214f", "3b356a", "dfe6cd", "2a67a8")
    busy = np.clip(0.1 + 0.4 * (heat + shine) + 0.12 * np.abs(run), 0, 0.8).astype(np.float32)
    p.lay(plan, Layer(40, 190, 19, relief=0.9, dry=0.1, second=tints, rides=0.25))
    p.lay(plan, Layer(24, 135, 13, relief=1.1, dry=0.4, second=tints, rides=0.25))
    p.lay(plan, Layer(14, 90, 11, relief=1.3, dry=0.5, second=tints, rides=0.22))
    p.lay(plan, Layer(7.5, 50, 9, relief=1.5, dry=0.5, where=busy, colour_jitter=0.03, second=tints))
    p.lay(bright, Layer(4, 30, 8, relief=1.8, dry=0.5, where=busy * 0.7, colour_jitter=0.035))
    return p.light(0.45, 0.16)


def glass(size: tuple[int, int] = SIZE, seed: int = SEEDS["glass"]) -> Bytes:
    """Gouache shapes in heavy dark contours: a plant before the sun. Returns (H, W, 3), bytes."""
    p = Painting(size, seed, tubes("1a1620")[0])
    p.tooth(2.4, 0.6)
    # The scissors wobble: every shape is cut from these coordinates.
    x = p.x + 0.006 * p.clouds(60.0) + 0.003 * p.clouds(22.0)
    y = p.y + 0.006 * p.clouds(60.0) + 0.003 * p.clouds(22.0)
    colour = np.zeros((*p.shape, 3), np.float32)
    angle = np.zeros(p.shape, np.float32)
    piece = np.zeros(p.shape, np.int64)
    major = np.zeros(p.shape, np.int64)
    count = 0

    def cut(mask: NDArray[np.bool_], keys: Ints, group: int, paints: Floats, way: Floats, mix: float) -> None:
        """Cut the mask into one piece for each key, and give each a colour near one of the paints."""
        nonlocal count
        for key in np.unique(keys[mask]):
            part = mask & (keys == key)
            count += 1
            lots = p.rng.random(3)
            chosen = paints[int((abs(int(key)) * 0.381966 * len(paints) + lots[0] * mix) % len(paints))]
            colour[part] = chosen + (lots[1] - 0.5) * np.array([0.07, 0.012, 0.02])
            angle[part] = way[part] + (lots[2] - 0.5) * 0.5
            piece[part] = count
            major[part] = group

    # The sky: rings about the sun, cut into rays.
    sx, sy = 0.90, 0.31
    r = np.hypot(x - sx, y - sy)
    turn = np.arctan2(y - sy, x - sx)
    rings = np.array([0.105, 0.175, 0.27, 0.39, 0.53, 0.70, 0.9])
    ring = np.digitize(r, rings)
    rays = np.array([1, 9, 13, 13, 17, 17, 19, 19])[ring]
    sector = np.floor((turn / (2 * np.pi) + 0.5 + 0.037 * ring + 0.02 * np.sin(9 * r)) * rays) % rays
    skies = [
        tubes("fbe28a", "f9d25e"),
        tubes("f6a61c", "f7bd35", "ee8a1d"),
        tubes("e4572e", "ef7b2c", "d93f2b"),
        tubes("c9304a", "e0604c", "f0a28a", "b02a5b"),
        tubes("2aa6a4", "7cc8b0", "1e8aa0", "f2d9b0"),
        tubes("1f6fa8", "2b8fc0", "17588f", "58b4c8"),
        tubes("263f94", "1b4f9c", "3b2f86", "2c7ab8"),
        tubes("2a2468", "1f2f7c", "46307f"),
    ]
    for k, paints in enumerate(skies):
        tangent = turn + (0.0 if k in (1, 2) else np.pi / 2)
        cut(ring == k, (sector + 31 * k).astype(np.int64), 1 + k, paints, tangent.astype(np.float32), 1.0)

    # The hills: long bands, each cut by slanting furrows.
    hills = [
        (0.63 + 0.07 * np.sin(2.6 * x + 0.4), tubes("1d6b5a", "2f8f63", "17584f", "5aa56a"), 5.0, 0.9),
        (0.73 + 0.06 * np.sin(3.4 * x + 3.0), tubes("9db13c", "c7bf45", "6f9a3a", "e0cf6a"), 6.5, -0.7),
        (0.82 + 0.05 * np.sin(4.1 * x + 0.9), tubes("c2452d", "d96b34", "a8324a", "e9a04a"), 6.0, 0.8),
        (0.92 + 0.04 * np.sin(3.6 * x + 4.2), tubes("4a2560", "6d2f6e", "2c2a66", "93406f"), 7.0, -0.5),
    ]
    for k, (top, paints, furrows, slant) in enumerate(hills):
        keys = np.floor(furrows * (x + slant * (y - top) + 0.05 * np.sin(11 * x + k))).astype(np.int64) + 3
        slope = np.arctan2(np.gradient(top, axis=1), 1 / p.height).astype(np.float32)
        cut(y > top, keys, 20 + k, paints, slope, 1.4)

    # The plant: a stem, and leaves that are two arcs with a rib between them.
    def stem(t: Floats | float) -> tuple[Floats, Floats]:
        return np.asarray(0.30 + 0.13 * np.sin(2.3 * (1 - t) + 0.2) - 0.06 * t), np.asarray(1.04 - 0.92 * t)

    nearest = np.full(p.shape, 9.0, np.float32)
    for t in np.linspace(0, 0.93, 240):
        cx, cy = stem(t)
        nearest = np.minimum(nearest, np.hypot(x - cx, y - cy) - (0.016 - 0.009 * t))
    cut(nearest < 0, np.zeros(p.shape, np.int64), 30, tubes("20342c"), np.full(p.shape, 1.5, np.float32), 0.0)
    leaves = [
        (0.13, -2.8, 0.27, 0.42, 0),
        (0.22, -0.25, 0.35, 0.40, 1),
        (0.37, -2.7, 0.32, 0.40, 2),
        (0.47, -0.5, 0.33, 0.40, 0),
        (0.60, -2.55, 0.29, 0.42, 1),
        (0.70, -0.62, 0.26, 0.42, 2),
        (0.84, -2.35, 0.20, 0.46, 0),
        (0.90, -1.2, 0.2, 0.46, 1),
    ]
    greens = [
        tubes("f3ead0", "3f9c5b"),
        tubes("f2c14e", "1f7a5c"),
        tubes("e8633f", "f4d6a0"),
    ]
    for k, (t, way, length, fat, kind) in enumerate(leaves):
        cx, cy = stem(t)
        u = ((x - cx) * np.cos(way) + (y - cy) * np.sin(way)) / length
        v = (-(x - cx) * np.sin(way) + (y - cy) * np.cos(way)) / length
        v = v - 0.16 * np.sin(np.pi * u) * (1 if np.cos(way) < 0 else -1)
        inside = (u > 0) & (u < 1) & (np.abs(v) < 1.3 * fat * np.maximum(u, 0) ** 0.75 * np.maximum(1 - u, 0) ** 0.85)
        halves = (v > 0).astype(np.int64)
        lean = np.where(v > 0, 0.55, -0.55) + way
        cut(
            inside,
            halves + 2 * (np.floor(u * 2.6 - 0.55 * np.abs(v) / fat).astype(np.int64) % 2),
            40 + k,
            np.concatenate([greens[kind], greens[(kind + 1) % 3][:1]]),
            lean.astype(np.float32),
            0.0,
        )

    # How far it is to the next piece, and to the next group of pieces.
    def border(keys: Ints) -> Floats:
        same = np.ones(p.shape, bool)
        same[1:] &= keys[1:] == keys[:-1]
        same[:, 1:] &= keys[:, 1:] == keys[:, :-1]
        same[0], same[:, 0] = True, True
        return np.asarray(ndimage.distance_transform_edt(same) / p.unit, np.float32)

    thin, thick = border(piece), border(major)
    plan = Plan(colour, angle, piece)
    p.lay(plan, Layer(26, 90, 13, relief=0.8, dry=0.05, colour_jitter=0.018, angle_jitter=0.1))
    p.lay(plan, Layer(15, 70, 9.5, relief=1.0, dry=0.4, colour_jitter=0.03, angle_jitter=0.12, pick_up=0.25))
    p.lay(
        plan,
        Layer(
            7,
            44,
            8.5,
            relief=1.1,
            dry=0.55,
            colour_jitter=0.04,
            angle_jitter=0.15,
            pick_up=0.2,
            where=np.full(p.shape, 0.7, np.float32),
        ),
    )
    # A little shade where a piece meets its contour, and then the contours, in relief.
    p.paint[:, 0] -= 0.07 * np.exp(-((thin.ravel() / 7.0) ** 2))
    press = 1 + 0.22 * p.clouds(30.0) + 0.07 * p.clouds(7.0)
    gap = np.minimum(thin / (1.9 * press), thick / (3.1 * press))
    ink = np.clip((1 - gap) * 2.4 * p.unit + 0.5, 0, 1).ravel()
    black = tubes("15131c")[0] + 0.012 * p.clouds(9.0).ravel()[:, None] * np.array([1, 0, 0.3], np.float32)
    p.paint[:, :3] += ink[:, None] * (black - p.paint[:, :3])
    bead = 5.5 * np.sqrt(np.clip(1 - np.minimum(gap, 1.0).ravel() ** 2, 0, 1)) * (1 + 0.15 * p.clouds(12.0).ravel())
    p.paint[:, 3] += ink * (bead * p.unit - 0.75 * p.paint[:, 3] + 0.9 * p.unit)
    return p.light(0.32, 0.12)


def dunes(size: tuple[int, int] = SIZE, seed: int = SEEDS["dunes"]) -> Bytes:
    """Dry brush and ink on cream paper: dunes hatched in reds and ochres. Returns (H, W, 3), bytes."""
    cream = tubes("f1e4c8")[0]
    p = Painting(size, seed, cream)
    p.tooth(2.2, 1.0)
    p.paint[:, 0] += 0.012 * p.clouds(90.0).ravel() + 0.006 * (p.grain - 0.5)
    x, y = p.x, p.y
    # Ridges from far to near; each one hides what is behind it.
    tops = [
        0.20 + 0.045 * np.sin(3.3 * x + 0.3) + 0.02 * np.sin(8.1 * x),
        0.31 + 0.075 * np.sin(4.2 * x + 2.4) + 0.02 * np.sin(9.0 * x + 1.0),
        0.43 + 0.085 * np.sin(3.6 * x + 5.2) + 0.02 * np.sin(7.7 * x + 2.0),
        0.56 + 0.085 * np.sin(4.6 * x + 1.1) + 0.02 * np.sin(10.0 * x + 0.5),
        0.70 + 0.09 * np.sin(3.9 * x + 3.6) + 0.015 * np.sin(9.3 * x + 3.0),
        0.86 + 0.07 * np.sin(4.4 * x + 0.2) + 0.015 * np.sin(8.8 * x + 4.0),
    ]
    wobble = 0.006 * p.clouds(80.0) + 0.002 * p.clouds(25.0)
    band = np.zeros(p.shape, np.int64)
    below = y + 1.0
    slope = np.zeros(p.shape, np.float32)
    for k, top in enumerate(tops):
        edge = top + wobble
        mask = y > edge
        band[mask] = k + 1
        below = np.where(mask, y - edge, below)
        tilt = np.arctan2(np.gradient(ndimage.gaussian_filter(edge, 3 * p.unit), axis=1), 1 / p.height)
        slope = np.where(mask, tilt, slope)
    depth = np.where(band > 0, smooth(0.0, 0.2, below), smooth(0.3, 0.0, y))

    lit = [
        tubes("f0c98c", "f4e4c4"),
        tubes("f0c069", "dd8430"),
        tubes("e37a36", "c4481f"),
        tubes("f3d08e", "e08f34"),
        tubes("d94f2c", "a32a22"),
        tubes("f0b044", "cf6a22"),
        tubes("c93a28", "7e1f20"),
    ]
    colour = np.zeros((*p.shape, 3), np.float32)
    drift = 0.22 * p.clouds(70.0) + 0.1 * p.clouds(24.0)
    for k, pair in enumerate(lit):
        mask = band == k
        colour[mask] = ramp(pair, np.clip(0.15 + 0.95 * depth[mask] + drift[mask], 0, 1))
    along = (slope * (1 - 0.35 * depth) + 0.08 * p.clouds(120.0)).astype(np.float32)
    sky = band == 0
    sun = np.hypot(x - 0.80, y - 0.135) + 0.004 * p.clouds(20.0)
    disc = sky & (sun < 0.1)
    colour[disc] = tubes("d4331f")[0]
    along[sky] = 0.22 * np.sin(5 * x[sky] + 4 * y[sky]) - 0.05
    shapes = band + 10 * disc
    fall = along + np.where(band % 2 == 0, 1.05, -1.05) + 0.25 * p.clouds(130.0)

    def darker(lightness: float, toward: Floats, amount: float) -> Floats:
        shift = colour + np.array([lightness, 0, 0], np.float32)
        return np.asarray(shift + amount * (toward - shift), np.float32)

    reds = tubes("b5301f", "e07b2e", "f2c76e", "7c2a2a", "d9a24a")
    wash = Plan(colour, along, shapes)
    p.lay(
        wash,
        Layer(
            46,
            170,
            22,
            opacity=0.75,
            relief=0.25,
            dry=0.45,
            tooth=0.45,
            pick_up=0.05,
            where=np.where(sky & ~disc, 0.5, 0.95).astype(np.float32),
        ),
    )
    roses = tubes("e9a488", "f2c76e", "fbf0d6", "d98a5a", "e8b7a0")
    p.lay(
        wash,
        Layer(
            24,
            125,
            15,
            opacity=0.85,
            relief=0.9,
            dry=0.6,
            tooth=0.5,
            second=roses,
            rides=0.4,
            colour_jitter=0.04,
            where=np.where(sky & ~disc, 0.45, 0.9).astype(np.float32),
        ),
    )
    land = np.where(sky, 0.0, 1.0).astype(np.float32)
    shade = np.clip(1.15 * depth + 0.3 * drift - 0.1, 0.05, 0.9).astype(np.float32) * land
    hatch = Plan(darker(-0.06, tubes("8d2420")[0], 0.3), fall.astype(np.float32), shapes)
    p.lay(
        hatch,
        Layer(
            11,
            92,
            9,
            opacity=0.9,
            relief=1.0,
            dry=0.55,
            tooth=0.35,
            second=reds,
            rides=0.4,
            colour_jitter=0.04,
            angle_jitter=0.09,
            where=shade,
        ),
    )
    honey = tubes("f6d79a")[0]
    light = Plan(darker(0.02, honey, 0.2), along, shapes)
    crest = np.clip(0.75 - 1.35 * depth + 0.35 * drift, 0, 0.8).astype(np.float32)
    crest *= np.where(disc, 0, np.where(sky, 0.5, 1)).astype(np.float32)
    p.lay(
        light,
        Layer(
            15,
            120,
            12,
            opacity=0.92,
            relief=1.4,
            dry=0.6,
            tooth=0.35,
            colour_jitter=0.025,
            second=tubes("fbf0d6", "e0662e", "f2c76e", "c9402c"),
            rides=0.4,
            where=crest,
        ),
    )
    umber = tubes("3a1a1c", "7a2a20")
    tone = ramp(umber, np.clip(0.4 + 1.5 * drift, 0, 1))
    ink = Plan(tone, (fall + 0.12).astype(np.float32), shapes)
    p.lay(
        ink,
        Layer(
            1.8,
            36,
            5.0,
            opacity=0.8,
            relief=0.2,
            dry=0.5,
            tooth=0.4,
            angle_jitter=0.07,
            where=(shade * smooth(0.25, 1.0, depth + 0.7 * drift) * 0.7).astype(np.float32),
        ),
    )
    p.lay(
        light,
        Layer(
            5,
            58,
            9,
            opacity=0.9,
            relief=1.6,
            dry=0.5,
            tooth=0.3,
            colour_jitter=0.04,
            second=tubes("fbf0d6", "e8843a"),
            rides=0.4,
            where=crest * 0.7,
        ),
    )
    line = Plan(tone, along, shapes)
    near = np.exp(-((below / 0.011) ** 2)) * np.clip(0.5 + 1.6 * drift, 0.1, 1)
    p.lay(
        line,
        Layer(
            3.0,
            70,
            4.5,
            opacity=0.9,
            relief=0.4,
            dry=0.5,
            tooth=0.35,
            angle_jitter=0.04,
            where=near.astype(np.float32),
        ),
    )
    return p.light(0.3, 0.05)


PICTURES: dict[str, Callable[[tuple[int, int], int], Bytes]] = {"gale": gale, "glass": glass, "dunes": dunes}


def paint(name: str, size: tuple[int, int] = SIZE) -> Bytes:
    """The picture of that name, (H, W, 3) bytes, for a size of (width, height)."""
    return PICTURES[name](size, SEEDS[name])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Paint the style pictures that ship with underpaint.")
    parser.add_argument("names", nargs="*", help=f"any of {', '.join(PICTURES)}; all, when left out")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--width", type=int, default=SIZE[0])
    parser.add_argument("--png", action="store_true", help="write PNG in place of JPEG")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in PICTURES]
    if unknown:
        parser.error(f"no picture is called {', '.join(unknown)}; there are {', '.join(PICTURES)}")
    size = (options.width, round(options.width * SIZE[1] / SIZE[0]))
    for name in options.names or PICTURES:
        began = time.perf_counter()
        picture = Image.fromarray(paint(name, size))
        target = options.out / f"{name}.{'png' if options.png else 'jpg'}"
        if options.png:
            picture.save(target, optimize=True)
        else:
            picture.save(target, quality=QUALITY[name], subsampling=0, optimize=True)
        took = time.perf_counter() - began
        print(f"{target}: {size[0]} x {size[1]}, {target.stat().st_size / 1000:.0f} kB, {took:.1f} s")


if __name__ == "__main__":
    main()
