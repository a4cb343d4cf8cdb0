"""What several judges agree on: closed cases."""

from types import SimpleNamespace

import numpy as np
import pytest

from underpaint.explanation.across import _sentence, concordance
from underpaint.explanation.robustness import robust, sentence
from underpaint.explanation.shapley.exact import Estimate, Exact

PLAYERS = ("a", "b", "c")


def game(*values, noise=0.001):
    """An additive game: each layer is worth what it says; the same coalitions again, a little away."""
    worth = np.array(values, float)
    outcomes = {(0, mask): 1 - sum(worth[i] for i in range(3) if mask >> i & 1) for mask in range(8)}
    again = {(1, mask): outcomes[0, mask] + noise * (-1) ** mask for mask in (0, 7, 6, 2, 3, 1, 4, 5)}
    return Exact.of(PLAYERS, outcomes | again)


def test_what_all_judges_tell_apart_alike_is_robust():
    judged = {"heldout": game(0.3, 0.2, 0.1), "heldout:vgg19": game(0.4, 0.1, 0.05), "patches": game(0.1, 0.2, 0.3)}
    found = robust(judged, "compact")
    assert found.judges == ("compact", "vgg19")
    assert found.agreed == (("a", "b"), ("a", "c"), ("b", "c"))
    assert found.disputed == ()
    assert sentence(found) == "Robust over judges (compact, vgg19): a did more than b and c; b did more than c."


def test_what_one_tells_apart_the_other_way_round_is_disputed():
    found = robust({"heldout": game(0.3, 0.2, 0.1), "heldout:vgg19": game(0.2, 0.3, 0.1)}, "compact")
    assert found.agreed == (("a", "c"), ("b", "c"))
    assert found.disputed == (("a", "b"),)
    assert "contradict each other on a over b" in sentence(found)
    assert found.facts() == {"judges": ["compact", "vgg19"], "agreed": [["a", "c"], ["b", "c"]], "disputed": [["a", "b"]]}


def test_a_tie_for_one_is_neither():
    found = robust({"heldout": game(0.3, 0.2, 0.1), "heldout:vgg19": game(0.2, 0.2, 0.2)}, "compact")
    assert (found.agreed, found.disputed) == ((), ())
    assert "no two layers are told apart by all of them" in sentence(found)


def test_one_judge_is_not_compared():
    assert robust({"heldout": game(0.3, 0.2, 0.1), "patches": game(0.3, 0.2, 0.1)}, "compact") is None


def member(told, state="settled", **shares):
    """One network's, with shares of what a judge sees and how far they reach."""
    found = {depth: Estimate(value, reach / 2, value - reach, value + reach) for depth, (value, reach) in shares.items()}
    return SimpleNamespace(told=told, explanation=SimpleNamespace(state=state), by_depth={"j": found})


def test_a_depth_is_named_where_its_interval_is_above_the_others():
    sure = member("A", shallow=(0.6, 0.05), middle=(0.3, 0.05), deep=(0.1, 0.05))
    tied = member("B", shallow=(0.4, 0.1), middle=(0.35, 0.1), deep=(0.25, 0.1))
    assert _sentence("j", "colour", [sure]) == "Most of colour, by depth: the shallow layers (A, 60%)."
    told = _sentence("j", "colour", [sure, tied, member("C", "worse"), member("D")])
    assert told == (
        "Most of colour, by depth: the shallow layers (A, 60%); no one depth (B, 40%); nothing is said (C (worse); "
        "D (its judge saw no fall))."
    )


@pytest.mark.parametrize(
    ("a", "b", "share"),
    [((1, 2, 3), (4, 5, 6), 1.0), ((1, 2, 3), (3, 2, 1), 0.0), ((1, 2, 3), (1, 3, 2), 2 / 3)],
)
def test_concordance_is_the_share_of_pairs_in_the_same_order(a, b, share):
    sure = lambda values: [Estimate(v, 0.0) for v in values]  # noqa: E731
    found = concordance(sure(a), sure(b))
    assert found.value == pytest.approx(share)
    assert (found.low, found.high) == (pytest.approx(share), pytest.approx(share))


def test_concordance_of_what_is_not_sure_has_an_interval():
    unsure = [Estimate(v, 1.0) for v in (1.0, 1.1, 1.2)]
    found = concordance(unsure, unsure)
    assert found.value == 1.0
    assert found.low <= 1 / 3
    assert found.high == 1.0
