"""Sampled Shapley values against exact ones, their intervals against simulation, and an explanation of nine layers."""

import csv
import json
from itertools import combinations, permutations

import numpy as np
import pytest
from PIL import Image

import underpaint
from tests.conftest import random_tensors
from underpaint.errors import UnderpaintError
from underpaint.explanation import explaining
from underpaint.explanation.attribution import Attribution, shapley
from underpaint.explanation.conclude import conclude
from underpaint.explanation.shapley.exact import Exact, shapley_weights
from underpaint.explanation.shapley.noise import Noise
from underpaint.explanation.shapley.players import groups, mask_of, repeated
from underpaint.explanation.shapley.sampled import PERMUTATIONS, Sampled, arrivals, check_permutations, orders, plan
from underpaint.explanation.shapley.surrogate import fit
from underpaint.explanation.validation import Checks, deletions, faithfulness
from underpaint.explanation.verdict import verdict
from underpaint.networks.registry import anatomy
from underpaint.networks.vgg import layer_names
from underpaint.paper.export import Press
from underpaint.report import page
from underpaint.report.folder import Evidence
from underpaint.report.reproduce import command as reproduce

NINE = tuple(name for name in layer_names("vgg19") if name[-1] == "1" or name in ("relu2_2", "relu3_3", "relu4_3", "relu5_2"))
GROUPS = groups(NINE, anatomy("vgg19"))
"""A held-out layer is left at each depth."""


def drawn(seed=0, n=9, count=PERMUTATIONS):
    return orders(seed, n, count)


def values(n=9, seed=0, order=9):
    """Of a random game whose interactions are of up to `order` players, the smaller the larger the sets."""
    random = np.random.default_rng(seed)
    v = np.zeros(1 << n)
    for size in range(1, order + 1):
        for chosen in combinations(range(n), size):
            mask = mask_of(chosen, range(n))
            v[[m for m in range(1 << n) if m & mask == mask]] += random.normal() / size**2
    return v


def sampled(v, noise=None, **fields):
    n = len(v).bit_length() - 1
    return Sampled(tuple(range(n)), v, noise=noise, orders=drawn(n=n, **fields))


def phi(game):
    return np.array([e.value for e in game.shapley()])


@pytest.mark.parametrize("n", [2, 3, 5])
def test_all_orders_give_the_exact_values(n):
    v = np.random.default_rng(n).normal(size=1 << n)
    every = [each for order in permutations(range(n)) if order < order[::-1] for each in (order, order[::-1])]
    game = Sampled(tuple(range(n)), v, orders=tuple(every * 2))  # twice: two players have one pair
    assert np.allclose(phi(game), shapley_weights(n) @ v, atol=1e-12)
    exact = Exact(game.players, v)
    assert game.difference(0, 1).value == pytest.approx(exact.difference(0, 1).value)
    assert [e.value for e in game.left_out()] == [e.value for e in exact.left_out()]
    assert [e.value for e in game.alone()] == [e.value for e in exact.alone()]


def test_a_sample_shares_out_the_whole_fall():
    v = values()
    game = sampled(v)
    assert phi(game).sum() == pytest.approx(v[-1] - v[0], abs=1e-12)
    assert not np.allclose(phi(game), shapley_weights(9) @ v, atol=1e-3)
    assert shapley(game).residual < 1e-12


def test_where_players_interact_two_by_two_a_pair_of_orders_is_exact():
    v = values(order=2)
    game = sampled(v, count=4)
    assert np.allclose(phi(game), shapley_weights(9) @ v, atol=1e-12)
    assert max(e.error for e in game.shapley()) < 1e-12


def test_a_dummy_gets_nothing_for_sure():
    base, n = values(8, order=8), 9
    v = np.array([base[(mask & 7) | (mask >> 4 << 3)] for mask in range(1 << n)])  # player 3 changes nothing
    found = sampled(v).shapley()[3]
    assert (found.value, found.error) == (0, 0)


slow = pytest.mark.slow


