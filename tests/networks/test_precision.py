"""Precision: what `auto` comes to, and that everything after it holds what it came to."""

import json
import subprocess
import sys

import pytest
import torch

import underpaint
from tests.helpers import refused
from underpaint.execution import device
from underpaint.explanation import ablating, explaining
from underpaint.networks import precision
from underpaint.networks.weights import CACHE_VARIABLE
from underpaint.recipe import make
from underpaint.runs import estimate

CPU = torch.device("cpu")
QUICK = {"network": "vgg19", "size": 64, "iterations": (4, 4), "device": "cpu"}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder where nothing is remembered."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / precision.FILE


@pytest.fixture
def clock(monkeypatch):
    """A clock by which a format takes as many seconds as is said here; it counts the passes."""

    class Clock:
        def __init__(self):
            self.seconds, self.passes = {torch.float32: 0.08, torch.bfloat16: 0.04}, 0

        def once(self, chain, image):
            self.passes += 1
            return self.seconds[chain.precision] + 0.01 * (self.passes % 3)

    made = Clock()
    monkeypatch.setattr(precision, "_once", made.once)
    monkeypatch.setattr(device, "computes_bf16", lambda place: True)
    return made


@pytest.mark.parametrize(
    ("bf16", "chosen"), [(0.04, "bf16"), (0.06, "bf16"), (0.07, "float32"), (0.08, "float32"), (0.4, "float32")]
)
def test_bf16_where_it_is_clearly_faster(cache, clock, bf16, chosen):
    clock.seconds = {torch.float32: 0.08, torch.bfloat16: bf16}
    found = precision.choose(CPU)
    assert found.chosen == chosen
    assert found.times == precision.Times(0.08, bf16)  # the best of the rounds, not the last


def test_the_trial_is_remembered(cache, clock):
    first = precision.choose(CPU)
    passes = clock.passes
    assert passes == 2 * (1 + precision.ROUNDS)
    assert precision.choose(CPU) == first
    assert clock.passes == passes
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)  # another machine, as far as speed goes
        precision.choose(CPU)
    finally:
        torch.set_num_threads(threads)
    assert clock.passes == 2 * passes
    assert len(json.loads(cache.read_text())) == 2


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"KEY": 3}', '{"KEY": {"float32_seconds": "x", "bf16_seconds": 1}}'])
@pytest.mark.parametrize("times", [None, (0.0, 1.0), (float("nan"), 1.0)])
def test_a_damaged_memory_is_written_anew(cache, clock, text, times):
    cache.parent.mkdir()
    key = precision._key(CPU)
    if times is not None:
        text = json.dumps({key: dict(zip(("float32_seconds", "bf16_seconds"), times, strict=True))})
    cache.write_text(text.replace("KEY", key.replace('"', "")))
    assert precision.choose(CPU).chosen == "bf16"
    assert json.loads(cache.read_text()) == {key: {"float32_seconds": 0.08, "bf16_seconds": 0.04}}


