"""Pictures and a check that several tests use."""

from importlib import resources

import pytest
import torch
from PIL import Image
from torch.nn import functional

from underpaint.errors import UnderpaintError
from underpaint.explanation.account.ledger import Ledger
from underpaint.imaging.images import read
from underpaint.optimizers.loop import optimise


def refused(action, *words):
    """It is refused in one line that has these words."""
    with pytest.raises(UnderpaintError) as caught:
        action()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def keras_weights(folder, name):
    """Random weights of a model of Keras Applications, as its published file has them; the model."""
    import h5py

    from underpaint.networks.sources import keras as source

    source.library().utils.set_random_seed(0)
    entry = source.table()[name]
    model = source.build(entry)
    from keras.src.legacy.saving import legacy_h5_format  # once Keras is on its PyTorch backend

    with h5py.File(folder / entry.weights["filename"], "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    return model


def smooth(height, width, seed):
    """A picture of soft blobs."""
    small = torch.rand(1, 3, 7, 9, generator=torch.Generator().manual_seed(seed))
    return functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)


def sample(name, size):
    """A picture that comes with the package."""
    with resources.as_file(resources.files("underpaint.samples") / name) as path, Image.open(path) as image:
        rgb = read(image.convert("RGB").resize(size)).rgb
    return torch.from_numpy(rgb).permute(2, 0, 1)[None]


def noisy(picture, amount):
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(9))
    return (picture + amount * noise).clamp(0, 1)


def accounted(made):
    """A scene's last step and its ledger."""
    ledger = Ledger()
    for step in optimise(made.recipe, made.stage, apart=True):
        ledger.see(step)
    return step, ledger
