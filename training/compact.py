"""Makes the compact network: `python -m training.compact --photos DIR --paintings DIR --avoid DIR --weights FILE`.

Sorts the pictures, calibrates, paints half-painted states with the teacher and with the student and fine-tunes on
them; writes `compact.safetensors` and `MODEL_CARD.md` into --out. Every stage keeps its result there, and fine-tuning a
checkpoint every half minute: killed and started again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save, save_file

from training import card, measure, pictures, states
from training.calibrate import calibrate
from training.finetune import Adam, Batch, Weights, losses
from training.student import PLANS, Student
from training.whitening import Whitening
from underpaint.errors import UnderpaintError
from underpaint.execution import device
from underpaint.networks import registry, weights
from underpaint.networks.base import Network
from underpaint.networks.compact import LAYERS, Compact, load
from underpaint.networks.vgg import keras_name
from underpaint.storage.files import write_bytes

CALIBRATION_SIDE = 144
STATE_SIDE = 128
TEACHERS = 0.3
"""The share of runs that VGG-19 paints; the student paints the others."""

CHECKPOINT_SECONDS = 30

STATES_A_RUN = 6
ITERATIONS = (6, 16, 40)
"""A run has one of these at its last size; those before it, at smaller sizes, as many again."""

MEASURED = 40
"""Held-out pictures for figures."""

console = Console(stderr=True, highlight=False)


def arguments() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--paintings", type=Path, required=True)
    parser.add_argument("--avoid", type=Path, help="pictures that will be used for figures: nothing alike is learnt from")
    parser.add_argument("--weights", type=Path, help="VGG-19's file; found as `underpaint` finds it when left out")
    parser.add_argument("--out", type=Path, default=Path("out/training"))
    parser.add_argument("--plan", default="slim", choices=PLANS)
    parser.add_argument("--crops", type=int, default=640)
    parser.add_argument("--runs", type=int, default=130, help="runs that half-painted states are taken from, each round")
    parser.add_argument("--rounds", type=int, default=1, help="how often states are painted with the student as it then is")
    parser.add_argument("--steps", type=int, default=2200)
    parser.add_argument("--states", type=int, default=2, help="half-painted pictures in a batch")
    parser.add_argument("--pictures", type=int, default=1, help="photographs and paintings in a batch")
    parser.add_argument("--rate", type=float, default=3e-3, help="relative to each tensor's root mean square")
    parser.add_argument("--gradient", type=float, default=0.2, help="weight of the gradient term")
    parser.add_argument("--gram", type=float, default=0.1, help="weight of the Gram term")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    return parser


def main() -> None:
    """Runs every stage that is not done yet."""
    args = arguments().parse_args()
    try:
        Workshop(args).run()
    except UnderpaintError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(f"Stopped. The same command goes on from {args.out}")


class Workshop:
    """The stages, and what they share."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.out = args, args.out
        self.out.mkdir(parents=True, exist_ok=True)
        self._check_same()
        self.device = device.choose(args.device)
        opened = registry.open_network("vgg19", LAYERS, given=args.weights, device=self.device, announce=console.print)
        self.teacher: Network = opened.network
        self.teacher_sha256 = opened.sha256
        self._raw = weights.load(opened.path, [keras_name(layer) for layer in LAYERS])

    def _check_same(self) -> None:
        """A folder belongs to one set of flags: others would mix two networks."""
        wanted = {k: str(v) for k, v in vars(self.args).items() if k not in ("out", "device")}
        path = self.out / "arguments.json"
        if path.exists() and (before := json.loads(path.read_text())) != wanted:
            changed = ", ".join(f"--{k}" for k in wanted if wanted[k] != before.get(k))
            raise UnderpaintError(f"{self.out}: was begun with other values of {changed}; name another --out")
        path.write_text(json.dumps(wanted, indent=1))

    def run(self) -> None:
        """All stages in order."""
        begun = time.perf_counter()
        self.library = self._library()
        student = self._calibrated()
        bank: dict[str, torch.Tensor] = {}
        seconds = 0.0
        for number in range(self.args.rounds):
            more = self._states(number, student)
            bank = {name: torch.cat([bank[name], t]) if bank else t for name, t in more.items()}
            student, seconds = self._finetuned(student, bank, self.args.steps * (number + 1) // self.args.rounds)
        path = self.out / "compact.safetensors"
        write_bytes(path, packed(student))
        figures = self._figures(Compact(load(path, LAYERS), device=self.device))
        machine = device.describe(self.device)
        facts = {
            "seconds of fine-tuning": round(seconds),
            "seconds of this command's other stages": round(time.perf_counter() - begun - seconds),
            "machine": f"{machine['device_name']}, {torch.get_num_threads()} threads, {platform.system()}",
            "teacher's file, SHA-256": self.teacher_sha256,
            "pictures": {k: len(v) for k, v in asdict(self.library).items()},
            "arguments": {k: v.name if isinstance(v, Path) else v for k, v in vars(self.args).items() if k != "out"},
        }
        (self.out / "MODEL_CARD.md").write_text(card.text(student, facts, figures))
        console.print(f"{path}: {path.stat().st_size / 1e6:.2f} MB\n{json.dumps(figures, indent=1)}")

    def _library(self) -> pictures.Library:
        path = self.out / "library.json"
        if path.exists():
            return pictures.Library(**{k: tuple(map(Path, v)) for k, v in json.loads(path.read_text()).items()})
        console.print("Sorting the pictures")
        found = pictures.library([self.args.photos, self.args.paintings], [self.args.avoid] if self.args.avoid else [])
        path.write_text(json.dumps({k: [str(p) for p in v] for k, v in asdict(found).items()}, indent=1))
        return found

    def _calibrated(self) -> Student:
        path = self.out / "calibration.safetensors"
        if not path.exists():
            random = np.random.default_rng(self.args.seed)
            order = random.permutation(len(self.library.train))[: self.args.crops]
            crops = torch.stack([pictures.crop(self.library.train[i], CALIBRATION_SIDE, random) for i in order])
            with torch.no_grad():
                student = calibrate(self._raw, PLANS[self.args.plan], crops, console.print, self.args.seed)
            save_file(student.tensors | {f"channels.{k}": v for k, v in student.channels.items()}, path)
        return read_student(path)

    def _pair(self, random: np.random.Generator, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
        """A content, a photograph, and a style, mostly a painting."""
        photos = self._of(kind, self.args.photos)
        paintings = self._of(kind, self.args.paintings)
        content = photos[int(random.integers(len(photos)))]
        styles = paintings if random.random() < 0.8 else photos
        style = styles[int(random.integers(len(styles)))]
        return pictures.crop(content, STATE_SIDE, random), pictures.crop(style, STATE_SIDE, random)

    def _of(self, kind: str, folder: Path) -> list[Path]:
        files = self.library.train if kind == "train" else self.library.held_out
        return [p for p in files if p.is_relative_to(folder)] or list(files)

    def _states(self, number: int, student: Student) -> dict[str, torch.Tensor]:
        """Moments of runs, and VGG-19's gradients there: image, content, style, gradient, (M, 3, h, w) each, float16."""
        path = self.out / f"states-{number}.safetensors"
        if path.exists():
            return load_file(path)
        random = np.random.default_rng([self.args.seed, 1_000_000 + number])
        painter = Compact(student.tensors, device=self.device)
        kept: dict[str, list[torch.Tensor]] = {k: [] for k in ("image", "content", "style", "gradient")}
        teachers = math.ceil(TEACHERS * self.args.runs)
        runs = [self.teacher] * teachers + [painter] * (self.args.runs - teachers)
        with bar(f"states {number}", len(runs)) as advance:
            for place, network in enumerate(runs):
                content, style = self._pair(random, "train")
                count = ITERATIONS[int(random.integers(len(ITERATIONS)))]
                for moment in states.paint(network, content, style, count, STATES_A_RUN, place):
                    g = states.style_gradient(self.teacher, moment)
                    for k, t in zip(kept, (moment.image, content, style, g / g.square().mean().sqrt()), strict=True):
                        kept[k].append(t.half())
                advance(place + 1)
        bank = {k: torch.stack(v) for k, v in kept.items()}
        save_file(bank, path)
        return bank

    def _finetuned(self, student: Student, bank: dict[str, torch.Tensor], until: int) -> tuple[Student, float]:
        """Trains on to step `until`, with checkpoints; the tensors' average, and the seconds in all so far."""
        args, path = self.args, self.out / "finetune.safetensors"
        white = self._whitening()
        number, seconds, state = 0, 0.0, None
        if path.exists():
            state = {k: t.to(self.device) for k, t in load_file(path).items()}
            number, seconds = int(state.pop("number")), float(state.pop("seconds"))
        adam, say = Adam(white.enter(student.tensors), state), Weights(gram=args.gram, gradient=args.gradient)
        begun, due = time.perf_counter() - seconds, time.monotonic() + CHECKPOINT_SECONDS
        with (self.out / "log.csv").open("a") as log, bar("fine-tuning", until) as advance:
            while number < until:
                number += 1
                values = {name: t.detach().requires_grad_() for name, t in adam.part("value").items()}
                batch = self._batch(bank, np.random.default_rng([args.seed, number]))
                parts = losses(Student(white.leave(values), student.channels), self.teacher, batch, say)
                total = torch.stack([getattr(say, name) * value for name, value in parts.items()]).sum()
                gradients = torch.autograd.grad(total, list(values.values()))
                adam.step(dict(zip(values, gradients, strict=True)), self._rate(number), number)
                log.write(f"{number}," + ",".join(f"{k},{v.item():.5f}" for k, v in parts.items()) + "\n")
                if time.monotonic() > due or number == until:
                    seconds, due = time.perf_counter() - begun, time.monotonic() + CHECKPOINT_SECONDS
                    write_bytes(path, save(adam.state | {"number": torch.tensor(number), "seconds": torch.tensor(seconds)}))
                    log.flush()
                advance(number)
        return Student({k: t.cpu() for k, t in white.leave(adam.part("average")).items()}, student.channels), seconds

    def _whitening(self) -> Whitening:
        """From the calibrated student on the first states, their contents and styles; the same whenever it is asked for."""
        first = load_file(self.out / "states-0.safetensors")
        seen = torch.cat([first["image"], first["content"][::STATES_A_RUN], first["style"][::STATES_A_RUN]]).float()
        return Whitening(read_student(self.out / "calibration.safetensors"), seen, self.args.seed, self.device)

    def _rate(self, number: int) -> float:
        """Half a cosine down to a fiftieth, after a hundred steps of warming up."""
        share: float = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * number / self.args.steps))
        return float(self.args.rate) * min(1.0, number / 100) * share

    def _batch(self, bank: dict[str, torch.Tensor], random: np.random.Generator) -> Batch:
        rows = torch.from_numpy(random.choice(len(bank["image"]), self.args.states, replace=False))
        moments = {k: v[rows].float() for k, v in bank.items()}
        if random.random() < 0.5:
            moments = {k: v.flip(3) for k, v in moments.items()}
        files = [self.library.train[int(i)] for i in random.integers(len(self.library.train), size=self.args.pictures)]
        crops = [pictures.crop(path, STATE_SIDE, random)[None] for path in files]
        every = torch.cat([moments["image"], *crops])
        tensors = (t.to(self.device) for t in (every, moments["content"], moments["style"], moments["gradient"]))
        return Batch(*tensors)

    @torch.no_grad()
    def _figures(self, network: Network) -> dict[str, object]:
        """On held-out pictures and held-out runs of the teacher."""
        random = np.random.default_rng(self.args.seed)
        files = [self.library.held_out[int(i)] for i in random.permutation(len(self.library.held_out))[:MEASURED]]
        crops = [pictures.crop(path, 192, random) for path in files]
        figures: dict[str, object] = {"residual energy": measure.residuals(self.teacher, network, crops)}
        rows: list[list[tuple[float, float]]] = []
        for number in range(8):
            content, style = self._pair(random, "held out")
            rows.append(
                measure.cosines(self.teacher, network, list(states.paint(self.teacher, content, style, 40, 3, number)))
            )
        means = np.asarray(rows).mean(0)
        for place, name in enumerate(("start", "middle", "late")):
            figures[f"gradient cosine, {name}"] = {"full": float(means[place, 0]), "half": float(means[place, 1])}
        return figures


def read_student(path: Path) -> Student:
    """A student from a file with its tensors and `channels.LAYER`."""
    saved = load_file(path)
    channels = {k.removeprefix("channels."): v.long() for k, v in saved.items() if k.startswith("channels.")}
    return Student({k: v for k, v in saved.items() if not k.startswith("channels.")}, channels)


def packed(student: Student) -> bytes:
    """The package's file: half precision, and by layer the VGG-19 channels that it keeps."""
    tensors = {k: t.detach().half().contiguous() for k, t in student.tensors.items()}
    channels = {f"channels.{k}": v.to(torch.int16) for k, v in student.channels.items()}
    return save(tensors | channels, {"attribution": card.ATTRIBUTION})


@contextmanager
def bar(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows how far a stage is; yields a function that is told the count."""
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda count: progress.update(task, completed=count)


if __name__ == "__main__":
    main()
