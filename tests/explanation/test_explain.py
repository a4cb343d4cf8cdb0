"""Explaining, on a tiny network: the parts against literal oracles, the whole on disk, stopped, killed and asked wrongly."""

import csv
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

import underpaint
from tests.conftest import random_tensors, write_pair, write_tiny_weights
from tests.explanation.test_ledger import ADAM, picture, scene
from tests.helpers import accounted
from underpaint.errors import UnderpaintError
from underpaint.explanation import ablating, explaining, files
from underpaint.explanation.account.cross_matrix import CrossMatrix
from underpaint.explanation.account.judge_path import JudgePath
from underpaint.explanation.account.ledger import Ledger
from underpaint.explanation.account.observer import Account, kappa
from underpaint.explanation.attribution import Attribution
from underpaint.explanation.coalitions.paint import Painted, paint
from underpaint.explanation.coalitions.perturb import perturbed
from underpaint.explanation.coalitions.table import Table
from underpaint.explanation.conclude import conclude
from underpaint.explanation.shapley.exact import Exact
from underpaint.explanation.shapley.noise import Noise
from underpaint.explanation.validation import Checks, concordance, deletion_curve, deletions, faithfulness, state_of
from underpaint.explanation.verdict import verdict
from underpaint.networks.vgg import Vgg, layer_names
from underpaint.optimizers.adam import Adam
from underpaint.optimizers.loop import optimise
from underpaint.quality.panel import PatchJudge, StyleJudge
from underpaint.recipe import make
from underpaint.runs.scene import Pictures, Scene

PLAYERS = tuple(f"relu{i}_1" for i in range(1, 6))
LBFGS = {"optimizer": "lbfgs", "iterations": [10]}


def watched(**fields):
    """A run with its account, the judge being linear: J = ⟨weights, picture⟩."""
    made = scene(**fields)
    sizes = [made.size(scale) for scale in range(len(made.recipe.sizes()))]
    judge = Linear(sizes[-1])
    ledger = Ledger()
    cross = CrossMatrix(lambda scale: made.stage(scale).objective, ledger, made.recipe.seed)
    account = Account(ledger, cross, JudgePath(judge, ledger, sizes, made.recipe.schedule()), (len(sizes) - 1, 5))
    for step in optimise(made.recipe, made.stage, apart=True):
        ledger.see(step)
        account.see(step)
    return step, account, judge


class Linear:
    """A judge whose path is known: what it says of the ledger's columns."""

    def __init__(self, size):
        self.weights = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))

    def gradient(self, image):
        return float((self.weights * image).sum()), self.weights


@pytest.mark.parametrize("fields", [LBFGS, ADAM | {"average_from": 1.0, "rate": 0.003}], ids=["lbfgs", "adam"])
def test_cross_matrix_rows_are_the_terms_changes(fields):
    step, account, _ = watched(**fields)
    cross = account.cross
    assert len(cross.matrices) == step.scale + 1
    assert cross.residual() < 0.01
    for matrix, change in zip(cross.matrices.values(), cross.changes.values(), strict=True):
        assert torch.allclose(matrix.sum(1), change, atol=0.02 * float(change.abs().sum()))
    # A column that is not there does not add up: the check can fail.
    cross.matrices[0][:, 2] += 0.1
    assert cross.residual() > 0.01


@pytest.mark.parametrize("fields", [LBFGS, ADAM], ids=["lbfgs", "adam averaged"])
def test_path_of_a_linear_judge_is_what_it_says_of_the_columns(fields):
    """With one gradient everywhere, the path's integral is the product with the ledger's columns at the end."""
    _, account, judge = watched(**fields)
    falls = account.path.result
    for name, column in account.ledger.result.items():
        if name != "start":
            assert falls[name] == pytest.approx(-float((judge.weights[0] * column).sum()), abs=2e-3)
    assert account.path.residual() < 1e-3


def test_products_are_of_the_gradients_and_moves_at_one_picture():
    """At each mark the step's fall of every term, to first order, is there: ⟨g_j, u_l⟩ sums to the move's slope."""
    _, account, judge = watched(**LBFGS)
    terms = len(account.path.terms)
    places = [tuple(place.tolist()) for place, _ in account.path.products]
    assert places[0] == (0, 0)
    assert len(places) == len(set(places)) >= 3 * 4
    for _, products in account.path.products:
        assert products.shape == (2 * terms + 2, 2 * terms + 2)
        assert float(products[1 : terms + 1, terms + 1 :].sum()) < 0  # all gradients by all moves: downhill
    last_size = [p for place, p in account.path.products if int(place[0]) == 2]
    assert float(last_size[0][0, 0]) == pytest.approx(float(judge.weights.square().sum()), rel=1e-5)


