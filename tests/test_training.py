"""How the compact network is made: each part against an oracle, and the whole on a tiny VGG, killed in the middle."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import random_tensors
from tests.networks.test_compact import small_tensors
from training import pictures, states
from training.calibrate import _Sums, calibrate, choose
from training.finetune import Adam, Batch, Weights, losses
from training.student import Plan, Student, Width
from training.whitening import Whitening
from underpaint.networks.compact import LAYERS, Compact
from underpaint.networks.vgg import Vgg

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def folders(tmp_path):
    """Two folders of smooth random pictures, and one to avoid that holds a copy of one, smaller and as a JPEG."""
    random = np.random.default_rng(0)
    for folder, count in (("photos", 12), ("paintings", 12)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            small = Image.fromarray(random.integers(0, 255, (10, 12, 3), dtype=np.uint8))
            small.resize((192, 160), Image.Resampling.BICUBIC).save(tmp_path / folder / f"{folder}{number:03}.png")
    (tmp_path / "avoid").mkdir()
    copy = Image.open(tmp_path / "paintings/paintings004.png").resize((96, 80))
    copy.save(tmp_path / "avoid/copy.jpg", quality=60)
    return tmp_path


def test_pictures_alike_are_left_out_and_some_are_held_out(folders):
    found = pictures.library([folders / "photos", folders / "paintings"], [folders / "avoid"])
    assert [p.name for p in found.excluded] == ["paintings004.png"]
    assert len(found.train) + len(found.held_out) == 23
    assert not set(found.train) & set(found.held_out)
    mirrored = Image.open(folders / "photos/photos003.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mirrored.save(folders / "avoid/mirrored.png")
    again = pictures.library([folders / "photos", folders / "paintings"], [folders / "avoid"])
    assert {p.name for p in again.excluded} == {"paintings004.png", "photos003.png"}


def test_full_rank_gives_the_teacher_back():
    """With nothing to save, regression on the student's own inputs has an exact solution: the teacher."""
    tensors = random_tensors(width=6)
    plan = Plan("full", dict.fromkeys(LAYERS[1:], Width(6, 6)))
    crops = torch.rand(48, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        student = calibrate(tensors, plan, crops, lambda _: None)
    image = torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(1))
    ours = Compact(student.tensors).features(image, LAYERS)
    theirs = Vgg("vgg19", tensors, "relu5_1").features(image, LAYERS)
    for layer in LAYERS:
        # Half precision between the layers, and a ridge: not to the last digit.
        assert torch.allclose(ours[layer], theirs[layer], atol=0.02 * float(theirs[layer].abs().max())), layer


