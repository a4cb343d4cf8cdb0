"""Ctrl-C at every line of the loop: the folder then holds some number of whole steps, and nothing of the one after.

What a folder holds after so many steps is known from runs that leave the loop there. That each of these goes on to the bytes
of a run that nobody disturbed is tested once; that an interrupt, wherever it strikes, leaves one of them, for many places.
"""

import json
import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from tests.conftest import random_tensors
from underpaint.explanation import files
from underpaint.explanation.account import cross_matrix, judge_path, ledger, observer
from underpaint.explanation.account.cross_matrix import CrossMatrix
from underpaint.explanation.account.judge_path import JudgePath
from underpaint.explanation.account.observer import Account
from underpaint.imaging import images
from underpaint.networks.registry import Opened
from underpaint.networks.vgg import Vgg
from underpaint.optimizers import adam, lbfgs, loop
from underpaint.recipe import make
from underpaint.runs import claim, convergence, session
from underpaint.runs import folder as run
from underpaint.runs.claim import create_folder
from underpaint.runs.folder import read_history
from underpaint.runs.options import Options
from underpaint.runs.prepared import Prepared
from underpaint.runs.scene import Pictures, Scene
from underpaint.runs.session import Session
from underpaint.runs.start import reopen
from underpaint.storage.owner import Owner

ROOMS = [session, claim, loop, lbfgs, adam, ledger, observer, cross_matrix, judge_path, run]
FILES = {str(Path(room.__file__)) for room in ROOMS}
EVERY = os.environ.get("UNDERPAINT_EVERY_LINE") == "1"
"""All lines, and each at its first and its last time; otherwise a seeded share of them."""

SOME = 60
RECIPES = {
    "lbfgs": {"optimizer": "lbfgs", "iterations": [2, 3]},
    "adam": {"optimizer": "adam", "iterations": [2, 3], "carry_moments": True},
}


class Judge:
    """Half the squared distance to a picture."""

    layers = ()

    def __init__(self, goal):
        self.goal = goal

    def gradient(self, image):
        difference = image - self.goal
        return float(difference.square().sum()) / 2, difference


class Studio:
    """A run with everything that follows it, painted again and again: its network is made once."""

    def __init__(self, fields, patch):
        generator = np.random.default_rng(0)
        rgb = [np.repeat(np.repeat(generator.random((6, 8, 3), np.float32), 6, 0), 6, 1) for _ in range(2)]
        common = {"network": "vgg19", "size": 48, "smallest": 32, "precision": "float32", "crop": False}
        layers = {"style_layers": {"relu1_1": 1.0, "relu2_1": 1.0}, "content_layers": {"relu2_1": 1.0}}
        self.recipe = make(common | layers | fields)
        self.pictures = Pictures(images.read(rgb[0]), (images.read(rgb[1]),))
        self.network = Vgg("vgg19", random_tensors(), "relu2_1")
        patch.setattr(Prepared, "of", lambda _: self.prepared())
        patch.setattr(convergence, "draw", lambda *_: None)

    def prepared(self):
        """A scene of its own each time: it keeps a stage, so that whether a line comes would depend on the run before."""
        opened = Opened(self.network, Path("tiny"), "0" * 64)
        self.scene = Scene(self.recipe, self.pictures, self.network)
        return Prepared(self.scene, Options(device="cpu"), torch.device("cpu"), (opened,))

    def begin(self, folder):
        owner = Owner(folder)
        session = Session(self.prepared(), owner)
        create_folder(folder)
        return self.followed(session)

    def followed(self, session):
        scales = range(len(self.recipe.sizes()))
        book = ledger.Ledger()
        where = JudgePath(Judge(self.scene.content(1)), book, [self.scene.size(s) for s in scales], self.recipe.schedule())
        watch = Account(book, CrossMatrix(lambda scale: self.scene.stage(scale).objective, book), where, (1, 1))
        session.follow(watch.observers())
        session.account = watch
        return session

    def resume(self, folder):
        return self.followed(reopen(Owner(folder), Options(device="cpu")))

    def tables(self, session):
        """The bytes of all that a finished run comes to, but for the seconds and what seals them."""
        folder = session.folder
        files.write_ledger(folder, session.account.ledger.result, session.state.result, None)
        files.write_cross(folder, session.account.cross, session.account.path, self.recipe.sizes())
        history = [line.rsplit(",", 2)[0] for line in (folder / "history.csv").read_text().splitlines()]
        names = ("pastiche.png", "ledger.npz", "cross.csv")
        return {name: (folder / name).read_bytes() for name in names} | {"history.csv": history}