def test_kappa_is_the_sum_of_norms():
    _, account, _ = watched(**LBFGS)
    ledger = account.ledger.result
    change = sum(c for n, c in ledger.items() if n != "start")
    columns = [c for n, c in ledger.items() if n not in ("start", "clamp")]
    assert kappa(account.ledger) == pytest.approx(sum(float(c.norm()) for c in columns) / float(change.norm()))
    assert account.kappa_half > 0


SHORT = {"optimizer": "lbfgs", "iterations": [4], "smallest": 90}
"""So few steps that rounding errors stay small."""


def test_a_coalition_is_the_run_with_the_other_layers_weights_at_zero():
    made = scene(**SHORT)
    *_, painted = paint(made.recipe, made.stage, ("relu2_1", "relu4_1"))
    own = made.recipe.style_layers
    weights = {layer: own[layer] * (layer in ("relu2_1", "relu4_1")) for layer in PLAYERS}
    other = scene(**SHORT, style_layers=weights)
    *_, last = optimise(other.recipe, other.stage, norms_every=0)
    assert isinstance(painted, Painted)
    assert torch.equal(painted.image, last.image)
    assert float((painted.image - made.stage(0).start).abs().max()) > 0.01


@pytest.mark.parametrize("fields", [LBFGS, ADAM], ids=["lbfgs", "adam"])
def test_the_empty_coalition_is_a_run_that_stays_where_nothing_pulls(fields):
    """With content alone, from the content picture: rounding noise does not become steps. Colours and smoothness do pull."""
    alone = {"smoothness": 0.0, "color_weight": 0.0, "palette_weight": 0.0}
    made = scene(**fields | alone, smallest=90)
    *_, painted = paint(made.recipe, made.stage, ())
    assert torch.equal(painted.image, made.content(0))
    for name in alone:
        made = scene(**fields | alone | {name: 4.0}, smallest=90)
        *_, painted = paint(made.recipe, made.stage, ())
        assert float((painted.image - made.content(0)).abs().max()) > 0.01, name


def test_adam_takes_no_steps_from_rounding_noise():
    image = torch.rand(1, 3, 90, 90, generator=torch.Generator().manual_seed(0))
    adam = Adam.start(image, (0.9, 0.99))
    # A float32's relative error of a gradient that is a mean over the picture.
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(1)) * 1e-7 / image.numel()
    assert float(adam.step(noise, 0.02).abs().max()) < 1e-4


def test_perturbations_are_small_and_the_same_for_all():
    recipe, pictures = make({"size": 90}), Pictures(picture(0), (picture(1),))
    assert perturbed(recipe, pictures, 0) == (recipe, pictures)
    (r1, p1), (again, p2) = perturbed(recipe, pictures, 1), perturbed(recipe, pictures, 1)
    assert r1 == again
    assert np.array_equal(p1.content.rgb, p2.content.rgb)
    assert r1.start_noise == 0.02
    shifts = set()
    for number in range(1, 12):
        moved = perturbed(recipe, pictures, number)[1].content.rgb
        found = [
            (dy, dx)
            for dy in range(-4, 5)
            for dx in range(-4, 5)
            if np.array_equal(moved[10:50, 10:60], pictures.content.rgb[10 - dy : 50 - dy, 10 - dx : 60 - dx])
        ]
        assert len(found) == 1
        shifts.add(found[0])
    assert len(shifts) > 5


NETWORK = Vgg("vgg19", random_tensors(dtype=torch.float64), layer_names("vgg19")[-1], precision=torch.float64)


def judged():
    made = scene()
    content, style = (t.double() for t in (made.content(2), made.style(0, 2)))
    layers = NETWORK.anatomy.held_out([*made.recipe.style_layers, *made.recipe.content_layers])
    return StyleJudge(NETWORK, content, style, layers), content, style


