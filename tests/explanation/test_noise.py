"""The noise's ratios: what the package keeps is what the benchmark makes of its tables, and their intervals hold."""

import argparse
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import SHARED
from underpaint.explanation.shapley import noise
from underpaint.explanation.shapley.exact import shapley_weights
from underpaint.explanation.shapley.noise import Noise, measure, ratios
from underpaint.quality.panel import HEADLINE

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
LAYERS = tuple(f"relu{block}_1" for block in range(1, 6))


@pytest.fixture(scope="module")
def benchmark():
    if not (SHARED / "data/pairs.tsv").is_file():
        pytest.skip("needs ../shared/data/pairs.tsv")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        spec = importlib.util.spec_from_file_location("benchmarks_noise", BENCHMARKS / "noise.py")
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def tables(benchmark):
    return list(benchmark.painted(argparse.Namespace(shared=SHARED)))


def test_what_the_package_keeps_is_what_the_benchmark_makes(benchmark, tables):
    kept = json.loads((Path(noise.__file__).parent / noise.FILE).read_text())
    assert kept["made_of"]["tables"] == sum(len(each.values[HEADLINE]) for each in tables)
    for judge in kept["ratios"]:
        assert ratios(LAYERS, judge) == pytest.approx(benchmark.ratios(tables, judge), abs=0.005)


def test_intervals_of_painted_tables_hold(benchmark, tables):
    """Ratios of other pictures, eight repetitions: what docs/explain.md quotes; independent noise would promise too much."""

    def held(independent):
        some = [each for each in tables if each.size == 64]
        return [float(figure) for figure in benchmark.shares(some, 1, independent).split(" | ")[1:3]]

    assert min(held(False)) > 0.92
    assert max(held(True)) < 0.85


def test_the_analysis_of_variance_finds_what_was_put_in(benchmark):
    random = np.random.default_rng(0)
    takes = np.arange(32)[:, None] >> np.arange(5) & 1
    table = random.normal(size=(2000, 5)) * [2, 1, 1, 0.5, 0] @ takes.T + 0.5 * random.normal(size=(2000, 32))
    table += random.normal(size=(2000, 1))
    own, rest = benchmark.layers(table)
    assert own == pytest.approx([4, 1, 1, 0.25, 0], rel=0.1, abs=0.01)
    assert rest == pytest.approx(0.25, rel=0.05)


def test_what_was_not_measured_gets_the_mean_and_the_headline_judges():
    known = ratios(LAYERS)
    assert ratios(("relu3_2", "relu1_1")) == (pytest.approx(sum(known) / 5), known[0])
    assert ratios(LAYERS, "a new judge") == known
    assert ratios(LAYERS, "patches") != known
    assert all(r >= 0 for r in known)


def test_nothing_repeated_is_no_noise_and_equal_tables_are_none():
    values = np.random.default_rng(0).normal(size=(1, 32))
    assert measure(values) is None
    same = measure(np.concatenate([values, values + 3]), ratios(LAYERS))
    assert same.error(shapley_weights(5)[0]) == pytest.approx(0, abs=1e-12)
    assert Noise(2.0, 7, (1.0, 0.0, 0.0, 0.0, 3.0)).spread == pytest.approx(2 * np.sqrt(1 + 4 / 4))