def held(folder):
    """What a folder has to go on from: the checkpoint, bit by bit, and the history before it."""
    if not (folder / "checkpoint.safetensors").exists():
        return None
    with safe_open(folder / "checkpoint.safetensors", "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name).numpy().tobytes() for name in file.keys()}  # noqa: SIM118
    rows = read_history(folder / "history.csv", before=json.loads(metadata["state"])["step"])
    known = [(row.step, row.scale, row.term, row.raw, row.weighted, row.gradient_norm) for row in rows]
    return metadata["state"], tensors, known


class Strike:
    """Raises KeyboardInterrupt at the n-th time that a line of these files comes; with no place, counts the lines."""

    def __init__(self, place=None, number=1):
        self.place, self.left, self.seen = place, number, {}

    def __call__(self, frame, event, _):
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line":
            here = frame.f_code.co_filename, frame.f_lineno
            if self.place is None:
                self.seen[here] = self.seen.get(here, 0) + 1
            elif here == self.place:
                self.left -= 1
                if not self.left:
                    raise KeyboardInterrupt
        return self

    def __enter__(self):
        sys.settrace(self)
        return self

    def __exit__(self, *_):
        sys.settrace(None)


@pytest.fixture(scope="module", params=RECIPES)
def studio(request):
    with pytest.MonkeyPatch.context() as patch:
        yield Studio(RECIPES[request.param], patch)


@pytest.fixture(scope="module")
def undisturbed(studio, tmp_path_factory):
    """The tables of a run that nobody disturbed, what it held after each step, and the lines that it went through."""
    folder = tmp_path_factory.mktemp("undisturbed")
    session = studio.begin(folder / "whole")
    session.finish()
    after = {}
    for count in range(1, sum(studio.recipe.schedule()) + 1):
        stopped = studio.begin(folder / f"{count}")
        for step in stopped:
            if step.step + 1 == count:
                break
        del step
        after[count] = held(folder / f"{count}")
    counted = studio.begin(folder / "counted")
    with Strike() as trace:
        counted.finish()
    return studio.tables(session), after, trace.seen, folder


def test_from_every_step_a_run_goes_on_to_the_same_tables(studio, undisturbed):
    tables, after, _, folder = undisturbed
    assert len({repr(each) for each in after.values()}) == len(after)
    for count in after:
        again = studio.resume(folder / f"{count}")
        again.finish()
        assert studio.tables(again) == tables, count


def test_an_interrupt_at_any_line_leaves_whole_steps(studio, undisturbed, tmp_path):
    tables, after, seen, _ = undisturbed
    assert {file for file, _ in seen} == FILES - {adam.__file__ if studio.recipe.optimizer == "lbfgs" else lbfgs.__file__}
    places = [(place, number) for place, times in sorted(seen.items()) for number in sorted({1, times})]
    random.seed(studio.recipe.optimizer)
    for index, (place, number) in enumerate(places if EVERY else random.sample(places, SOME)):
        folder, says = tmp_path / f"{index}", f"{Path(place[0]).name}:{place[1]}, time {number}"
        session = studio.begin(folder)
        with pytest.raises(KeyboardInterrupt), Strike(place, number):
            session.finish()
        found = held(folder)
        assert found is None or found == after[json.loads(found[0])["step"]], says
        if index % 10 == 0:  # in the same process, with the same objects, too
            session.finish()
            assert studio.tables(session) == tables, says


def test_a_size_that_had_come_to_rest_takes_no_step_more(studio, tmp_path):
    """Stopped right after the step that ended a size early: the next step is the next size's first."""
    fields = {"iterations": [30], "stop": 0.5, "patience": 2}
    with pytest.MonkeyPatch.context() as patch:
        early = Studio(RECIPES["adam"] | fields if studio.recipe.optimizer == "adam" else fields, patch)
        whole = early.begin(tmp_path / "whole")
        whole.finish()
        for scale in (0, 1):
            session = early.begin(tmp_path / f"{scale}")
            for step in session:
                if step.scale_done and step.scale == scale:
                    break
            assert step.iteration + 1 < 30
            del step
            again = early.resume(tmp_path / f"{scale}")
            again.finish()
            assert early.tables(again) == early.tables(whole)
