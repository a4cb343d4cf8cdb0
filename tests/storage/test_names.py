"""Names that file systems take and programs stumble over: of 255 bytes and more, of bytes that are no UTF-8; a C locale."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import underpaint
from tests.helpers import refused
from underpaint.errors import UnderpaintError
from underpaint.explanation import ablating, explaining
from underpaint.imaging import images
from underpaint.paper.export import Press
from underpaint.report import page
from underpaint.report.folder import Evidence
from underpaint.runs.comparing import compare

KEPT = Path(__file__).parents[1] / "kept"
PAIR = KEPT / "photo.png", KEPT / "painting.png"
OPTIONS = underpaint.Options(weights=KEPT / "tiny.safetensors", device="cpu")
FIELDS = {"network": "vgg19", "size": 32, "smallest": 32, "iterations": [1], "style_layers": {"relu1_1": 1, "relu3_1": 1}}
FIELDS |= {"content_layers": {"relu2_2": 1}, "options": OPTIONS}
TOO_LONG = "x" * 300
ODD = os.fsdecode(b"ph\xff \xe9.png")

TAKES = {
    "content": lambda: underpaint.start(TOO_LONG, PAIR[1], **FIELDS),
    "style": lambda: underpaint.start(PAIR[0], TOO_LONG, **FIELDS),
    "--out": lambda: underpaint.start(*PAIR, out=TOO_LONG, **FIELDS),
    "--out of an explanation": lambda: explaining.start(*PAIR, out=TOO_LONG, **FIELDS),
    "--out of an ablation": lambda: ablating.start(*PAIR, out=TOO_LONG, **FIELDS),
    "--out of figures": lambda: Press(KEPT / "2026/explained", out=TOO_LONG),
    "--weights": lambda: underpaint.Options(weights=TOO_LONG),
    "resume": lambda: underpaint.resume(TOO_LONG),
    "resume of an explanation": lambda: explaining.resume(TOO_LONG),
    "resume of an ablation": lambda: ablating.resume(TOO_LONG),
    "--from": lambda: underpaint.carry_on(TOO_LONG, 64, out="larger"),
    "run": lambda: underpaint.Run.load(TOO_LONG),
    "explanation": lambda: underpaint.Explanation.load(TOO_LONG),
    "folder": lambda: Evidence(TOO_LONG),
    "folder of a page": lambda: page.build(TOO_LONG),
    "compare": lambda: compare([TOO_LONG]),
    "file": lambda: images.write(f"{TOO_LONG}.png", images.read(PAIR[0]).rgb),
}


@pytest.mark.parametrize("field", TAKES)
def test_a_name_that_is_too_long_is_said(field, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(TAKES[field], field.split(" of ")[0], "too long")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["p" * 251 + ".png", ODD, "Фото «ночь» 夜.png"])
def test_a_run_of_every_kind_of_name(name, tmp_path):
    (tmp_path / name).write_bytes(PAIR[0].read_bytes())
    folder = tmp_path / name[:-4].ljust(255 - len(os.fsencode(name)) + len(name), "r")[:200]
    run = underpaint.stylize(tmp_path / name, PAIR[1], out=folder, **FIELDS)
    assert (underpaint.Run.load(folder).pastiche == run.pastiche).all()
    run.save(tmp_path / f"s{name[1:]}")
    assert page.build(folder, OPTIONS.weights).exists()
    assert underpaint.carry_on(folder, 40, out=folder / "larger", options=OPTIONS).finish().pastiche.shape[0] == 40
    assert {entry["name"] for entry in run.facts["inputs"]} == {images.read(tmp_path / name).name, "painting.png"}


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.skipif(sys.platform == "win32", reason="file names are text there")
def test_a_locale_that_knows_ascii_alone(tmp_path):
    """Whatever the terminal knows, a result is a line, and so is an error; nothing is a traceback."""
    (tmp_path / ODD).write_bytes(PAIR[0].read_bytes())
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}

    def call(*words):
        command = [str(Path(sys.executable).with_name("underpaint")), *words]
        return subprocess.run(command, cwd=tmp_path, env=environment | ASCII, capture_output=True)

    layers = ["--network", "vgg19", "--weights", str(KEPT / "tiny.safetensors"), "--style-layers", "relu1_1"]
    layers += ["--content-layers", "relu2_1"]
    folder = os.fsdecode(b"out\xff")
    painted = call("stylize", ODD, str(PAIR[1]), "--out", folder, "--size", "64", "--iterations", "2", "--quiet", *layers)
    assert (painted.returncode, painted.stderr) == (0, b"")
    assert (tmp_path / folder / "pastiche.png").exists()
    again = call("resume", folder)
    assert again.returncode == 2
    assert again.stderr.startswith(b"underpaint: ")
    assert again.stderr.count(b"\n") == 1
    assert b"underpaint stylize --from $'out\\377'" in again.stderr
    saved = call("save", folder, "café.png")
    assert (saved.returncode, saved.stderr) == (0, b"")
    assert (tmp_path / "café.png").exists()


def test_an_error_of_the_machine_is_a_line(monkeypatch, capsys):
    from underpaint import cli

    def full(*_, **__):
        raise OSError(28, "No space left on device", "/somewhere/else")

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert capsys.readouterr().err == "underpaint: /somewhere/else: No space left on device\n"
    with pytest.raises(UnderpaintError):
        images.read("")
