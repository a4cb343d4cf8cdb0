"""No user's text is markup: names of files and folders, messages and help come out as they are, in the terminal, in pipes, on
pages, in LaTeX and in figures. And what is asked for goes to standard output, everything else to standard error."""

import html
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import typer
from PIL import Image

import underpaint
from underpaint import cli
from underpaint.errors import UnderpaintError
from underpaint.paper import figures, tables
from underpaint.report import charts, page, svg

NAMES = [
    "photo [edited].png",
    "x[/y].png",
    "a_$b$.png",
    "<b>.png",
    "[red]x[/red] :smile: &amp;.png",
    "a % #1 {x} ~ ^ \\n.png",
]
ANSI = re.compile(r"\x1b")
QUICK = {"size": 48, "iterations": (1,), "device": "cpu"}


def grain(path, seed=0, size=(64, 48)):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(values).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def squeezed(text):
    return re.sub(r"\s", "", text)


@pytest.mark.parametrize("command", ["", *typer.main.get_command(cli.app).commands])
def test_help_says_what_the_source_says(run, command):
    """Every text of every option, brackets included; -h is --help."""
    code, out, err = run(*command.split(), "--help")
    assert (code, err) == (0, "")
    assert run(*command.split(), "-h") == (code, out, err)
    whole = typer.main.get_command(cli.app)
    parameters = (whole.commands[command] if command else whole).params
    assert parameters
    for parameter in parameters:
        assert squeezed(parameter.help) in squeezed(out), parameter.name
        assert parameter.opts[0] in out
    assert not ANSI.search(out)
    if command == "stylize":
        assert "[compact]" in out
        assert "[default: auto]" in out


@pytest.mark.parametrize("name", NAMES)
def test_messages_have_names_as_they_are(run, tmp_path, name):
    for words in (["save", tmp_path / name, "x.png"], ["compare", tmp_path / name], ["report", tmp_path / name]):
        code, out, err = run(*words)
        assert (code, out) == (2, "")
        assert f"{tmp_path / name}: " in err
        assert err.count("\n") == 1


def test_a_file_name_cannot_steer_the_terminal(run, tmp_path):
    code, _, err = run("compare", tmp_path / "a\x1b[31m\rb\nc.png")
    assert code == 2
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert "\r" not in err


@pytest.mark.parametrize("turn", [0, 2, 4])
def test_painting_comparing_and_drawing_under_any_name(run, tmp_path, turn):
    """Notes, results, the table, the page: all have the names as they are, on one line."""
    first, second, third = (NAMES[(turn + place) % len(NAMES)] for place in range(3))
    content, style = grain(tmp_path / "c" / first, 0), grain(tmp_path / "s" / second, 1, size=(40, 32))
    folder = tmp_path / f"a folder with a long name, so that a line of eighty letters is wrapped if lines are {third}"
    (tmp_path / "fast.toml").write_text("iterations = [1]\n")
    words = ["stylize", content, style, "--size", 48, "--recipe", tmp_path / "fast.toml", "--out", folder, "--threads", 1]
    code, out, err = run(*words)
    assert (code, out) == (0, f"{folder / 'pastiche.png'}\n"), err
    assert any(f" {style.name}" in line for line in err.splitlines() if line.startswith("Note: "))
    assert not ANSI.search(err)
    code, out, err = run("compare", folder)
    assert code == 0
    assert str(folder) in out.splitlines()[0]
    assert f"{folder}: {style.name} is smaller" in err
    assert run("figures", folder)[1:] == (f"{folder / 'figures'}\n", "6 files\n")
    assert run("report", folder)[1] == f"{folder / 'report.html'}\n"
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert f"style: {style.name}" in Visible.of(text)
    assert f"The photograph {content.name}" in Visible.of(text)
    assert not {"b", "red"} & Visible(text).seen


class Visible(HTMLParser):
    """The text of a page, and the tags that it has."""

    def __init__(self, text):
        super().__init__()
        self.words, self.seen = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.words += [value for name, value in attrs if name == "alt"]

    def handle_data(self, data):
        self.words.append(data)

    @classmethod
    def of(cls, text):
        return "\n".join(cls(text).words)


