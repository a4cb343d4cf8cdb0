"""Many threads draw at once: equal figures, and matplotlib's settings as they were."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import numpy as np

import underpaint
from underpaint.explanation import gallery
from underpaint.paper import figures
from underpaint.recipe import Recipe
from underpaint.report import svg
from underpaint.runs import convergence
from underpaint.runs.folder import Row

HISTORY = [
    Row(step, 0, term, 1 / (1 + step), 2 / (1 + step), None, 0.0) for step in range(4) for term in ("style/x", "total")
]


def test_threads_leave_the_settings_and_one_another_alone(tmp_path):
    before = dict(matplotlib.rcParams)

    def page(_):
        return svg.convergence(HISTORY, Recipe())

    def paper(_):
        return figures.render(2, 1, lambda figure: figure.add_subplot().set_title("a"), "svg")

    def folder(place):
        (tmp_path / str(place)).mkdir()
        convergence.draw(tmp_path / str(place), HISTORY, Recipe())
        return (tmp_path / str(place) / "convergence.svg").read_bytes()

    def region(place):
        ones = np.ones((8, 8))
        gallery.draw_region(
            tmp_path / f"{place}.png", np.ones((8, 8, 3)), (1, 1, 4, 4), np.ones((8, 8, 3)), {"a": ones}, {"a": 1}
        )
        return (tmp_path / f"{place}.png").read_bytes()

    kinds = (page, paper, folder, region)
    alone = [draw(place) for place, draw in enumerate(kinds, 100)]
    with ThreadPoolExecutor(8) as pool:
        drawn = list(pool.map(lambda place: kinds[place % 4](place), range(24)))
    assert dict(matplotlib.rcParams) == before
    for place, made in enumerate(drawn):
        assert made == alone[place % 4], kinds[place % 4]


def test_figures_are_made_in_one_room_alone():
    """Nobody else takes a canvas or changes a setting."""
    for path in Path(underpaint.__file__).parent.rglob("*.py"):
        if path.name != "drawing.py":
            assert not re.search(r"pyplot|FigureCanvas|rc_context|rcParams\[.*\] *=|matplotlib\.use", path.read_text()), path
