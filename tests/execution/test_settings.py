"""What the caller has set for PyTorch and NumPy changes no picture and is as it was afterwards; what fails leaves nothing."""

import csv
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import underpaint
from underpaint.errors import UnderpaintError

QUICK = {"network": "vgg19", "size": 48, "iterations": (3,), "style_layers": {"relu1_1": 1.0, "relu3_1": 1.0}}


@contextmanager
def double():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


SETTINGS = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float64": double,
    "inference": torch.inference_mode,
    "no gradients": torch.no_grad,
    "meta device": lambda: torch.device("meta"),
    "errors": lambda: np.errstate(all="raise"),
}


def seen():
    """What is the caller's."""
    return (
        torch.is_autocast_enabled("cpu"),
        torch.get_default_dtype(),
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
        torch.get_default_device(),
        tuple(sorted(np.geterr().items())),
        torch.initial_seed(),
    )


def everything(pair, weights, folder):
    """Every way to paint, on the way looking at the caller's settings between two steps: pictures and tables."""
    named, before = QUICK | {"weights": weights, "device": "cpu"}, seen()
    for _ in underpaint.start(*pair, out=folder / "run", **named):
        assert seen() == before
    found = [(folder / "run/pastiche.png").read_bytes(), underpaint.Run.load(folder / "run").pastiche.tobytes()]
    larger = underpaint.carry_on(folder / "run", out=folder / "larger", size=64).finish()
    found.append(larger.pastiche.tobytes())
    made = underpaint.ablate(*pair, out=folder / "ablation", configs=["all", "drop:relu1_1"], **named)
    with (made.folder / "coalitions.csv").open(encoding="utf-8", newline="") as file:
        found.append([row | {"seconds": "", "check": ""} for row in csv.DictReader(file)])
    why = underpaint.explain(*pair, out=folder / "why", **named)
    found += [(why.folder / name).read_bytes() for name in ("attribution.csv", "cross.csv", "pastiche.png")]
    assert seen() == before
    return found


@pytest.mark.slow
def test_the_callers_settings_change_nothing(pair, tiny_weights, tmp_path):
    plainly = everything(pair, tiny_weights, tmp_path / "plainly")
    for name, setting in SETTINGS.items():
        with setting():
            found = everything(pair, tiny_weights, tmp_path / name)
        assert found == plainly, name


FAULTS = {
    "a layer": {"style_layers": {"relu9_9": 1.0}},
    "a size": {"size": 0},
    "a field": {"colour": 1},
    "no iterations": {"iterations": ()},
    "a network": {"network": "vgg99"},
    "a device": {"device": "abacus"},
    "weights": {"weights": "/nowhere/at/all.safetensors"},
    "a judge": {"judge": "nobody"},
    "configurations": {"configs": []},
    "a configuration": {"configs": ["drop:relu9_9"]},
    "seeds": {"seeds": 0},
}
TAKES = {"judge": ("explain", "ablate"), "configs": ("ablate",), "seeds": ("explain",)}


@pytest.mark.parametrize("call", ["stylize", "explain", "ablate"])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_begin_leaves_nothing(pair, tiny_weights, tmp_path, fault, call):
    field = next(iter(FAULTS[fault]))
    if call not in TAKES.get(field, (call,)):
        pytest.skip("does not take it")
    named = QUICK | {"weights": tiny_weights, "device": "cpu"} | FAULTS[fault]
    with pytest.raises(UnderpaintError) as caught:
        getattr(underpaint, call)(*pair, out=tmp_path / "out" / "why", **named)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.json"))
    assert not (tmp_path / "out" / "why").exists()


@pytest.mark.parametrize("call", ["stylize", "start", "explain", "ablate"])
def test_an_empty_folder_name_is_said(pair, tiny_weights, tmp_path, monkeypatch, call):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UnderpaintError, match="--out"):
        getattr(underpaint, call)(*pair, out="", weights=tiny_weights, **QUICK)
    assert not list((tmp_path / "here").iterdir())
