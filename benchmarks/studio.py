"""How quick the studio is and what it holds: python benchmarks/studio.py [page] [cost] [told] [load] [queue]

    page    seconds to the first paint of the page, and how often the live picture changes at 256 px (needs Chromium)
    cost    a run at 256 px as a job beside the same run on the command line, in turn
    told    how long jobs of 64 and 256 px were said to take, and took
    load    50 jobs of 64 px at once by 13 browsers, all but one of which leave then: how many were taken, how all ended,
            the server's memory before and after (needs Chromium)
    queue   one look at the queue of a folder of 1,000 jobs, as it is and by reading every job's files

Sample pictures that come with the package; the compact network, 2 threads.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import timeit
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import yardstick
from underpaint import samples
from underpaint.imaging import images
from underpaint.jobs.job import Job, Order
from underpaint.jobs.runner import Limits, Runner
from underpaint.studio.forecast import Forecast
from underpaint.studio.form import LAYERS, Form
from underpaint.studio.uploads import Upload

THREADS = 2
PORT = 7867
ADDRESS = f"http://127.0.0.1:{PORT}/"
JOBS = 50
THOUSAND = 1000


def pictures(folder: Path) -> dict[str, Path]:
    """A sample photograph and a sample painting, by role."""
    photograph = folder / "chelsea.png"
    images.write(photograph, samples.photograph("chelsea").astype(np.float32) / 255)
    return {"content": photograph, "style1": samples.style_path("gale")}


@contextmanager
def serving(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The studio in a process of its own, up."""
    words = ["-m", "underpaint", "studio", "--port", str(PORT), "--runs", str(folder / "runs"), "--device", "cpu"]
    server = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                urllib.request.urlopen(ADDRESS, timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield server
    finally:
        server.terminate()
        server.wait()


@contextmanager
def browsing() -> Iterator[Any]:
    """A real browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


def choose(tab: Any, files: dict[str, Path]) -> None:
    """Uploads the two pictures."""
    for role, name in (("content", "content"), ("style1", "style")):
        tab.set_input_files(f"#{name} input[type=file]", str(files[role]))
        tab.wait_for_selector(f"#{name} img")


def page(folder: Path) -> None:
    """In a real browser."""
    files = pictures(folder)
    with serving(folder), browsing() as browser:
        tab = browser.new_page()
        seconds = []
        for _ in range(3):
            begun = time.perf_counter()
            tab.goto(ADDRESS)
            tab.wait_for_selector("#start")
            seconds.append(time.perf_counter() - begun)
        print(f"first paint: {min(seconds):.2f} s (three visits: {', '.join(f'{s:.2f}' for s in seconds)})", flush=True)
        choose(tab, files)
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


def told(folder: Path) -> None:
    """The words beside Start, and the seconds that the job then took."""
    files = pictures(folder)
    runner = Runner(folder / "runs", device="cpu")
    forecast = Forecast(runner)
    uploads = [Upload(path, path.name) for path in files.values()]
    for size, preset in ((64, "draft"), (256, "standard")):
        layers = dict.fromkeys(LAYERS, 1.0)
        asked = Form(uploads[0], uploads[1:], [1.0], None, None, "compact", size, preset, 0.5, 0, True, "no", layers)
        words, begun = forecast(asked), time.perf_counter()
        job = runner.submit(asked.order("stylize", "benchmark"), asked.pictures())
        while job.state != "finished":
            time.sleep(0.02)
        print(f"{size} px, {preset}: said: {words!r}; took {time.perf_counter() - begun:.1f} s", flush=True)
    runner.close()


def resident(process: int) -> float:
    """A process's memory, MiB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def asked_for(folder: Path) -> int:
    """How many jobs there are."""
    return len(list((folder / "runs").glob("2*/order.json")))


def load(folder: Path) -> None:
    """Visitors with cookies of their own, each of whom asks for as many jobs as one may have (the last for fewer)."""
    files, most = pictures(folder), Limits().per_visitor
    with serving(folder) as server, browsing() as browser:
        tabs = [browser.new_context().new_page() for _ in range(-(-JOBS // most))]
        for tab in tabs:
            tab.goto(ADDRESS)
            choose(tab, files)
            tab.get_by_label("draft", exact=True).check()
            tab.locator("#size input[type=number]").fill("64")
            tab.locator("#size input[type=number]").press("Enter")
        before, begun, refused = resident(server.pid), time.perf_counter(), 0
        for number in range(JOBS):
            tab = tabs[number % len(tabs)]
            words = tab.get_by_text("which is all this studio takes")
            taken, told = asked_for(folder), words.count()
            tab.click("#start")
            while asked_for(folder) == taken and words.count() == told:
                tab.wait_for_timeout(20)
            refused += words.count() - told
        during, states = resident(server.pid), list((folder / "runs").glob("2*/state.json"))
        asked = time.perf_counter() - begun
        for tab in tabs[1:]:
            tab.close()
        while any(json.loads(path.read_text())["state"] in ("queued", "running") for path in states):
            time.sleep(0.5)
        ends = sorted({json.loads(path.read_text())["state"] for path in states})
        seconds = time.perf_counter() - begun
        print(
            f"{JOBS} jobs of 64 px by {len(tabs)} browsers in {asked:.0f} s: {len(states)} taken, {refused} refused, "
            f"all taken ones {', '.join(ends)} after {seconds:.0f} s"
        )
        after = resident(server.pid)
        print(f"the server's process: {before:.0f} MiB before, {during:.0f} MiB when all had asked, {after:.0f} MiB after")


def queue(folder: Path) -> None:
    """Milliseconds, medians. A runner looks ten times a second, and every page that waits looks twice."""
    for place in range(THOUSAND):
        Job.create(folder, Order(kind="stylize"), {}).change("finished" if place % 50 else "queued")
    runner = Runner(folder, workers=0)

    def reading() -> list[Job]:
        return sorted((job for job in runner.jobs() if job.state == "queued"), key=lambda job: (job.changed, job.name))

    assert [job.name for job in reading()] == [job.name for job in runner.queue()]
    for words, look in (("reading every job", reading), ("as it is", runner.queue)):
        taken = [timeit.timeit(look, number=1) for _ in range(20)]
        print(f"the queue among {THOUSAND} jobs, {words}: {1000 * float(np.median(taken)):.3f} ms", flush=True)
    runner.close()


PARTS: dict[str, Callable[[Path], None]] = {"page": page, "cost": cost, "told": told, "load": load, "queue": queue}


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