def judge_distance(judge, image, key):
    """The literal sliced distance at one size and layer: sort along every direction, compare, average."""
    factor, layer = key
    goal = judge._goals[key]
    small = torch.nn.functional.interpolate(
        image, [round(s / factor) for s in image.shape[2:]], mode="bicubic", antialias=True, align_corners=False
    )
    x = NETWORK.features(small.clamp(0, 1) if factor > 1 else image, [layer])[layer][0].flatten(1)
    ours = (goal.directions.double() @ x).sort(1).values
    return float((ours - goal.quantiles).square().mean())


def test_judge_of_content_is_one_and_of_style_zero():
    judge, content, style = judged()
    # 1, but where both pictures are so alike that the floor takes the place of their distance.
    found = judge(content)
    assert found["heldout_deep"] == pytest.approx(1)
    assert all(0.5 < value < 1 + 1e-9 for value in found.values())
    floored = [key for key, goal in judge._goals.items() if goal.whole > 1.0001 * judge_distance(judge, content, key)]
    assert (1, "relu3_3") in floored
    assert (1, "relu1_2") not in floored
    assert judge(style)["heldout"] < 0.05  # (both pictures are of one size here)
    assert judge.layers == {"shallow": ("relu1_2", "relu2_2"), "middle": ("relu3_3",), "deep": ("relu4_3", "relu5_2")}
    patches = PatchJudge(content.float(), style.float())
    assert patches(content.float()) == pytest.approx(1)
    assert patches(style.float()) == pytest.approx(0, abs=1e-6)


def test_judges_gradient_is_its_derivative():
    judge, content, _ = judged()
    image = (content * 0.5 + 0.2).clamp(0.1, 0.9)
    value, gradient = judge.gradient(image)
    assert value == pytest.approx(judge(image)["heldout"], rel=1e-6)
    direction = torch.randn(image.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    step = 1e-6
    slope = (judge.gradient(image + step * direction)[0] - judge.gradient(image - step * direction)[0]) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-3)


def test_held_out_layers_are_never_optimised():
    layers = NETWORK.anatomy.held_out(["relu1_2", "relu3_3", "relu4_3"])
    assert layers["shallow"] == ("relu2_2",)
    assert layers["middle"] == ("relu3_4",)
    with pytest.raises(UnderpaintError, match="middle"):
        NETWORK.anatomy.held_out(["relu3_2", "relu3_3", "relu3_4"])


GAME = Exact(("a", "b", "c"), np.array([0, 3, 2, 5, 1, 4, 3, 6.0]), noise=Noise(0.01, 7))  # additive: 3, 2, 1


def attribution(**values):
    return Attribution("made up", values, "unit", "nothing")


def test_deletions_of_all_orders_are_those_of_one_after_the_other():
    values = np.random.default_rng(3).standard_normal(1 << 4)
    game = Exact(tuple("abcd"), values)
    literal = [np.mean(deletion_curve(game, order)) for order in permutations(game.players)]
    assert deletions(game) == pytest.approx(np.array(literal), rel=1e-12)


def test_faithfulness_of_orders_that_are_known():
    right, wrong = attribution(a=3, b=2, c=1), attribution(a=1, b=2, c=3)
    assert deletion_curve(GAME, ["a", "b", "c"]) == [6, 3, 1, 0]
    best, worst = faithfulness(right, GAME, deletions(GAME)), faithfulness(wrong, GAME, deletions(GAME))
    assert (best.concordance, worst.concordance) == (1, 0)
    assert (best.pairs, best.deletion) == (3, 2.5)
    assert best.percentile == pytest.approx(11 / 12)  # better than five of six orders, and equal to itself
    assert worst.percentile == pytest.approx(1 / 12)
    assert faithfulness(attribution(a=1, b=1, c=1), GAME, deletions(GAME)).concordance == 0.5
    assert concordance({"a": 1, "b": 1.001}, [("a", "b")], tie=0.01) == 0.5


def checks(**others):
    fields = {"closure": 1e-6, "cross_residual": 0.001, "path_residual": 0.01, "kappa_half": 1.5, "kappa": 1.6}
    return Checks(**fields | {"fall": 6.0, "fall_error": 0.01, "content": 0.5, "unsettled": {}} | others)