@pytest.mark.parametrize("sigma", [pytest.param(0.0, marks=slow), 0.03, pytest.param(0.3, marks=slow)])
def test_intervals_hold_what_they_promise(sigma):
    """Random orders of random games, with and without noise of the values: 95 % of the intervals hold the truth, of Shapley
    values and of differences."""
    random, n, held, apart = np.random.default_rng(0), 9, [], []
    truths = [values(seed=seed) for seed in range(20)]
    for number in range(400):
        v = truths[number % len(truths)]
        truth = shapley_weights(n) @ v
        seen = v + sigma * random.normal(size=len(v))
        noise = Noise(sigma * np.sqrt(random.chisquare(7) / 7), 7) if sigma else None
        game = Sampled(tuple(range(n)), seen, noise=noise, orders=drawn(number))
        held += [e.low <= t <= e.high for e, t in zip(game.shapley(), truth, strict=True)]
        d = game.difference(0, 1)
        apart.append(d.low <= truth[0] - truth[1] <= d.high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)
    assert np.mean(apart) == pytest.approx(0.95, abs=0.03)


def saturating(random, n=9):
    """A game in which players stand in for each other, one of four kinds."""
    takes = np.arange(1 << n)[:, None] >> np.arange(n) & 1
    weights = random.gamma(1.5, size=n)
    s, k = takes @ (weights / weights.sum()), random.uniform(1, 6)
    kinds = (
        (1 - np.exp(-k * s)) / (1 - np.exp(-k)),
        s ** (1 / k),
        np.tanh(k / 2 * s) / np.tanh(k / 2),
        (1 + k) * s / (1 + k * s),
    )
    return random.uniform(0.3, 0.9) * kinds[random.integers(4)]


def test_what_players_do_alone_and_left_out_makes_saturating_games_surer(monkeypatch):
    """Against the same orders without a surrogate: a quarter of the error, and intervals that hold at least as often."""
    random, misses, held = np.random.default_rng(0), {}, {}
    games = [(saturating(random), drawn(number)) for number in range(40)]
    for name in ("with", "without"):
        if name == "without":
            monkeypatch.setattr("underpaint.explanation.shapley.sampled.fit", lambda values: None)
        found = [(Sampled(NINE, v, noise=None, orders=some).shapley(), shapley_weights(9) @ v) for v, some in games]
        misses[name] = np.mean([abs(e.value - t) for each, truth in found for e, t in zip(each, truth, strict=True)])
        held[name] = np.mean([e.low <= t <= e.high for each, truth in found for e, t in zip(each, truth, strict=True)])
    assert misses["with"] < misses["without"] / 4
    assert held["with"] > 0.92


def test_a_surrogate_has_the_values_that_it_is_fitted_to_and_is_of_saturating_games_alone():
    v = saturating(np.random.default_rng(3)) + 5
    some = np.full(512, np.nan)
    known = [0, 511, *(1 << i for i in range(9)), *(511 - (1 << i) for i in range(9))]
    some[known] = v[known]
    assert np.abs(fit(some) - (v - 5))[known].max() < 1e-3
    assert np.abs(fit(some) - (v - 5)).max() < 0.05
    assert fit(values(order=2)) is None
    some[511] = np.nan
    assert fit(some) is None


@pytest.mark.parametrize("n", [2, 5, 9])
def test_what_noise_an_exact_table_would_have(n):
    """Where orders agree, what is left is the noise of all subsets' Shapley values."""
    game, w = sampled(np.zeros(1 << n), Noise(1.0, 7)), shapley_weights(n)
    assert game.shapley()[0].error == pytest.approx(np.linalg.norm(w[0]))
    assert game.difference(0, 1).error == pytest.approx(np.linalg.norm(w[0] - w[1]))


def test_orders_are_the_same_everywhere_and_more_begin_with_them():
    assert drawn(count=4)[::2] == ((7, 4, 8, 2, 0, 1, 3, 5, 6), (4, 6, 2, 1, 8, 7, 0, 3, 5))  # what folders were begun with
    assert drawn(count=40)[:PERMUTATIONS] == drawn()
    assert drawn(seed=1) != drawn()
    for order, reverse in zip(drawn()[::2], drawn()[1::2], strict=True):
        assert order == reverse[::-1]
        assert sorted(order) == list(range(9))
    places = np.array(orders(0, 9, 4000)[::2])
    assert np.abs(places.mean(0) - 4).max() < 0.25  # four standard errors