def test_in_a_terminal_nothing_is_markup_either(tmp_path):
    """A real terminal: bars show the names."""
    underpaint.stylize(
        grain(tmp_path / "c.png"), grain(tmp_path / "s.png", 1), out=tmp_path / "x[" / "y] [red]z[/blue]", **QUICK
    )
    parent, child = pty.openpty()
    words = [sys.executable, "-m", "underpaint", "compare", "x[/y] [red]z[/blue]", "--json"]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "200"}
    done = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=child, stdin=child)
    os.close(child)
    said = b""
    try:
        while part := os.read(parent, 4096):
            said += part
    except OSError:  # closed on the other side
        pass
    out = done.communicate(timeout=60)[0]
    os.close(parent)
    assert done.returncode == 0, said
    assert json.loads(out)["rows"][0]["name"] == "x[/y] [red]z[/blue]"
    assert b"x[/y] [red]z[/blue]" in said
    assert b"\x1b[" in said


def test_json_is_all_of_standard_output(run, compact_explained, tmp_path, monkeypatch):
    """Also where there is much to tell besides."""
    why = compact_explained.folder
    monkeypatch.chdir(tmp_path)
    grain(tmp_path / "c.png")
    grain(tmp_path / "s.png", 1)
    (tmp_path / "fast.toml").write_text("iterations = [1]\n")
    quick = ["--size", "48", "--recipe", "fast.toml", "--json"]
    for words in (
        ["stylize", "c.png", "s.png", *quick],
        ["ablate", "c.png", "s.png", "--configs", "all,only:relu1_1", *quick],
        ["compare", "out/c-s", "--json"],
        ["networks", "--json"],
        ["where", why, "--box", "1,1,9,9", "--out", "w.png", "--json"],
        ["figures", why, "--out", "drawn", "--json"],
    ):
        code, out, err = run(*words)
        assert code == 0, err
        assert out.count("\n") == 1
        assert json.loads(out)


def test_titles_with_dollars_are_no_formulas():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for name in ("a_$b$", "$", "$x^{$", "\\$5 $", "100 %_#"):
        width, height, draw = figures._grid([(charts.plain(name), np.zeros((4, 4, 3)))], 1)
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        draw(figure)
        (title,) = (axes.title for axes in figure.axes)
        figure.canvas.draw()
        shown, formula = title._preprocess_math(title.get_text())
        assert (shown, formula) == (name, False)


def test_latex_has_no_command_that_a_name_brought():
    special = re.compile(r"(?<!\\)[&%$#_{}~^]")
    for name in NAMES:
        text = tables.escape(name)
        bare = re.sub(r"\\text(?:backslash|asciitilde|asciicircum)\{\}", "", text)
        assert not special.search(bare), text
        assert not re.search(r"\\(?![&%$#_{}])", bare), text


def test_alternative_texts_of_charts_are_text():
    words = 'a "b" <b> & \\1 \\g<0> $x$'
    text = svg.svg(1, 1, lambda figure: figure.add_subplot(), words)
    assert text.startswith("<svg viewBox=")
    assert html.unescape(re.search(r'aria-label="([^"]*)"', text)[1]) == words


def test_the_studio_escapes_what_gradio_takes_for_html():
    events = pytest.importorskip("underpaint.studio.events")
    assert events.told(UnderpaintError("<b>.png: & gone")).message == "&lt;b&gt;.png: &amp; gone"


def test_what_is_missing_stands_on_the_page_as_text(compact_explained, tmp_path):
    folder = shutil.copytree(compact_explained.folder, tmp_path / "<b>$x$ [y]")
    (folder / "spatial.npz").unlink()
    text = page.build(folder).read_text(encoding="utf-8")
    assert "<b>" not in text
    assert "spatial.npz" in Visible.of(text)


def test_the_version_is_one(run):
    from importlib import metadata

    assert underpaint.__version__ == metadata.version("underpaint")
    assert run("--version") == (0, f"underpaint {underpaint.__version__}\n", "")
    code = "import underpaint; assert underpaint.__version__; import sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_completion_in_bash(tmp_path):
    """What --show-completion prints is a completion of bash: it offers commands, options and choices."""
    shim = tmp_path / "bin/underpaint"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/bash\nexec {sys.executable} -m underpaint "$@"\n')
    shim.chmod(0o755)
    script = """
    eval "$(underpaint --show-completion bash)"
    offer() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); $name underpaint; echo "${COMPREPLY[@]}"; }
    name=$(complete -p underpaint | sed 's/.*-F \\([^ ]*\\).*/\\1/')
    offer underpaint sty
    offer underpaint stylize --pre
    offer underpaint demo --preset dr
    """
    environment = os.environ | {
        "PATH": f"{shim.parent}:{os.environ['PATH']}",
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    told = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["stylize", "--preset", "--precision", "draft"], told
