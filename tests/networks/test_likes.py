"""What a channel likes to see excites it more than noise, and most involved are the channels that the painting excites."""

import torch

from tests.conftest import random_tensors
from underpaint.explanation import preferences
from underpaint.networks import likes, registry, vgg


def mean(network, layer, channel, picture):
    return float(network.features(picture, [layer])[layer][0, channel].mean())


def test_it_excites_its_channel_more_than_noise_and_more_than_the_others_pictures_do():
    network = registry.open_network("compact", ["relu2_1"]).network
    made = likes.likes(network, "relu2_1", [3, 7], side=48, steps=16)
    assert made.shape == (2, 3, 48, 48)
    assert float(made.min()) >= 0
    assert float(made.max()) <= 1
    noise = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    for place, channel in enumerate((3, 7)):
        own = mean(network, "relu2_1", channel, made[place : place + 1])
        assert own > mean(network, "relu2_1", channel, noise)
        assert own > mean(network, "relu2_1", channel, made[1 - place : 2 - place])
    assert torch.equal(made, likes.likes(network, "relu2_1", [3, 7], side=48, steps=16))


def test_no_channel_stays_silent():
    """These two are, everywhere, on a picture that is nearly grey: a ReLU that is shut has no gradient."""
    network = registry.open_network("compact", ["relu5_1"]).network
    made = likes.likes(network, "relu5_1", [155, 265], steps=8)
    for place, channel in enumerate((155, 265)):
        assert mean(network, "relu5_1", channel, made[place : place + 1]) > 0


def test_involved_channels_are_those_that_the_painting_excites():
    photograph = torch.zeros(1, 4, 5, 5)
    painting = torch.rand(1, 4, 5, 5, generator=torch.Generator().manual_seed(0)) * 0.01
    painting[0, 2] += 1.0
    painting[0, 0] += 0.1
    painting[0, 3] -= 1.0
    assert likes.involved(painting, photograph, 2) == [2, 0]
    assert likes.involved(painting, photograph, 9) == [2, 0, 1, 3]


def test_pictures_are_kept_by_weights_layer_and_channel(tmp_path, monkeypatch):
    monkeypatch.setenv("UNDERPAINT_CACHE", str(tmp_path / "cache"))
    network = vgg.Vgg("vgg19", random_tensors(), "relu2_1")
    torch.manual_seed(0)
    style, content = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    made = []
    real = likes.likes
    monkeypatch.setattr(likes, "likes", lambda *a, **k: made.append(a[1:3]) or real(*a, **k, steps=2))
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first = preferences.draw(tmp_path / "one", network, "a" * 64, ["relu2_1"], style, content)
    assert len(made) == 1
    second = preferences.draw(tmp_path / "two", network, "a" * 64, ["relu2_1"], style, content)
    assert (first, len(made)) == (second, 1)
    pictures = [(tmp_path / folder / "likes/relu2_1.png").read_bytes() for folder in ("one", "two")]
    assert pictures[0] == pictures[1]
    kept = sorted((tmp_path / "cache/likes").rglob("*.png"))
    assert len(kept) == preferences.CHANNELS
    kept[0].write_bytes(b"damaged")
    preferences.draw(tmp_path / "two", network, "a" * 64, ["relu2_1"], style, content)
    assert len(made) == 2
    assert len(made[1][1]) == 1  # the one that was damaged alone