def test_the_plan_has_every_coalition_once():
    found = plan(NINE, drawn(), GROUPS)
    assert len(found) == len(set(found)) < 200
    for group in GROUPS.values():
        assert mask_of(group, NINE) in found
    assert set(found) > {mask for order in drawn() for mask in arrivals(order)}
    assert set(repeated(9)) < set(found)
    assert found[0] == 511
    assert plan(NINE, drawn(count=32), GROUPS)[: len(found)] == found


def test_of_a_table_as_many_pairs_as_are_whole():
    v, wanted = values(), plan(NINE, drawn(), GROUPS)
    table = {(0, mask): -v[mask] for mask in wanted}
    assert Sampled.of(NINE, table, drawn()).orders == drawn()
    assert np.array_equal(phi(Sampled.of(NINE, table, drawn())), phi(sampled(v)))
    assert Sampled.of(NINE, table, drawn(count=32)).orders == drawn()  # asked for more, and not yet painted
    del table[0, arrivals(drawn()[6])[4]]
    assert Sampled.of(NINE, table, drawn()).orders == drawn()[:6]
    del table[0, arrivals(drawn()[2])[4]]
    with pytest.raises(UnderpaintError, match="not complete"):
        Sampled.of(NINE, table, drawn())


def test_repetitions_give_noise_and_whole_tables_are_averaged():
    random, v = np.random.default_rng(0), values()
    wanted = plan(NINE, drawn(), GROUPS)
    table = {(seed, mask): -(v[mask] + seed + 0.1 * random.normal()) for seed in (0, 1) for mask in wanted}
    game = Sampled.of(NINE, table, drawn())
    assert game.tables == 2
    assert game.noise.sigma == pytest.approx(0.1, rel=0.2)
    once = Sampled.of(NINE, {key: j for key, j in table.items() if key[0] == 0 or key[1] in repeated(9)}, drawn())
    assert (once.tables, once.noise.freedom) == (1, 7)
    assert once.fall().error == pytest.approx(once.noise.sigma * np.sqrt(2))


def test_what_needs_every_subset_is_not_claimed():
    v = np.full(512, np.nan)
    wanted = plan(NINE, drawn(), GROUPS)
    v[wanted] = values()[wanted]
    game = Sampled(NINE, v, noise=Noise(0.01, 7), orders=drawn())
    made_up = Attribution("made up", dict(zip(NINE, range(9), strict=True)), "unit", "nothing")
    found = faithfulness(made_up, game, deletions(game))
    assert (found.deletion, found.percentile) == (None, None)
    assert 0 <= found.left_out_agreement <= 1
    assert 0 <= found.concordance <= 1
    with pytest.raises(UnderpaintError, match="at most 8"):
        game.interactions()
    checks = Checks(1e-6, 0.001, 0.01, 1.5, 1.6, game.fall().value, game.fall().error, 0.5, {})
    text = " ".join(verdict(game, checks, {"made up": found}))
    assert "16 permutations" in text
    assert "two standard errors" not in text


@pytest.mark.parametrize(
    ("layers", "count", "says"),
    [(5, 16, "every subset"), (9, 1, "even number"), (9, 2, "even number"), (9, 7, "even number"), (9, -4, "even number")],
)
def test_permutations_that_cannot_be_drawn(layers, count, says):
    with pytest.raises(UnderpaintError, match=says):
        check_permutations(layer_names("vgg19")[:layers], count)


