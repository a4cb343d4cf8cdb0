"""The notebook: it runs from top to bottom, and what is committed is what its text form says."""

import subprocess
import sys
from pathlib import Path

import pytest

from underpaint.explanation.verdict import WITHHELD

jupytext = pytest.importorskip("jupytext")
build = pytest.importorskip("notebooks.build")

ROOT = Path(__file__).resolve().parent.parent


def sources(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


@pytest.mark.slow
def test_every_cell_runs(tmp_path):
    command = [sys.executable, ROOT / "notebooks/build.py", "--size", 128, "--preset", "draft", "--out", tmp_path / "n.ipynb"]
    told = subprocess.run([str(word) for word in command], check=False, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr[-2000:]
    cells = [cell for cell in jupytext.read(tmp_path / "n.ipynb").cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5
    text = str(outputs)
    # So few steps at that size settle nothing: that is what must be said of them, and no shares.
    assert WITHHELD in text
    assert "Shapley values share that fall out so" not in text
    assert "out/notebook: schema.md" in text


def test_the_committed_notebook_is_the_text_form_with_outputs():
    assert sources(jupytext.read(ROOT / "NST_XAI.ipynb")) == sources(build.compose())
    cells = jupytext.read(ROOT / "NST_XAI.ipynb").cells
    assert all(cell.execution_count for cell in cells if cell.cell_type == "code")
    assert "Explain" in str([cell.source for cell in cells])
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    assert "site-packages" not in str(outputs), "a library's warning names a folder of the machine that built it"


def test_with_an_address_it_begins_with_a_badge_and_installs_from_there():
    plain, badged = (build.compose(address).cells for address in ("", "someone/underpaint"))
    assert len(badged) == len(plain) + 1
    assert "colab.research.google.com/github/someone/underpaint/blob/main/NST_XAI.ipynb" in badged[0].source
    assert sum("git+https://github.com/someone/underpaint" in cell.source for cell in badged) == 1
