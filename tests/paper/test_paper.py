"""Figures of the right size and fonts, tables that say what the files say."""

import csv
import io
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import underpaint
from underpaint.errors import UnderpaintError
from underpaint.paper import figures, tables
from underpaint.paper.export import Press
from underpaint.report import charts
from underpaint.report.folder import Evidence

METHODS = ["methods.tex", "underpaint.bib"]


@pytest.fixture(scope="module")
def printed(compact_explained, tmp_path_factory):
    press = Press(compact_explained.folder, ("pdf", "png", "svg"), tmp_path_factory.mktemp("paper") / "new")
    assert list(press)
    assert press.missing == []
    return press.out


def test_figures_are_a_column_or_a_page_wide_and_embed_truetype(printed):
    found = {path.stem for path in printed.glob("*.pdf")}
    assert found == set(figures.FIGURES)
    for name in found:
        data = (printed / f"{name}.pdf").read_bytes()
        width = float(re.search(rb"/MediaBox \[\s*0 0 ([0-9.]+)", data)[1]) / 72
        assert width == pytest.approx(3.5, abs=0.01) or width == pytest.approx(7.16, abs=0.01), name
        assert b"/Type3" not in data
        assert b"/CIDFontType2" in data or b"/TrueType" in data
        with Image.open(printed / f"{name}.png") as image:
            assert image.width == pytest.approx(300 * width, abs=1)
            assert np.asarray(image.convert("L")).std() > 5, name
        assert (printed / f"{name}.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_equal_folders_give_equal_bytes(compact_explained, printed, tmp_path):
    again = Press(compact_explained.folder, ("pdf", "svg"), tmp_path)
    for path in again:
        assert path.read_bytes() == (printed / path.name).read_bytes(), path.name


def test_every_line_is_told_apart_without_colour(compact_explained):
    from matplotlib.figure import Figure

    figure = Figure()
    charts.convergence(figure, compact_explained.run.history, compact_explained.run.recipe)
    lines = [line for line in figure.axes[0].lines if not line.get_label().startswith("_")]
    assert len(lines) == len({row.term for row in compact_explained.run.history})
    assert len({(line.get_linestyle(), line.get_marker()) for line in lines}) == len(lines)


def test_negative_cells_are_hatched():
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    charts.heat(axes, "ab", np.array([[1.0, -2.0], [-2.0, np.nan]]))
    assert [patch.get_hatch() for patch in axes.patches] == ["////", "////"]
    assert sorted(text.get_text() for text in axes.texts) == ["-2.00", "-2.00", "1.00"]


def test_tables_as_csv_hold_the_raw_values_and_shares(compact_explained, printed):
    rows = list(csv.DictReader(io.StringIO((printed / "attributions.csv").read_text())))
    raw = {(row["method"], row["layer"]): float(row["raw"]) for row in rows}
    assert raw == {(m, p): v for m, a in compact_explained.attributions.items() for p, v in a.values.items()}
    shares = [float(row["normalised"]) for row in rows if row["method"] == "final_loss"]
    assert sum(shares) == pytest.approx(1)
    table = list(csv.DictReader(io.StringIO((printed / "ablation.csv").read_text())))
    whole = compact_explained.table.rows[0, 31].outcomes["heldout"]
    assert float(next(row for row in table if row["config"] == "all")["heldout"]) == whole
    terms = list(csv.DictReader(io.StringIO((printed / "losses.csv").read_text())))
    assert {row["term"]: float(row["raw"]) for row in terms} == compact_explained.run.losses


def test_latex_is_well_formed_and_has_uncertainties(compact_explained, printed):
    for path in set(printed.glob("*.tex")) - {printed / "methods.tex"}:
        lines = path.read_text(encoding="utf-8").splitlines()
        body = [line for line in lines if not line.startswith("%")]
        columns = len(re.search(r"\{(l r*|lr*)\}$", body[0])[1])
        rows = [line for line in body if line.endswith(r"\\")]
        assert len(rows) > 1
        for row in rows:
            assert row.count(" & ") == columns - 1, (path.name, row)
            assert not re.search(r"(?<!\\)[_%#]", row), (path.name, row)
            assert row.count("$") % 2 == 0
            assert row.count("{") == row.count("}")
        assert [line for line in body if line.startswith("\\")][1:3] != []
        assert body[-1] == r"\end{tabular}"
    estimate = compact_explained.shapley["relu4_1"]
    text = (printed / "attributions.tex").read_text(encoding="utf-8")
    assert tables.figure(estimate.value, (estimate.high - estimate.low) / 2) in text


@pytest.mark.parametrize(
    ("value", "half", "text"),
    [
        (0.12345, 0.0123, r"$0.123 \pm 0.012$"),
        (12.3, 4.56, r"$12.3 \pm 4.6$"),
        (123.4, 45.6, r"$123 \pm 46$"),
        (-0.5, 0.02, r"$-0.500 \pm 0.020$"),
        (0.12345, None, "$0.123$"),
        (1234567.0, None, r"$1.23 \times 10^{6}$"),
        (1e-5, 0.0, r"$1 \times 10^{-5}$"),
    ],
)
def test_figures_are_rounded_to_their_uncertainty(value, half, text):
    assert tables.figure(value, half) == text


def test_of_a_run_an_ablation_and_an_incomplete_folder(pair, tmp_path, compact_explained):
    run = underpaint.stylize(*pair, out=tmp_path / "run", size=64, preset="draft")
    names = [path.name for path in Press(run.folder)]
    assert names == ["pictures.pdf", "convergence.pdf", "losses.tex", "losses.csv", *METHODS]
    made = underpaint.ablate(*pair, out=tmp_path / "ablation", configs=["all", "drop:relu1_1"], size=64, preset="draft")
    assert [path.name for path in Press(made.folder)] == ["gallery.pdf", "ablation.tex", "ablation.csv", *METHODS]
    folder = shutil.copytree(compact_explained.folder, tmp_path / "why")
    (folder / "validation.json").unlink()
    press = Press(folder)
    names = [path.name for path in press]
    assert {"convergence.pdf", "gallery.pdf", "ablation.tex"} <= set(names)
    assert "attributions.pdf" not in names
    assert any("attributions" in line and "not finished" in line for line in press.missing)


def test_bad_input_is_one_line_and_overwrites_nothing(compact_explained, tmp_path):
    with pytest.raises(UnderpaintError, match=r"--format jpg: choose from pdf, svg, png"):
        Press(compact_explained.folder, ["jpg"])
    with pytest.raises(UnderpaintError, match="not a folder of"):
        Press(tmp_path)
    (tmp_path / "pictures.pdf").write_bytes(b"mine")
    with pytest.raises(UnderpaintError, match="is there already"):
        list(Press(compact_explained.folder, ["pdf"], tmp_path))
    assert (tmp_path / "pictures.pdf").read_bytes() == b"mine"
    assert Evidence(compact_explained.folder).kind == "explain"