def test_how_many_permutations():
    assert check_permutations(layer_names("vgg19")[:8], None) is None
    assert check_permutations(layer_names("vgg19")[:9], None) == 16
    assert check_permutations(layer_names("vgg19")[:9], 4) == 4


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    """Nine layers of a tiny VGG-19 at 64 px, by four permutations; stopped once on the way."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("sampled")
    save_file(random_tensors(), folder / "tiny.safetensors")
    random = np.random.default_rng(0)
    pair = [np.asarray(Image.fromarray(random.integers(0, 255, (9, 12, 3), dtype=np.uint8)).resize((80, 60))) for _ in "cs"]
    fields = {"network": "vgg19", "weights": folder / "tiny.safetensors", "size": 64, "preset": "draft", "iterations": [4]}
    fields |= {"style_layers": dict.fromkeys(NINE, 1.0), "out": folder / "why"}
    made = explaining.start(*pair, permutations=4, **fields)
    for progress in made:
        if progress.doing == "coalitions" and len(made.table.rows) == 30:
            break
    options = made.prepared.options
    with pytest.raises(UnderpaintError, match="not complete"):
        made.table.game("heldout", made.orders)
    made = explaining.resume(folder / "why", options)
    assert len(made.table.rows) == 30
    for _ in made:
        pass
    return conclude(made), pair, fields


def test_nine_layers_are_explained_by_a_sample(explained):
    found, *_ = explained
    folder = found.folder
    rows = list(csv.DictReader((folder / "coalitions.csv").read_text().splitlines()))
    wanted = plan(NINE, drawn(count=4), GROUPS)
    assert len(rows) == len(wanted) + 8
    j = {int("".join(row[p] for p in NINE[::-1]), 2): float(row["heldout"]) for row in rows if row["perturbation"] == "0"}
    assert j.keys() == set(wanted)
    shapley = [r for r in csv.DictReader((folder / "attribution.csv").read_text().splitlines()) if r["method"] == "shapley"]
    assert sum(float(r["value"]) for r in shapley) == pytest.approx(j[0] - j[511], abs=1e-12)
    assert all(float(r["low"]) < float(r["value"]) < float(r["high"]) and r["from"] == "permutations" for r in shapley)
    facts = json.loads((folder / "validation.json").read_text())
    assert facts["permutations"] == 4
    assert any("4 permutations" in sentence for sentence in facts["verdict"]) or facts["state"] != "settled"
    assert all(each["percentile"] is None for each in facts["faithfulness"].values())
    assert not (folder / "interactions.csv").exists()
    assert (folder / "gallery.png").stat().st_size > 1000
    again = underpaint.Explanation.load(folder)
    assert again.shapley == found.shapley
    assert again.game("patches").shapley()[0].error > 0


def test_its_page_and_its_figures_leave_out_what_is_not_known(explained, tmp_path):
    found, *_ = explained
    text = page.build(found.folder).read_text(encoding="utf-8")
    assert "estimates from 4 permutations" in text
    assert "Interactions: positive" not in text
    assert "Not everything was there" not in text
    assert "--permutations 4" in reproduce(Evidence(found.folder))
    press = Press(found.folder, ("pdf",), tmp_path / "paper")
    names = {path.name for path in press}
    # Four steps of noise are not settled: of such a table shares and orders are not drawn either.
    withheld = {"attributions", "shapley", "interactions"}
    assert {line.split(":")[0] for line in press.missing} == withheld
    assert not {f"{name}.pdf" for name in withheld} & names
    assert {"attributions.tex", "ablation.tex", "ledger.pdf"} < names


def test_asking_for_more_goes_on_and_for_nothing_paints_nothing(explained):
    found, pair, fields = explained
    same = explaining.start(*pair, **fields)
    assert same.settings.permutations == 4
    assert all(key in same.table.rows for key in same.plan())
    more = explaining.start(*pair, permutations=6, **fields)
    left = [key for key in more.plan() if key not in more.table.rows]
    assert 0 < len(left) <= 2 * 8
    assert set(left) <= {(0, mask) for order in more.orders[4:] for mask in arrivals(order)}
    assert underpaint.Explanation.load(found.folder).shapley == found.shapley  # of the pairs that are whole
    for _ in more:
        pass
    assert conclude(more).validation["permutations"] == 6
    assert explaining.read_settings(found.folder).permutations == 6


def test_settings_of_older_explanations_are_read(tmp_path):
    (tmp_path / explaining.SETTINGS).write_text('{"seeds": 1, "judge": "compact", "sanity": false}')
    assert explaining.read_settings(tmp_path).permutations is None
