"""What the benchmarks keep between runs."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
JUDGE = """
import sys
columns = "style heldout coarse content lpips grain palette strokes weave".split()
print(*columns[:{count}], " picture")
for place, path in enumerate(sys.argv[5:]):
    print(*(0.1 * n + place for n in range({count})), f" {{path}}   0.5")
with open({log!r}, "a") as log:
    print(*sys.argv[5:], file=log)
"""


@pytest.fixture
def yardstick():
    spec = importlib.util.spec_from_file_location("benchmarks_yardstick", BENCHMARKS / "yardstick.py")
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def shared(tmp_path, count):
    """A folder whose judge prints known figures and keeps a log of what it was asked."""
    (tmp_path / "tools").mkdir(exist_ok=True)
    (tmp_path / "tools/judge.py").write_text(JUDGE.format(count=count, log=str(tmp_path / "log.txt")))
    return tmp_path


def test_a_note_that_lacks_a_figure_is_judged_again(yardstick, tmp_path):
    folder, pair = shared(tmp_path, 9), yardstick.Pair(1, Path("a.jpg"), Path("b.jpg"))
    notes = {
        "painted": {"seconds": 1.0, "recipe": {}},
        "older": {"seconds": 2.0} | dict.fromkeys(yardstick.FIGURES[:6], 7.0),
        "whole": {"seconds": 3.0} | dict.fromkeys(yardstick.FIGURES, 8.0),
    }
    for name, note in notes.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{pair.name}.json").write_text(json.dumps(note))
    found = yardstick.measure(pair, {name: {} for name in notes}, folder, tmp_path)
    expected = [0.1 * n for n in range(9)]
    assert list(found["painted"].values()) == pytest.approx([*expected, 1.0])
    assert list(found["older"].values()) == pytest.approx([*(x + 1 for x in expected), 2.0])
    assert list(found["whole"].values()) == [8.0] * 9 + [3.0]
    assert list(found["older"]) == [*yardstick.FIGURES, "seconds"]
    again = yardstick.measure(pair, {name: {} for name in notes}, folder, tmp_path)
    assert again == found
    assert len((tmp_path / "log.txt").read_text().splitlines()) == 1
    assert json.loads((tmp_path / "painted" / f"{pair.name}.json").read_text())["recipe"] == {}
    assert yardstick.table([found], list(notes)).count("|") == 5 * 12


def test_an_older_judge_is_told_from_a_newer_one(yardstick, tmp_path):
    with pytest.raises(SystemExit, match="grain"):
        yardstick.judge(shared(tmp_path, 6), yardstick.Pair(1, Path("a.jpg"), Path("b.jpg")), [Path("x.png")])
