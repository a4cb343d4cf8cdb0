"""What README and documentation say to type works: every command goes through a real bash, every block of Python is run.

Pictures are small and steps few here: presets stand for one step, and a smaller --size comes behind the one that is said.
"""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

import underpaint
from tests.conftest import random_tensors
from tests.helpers import keras_weights
from tests.networks.sources.test_exported import Net
from underpaint import cli, recipe, samples
from underpaint.networks.sources import keras, taps
from underpaint.storage.documents import write_json

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINE = re.compile(r"^    (underpaint .*)$", re.MULTILINE)
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
TWO = {"relu3_1": 1.0, "relu5_1": 1.0}
STANDS_IN = {"keras:EfficientNetB0": "keras:MobileNet-0.25", "keras:ResNet50": "keras:MobileNet-0.25"}
STANDS_IN |= {"hf:facebook/dinov2-small": "compact"}
"""Networks whose weights are not here, and those that are painted with in their place."""
ENDS = {"stylize": ["--size", "48"], "explain": ["--size", "128"], "demo": ["--size", "96"], "ablate": ["--size", "48"]}


def lines_of(page):
    """The commands that a page shows, but for those that leave something out; what makes folders comes first."""
    found = [line for line in LINE.findall(page.read_text(encoding="utf-8")) if "…" not in line]
    makes = ("underpaint stylize p", "underpaint explain", "underpaint ablate", "underpaint demo")
    return sorted(found, key=lambda line: not line.startswith(makes))


def words_of(lines):
    """As bash reads them."""
    shim = 'underpaint() { printf "%s\\0" "$@"; printf "\\n\\0"; }\n'
    told = subprocess.run(["bash", "-c", shim + "\n".join(lines)], capture_output=True, text=True, check=True).stdout
    return [command.split("\0")[:-1] for command in told.split("\n\0")[:-1]]


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A folder with every file that the pages name, where presets stand for one step."""
    monkeypatch.chdir(tmp_path)
    quick = {o: {p: fields | {"iterations": (1,)} for p, fields in each.items()} for o, each in recipe.PRESETS.items()}
    monkeypatch.setattr(recipe, "PRESETS", quick)
    Image.fromarray(samples.photograph("astronaut")[:384]).resize((256, 192)).save("photo.jpg")
    random = np.random.default_rng(0)
    for name in ("painting.jpg", "a.jpg", "b.jpg", "mine.png", "theirs.png"):
        Image.fromarray(random.integers(0, 255, (9, 12, 3), dtype=np.uint8)).resize((128, 96)).save(name)
    halves = np.zeros((96, 128), np.uint8)
    halves[:, 64:] = 255
    for name in ("m1.png", "m2.png"):
        Image.fromarray(halves).save(name)
    Path("mine.toml").write_text("seed = 3\n")
    Path("weights").mkdir()
    save_file(random_tensors(), "weights/vgg19_imagenet_conv.safetensors")
    monkeypatch.setenv("UNDERPAINT_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setitem(taps.RECIPE, "iterations", (1,))
    keras.anatomy.cache_clear()
    yield tmp_path
    keras.anatomy.cache_clear()


def typed(words, monkeypatch):
    """Runs one command, made small; gives exit code and what it said."""
    command, ends = words[0], list(ENDS.get(words[0], []))
    several = "--network" in words and "," in words[words.index("--network") + 1]
    if "--from" in words or several:
        ends = ["--size", "64"]
    if command in ("explain", "demo") and "--style-layers" not in words:
        monkeypatch.setattr(recipe.Recipe.model_fields["style_layers"], "default", TWO)
    out, err = io.StringIO(), io.StringIO()
    with monkeypatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr("sys.argv", ["underpaint", *words, *ends])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
    return code, err.getvalue()


LONG = ("tutorial.md", "explain.md", "networks.md")
"""Pages whose commands take longest: for `make test-all`."""


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=[pytest.mark.slow] * (p.name in LONG), id=p.name) for p in PAGES if lines_of(p)],
)
def test_every_command(page, small, monkeypatch):
    monkeypatch.setattr("underpaint.studio.server.serve", lambda *_: None)
    if page.name == "quality.md":
        for name in ("out/a", "out/b"):
            underpaint.stylize("photo.jpg", "painting.jpg", out=name, size=48)
    if any(name in page.read_text(encoding="utf-8") for name in STANDS_IN):
        keras_weights(small / "weights", "MobileNet-0.25")
    # What is fetched from another host is tested with a server of this machine (tests/cli/test_networks.py).
    lines = [line for line in lines_of(page) if "--fetch" not in line]
    assert lines
    for line, words in zip(lines, words_of(lines), strict=True):
        words = [re.sub("|".join(STANDS_IN), lambda found: STANDS_IN[found[0]], word) for word in words]
        with monkeypatch.context() as patch:
            if words[0] == "resume":
                facts = json.loads((small / words[1] / "run.json").read_text())
                write_json(small / words[1] / "run.json", facts | {"status": "stopped"})
            if words.count("--style-layers") and words[0] == "explain":  # nine layers: it is prepared, not painted
                patch.setattr("underpaint.cli.explain.explain_on", lambda *_: None)
            if words[0] == "studio":
                words += ["--port", "0"]
            code, err = typed(words, patch)
        assert code == 0, (line, err)
    if page.name == "tutorial.md":
        run_blocks(page, small)


@pytest.mark.parametrize("name", ["README.md", "docs/explain.md", "docs/networks.md", "docs/quality.md"])
def test_every_block_of_python(name, small, monkeypatch):
    for place in ("stylize", "start", "explain"):
        patched(monkeypatch, place)
    if "quality" in name:
        for folder in ("out/a", "out/b"):
            underpaint.stylize("photo.jpg", "painting.jpg", out=folder)
    run_blocks(ROOT / name, small)


def patched(monkeypatch, place):
    """Makes a function of the interface paint small."""
    given = {"size": 128, "style_layers": TWO} if place == "explain" else {"size": 48}
    whole = getattr(underpaint, place)
    monkeypatch.setattr(underpaint, place, lambda *files, **named: whole(*files, **named | given), raising=False)


def run_blocks(page, folder):
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    assert blocks
    for block in blocks:
        exec(compile(block, page.name, "exec"), {"module": Net()} if page.name == "networks.md" else {})


def test_every_page_with_python_is_run():
    with_python = {page.name for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))}
    # The examples of extending.md are files that tests/extending installs and runs.
    assert with_python == {"README.md", "explain.md", "extending.md", "networks.md", "quality.md", "tutorial.md"}
    assert shutil.which("bash")
    assert "…" in "".join(LINE.findall((ROOT / "docs/explain.md").read_text(encoding="utf-8")))
    assert os.environ.get("UNDERPAINT_CACHE")
