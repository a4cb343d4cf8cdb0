"""The sample pictures: what ships, what it weighs and that the script still paints it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from underpaint import samples
from underpaint.errors import UnderpaintError

SCRIPT = Path(__file__).resolve().parents[1] / "samples" / "paint.py"
SHAPES = {
    "astronaut": (512, 512, 3),
    "chelsea": (300, 451, 3),
    "coffee": (400, 600, 3),
    "rocket": (427, 640, 3),
}


@pytest.fixture(scope="module")
def painter() -> ModuleType:
    spec = importlib.util.spec_from_file_location("underpaint_samples_paint", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_names() -> None:
    assert samples.photographs() == sorted(SHAPES)
    assert samples.styles() == ["dunes", "gale", "glass"]
    samples.styles().clear()
    assert samples.styles()


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_photographs_come_with_scikit_image(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import pooch

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a sample photograph must not be downloaded")

    monkeypatch.setattr(pooch.core, "stream_download", refuse)
    picture = samples.photograph(name)
    assert picture.shape == SHAPES[name]
    assert picture.dtype == np.uint8
    assert picture.std() > 20
    picture[:] = 0  # the caller's own copy
    assert samples.photograph(name).any()


@pytest.mark.parametrize("name", ["dunes", "gale", "glass"])
def test_styles_open(name: str) -> None:
    path = samples.style_path(name)
    assert path.is_file()
    with Image.open(path) as picture:
        assert picture.format == "JPEG"
        assert picture.mode == "RGB"
        assert picture.size == (640, 512)
        assert np.asarray(picture).std() > 30


def test_the_folder_is_small_and_described() -> None:
    folder = samples.style_path("gale").parent
    data = [path for path in folder.iterdir() if path.suffix in {".jpg", ".png", ".md"}]
    assert {path.stem for path in data} == {*samples.styles(), "SAMPLES"}
    assert sum(path.stat().st_size for path in data) < 1_000_000
    text = (folder / "SAMPLES.md").read_text(encoding="utf-8")
    for name in samples.styles():
        assert f"`{name}.jpg`" in text
    for name in samples.photographs():
        assert f"`{name}`" in text


def test_the_seeds_are_written_down(painter: ModuleType) -> None:
    assert sorted(painter.PICTURES) == samples.styles()
    text = (samples.style_path("gale").parent / "SAMPLES.md").read_text(encoding="utf-8")
    for name, seed in painter.SEEDS.items():
        assert f"| `{name}.jpg` | {seed} |" in text


@pytest.fixture(scope="module")
def small(painter: ModuleType) -> dict[str, np.ndarray]:
    return {name: painter.paint(name, (80, 64)) for name in painter.PICTURES}


def test_the_same_seed_paints_the_same_bytes(painter: ModuleType, small: dict[str, np.ndarray]) -> None:
    first = small["dunes"]
    assert first.shape == (64, 80, 3)
    assert first.dtype == np.uint8
    assert painter.paint("dunes", (80, 64)).tobytes() == first.tobytes()


@pytest.mark.parametrize("name", ["dunes", "gale", "glass"])
def test_the_script_paints_what_ships(small: dict[str, np.ndarray], name: str) -> None:
    painted = Image.fromarray(small[name]).resize((20, 16), Image.Resampling.BOX)
    with Image.open(samples.style_path(name)) as picture:
        shipped = picture.resize((20, 16), Image.Resampling.BOX)
    assert np.corrcoef(np.asarray(painted).ravel(), np.asarray(shipped).ravel())[0, 1] > 0.97


@pytest.mark.parametrize("ask", [samples.photograph, samples.style_path])
@pytest.mark.parametrize("name", ["", "lily", "../gale", "__init__"])
def test_an_unknown_name_is_told_the_choices(ask: object, name: str) -> None:
    choices = samples.photographs() if ask is samples.photograph else samples.styles()
    with pytest.raises(UnderpaintError) as caught:
        ask(name)  # type: ignore[operator]
    message = str(caught.value)
    assert "\n" not in message
    assert repr(name) in message
    assert all(choice in message for choice in choices)
