"""The ledger against slow literal accounts, and its closure over sizes, averages and bounds."""

import numpy as np
import pytest
import torch

from tests.conftest import random_tensors
from tests.helpers import accounted
from underpaint.explanation.account.ledger import Ledger
from underpaint.imaging import images
from underpaint.networks.vgg import Vgg
from underpaint.optimizers.lbfgs import LBFGS, InverseHessian
from underpaint.optimizers.loop import optimise
from underpaint.recipe import make
from underpaint.runs.scene import Pictures, Scene

NETWORK = Vgg("vgg19", random_tensors(), "relu5_1")

ADAM = {"optimizer": "adam", "iterations": [12]}
RECIPES = {
    "adam": ADAM | {"rate": 0.002, "start": "noise"},
    "adam clamped": ADAM | {"rate": 0.1, "final_rate": 0.1},
    "adam carried": ADAM | {"carry_moments": True, "average_from": 0.3},
    "adam last": ADAM | {"average_from": 1.0},
    "adam sliced": ADAM | {"statistic": "sliced"},
    "lbfgs": {"optimizer": "lbfgs", "iterations": [12], "start": "noise"},
    "lbfgs clamped": {"optimizer": "lbfgs", "iterations": [12], "rate": 0.5, "smoothness": 0.0},
    "lbfgs polished early": {"optimizer": "lbfgs", "iterations": [20], "stop": 0.5, "patience": 2},
}


def picture(seed, contrast=1.0):
    random = np.random.default_rng(seed)
    small = torch.from_numpy(random.random((1, 3, 8, 10), dtype=np.float32))
    large = torch.nn.functional.interpolate(small, (70, 90), mode="bicubic")[0]
    return images.read(np.ascontiguousarray(((large - 0.5) * contrast + 0.5).clamp(0, 1).permute(1, 2, 0).numpy()))


def scene(**fields):
    recipe = make({"network": "vgg19", "size": 90, "smallest": 44} | fields)
    # Strong contrasts, so that the bounds hold many pixels.
    return Scene(recipe, Pictures(picture(0, 1.8), (picture(1, 1.8),)), NETWORK)


def run(**fields):
    """The last step, and the ledger."""
    return accounted(scene(**fields))


@pytest.mark.parametrize("name", RECIPES)
def test_closure(name):
    last, ledger = run(**RECIPES[name])
    assert ledger.closure(last.image) < 1e-4
    account = ledger.result
    pixels = {"color", "palette", "smoothness"}
    assert set(account) == {"start", "clamp", "content/relu4_2"} | pixels | {f"style/relu{i}_1" for i in range(1, 6)}
    total = sum(account.values())
    assert float((total - last.image[0]).abs().max()) < 1e-4
    for painted in ("color", "palette", *(f"style/relu{layer}_1" for layer in range(1, 6))):
        assert float(account[painted].abs().max()) > 1e-4, painted
    if "clamped" in name:
        assert float(account["clamp"].abs().max()) > 1e-2


def test_a_corrupt_column_does_not_close():
    last, ledger = run(**RECIPES["lbfgs"])
    ledger.entries[2, 1, 5, 5] += 1e-3
    assert ledger.closure(last.image) > 5e-4


def test_the_account_changes_nothing():
    """The same run with and without a ledger, up to the rounding of a sum in another order."""
    made = scene(**RECIPES["adam"])
    *_, without = optimise(made.recipe, made.stage)
    assert float((run(**RECIPES["adam"])[0].image - without.image).abs().max()) < 2e-3


