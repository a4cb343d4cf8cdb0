"""Which layers paint and judge, by stride and depth alone."""

import pytest

from tests.helpers import refused
from underpaint.networks.sources import taps
from underpaint.networks.sources.graph import Node, stride
from underpaint.networks.sources.graph import taps as taps_of
from underpaint.networks.sources.taps import Tap, describe


def pyramid(*counts, start=2):
    """Taps of stages: so many block outputs at each stride, `s2b0`, `s2b1`, ..."""
    return [
        Tap(f"s{start << level}b{place}", start << level, 8 * (level + 1))
        for level, count in enumerate(counts)
        for place in range(count)
    ]


def test_four_strides_give_pixels_and_the_last_output_of_each():
    found = describe("net", "Net", pyramid(3, 3, 4, 6, 3))
    assert list(found.style_layers) == ["pixels", "s2b2", "s4b2", "s8b3", "s16b5"]
    assert list(found.content_layers) == ["s8b3"]
    assert found.recipe["enlarge"] == taps.RECIPE["enlarge"]
    depths = [found.depth(layer) for layer in found.style_layers]
    assert depths == ["shallow", "shallow", "middle", "deep", "deep"]
    judges = found.held_out([*found.style_layers, *found.content_layers])
    assert judges == {"shallow": ("s2b0", "s2b1"), "middle": ("s4b1",), "deep": ("s8b2", "s16b4")}
    assert [found.layer(layer).stride for layer in ("s2b0", "s4b0", "s16b0")] == [1, 2, 8] or found.recipe["enlarge"] != 2


def test_five_strides_from_one_need_no_pixels():
    found = describe("net", "Net", pyramid(2, 2, 4, 4, 4, start=1))
    assert list(found.style_layers) == ["s1b1", "s2b1", "s4b3", "s8b3", "s16b3"]
    assert "enlarge" not in found.recipe
    assert "pixels" not in found.names


def test_a_stem_alone_has_the_next_stage_cut_in_two():
    found = describe("net", "Net", pyramid(1, 3, 4, 6))
    assert list(found.style_layers) == ["pixels", "s4b1", "s4b2", "s8b3", "s16b5"]
    assert found.held_out(found.style_layers)["shallow"] == ("s2b0", "s4b0")


def test_steps_within_blocks_judge_and_do_not_paint():
    steps = [Tap("stem", 2, 8), Tap("a.inner", 2, 32, ends=False), Tap("a", 2, 8), *pyramid(3, 4, 6, start=4)]
    found = describe("net", "Net", steps)
    assert list(found.style_layers)[:2] == ["pixels", "a"]
    assert found.held_out(found.style_layers)["shallow"] == ("stem", "a.inner")


def test_a_network_without_usable_layers_is_refused():
    refused(lambda: describe("net", "Net", []), "net has no usable layers")
    refused(lambda: describe("net", "Net", pyramid(4)), "net has no usable layers")
    refused(lambda: describe("net", "Net", pyramid(5, start=32)), "net has no usable layers")


def chain(*kinds):
    """A graph of steps one after the other, each at half the size of 256 px."""
    found = [Node(0, "picture", "other", (256, 256, 3))]
    for place, (name, kind, channels, narrow) in enumerate(kinds, 1):
        node = Node(place, name, kind, (128, 128, channels), narrow)
        node.takes(found[-1])
        found.append(node)
    return found


def test_what_a_norm_or_an_activation_follows_is_not_done_yet():
    graph = chain(("conv", "convolution", 8, False), ("bn", "norm", 8, False), ("relu", "activation", 8, False))
    assert [(tap.name, tap.stride) for tap in taps_of(graph).values()] == [("relu", 2)]


def test_an_inverted_block_paints_by_its_end():
    steps = [("stem", "convolution", 8, False), ("expand", "convolution", 48, True), ("dw", "depthwise", 48, False)]
    graph = chain(*steps, ("project", "convolution", 8, True))
    assert {tap.name: tap.ends for tap in taps_of(graph).values()} == {
        "stem": True,
        "expand": False,
        "dw": False,
        "project": True,
    }


def test_a_separable_block_paints_by_its_second_half():
    steps = [("stem", "convolution", 8, False), ("dw1", "depthwise", 8, False), ("pw1", "convolution", 16, True)]
    graph = chain(*steps, ("dw2", "depthwise", 16, False))
    assert {tap.name for tap in taps_of(graph).values() if tap.ends} == {"stem", "pw1"}


def test_what_a_shortcut_goes_past_ends_no_block():
    graph = chain(("stem", "convolution", 8, False), ("inner", "convolution", 8, False), ("add", "merge", 8, False))
    graph[3].takes(graph[1])
    assert {tap.name: tap.ends for tap in taps_of(graph).values()} == {"stem": True, "inner": False, "add": True}


@pytest.mark.parametrize(("side", "expected"), [(256, 1), (127, 2), (109, 2), (54, 4), (25, 8), (12, 16), (6, 32)])
def test_strides_are_powers_of_two_whatever_the_edges_lose(side, expected):
    assert stride(Node(0, "x", "other", (side, side, 1))) == expected
