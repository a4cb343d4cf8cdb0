"""Folders that earlier versions made are read, reported and resumed; and what a format is may grow."""

import json
import re
import shutil
from pathlib import Path

import pytest
from pydantic import Field
from safetensors import safe_open
from safetensors.torch import save_file

import underpaint
from underpaint import recipe
from underpaint.errors import UnderpaintError
from underpaint.explanation import explaining
from underpaint.explanation.conclude import conclude
from underpaint.recipe import Recipe, make
from underpaint.report import page

KEPT = Path(__file__).parents[1] / "kept"
OPTIONS = underpaint.Options(weights=KEPT / "tiny.safetensors", device="cpu")
FOLDERS = sorted(path for path in KEPT.iterdir() if path.is_dir() and path.name.isdigit())
every = pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)


def copied(folder, to):
    return Path(shutil.copytree(folder, to / folder.name))


def said(path):
    """What a page says, without markup."""
    return re.sub(r"<script.*?</script>|<[^>]*>", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)


@every
def test_a_stopped_run_is_read_reported_and_goes_on(folder, tmp_path):
    kept = copied(folder / "stopped", tmp_path)
    before = underpaint.Run.load(kept)
    assert 0 < before.facts["steps"] < sum(before.recipe.schedule())
    assert "is not there" not in said(page.build(kept))
    run = underpaint.resume(kept, OPTIONS).finish()
    assert run.facts["status"] == "finished"
    assert run.losses["total"] < before.history[-1].weighted
    assert run.history[: len(before.history)] == before.history
    assert not list(kept.glob(".*"))
    fields = before.recipe.model_dump(exclude_unset=True)
    anew = underpaint.stylize(KEPT / "photo.png", KEPT / "painting.png", options=OPTIONS, **fields)
    assert abs(run.pastiche - anew.pastiche).mean() < 0.01  # to the bit where the processor is the same


@every
def test_an_explanation_is_read_reported_and_concluded_again(folder, tmp_path):
    kept = copied(folder / "explained", tmp_path)
    before, table = underpaint.Explanation.load(kept), (kept / "coalitions.csv").read_bytes()
    assert {len(e) for e in (before.attributions["shapley"].values, before.shapley)} == {2}
    assert re.search("Shapley", said(page.build(kept)))
    made = explaining.resume(kept, OPTIONS)
    assert [part.doing for part in made] == ["concluding"]
    found = conclude(made)
    assert (kept / "coalitions.csv").read_bytes() == table
    for method in ("ledger", "cross", "judge_path", "shapley"):
        assert found.attributions[method].values == pytest.approx(before.attributions[method].values, rel=1e-3, abs=1e-4)
    assert not list(kept.glob(".*"))
    more = explaining.resume(kept, OPTIONS, seeds=2)
    assert all(part.doing != "painting" for part in more)
    assert conclude(more).game().tables == 2


def test_a_checkpoint_from_before_there_were_inputs_in_it(tmp_path):
    kept = copied(FOLDERS[0] / "stopped", tmp_path)
    path, facts = kept / "checkpoint.safetensors", json.loads((kept / "run.json").read_text())
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del metadata["inputs"]
    older = {"format": "underpaint checkpoint 1", "recipe": recipe._hash(facts["recipe"])}
    save_file(tensors, path, metadata | older)
    assert underpaint.resume(kept, OPTIONS).finish().facts["status"] == "finished"


@pytest.mark.parametrize("other", ["recipe", "inputs", "format"])
def test_a_checkpoint_of_something_else_is_refused(other, tmp_path):
    kept = copied(FOLDERS[0] / "stopped", tmp_path)
    path, facts = kept / "checkpoint.safetensors", json.loads((kept / "run.json").read_text())
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    changed = {
        "recipe": ("was made with another recipe", {"recipe": make(facts["recipe"] | {"seed": 9}).digest()}),
        "inputs": ("was made of other pictures", {"inputs": json.dumps({"content": "0" * 64, "style1": "1" * 64})}),
        "format": ("is not a checkpoint of this version", {"format": "underpaint checkpoint 99"}),
    }
    says, part = changed[other]
    save_file(tensors, path, metadata | part)
    for read in (lambda: underpaint.resume(kept, OPTIONS), lambda: underpaint.Run.load(kept)):
        with pytest.raises(UnderpaintError, match=says) as caught:
            read()
        assert "\n" not in str(caught.value)


class Later(Recipe):
    """A version with a field more, and another default."""

    grain: float = Field(0.3, ge=0)
    content_weight: float = 0.5


def test_a_new_field_and_a_new_default_leave_every_hash_as_it_was(monkeypatch):
    assert set(recipe.FIRST) == set(Recipe.model_fields)
    for fields in ({}, {"seed": 4}, {"content_weight": 0.5, "preset": "gatys"}):
        kept = make(fields)
        with monkeypatch.context() as patch:
            patch.setitem(recipe.FIRST, "grain", 0.0)
            later = Later.model_validate(recipe.FIRST | kept.model_dump(mode="json"))
            assert later.digest() == kept.digest()
            assert later.model_copy(update={"grain": 0.3}).digest() != kept.digest()
            assert Later().digest() != Recipe().digest()


def test_the_first_recipe_never_changes():
    """Should this fail, checkpoints that are out there are orphans: add to `FIRST`, change nothing in it."""
    facts = json.loads((FOLDERS[0] / "stopped" / "run.json").read_text())
    assert recipe.kept(facts["recipe"]).digest() == facts["recipe_sha256"]
    assert {name: recipe.FIRST[name] for name in facts["recipe"]} == {
        "network": "compact", "polish": 0, "pooling": "max", "size": 512, "smallest": 91, "preset": "standard",
        "iterations": [], "optimizer": "lbfgs", "rate": 0.02, "final_rate": 0.02, "betas": [0.9, 0.99],
        "average_from": 0.0, "average_decay": 0.98, "carry_moments": False, "stop": 0.0, "patience": 20,
        "content_layers": {"relu4_2": 1.0},
        "style_layers": {"relu1_1": 4.0, "relu2_1": 2.0, "relu3_1": 1.0, "relu4_1": 0.5, "relu5_1": 0.25},
        "content_weight": 0.14, "style_weight": 1.0, "protect_weight": 20.0, "color_weight": 0.0, "palette_weight": 0.0,
        "smoothness": 4.0, "diagonals": 0.0, "smoothness_growth": 2.0, "strength": 0.5, "statistic": "gram",
        "style_weights": [], "style_scale": 1.0, "crop": False, "keep_color": "no", "start": "content", "start_noise": 0.0,
        "seed": 0, "precision": "float32",
    }  # fmt: skip