def test_verdict_names_what_is_resolved_and_says_what_cannot_be_trusted():
    faithful = {"final_loss": faithfulness(attribution(a=1, b=2, c=3), GAME, deletions(GAME))}
    text = " ".join(verdict(GAME, checks(), faithful))
    assert "a did more than b and c" in text
    assert "0 of 3 pairs are ties" in text
    assert "do not rank layers by it" in text
    assert "bookkeeping" not in text
    assert "bookkeeping" in " ".join(verdict(GAME, checks(kappa=4.0), faithful))
    assert "bookkeeping" in " ".join(verdict(GAME, checks(kappa=2.0), faithful))  # grew by a third since half time
    noisy = Exact(GAME.players, GAME.values, noise=Noise(10.0, 7))
    assert "No two layers can be told apart" in " ".join(verdict(noisy, checks(), {}))


FALLING = {"b": 0.3, "none": 0.06}
CASES = [
    ({}, "settled"),
    ({"fall_error": None}, "settled"),
    ({"fall_error": 0.0}, "settled"),
    ({"unsettled": FALLING}, "not settled"),
    ({"fall": 0.02}, "no effect"),
    ({"fall": -0.02}, "no effect"),
    ({"fall": 0.02, "unsettled": FALLING}, "no effect"),
    ({"fall": 0.0, "fall_error": 0.0}, "no effect"),
    ({"fall": 0.0, "fall_error": None}, "no effect"),
    ({"fall": -6.0}, "worse"),
    ({"fall": -1e-3, "fall_error": None}, "worse"),
    ({"fall": -6.0, "unsettled": FALLING}, "worse"),
]
RANKING = ("did more than", "told apart", "share that fall", "%, ", "orders ")
OPENINGS = {"settled": "Together", "not settled": "Not settled:", "no effect": "No effect:", "worse": "Worse:"}


@pytest.mark.parametrize(("given", "state"), CASES)
@pytest.mark.parametrize("game", [GAME, Exact(GAME.players, -GAME.values, noise=Noise(0.01, 7))], ids=["falls", "rises"])
def test_every_sentence_follows_from_one_state(game, given, state):
    """Over all states: which is found, and that no share, ranking or agreement is told but of a settled one."""
    made = checks(**given)
    assert made.state == state
    faithful = {"final_loss": faithfulness(attribution(a=1, b=2, c=3), game, deletions(game))}
    said = verdict(game, made, faithful)
    assert said[0].startswith(OPENINGS[state])
    assert sum(sentence.startswith(tuple(OPENINGS.values())) for sentence in said) == 1
    told = [word for word in RANKING if word in " ".join(said).replace("%, limit", "")]
    assert bool(told) == (state == "settled")
    assert ("still falling" in " ".join(said)) == bool(made.unsettled)
    if made.unsettled:
        assert "b: 30%" in " ".join(said)  # the worst, and by how much
    assert state_of({"state": state}) == state_of({"checks": made.facts()}) == state


def test_shares_are_never_negative_or_over_the_whole():
    """Where some layer pulls the other way a percentage of the fall means nothing: values are given instead."""
    pulling = Exact(("a", "b"), np.array([0.0, 1.37, -0.37, 1.0]), noise=Noise(0.01, 7))
    text = " ".join(verdict(pulling, checks(fall=1.0), {}))
    assert "%" not in text.replace("95 %", "")
    assert "a 1.370, b -0.370" in text
    assert attribution(a=1.37, b=-0.37).shares() is None
    idle = Exact(("a", "b"), np.array([0.0, 1.0, -1e-17, 1.0]), noise=Noise(0.01, 7))
    assert "a 100%, b 0%" in " ".join(verdict(idle, checks(fall=1.0), {}))


def test_agreement_with_leaving_out_does_not_depend_on_the_order_of_the_layers():
    """Layers that are missed alike are no pair; broken by their place in the list, they would be."""
    equal = Exact(("a", "b", "c"), np.array([0, 1, 1, 2, 1, 2, 2, 3.0]))
    assert faithfulness(attribution(a=3, b=2, c=1), equal, deletions(equal)).left_out_agreement is None
    two = Exact(("a", "b", "c"), np.array([0, 1, 1, 2, 5, 6, 6, 7.0]))
    assert faithfulness(attribution(a=2, b=1, c=3), two, deletions(two)).left_out_agreement == 1
    assert faithfulness(attribution(a=1, b=2, c=3), two, deletions(two)).left_out_agreement == 1


WORDS = ["--network", "vgg19", "--size", "64", "--preset", "draft", "--device", "cpu"]


def command(pair, out, weights, *more):
    words = ["explain", *pair, "--out", out, "--weights", weights, *WORDS, *more]
    return [sys.executable, "-m", "underpaint", *map(str, words)]