def test_a_memory_that_cannot_be_written_is_no_error(tmp_path, clock, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    assert precision.choose(CPU).chosen == "bf16"
    assert precision.choose(CPU).chosen == "bf16"
    assert clock.passes == 4 * (1 + precision.ROUNDS)


def test_a_device_without_bf16_tries_nothing(cache, clock, monkeypatch):
    monkeypatch.setattr(device, "computes_bf16", lambda place: False)
    found = precision.choose(CPU)
    assert (found.chosen, found.times, clock.passes) == ("float32", None, 0)
    assert "bf16" in found.facts()["because"]
    assert not cache.exists()
    refused(lambda: device.precision("bf16", CPU), "precision", "float32")


def test_the_trial_itself_runs(cache):
    if not device.computes_bf16(CPU):
        pytest.skip("needs a processor with bf16")
    times = precision.trial(CPU)
    assert 0 < times.float32 < 10
    assert 0 < times.bf16 < 10


def test_run_json_holds_what_was_chosen_and_by_what(cache, clock, pair, tiny_weights, tmp_path):
    clock.seconds = {torch.float32: 0.04, torch.bfloat16: 0.08}
    run = underpaint.stylize(*pair, out=tmp_path / "r", weights=tiny_weights, **QUICK)
    facts = json.loads((tmp_path / "r/run.json").read_text())
    assert facts["precision"] == {"asked": "auto", "chosen": "float32", "float32_seconds": 0.04, "bf16_seconds": 0.08}
    assert facts["recipe"]["precision"] == run.recipe.precision == "float32"
    assert facts["recipe_sha256"] == make(facts["recipe"]).digest() == run.recipe.digest()
    named = underpaint.stylize(*pair, out=tmp_path / "n", weights=tiny_weights, precision="float32", **QUICK)
    assert "precision" not in json.loads((tmp_path / "n/run.json").read_text())
    assert (tmp_path / "n/pastiche.png").read_bytes() == (tmp_path / "r/pastiche.png").read_bytes()
    assert named.recipe.digest() == run.recipe.digest()


def test_resumed_with_what_was_chosen_though_the_machine_changed_its_mind(cache, clock, pair, tiny_weights, tmp_path):
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("needs a processor with bf16")
    whole = underpaint.stylize(*pair, out=tmp_path / "whole", weights=tiny_weights, **QUICK)
    assert whole.recipe.precision == "bf16"
    session = underpaint.start(*pair, out=tmp_path / "s", weights=tiny_weights, **QUICK)
    for step in session:
        if step.step == 2:
            break
    before = json.loads((tmp_path / "s/run.json").read_text())["precision"]
    cache.unlink()
    clock.seconds = {torch.float32: 0.04, torch.bfloat16: 0.4}
    underpaint.resume(tmp_path / "s").finish()
    assert (tmp_path / "s/pastiche.png").read_bytes() == (tmp_path / "whole/pastiche.png").read_bytes()
    assert json.loads((tmp_path / "s/run.json").read_text())["precision"] == before
    assert not cache.exists()  # nothing was tried again


def test_explanations_and_ablations_paint_in_float32(cache, clock, pair, tiny_weights, tmp_path):
    fields = QUICK | {"weights": tiny_weights}
    for made in (
        explaining.start(*pair, out=tmp_path / "why", **fields),
        ablating.start(*pair, out=tmp_path / "ab", **fields),
    ):
        assert made.prepared.recipe.precision == "float32"
        assert made.prepared.scene.network.precision == torch.float32
    assert clock.passes == 0
    assert json.loads((tmp_path / "ab/ablation.json").read_text())["recipe"]["precision"] == "float32"


def test_memory_can_be_told_before_auto_is_settled():
    guesses = {
        name: estimate.forecast(make({"precision": name}), (384, 512), {"compact": 1e-6}).bytes
        for name in ("auto", "float32", "bf16")
    }
    assert guesses["auto"] == guesses["float32"] > guesses["bf16"]


SETTINGS = """
import torch
from underpaint.execution.device import ieee_float32

cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
places = cudnn.conv, cudnn.rnn, products

def told(read):
    try:
        return read()
    except RuntimeError:
        return "refused"

def settings():
    old = told(lambda: cudnn.allow_tf32), told(lambda: products.allow_tf32), told(torch.get_float32_matmul_precision)
    return cudnn.benchmark, *old, *(place.fp32_precision for place in places if hasattr(place, "fp32_precision"))

cudnn.benchmark = True
{setup}
before = settings()
with ieee_float32(torch.device("cpu")):
    assert settings() == before
try:
    with ieee_float32(torch.device("cuda")):
        assert not cudnn.benchmark
        if hasattr(cudnn, "conv"):
            assert settings()[4:] == ("ieee", "ieee", "ieee"), settings()
        else:
            assert settings()[1:3] == (False, False), settings()
        assert {readable} == (settings()[1:3] == (False, False)), settings()
        raise KeyError
except KeyError:
    pass
assert settings() == before, (settings(), before)
"""


@pytest.mark.parametrize(
    ("setup", "readable"),
    [
        ("pass", True),
        ("cudnn.allow_tf32 = products.allow_tf32 = True", True),
        ("cudnn.allow_tf32 = products.allow_tf32 = False", True),
        ("torch.set_float32_matmul_precision('high')", True),
        ("torch.backends.fp32_precision = 'tf32'", False),
    ],
)
def test_cuda_settings_are_put_back(setup, readable):
    """The switches are there without a GPU; each set of them in a process of its own."""
    if "backends.fp32" in setup and not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("PyTorch before 2.9")
    code = SETTINGS.format(setup=setup, readable=readable)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_cuda_settings_are_among_the_facts(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda place: "a GPU")
    facts = device.describe(torch.device("cuda"))
    assert (facts["tf32"], facts["cudnn_benchmark"]) == (False, False)
    assert "tf32" not in device.describe(CPU)
    assert any(line.startswith("tf32") for line in device.differences({"versions": {}}, facts))
