"""Another package adds by entry points: a network, a statistic and an optimiser paint, judge, are kept and are explained."""

import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

import underpaint
from tests.helpers import refused
from underpaint.explanation.attribution import ATTRIBUTIONS
from underpaint.explanation.coalitions import task
from underpaint.extensions import NETWORKS, OPTIMIZERS, STATISTICS, TERMS
from underpaint.losses.statistics import statistic
from underpaint.networks import registry
from underpaint.quality import MEASURES
from underpaint.recipe import Recipe, make
from underpaint.report import page
from underpaint.report.sections import SECTIONS
from underpaint.runs.options import Options

DOORS = (NETWORKS, STATISTICS, OPTIMIZERS, TERMS, MEASURES, ATTRIBUTIONS, SECTIONS)
EXAMPLE = Path(__file__).parent / "example"
FIELDS = {"network": "tiny", "statistic": "spread", "optimizer": "descent", "size": 48, "iterations": (6,), "device": "cpu"}


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """As `pip install underpaint-example` would leave it."""
    monkeypatch.syspath_prepend(str(EXAMPLE))


@pytest.fixture
def pair(tmp_path):
    for number, name in enumerate(("content", "style")):
        rgb = np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8)
        underpaint.imaging.images.write(tmp_path / f"{name}.png", (rgb / (255 + 255 * number)).astype(np.float32))
    return tmp_path / "content.png", tmp_path / "style.png"


@pytest.mark.parametrize(
    ("known", "name"),
    [(known, name) for known in DOORS for name in known],
    ids=str,
)
def test_what_the_package_has_by_name_is_there(known, name):
    assert known[name] is not None


def test_names_of_other_packages_stand_after_the_packages_own():
    assert list(NETWORKS) == ["compact", "vgg19", "vgg16", "broken", "tiny"]
    assert list(STATISTICS)[-1] == "spread"
    assert "descent" in OPTIMIZERS
    refused(lambda: NETWORKS["resnet"], "network", "'resnet' is not known", "compact or vgg19", "tiny")
    refused(lambda: NETWORKS["broken"], "example_network:NOT_THERE", "cannot be loaded")
    refused(lambda: make({"network": "resnet"}), "network", "'resnet' is not known", "compact", "tiny", "(got 'resnet')")


def test_a_recipe_has_its_networks_own_layers():
    recipe = Recipe(network="tiny")
    assert recipe.style_layers == {"stem": 2.0, "block1": 1.0, "block2": 0.5}
    assert recipe.content_layers == {"block1": 1.0}
    assert recipe.model_fields_set == {"network"}
    assert set(Recipe(network="tiny", preset="gatys").style_layers.values()) == {1.0}
    assert make({"network": "tiny"}).networks() == ("tiny",)
    refused(lambda: make({"network": "tiny", "polish": 3}), "polish")