@pytest.fixture(scope="module")
def explained_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    arguments = {"network": "vgg19", "weights": write_tiny_weights(folder), "size": 64, "preset": "draft"}
    return underpaint.explain(*write_pair(folder), out=folder / "why", **arguments)


@pytest.fixture
def explained(explained_once, tmp_path):
    """An explanation in a folder of its own."""
    folder = Path(shutil.copytree(explained_once.folder, tmp_path / "why"))
    return replace(explained_once, folder=folder, table=Table(folder, explained_once.players))


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_an_explanation_on_disk_is_whole_and_readable_without_the_package(explained):
    folder = explained.folder
    rows = table(folder / "coalitions.csv")
    assert len(rows) == 32 + 8
    assert {row["picture"] for row in rows} == {str(p.relative_to(folder)) for p in folder.glob("coalitions/**/*.png")}
    with np.load(folder / "ledger.npz", allow_pickle=False) as ledger:
        total = sum(ledger[n].astype(float) for n in ledger.files if n not in ("pastiche", "colour"))
        assert np.abs(ledger["pastiche"] - total).max() < 1e-4
    attributions = table(folder / "attribution.csv")
    shapley = [float(r["value"]) for r in attributions if r["method"] == "shapley"]
    j = {tuple(r[p] for p in PLAYERS): float(r["heldout"]) for r in rows if r["perturbation"] == "0"}
    assert sum(shapley) == pytest.approx(j[("0",) * 5] - j[("1",) * 5])
    methods = {r["method"] for r in attributions}
    assert {"final_loss", "loss_removed", "gradient_norm", "ledger", "cross", "judge_path", "left_out", "alone"} <= methods
    assert all(r["unit"] and r["baseline"] for r in attributions)
    assert all(r["low"] or r["no_interval_because"] for r in attributions)
    validation = json.loads((folder / "validation.json").read_text())
    assert validation["checks"]["closure"] < 1e-4
    assert validation["checks"]["cross_residual"] < 0.01
    assert validation["verdict"]
    schema = (folder / "schema.md").read_text()
    for name in rows[0].keys() - set(PLAYERS):
        kind, _, network = name.partition(":")
        assert (f"`{kind}:NETWORK`" if network else f"`{name}`") in schema, name
    for name in attributions[0]:
        assert f"`{name}`" in schema, name
    for name in ("gallery.png", "ledger.png", "interactions.csv", "cross.csv", "spatial.npz", "sources/relu3_1.png"):
        assert (folder / name).stat().st_size > 100, name
    again = underpaint.Explanation.load(folder)
    assert repr(again).startswith(f"Explanation({len(again.table.rows)} coalitions; relu1_1 ")
    assert len(repr(again)) < 160 + len(str(folder))
    assert again.verdict == explained.verdict
    assert again.attributions["ledger"] == explained.attributions["ledger"]
    assert again.shapley == explained.shapley


def test_a_box_of_the_pastiche_is_explained(explained, tmp_path):
    shares = explained.draw_region((10, 8, 20, 16), tmp_path / "where.png")
    assert sum(shares.values()) == pytest.approx(1)
    assert (tmp_path / "where.png").stat().st_size > 1000
    ledger, inside = explained.ledger(), (slice(None), slice(8, 24), slice(10, 30))
    change = ledger["pastiche"].astype(float) - ledger["start"]
    expected = (ledger["style/relu3_1"][inside] * change[inside]).sum() / (change[inside] ** 2).sum()
    assert shares["style/relu3_1"] == pytest.approx(expected, rel=1e-3)
    region = np.zeros(explained.run.pastiche.shape[:2], bool)
    region[8:24, 10:30] = True
    assert explained.origin("relu2_1", region).sum() == pytest.approx(1, rel=1e-4)
    with pytest.raises(UnderpaintError, match="does not lie in"):
        explained.draw_region((60, 0, 20, 16), tmp_path / "no.png")
    with pytest.raises(UnderpaintError, match="not explained"):
        explained.origin("relu2_2", region)


def test_a_corrupt_ledger_does_not_close(explained):
    ledger = explained.ledger()
    assert files.closure(ledger) < 1e-4
    ledger["style/relu3_1"][0, 3, 3] += 0.01
    assert files.closure(ledger) > 5e-3


