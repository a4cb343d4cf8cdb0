"""How much other processes and waiting threads cost a run: python benchmarks/threads.py [--size 96] [--rounds 3]

One row for each: the run alone, beside a process that keeps one core busy, and beside a second run of the same kind; OpenMP's
threads waiting as they do by default (they spin), asleep at once (OMP_WAIT_POLICY=PASSIVE), and asleep soon, as the commands
have it (`underpaint.execution.cores.WAITING`); one thread and two. Seconds of painting (the median of the rounds, in which
the rows take turns, and the slowest), without the start of the process. Then what `--threads auto` chooses, alone and beside
the busy process.

Sample pictures that come with the package; the compact network, float32, `draft`. Figures of a machine that does other work
besides say little.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from statistics import median

import yardstick
from underpaint.execution import cores

RUN = """
import sys, torch, underpaint
from underpaint import samples
threads, size = map(int, sys.argv[1:])
torch.set_num_threads(threads)
fields = {"size": size, "preset": "draft", "precision": "float32", "device": "cpu"}
session = underpaint.start(samples.photograph("chelsea"), samples.style_path("gale"), **fields)
print(session.finish().history[-1].seconds)
"""
CHOOSE = "from underpaint import cores; print(cores.use())"
SPIN = "while True: pass"

WAITING = {"by default": {}, "asleep": {"OMP_WAIT_POLICY": "PASSIVE"}, "asleep soon": cores.WAITING}
BESIDE = ("nothing", "a busy process", "a second run")


def environment(waiting: str) -> dict[str, str]:
    """This process's, but for what OpenMP is told."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    return own | WAITING[waiting]


@contextmanager
def busy() -> Iterator[None]:
    """One core has work."""
    process = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def seconds(beside: str, waiting: str, threads: int, size: int) -> float:
    """Of one run; of two side by side, the mean."""
    command = [sys.executable, "-c", RUN, str(threads), str(size)]
    with ExitStack() as stack:
        if beside == "a busy process":
            stack.enter_context(busy())
        started = [
            subprocess.Popen(command, env=environment(waiting), stdout=subprocess.PIPE, text=True)
            for _ in range(1 + (beside == "a second run"))
        ]
        told = [process.communicate()[0] for process in started]
    return sum(map(float, told)) / len(told)


def table(size: int, rounds: int) -> None:
    """Prints the rows."""
    rows = list(product(BESIDE, WAITING, (1, 2)))
    found: dict[tuple[str, str, int], list[float]] = {row: [] for row in rows}
    for _ in range(rounds):
        for row in rows:
            found[row].append(seconds(*row, size))
    print(f"compact, {size} px, draft, float32, {rounds} rounds\n")
    print("| beside | threads wait | threads | s, median | s, slowest |\n|---|---|---|---|---|")
    for (beside, waiting, threads), times in found.items():
        print(f"| {beside} | {waiting} | {threads} | {median(times):.2f} | {max(times):.2f} |")


def automatic() -> None:
    """Prints what `--threads auto` chooses."""
    command = [sys.executable, "-c", CHOOSE]

    def told() -> str:
        return subprocess.run(
            command, env=environment("asleep soon"), capture_output=True, text=True, check=True
        ).stdout.strip()

    alone = told()
    with busy():
        print(f"\n--threads auto: alone {alone}; beside a busy process {told()}")


def main() -> None:
    """Prints the table, and what `auto` chooses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    def run() -> None:
        table(args.size, args.rounds)
        automatic()

    yardstick.run_parts({"threads": run}, 1)


if __name__ == "__main__":
    main()