def test_reduced_rank_regression_equals_its_closed_form():
    """Izenman 1975: project the least-squares solution on the leading right singular vectors of its predictions."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(400, 8)), random.normal(size=(400, 5))
    y += x @ random.normal(size=(8, 5))
    sums = _Sums(8, 5)
    sums.add(torch.from_numpy(x), torch.from_numpy(y))
    reduce, expand, offset, missed = sums.solve(2, torch.arange(5))
    xc, yc = x - x.mean(0), y - y.mean(0)
    full = np.linalg.lstsq(xc, yc, rcond=None)[0]
    v = np.linalg.svd(xc @ full)[2][:2].T
    expected = xc @ full @ v @ v.T + y.mean(0)
    ours = x @ (expand.double() @ reduce.double()).numpy().T + offset.numpy()
    assert np.allclose(ours, expected, atol=1e-3)
    assert missed == pytest.approx(((y - expected) ** 2).sum() / (yc**2).sum(), abs=1e-3)


def test_projection_keeps_what_the_responses_are_told_from():
    """Responses that depend on two directions of the channels: a projection to two loses nothing, and finds them."""
    random = np.random.default_rng(0)
    channels = random.normal(size=(4000, 9, 6)) @ np.diag([5, 4, 3, 1, 0.3, 0.1])
    directions = random.normal(size=(2, 6))
    x = channels.transpose(0, 2, 1).reshape(4000, 54)
    y = np.einsum("nkc,sc,ksy->ny", channels, directions, random.normal(size=(9, 2, 3)))
    sums = _Sums(54, 3)
    sums.add(torch.from_numpy(x), torch.from_numpy(y))
    projection = sums.projection(2, torch.arange(3))
    assert sums.projected(projection).solve(3, torch.arange(3))[3] < 1e-3
    assert sums.projected(torch.eye(6, dtype=torch.float64)[:2]).solve(3, torch.arange(3))[3] > 0.05
    angles = np.linalg.svd(np.linalg.qr(projection.numpy().T)[0].T @ np.linalg.qr(directions.T)[0])[1]
    assert angles.min() > 0.99


def test_a_channel_that_others_tell_is_not_kept():
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(10, 4, 12, 12, generator=generator)
    features[:, 3] = features[:, 0]  # a copy
    features[:, 2] *= 1e-3  # hardly there
    following = torch.ones(5, 4, 3, 3)
    kept = choose(features, following, 2).tolist()
    assert 1 in kept
    assert len({0, 3} & set(kept)) == 1


def moment(seed):
    generator = torch.Generator().manual_seed(seed)
    return states.Moment(*(torch.rand(3, 48, 48, generator=generator) for _ in range(3)))


def test_the_loss_sees_the_gradient_that_painting_follows():
    """Training's style gradient, by autograd, is the package's own: its cosine with that is 1."""
    tensors = small_tensors(torch.float32)
    moments = [moment(1), moment(2)]
    gradients = torch.stack([states.style_gradient(Compact(tensors), m) for m in moments])
    kept = {layer: torch.arange(4 + place % 2) for place, layer in enumerate(LAYERS)}
    batch = Batch(*(torch.stack([getattr(m, part) for m in moments]) for part in ("image", "content", "style")), gradients)
    parts = losses(Student(tensors, kept), Compact(tensors), batch, Weights())
    assert parts["features"].item() == pytest.approx(0, abs=1e-6)
    assert parts["gram"].item() == pytest.approx(0, abs=1e-4)
    assert parts["gradient"].item() == pytest.approx(0, abs=1e-3)
    other = losses(Student(small_tensors(torch.float32, seed=5), kept), Compact(tensors), batch, Weights())
    assert other["gradient"].item() > 0.05


def test_whitened_coordinates_come_back_and_see_white_inputs():
    student = Student(small_tensors(torch.float32), {})
    images = torch.rand(16, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    white = Whitening(student, images)
    coordinates = white.enter(student.tensors)
    back = white.leave(coordinates)
    for name, tensor in student.tensors.items():
        assert torch.allclose(back[name], tensor, atol=1e-4), name
    # A response is the coordinates' product with inputs whose second moments are near the identity.
    x = student.prepared(images)
    patches = torch.nn.functional.unfold(x, 3).permute(0, 2, 1).reshape(-1, 27)
    seen = patches @ white._inverses["block1_conv1.weight"].T
    moments = seen.T @ seen / len(seen)
    assert float((moments.diagonal() - 1).abs().max()) < 0.3
    assert float((moments - torch.diag(moments.diagonal())).abs().max()) < 0.15


def test_adam_goes_to_the_minimum_and_its_average_follows():
    goal = {"a.weight": torch.tensor([1.0, -2.0, 3.0]), "a.bias": torch.tensor([0.5])}
    adam = Adam({"a.weight": torch.ones(3), "a.bias": torch.ones(1)})
    for number in range(1, 1501):
        value = adam.part("value")
        adam.step({n: value[n] - goal[n] for n in goal}, 0.02 * (1 - number / 1500), number)
    for kind in ("value", "average"):
        for name, tensor in adam.part(kind).items():
            assert torch.allclose(tensor, goal[name], atol=0.02), (kind, name)


def command(folders, weights, out, steps):
    words = ["--photos", folders / "photos", "--paintings", folders / "paintings", "--avoid", folders / "avoid"]
    words += ["--weights", weights, "--out", out, "--steps", steps, "--crops", 8, "--runs", 1, "--device", "cpu"]
    return [sys.executable, "-m", "training.compact", *map(str, words)]


@pytest.mark.slow
def test_training_makes_a_file_and_a_card_and_survives_a_kill(folders, tiny_weights):
    whole = folders / "whole"
    subprocess.run(command(folders, tiny_weights, whole, 8), cwd=ROOT, check=True, capture_output=True)
    killed = folders / "killed"
    process = subprocess.Popen(command(folders, tiny_weights, killed, 8), cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (killed / "states-0.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    again = subprocess.run(command(folders, tiny_weights, killed, 8), cwd=ROOT, check=True, capture_output=True, text=True)
    assert "Sorting" not in again.stderr
    assert (killed / "compact.safetensors").read_bytes() == (whole / "compact.safetensors").read_bytes()
    card = (whole / "MODEL_CARD.md").read_text()
    assert "Visual Geometry Group" in card
    assert "gradient cosine, late" in card
    other = subprocess.run(command(folders, tiny_weights, whole, 9), cwd=ROOT, check=False, capture_output=True, text=True)
    assert other.returncode != 0
    assert "--steps" in other.stderr
    assert json.loads((whole / "library.json").read_text())["excluded"][0].endswith("paintings004.png")


def test_an_empty_folder_is_one_line(folders, tiny_weights):
    shutil.rmtree(folders / "photos")
    told = subprocess.run(
        command(folders, tiny_weights, folders / "o", 2), cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert told.returncode != 0
    assert told.stderr.strip().split("\n")[-1].startswith("Error: ")
    assert "photos" in told.stderr
    assert "Traceback" not in told.stderr