def test_asking_again_paints_nothing_and_more_seeds_paint_more(explained, pair, tiny_weights):
    arguments = {"network": "vgg19", "weights": tiny_weights, "size": 64, "preset": "draft", "out": explained.folder}
    before = (explained.folder / "coalitions.csv").read_bytes()
    underpaint.explain(*pair, **arguments)
    assert (explained.folder / "coalitions.csv").read_bytes() == before
    more = explaining.start(*pair, seeds=2, **arguments)
    assert sum(key not in more.table.rows for key in more.plan()) == 24
    with pytest.raises(UnderpaintError, match="another run"):
        explaining.start(*pair, **arguments | {"size": 72})
    with pytest.raises(UnderpaintError, match="judge"):
        explaining.start(*pair, judge="compact", **arguments)
    with pytest.raises(UnderpaintError, match="already holds a run"):
        underpaint.start(*pair, **arguments)


@pytest.mark.slow
def test_killed_twice_it_ends_as_if_nothing_had_happened(pair, tmp_path, tiny_weights, explained):
    folder = tmp_path / "killed"
    for reached in ("checkpoint.safetensors", "coalitions/relu1_1+relu2_1.png"):
        process = subprocess.Popen(command(pair, folder, tiny_weights, "--quiet"))
        deadline = time.monotonic() + 120
        while not (folder / reached).exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        process.kill()
        process.wait()
    done = subprocess.run(
        [sys.executable, "-m", "underpaint", "resume", str(folder), "--quiet"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for name in ("pastiche.png", "attribution.csv", "cross.csv", "interactions.csv"):
        assert (folder / name).read_bytes() == (explained.folder / name).read_bytes(), name


@pytest.mark.parametrize("preset", ["standard", "gatys"])
def test_a_layer_of_weight_zero_gets_zero_by_every_attribution(pair, tmp_path, tiny_weights, preset):
    layers = {"relu1_1": 1.0, "relu2_1": 0.0, "relu3_1": 1.0}
    fields = {"network": "vgg19", "weights": tiny_weights, "size": 48, "smallest": 48, "iterations": [4]}
    found = underpaint.explain(*pair, out=tmp_path / "z", style_layers=layers, preset=preset, **fields)
    assert ("gatys_loss" in found.attributions) == (preset == "gatys")
    assert any(row["method"] == "gatys_loss" for row in table(tmp_path / "z" / "attribution.csv")) == (preset == "gatys")
    assert found.shapley["relu2_1"].value == pytest.approx(0, abs=1e-12)
    for name, a in found.attributions.items():
        if name != "gatys_loss":  # which knows no weights
            assert a.values["relu2_1"] == pytest.approx(0, abs=1e-12), name
            assert a.values["relu3_1"] != 0, name


def test_sanity_shuffles_block_by_block(pair, tmp_path, tiny_weights):
    arguments = {"network": "vgg19", "weights": tiny_weights, "size": 48, "smallest": 48, "iterations": [3]}
    made = explaining.start(
        *pair, out=tmp_path / "s", check_sanity=True, style_layers={"relu1_1": 1, "relu3_1": 1}, **arguments
    )
    for _ in made:
        pass
    found = conclude(made).validation["sanity"]
    assert list(found) == [f"blocks {i}-5" for i in range(5, 0, -1)]
    assert all(-1 <= value <= 1 for name, value in found["blocks 1-5"].items() if name != "picture")
    assert found["blocks 1-5"]["picture"] > 0


def test_shuffling_keeps_the_values_and_the_shallower_layers():
    shuffled = NETWORK.shuffled(["relu4_1", "relu4_2"])
    image = torch.rand(1, 3, 40, 40, dtype=torch.float64)
    ours, theirs = (n.features(image, ["relu3_4", "relu4_1"]) for n in (shuffled, NETWORK))
    assert torch.equal(ours["relu3_4"], theirs["relu3_4"])
    assert not torch.allclose(ours["relu4_1"], theirs["relu4_1"])


BAD = [
    (["--style-layers", "relu1_1,relu1_1"], "named twice"),
    (["--style-layers", "relu1_1"], "at least two"),
    (["--style-layers", ",".join(layer_names("vgg19"))], "none is left to judge by"),
    (["--permutations", "16"], "every subset is painted"),
    (["--permutations", "7", "--style-layers", ",".join([*layer_names("vgg19")[::2], "relu1_2"])], "even number"),
    (["--style-layers", "relu1_1,relu9_1"], "relu9_1"),
    (["--judge", "resnet"], "resnet"),
    (["--style-layers", "relu3_1,relu3_2,relu3_3,relu3_4"], "judge"),
]


@pytest.mark.parametrize(("words", "says"), BAD)
def test_bad_input_is_one_line_and_writes_nothing(pair, tmp_path, tiny_weights, words, says):
    told = subprocess.run(command(pair, tmp_path / "o", tiny_weights, *words), check=False, capture_output=True, text=True)
    assert told.returncode == 2
    lines = [line for line in told.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, told.stderr
    assert says in lines[0]
    assert not (tmp_path / "o").exists()


def test_a_folder_without_what_is_needed(tmp_path, explained):
    with pytest.raises(UnderpaintError, match="not an explanation"):
        underpaint.Explanation.load(tmp_path)
    (explained.folder / "history.csv").unlink()
    with pytest.raises(UnderpaintError, match="no history"):
        underpaint.Explanation.load(explained.folder)


def test_ablation(pair, tmp_path, tiny_weights):
    arguments = {"network": "vgg19", "weights": tiny_weights, "size": 64, "preset": "draft", "out": tmp_path / "a"}
    found = underpaint.ablate(*pair, configs=["all", "shallow", "mid", "deep", "drop:relu3_1"], **arguments)
    rows = table(tmp_path / "a" / "ablation.csv")
    assert [row["config"] for row in rows] == list(found.configs)
    assert rows[1]["layers"] == "relu1_1 relu2_1"
    assert float(rows[0]["heldout_minus_all"]) == 0
    assert (tmp_path / "a" / "gallery.png").stat().st_size > 1000
    more = ablating.start(*pair, configs=["all", "only:relu1_1"], **arguments)
    assert len(more.table.rows) == 5  # what was painted stays
    with pytest.raises(UnderpaintError, match="another run"):
        ablating.start(*pair, **arguments | {"size": 72})
    with pytest.raises(UnderpaintError, match="neither a group"):
        ablating.start(*pair, configs=["shalow"], **arguments | {"out": tmp_path / "b"})
    assert not (tmp_path / "b").exists()
    with pytest.raises(UnderpaintError, match="already holds a run"):
        explaining.start(*pair, **arguments)  # its coalitions are not this explanation's


def test_equivalent_preprocessing_gives_the_same_gradients():
    """BGR on 0-255 minus the mean with the weights as published, or RGB on 0-1 with the weights scaled: one function."""
    tensors = random_tensors(dtype=torch.float64)
    made = scene()
    image = made.content(2).double()
    own = Vgg("vgg19", tensors, "relu3_1", precision=torch.float64)
    tape = own.tape(image, ["relu3_1"])
    cotangent = torch.rand_like(tape.features["relu3_1"])
    gradient = tape.pullback({"relu3_1": lambda g: g.add_(cotangent)})
    leaf = image.clone().requires_grad_()
    mean = torch.tensor([103.939, 116.779, 123.68], dtype=torch.float64).view(1, 3, 1, 1)
    x = torch.nn.functional.pad(leaf.flip(1) * 255 - mean, (1, 1, 1, 1), mode="replicate")
    for name in layer_names("vgg19")[:5]:
        key = f"block{name[4]}_conv{name[6]}"
        if name in ("relu2_1", "relu3_1"):
            x = torch.nn.functional.max_pool2d(x, 2, ceil_mode=True)
        pad = 0 if name == "relu1_1" else 1
        x = torch.nn.functional.conv2d(x, tensors[f"{key}.weight"], tensors[f"{key}.bias"], padding=pad).relu()
    (expected,) = torch.autograd.grad((x * cotangent).sum(), leaf)
    assert torch.allclose(gradient.double(), expected, atol=1e-6 * float(expected.abs().max()))


def test_two_copies_of_a_style_do_together_what_one_did():
    once = scene(**SHORT, palette_weight=0)  # the palette's colours are a draw from all styles together
    twice = Scene(once.recipe, Pictures(picture(0, 1.8), (picture(1, 1.8),) * 2), once.network)
    sums = []
    for made in (once, twice):
        account = accounted(made)[1].result
        sums.append(sum(c for n, c in account.items() if n.endswith("relu3_1")))
    assert float(sums[0].abs().max()) > 5e-3
    assert float((sums[0] - sums[1]).abs().max()) < 1e-3