def test_adams_columns_are_those_of_a_literal_account():
    """Every term's moment and update written out, over two sizes, with the average, in double precision throughout."""
    made = scene(**RECIPES["adam carried"])
    names = [term.name for term in made.stage(0).objective.terms]
    columns, moments, average = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0), {}
    count, v, t, scale = 0, 0.0, 0, 0
    resize = torch.nn.functional.interpolate
    ledger = Ledger()
    for step in optimise(made.recipe, made.stage, apart=True):
        if step.final:
            break
        ledger.see(step)
        if step.scale != scale:
            size, scale, count = step.size, step.scale, 0
            columns, moments = ({n: resize(x, size, mode="bicubic") for n, x in d.items()} for d in (average, moments))
            v = resize(v, size, mode="bilinear").clamp(min=0)
        rate, t = made.recipe.rate, t + 1
        total = sum(g.double() for g in step.parts.values())
        v = 0.99 * v + 0.01 * total**2
        root = (v / (1 - 0.99**t)).sqrt() + 1e-3 / total.numel()
        for name in names:
            moments[name] = 0.9 * moments[name] + 0.1 * step.parts[name].double()
            columns[name] = columns[name] - rate * moments[name] / (1 - 0.9**t) / root
        if step.iteration + 1 > 0.3 * 12:
            count += 1
            weight = max(1 / count, 1 - 0.98)
            average = {n: columns[n] if count == 1 else average[n] + weight * (columns[n] - average[n]) for n in names}
    account = ledger.result
    for name in names:
        # (Adam divides by a root that is near zero at some pixels, where single and double precision part.)
        assert float((account[name] - average[name][0]).abs().max()) < 1e-3 * float(average[name].abs().max()), name


def test_lbfgs_moves_each_gradient_as_the_operator_does():
    generator = torch.Generator().manual_seed(0)
    hessian = InverseHessian(memory=4)
    root = torch.randn(24, 24, generator=generator, dtype=torch.float64)
    curvature = root @ root.T + torch.eye(24)
    for _ in range(6):
        s = torch.randn(24, generator=generator, dtype=torch.float64)
        hessian.update(s, curvature @ s)
    vectors = torch.randn(5, 24, generator=generator, dtype=torch.float64)
    expected = torch.stack([hessian.apply(v) for v in vectors])
    assert torch.allclose(hessian.apply_each(vectors), expected, atol=1e-10)
    assert torch.equal(InverseHessian().apply_each(vectors), vectors)


def test_parts_of_a_move_add_up_to_it_at_the_bounds():
    """A quadratic with its minimum outside: held pixels stay, and every part's move is zero there."""
    generator = torch.Generator().manual_seed(1)
    goals = [torch.randn(1, 3, 4, 5, generator=generator, dtype=torch.float64) * 2 for _ in range(3)]
    scales = torch.rand(1, 3, 4, 5, generator=generator, dtype=torch.float64) + 0.5

    def parts(x):
        return torch.cat([scales * (x - goal) for goal in goals])

    def evaluate(x):
        return float(sum((scales * (x - goal).square()).sum() / 2 for goal in goals)), parts(x).sum(0, keepdim=True)

    minimiser, x = LBFGS(low=0.0, high=1.0), torch.full((1, 3, 4, 5), 0.5, dtype=torch.float64)
    for _ in range(8):
        before = parts(x)
        move = minimiser.step(x, *evaluate(x), evaluate, 0.1)
        moved = move.follow(before)[0]
        assert torch.allclose(x[0] + moved.sum(0), move.target[0], atol=1e-10)
        assert torch.equal(move.image, move.target.clamp(0, 1))
        x = move.image
    assert bool(((x == 0) | (x == 1)).any())


def test_a_layer_of_weight_zero_gets_nothing_and_copies_share():
    layers = {f"relu{i}_1": 1.0 for i in range(1, 6)}
    account = run(**RECIPES["lbfgs"], style_layers=layers | {"relu2_1": 0.0})[1].result
    assert float(account["style/relu2_1"].abs().max()) == 0
    # Two style pictures that are the same picture: half of the weight each, and half of the paint.
    made = Scene(make({"network": "vgg19", "size": 90, "smallest": 44} | RECIPES["lbfgs"]), twice(), NETWORK)
    account = accounted(made)[1].result
    for layer in layers:
        assert torch.allclose(account[f"style1/{layer}"], account[f"style2/{layer}"], atol=1e-9)
    assert torch.allclose(account["color1"], account["color2"], atol=1e-9)


def twice():
    return Pictures(picture(0), (picture(1), picture(1)))