def test_a_module_that_autograd_goes_back_through_is_a_network():
    network = registry.open_network("tiny", ["block1", "stem"], precision=torch.float64).network
    image = torch.rand(1, 3, 20, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    tape = network.tape(image, ["stem", "block1"])
    assert network.layers == ("stem", "stem.b", "block1")
    for layer in ("stem", "block1"):
        told, found = network.anatomy.layer(layer), tape.features[layer]
        assert found.shape[1] == told.channels
        assert found.shape[2] == -(-20 // told.stride)
        assert torch.equal(found, network.features(image, [layer])[layer])

    def value(x):
        found = network.features(x, ["stem", "block1"])
        return float(found["stem"].square().sum() + 3 * found["block1"].sum())

    g = tape.pullback({"stem": lambda g: g.add_(2 * tape.features["stem"]), "block1": lambda g: g.add_(3.0)})
    for place in [(0, 0, 0, 0), (0, 2, 13, 7), (0, 1, 19, 22)]:
        step = torch.zeros_like(image)
        step[place] = 1e-6
        assert (value(image + step) - value(image - step)) / 2e-6 == pytest.approx(float(g[place]), rel=1e-5)


def test_shuffling_a_layer_leaves_those_before_it():
    network = registry.open_network("tiny", ["block2.b"]).network
    image = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    other = network.shuffled(["block1", "block1.b"])
    before, after = (each.features(image, network.layers) for each in (network, other))
    alike = [layer for layer in network.layers if torch.equal(before[layer], after[layer])]
    assert alike == ["stem", "stem.b"]
    sizes = [sorted(p.flatten().tolist()) for p in network._module.parameters()]
    assert sizes == [sorted(p.flatten().tolist()) for p in other._module.parameters()]


@pytest.mark.parametrize("name", ["gram", "moments", "wasserstein", "spread"])
@pytest.mark.parametrize("weighted", [False, True])
def test_sums_of_tiles_add_up_to_the_whole(name, weighted):
    kind = statistic(name)
    assert kind.additive
    x = torch.rand(60, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    w = torch.rand(60, generator=torch.Generator().manual_seed(1), dtype=torch.float64) if weighted else None
    w = None if w is None else w / w.sum()
    tiles = [kind.sums(x[a:b], None if w is None else w[a:b]) for a, b in ((0, 13), (13, 50), (50, 60))]
    together = tuple(sum(parts) for parts in zip(*tiles, strict=True))
    found, whole = kind.of_sums(together, 60 if w is None else 1), kind.summary(x, w, 0)
    for a, b in zip(found, whole, strict=True):
        assert torch.allclose(a, b)


def test_sliced_is_not_additive():
    assert not statistic("sliced").additive


def test_a_run_goes_on_and_is_explained(pair, tmp_path):
    """Stopped in the middle and resumed: the same bytes; then the whole table, with its pictures and its page."""
    whole = underpaint.stylize(*pair, out=tmp_path / "whole", **FIELDS)
    assert len(set(whole.pastiche.ravel().tolist())) > 1000
    session = underpaint.start(*pair, out=tmp_path / "stopped", **FIELDS)
    for step in session:
        if step.step == 4:
            break
    resumed = underpaint.resume(tmp_path / "stopped", Options(device="cpu")).finish()
    assert (resumed.pastiche == whole.pastiche).all()
    explanation = underpaint.explain(*pair, out=tmp_path / "why", **FIELDS)
    assert set(explanation.shapley) == {"stem", "block1", "block2"}
    assert len(list((tmp_path / "why" / "coalitions").glob("*.png"))) == 8
    assert explanation.validation["checks"]["closure"] < 1e-5
    built = page.build(tmp_path / "why").read_text(encoding="utf-8")
    assert "block1" in built
    assert "It began with seed 0." in built
    assert "how much darker it is" in built
    assert "weight in the objective" in built
    weights = explanation.attributions["weight"].values
    assert weights["stem"] == pytest.approx(2 * weights["block1"])
    assert abs(explanation.attributions["weight"].values["block2"] / weights["block1"] - 0.5) < 1e-6


def test_a_term_weighs_in_the_recipe_and_in_the_history(pair, tmp_path):
    """It holds the mean where it was told to, is a column of the ledger, and a recipe without it is told as before."""
    fields = FIELDS | {"network": "compact", "statistic": "gram", "optimizer": "lbfgs"}
    free, held = (underpaint.stylize(*pair, terms=terms, **fields) for terms in ({}, {"brightness": 1e4}))
    goal = underpaint.imaging.images.read(pair[0]).rgb.mean()
    assert abs(held.pastiche.mean() - goal) < 0.2 * abs(free.pastiche.mean() - goal)
    assert "brightness" in held.losses
    assert "brightness" not in free.losses
    assert "terms" not in free.recipe.model_dump()
    assert held.recipe.model_dump()["terms"] == {"brightness": 1e4}
    assert free.recipe.digest() != held.recipe.digest()
    refused(lambda: make({"terms": {"brigthness": 1}}), "terms", "'brightness'")
    refused(lambda: make({"terms": {"style": 1}}), "terms", "fields of its own")


def test_an_observer_sees_every_step_and_loses_nothing_of_a_run_that_was_stopped(pair, tmp_path):
    from example_observer import HeldBack

    def painted(folder, most=None):
        session = underpaint.start(*pair, out=folder, **FIELDS) if not folder.exists() else underpaint.resume(folder)
        seen = HeldBack()
        session.follow({"held back": seen})
        with closing(iter(session)) as steps:
            for step in steps:
                if step.step == most:
                    break
        return seen.largest

    whole = painted(tmp_path / "whole")
    assert whole > 0
    begun = painted(tmp_path / "stopped", 2)
    assert painted(tmp_path / "stopped") == whole >= begun


def test_an_executor_does_tasks_somewhere_else(pair, tmp_path):
    """The rows and pictures are those of a run without it."""
    from example_executor import InThisProcess

    fields = FIELDS | {"style_layers": {"stem": 1, "block1": 1}}
    alone = underpaint.explain(*pair, out=tmp_path / "alone", **fields)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task, "Processes", lambda module, setting, count, threads: InThisProcess(setting))
        found = underpaint.explain(*pair, out=tmp_path / "why", workers=2, **fields)
    assert {key: row.outcomes for key, row in found.table.rows.items()} == {
        k: r.outcomes for k, r in alone.table.rows.items()
    }
    assert list(found.table.rows) == list(alone.table.rows)


def test_the_page_shows_the_examples_as_they_are():
    page = (Path(__file__).parents[2] / "docs/extending.md").read_text(encoding="utf-8")
    shown = re.findall("```python\n(.*?)```", page, re.DOTALL)
    assert sorted(shown) == sorted(file.read_text(encoding="utf-8") for file in EXAMPLE.glob("*.py"))
    for group in (door.group for door in DOORS):
        assert f"`{group}`" in page


def test_the_command_line_knows_them_too(pair, tmp_path):
    command = [sys.executable, "-m", "underpaint", "ablate", *map(str, pair), "--out", str(tmp_path / "ablation")]
    flags = ["--network", "tiny", "--statistic", "spread", "--optimizer", "adam", "--size", "48", "--preset", "draft"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(EXAMPLE), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([*command, *flags, "--quiet"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"all.png", "block1+block2.png"} <= {path.name for path in (tmp_path / "ablation" / "coalitions").iterdir()}
    page = [sys.executable, "-m", "underpaint", "networks"]
    done = subprocess.run(page, env=env, capture_output=True, text=True, check=False)
    assert "broken" in done.stderr + done.stdout
