"""How quick the studio is and what it holds, as its issue asks: python benchmarks/studio.py [page] [cost] [load]

    page    seconds to the first paint of the page, and how often the live picture changes at 256 px (needs Chromium)
    cost    a run at 256 px as a job beside the same run on the command line, in turn
    load    50 jobs of 64 px at once: how many were taken, how all ended, the server's memory before and after

Sample pictures that come with the package; the compact network, 2 threads.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import yardstick
from underpaint import images, samples
from underpaint.errors import UnderpaintError
from underpaint.jobs.job import Order
from underpaint.jobs.runner import Limits, Runner

THREADS = 2
PORT = 7867


def pictures(folder: Path) -> dict[str, Path]:
    """A sample photograph and a sample painting, by role."""
    photograph = folder / "chelsea.png"
    images.write(photograph, samples.photograph("chelsea").astype(np.float32) / 255)
    return {"content": photograph, "style1": samples.style_path("gale")}


def page(folder: Path) -> None:
    """In a real browser, the server in a process of its own."""
    from playwright.sync_api import sync_playwright

    words = ["-m", "underpaint", "studio", "--port", str(PORT), "--runs", str(folder / "runs"), "--device", "cpu"]
    server = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    files = pictures(folder)
    try:
        with sync_playwright() as engine:
            browser = engine.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            tab = browser.new_page()
            while True:
                try:
                    tab.goto(f"http://127.0.0.1:{PORT}/")
                    break
                except Exception:  # the server is not up yet
                    time.sleep(0.2)
            seconds = []
            for _ in range(3):
                begun = time.perf_counter()
                tab.goto(f"http://127.0.0.1:{PORT}/")
                tab.wait_for_selector("#start")
                seconds.append(time.perf_counter() - begun)
            print(f"first paint: {min(seconds):.2f} s (three visits: {', '.join(f'{s:.2f}' for s in seconds)})", flush=True)
            for role, name in (("content", "content"), ("style1", "style")):
                tab.set_input_files(f"#{name} input[type=file]", str(files[role]))
                tab.wait_for_selector(f"#{name} img")
            tab.click("#start")
            tab.wait_for_selector("#stage img", timeout=60_000)
            begun = time.perf_counter()
            seen: list[tuple[float, str | None]] = []
            while not tab.locator("#status [data-state=finished]").count():
                version = tab.locator("#stage img").get_attribute("data-version")
                if not seen or seen[-1][1] != version:
                    seen.append((time.perf_counter(), version))
                tab.wait_for_timeout(50)
            gaps = np.diff([when for when, _ in seen])
            often = len(seen) / (time.perf_counter() - begun)
            print(f"live picture at 256 px: {often:.2f} a second, longest gap {gaps.max():.2f} s")
            browser.close()
    finally:
        server.terminate()
        server.wait()


def cost(folder: Path) -> None:
    """The job and the command take turns; both from the start of their process to its end."""
    files = pictures(folder)
    runner = Runner(folder / "runs", device="cpu")
    seconds: dict[str, list[float]] = {"command line": [], "job": []}
    for turn in range(2):
        begun = time.perf_counter()
        words = [
            "-m",
            "underpaint",
            "stylize",
            *map(str, files.values()),
            "--out",
            str(folder / f"run{turn}"),
            "--size",
            "256",
        ]
        subprocess.run([sys.executable, *words, "--quiet", "--device", "cpu"], check=True)
        subprocess.run(
            [sys.executable, "-m", "underpaint", "report", str(folder / f"run{turn}")], check=True, capture_output=True
        )
        seconds["command line"].append(time.perf_counter() - begun)
        begun = time.perf_counter()
        job = runner.submit(Order(kind="stylize", recipe={"size": 256}), files)
        while job.state != "finished":
            time.sleep(0.02)
        seconds["job"].append(time.perf_counter() - begun)
    runner.close()
    plain, ours = (min(each) for each in seconds.values())
    print(f"256 px with its page: command line {plain:.1f} s, job {ours:.1f} s, ratio {ours / plain:.2f}")


def resident() -> float:
    """This process's memory, MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def load(folder: Path) -> None:
    """The runner in this process; its jobs in their own."""
    files = pictures(folder)
    runner = Runner(folder / "runs", limits=Limits(per_visitor=100), device="cpu")
    before, begun = resident(), time.perf_counter()
    taken, refused = [], 0
    for _ in range(50):
        try:
            taken.append(runner.submit(Order(kind="stylize", recipe={"size": 64, "preset": "draft"}), files))
        except UnderpaintError:
            refused += 1
    during = resident()
    while any(job.state in ("queued", "running") for job in taken):
        time.sleep(0.2)
    ends = sorted({job.state for job in taken})
    seconds = time.perf_counter() - begun
    runner.close()
    print(f"50 jobs of 64 px: {len(taken)} taken, {refused} refused, all taken ones {', '.join(ends)} after {seconds:.0f} s")
    print(f"the runner's process: {before:.0f} MiB before, {during:.0f} MiB with all queued, {resident():.0f} MiB after")


PARTS: dict[str, Callable[[Path], None]] = {"page": page, "cost": cost, "load": load}


def main() -> None:
    """Prints the parts that are asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))

    def alone(part: Callable[[Path], None]) -> Callable[[], None]:
        def run() -> None:
            with tempfile.TemporaryDirectory() as folder:
                part(Path(folder))

        return run

    yardstick.run_parts({name: alone(PARTS[name]) for name in args.parts or PARTS}, THREADS)


if __name__ == "__main__":
    main()
