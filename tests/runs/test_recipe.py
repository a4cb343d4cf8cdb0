"""The recipe: what is filled in, what is refused, and a hash that stays."""

import subprocess
import sys
from enum import Enum

import numpy as np
import pytest
import torch

from underpaint.errors import UnderpaintError
from underpaint.recipe import PRESETS, Recipe, make, weights_of
from underpaint.runs.wish import override


def test_presets_fill_what_was_not_given():
    assert make({}) == make({"preset": "standard", "optimizer": "lbfgs"})
    assert make({"preset": "draft"}).iterations == PRESETS["lbfgs"]["draft"]["iterations"]
    assert make({"preset": "fine"}).stop > 0
    assert make({"preset": "standard"}).stop == 0
    assert make({"preset": "fine", "stop": 0}).stop == 0
    assert make({"preset": "draft", "iterations": (3,)}).iterations == (3,)


def test_sliced_paints_with_adam_unless_told_otherwise():
    assert make({"statistic": "sliced"}).optimizer == "adam"
    assert make({"statistic": "sliced", "optimizer": "lbfgs"}).optimizer == "lbfgs"
    assert make({"statistic": "moments"}).optimizer == "lbfgs"


def test_only_what_was_given_counts_as_set():
    assert make({"preset": "fine", "seed": 3}).model_fields_set == {"preset", "seed"}
    base = make({"seed": 3, "iterations": (7,), "statistic": "sliced"})
    assert make(override(base, {"size": 64})).iterations == (7,)
    assert make(override(base, {"preset": "draft"})).iterations == (7,)
    assert make(override(make({"seed": 3}), {"preset": "draft"})).iterations == PRESETS["lbfgs"]["draft"]["iterations"]
    assert make(override(base, {"statistic": "gram"})).optimizer == "lbfgs"
    assert make(override(base, {"seed": 4})).model_fields_set == {"seed", "iterations", "statistic"}


def test_survives_json():
    recipe = make({"preset": "fine", "style_layers": {"relu2_1": 0.1}, "style_weights": (1, 2)})
    again = Recipe.model_validate_json(recipe.model_dump_json())
    assert again == recipe
    assert again.digest() == recipe.digest()


def test_hash_is_the_same_in_another_process_and_differs_by_field():
    code = "from underpaint.recipe import make; print(make({'seed': 5}).digest())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert told == make({"seed": 5}).digest()
    assert len({make(f).digest() for f in ({}, {"seed": 1}, {"strength": 0.4}, {"preset": "fine"})}) == 4


@pytest.mark.parametrize(
    ("size", "smallest", "sizes"),
    [
        (256, 64, (64, 91, 128, 181, 256)),
        (512, 64, (64, 91, 128, 181, 256, 362, 512)),
        (100, 100, (100,)),
        (100, 200, (100,)),
    ],
)
def test_sizes_grow_by_the_root_of_two(size, smallest, sizes):
    recipe = make({"size": size, "smallest": smallest, "iterations": (1, 2, 3)})
    assert recipe.sizes() == sizes
    assert len(recipe.schedule()) == len(sizes)
    assert recipe.schedule()[-3:] == (3, 2, 1)[-len(sizes) :]
    assert set(recipe.schedule()[:-3]) <= {3}


def test_errors_name_the_field():
    for fields, word in [({"seed": "x"}, "seed"), ({"betas": (0.9,)}, "betas"), ({"style_weights": (0, 0)}, "style_weights")]:
        with pytest.raises(UnderpaintError, match=word):
            make(fields)


def test_layers_by_name_alone_weigh_what_the_presets_layer_of_their_block_does():
    default = Recipe().style_layers
    found = weights_of(["relu1_2", "relu3_4"])
    assert found == {"relu1_2": default["relu1_1"], "relu3_4": default["relu3_1"]}
    assert weights_of(default) == default
    assert set(weights_of(["relu1_2", "relu5_1"], "gatys").values()) == {1.0}
    with pytest.raises(UnderpaintError, match="compact has no 'relu5_2'"):
        weights_of(["relu1_1", "relu5_2"])
    assert weights_of(["relu5_2"], network="vgg19") == {"relu5_2": default["relu5_1"]}


class Choice(Enum):
    NETWORK = "vgg19"


@pytest.mark.parametrize(
    ("field", "given", "plain"),
    [
        ("size", np.int64(64), 64),
        ("size", torch.tensor(64), 64),
        ("content_weight", np.float32(0.5), 0.5),
        ("crop", np.bool_(False), False),
        ("network", Choice.NETWORK, "vgg19"),
        ("network", np.str_("vgg19"), "vgg19"),
        ("iterations", np.array([3, 4]), (3, 4)),
        ("iterations", (np.int32(3), torch.tensor(4)), (3, 4)),
        ("style_layers", {np.str_("relu1_1"): np.float64(2)}, {"relu1_1": 2.0}),
    ],
)
def test_other_libraries_numbers_and_choices_are_taken(field, given, plain):
    assert make({field: given}) == make({field: plain})
    assert make({field: given}).digest() == make({field: plain}).digest()
