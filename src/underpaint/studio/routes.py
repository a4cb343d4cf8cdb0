"""What the pages show and let people take away: pictures, curves, reports and archives of jobs, by name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path

from fastapi import FastAPI, HTTPException
from fastapi.responses import Response

from underpaint.errors import UnderpaintError
from underpaint.jobs import tasks
from underpaint.jobs.job import Job
from underpaint.jobs.runner import Runner
from underpaint.paper.export import FOLDER
from underpaint.report import page, svg
from underpaint.runs.folder import read_facts, read_history, recipe_of
from underpaint.studio import archive
from underpaint.studio.shown import plain, plain_json

FRESH = {"cache-control": "no-store"}
KINDS = {".webp": "image/webp", ".png": "image/png", ".html": "text/html"}


def add(app: FastAPI, runner: Runner) -> None:
    """Adds the routes. A job is found by a name of ours, a file by a key of ours: no path comes from outside."""

    def find(name: str) -> Job:
        try:
            return runner.job(name)
        except UnderpaintError:
            raise HTTPException(404, "no such job") from None

    @app.get("/live/{name}")
    def live(name: str) -> Response:
        job = find(name)
        return _first(job.folder / "live.webp", job.result / "pastiche.png")

    @app.get("/pastiche/{name}")
    def pastiche(name: str) -> Response:
        job = find(name)
        return _first(job.result / "pastiche.png", job.folder / "live.webp")

    @app.get("/curves/{name}")
    def curves(name: str) -> Response:
        return Response(draw_curves(find(name)), media_type="image/svg+xml", headers=FRESH)

    @app.get("/coalition/{name}/{place}")
    def coalition(name: str, place: int) -> Response:
        files = find(name).coalitions
        if not 0 <= place < len(files):
            raise HTTPException(404, "no such coalition")
        return _first(files[place])

    @app.get("/report/{name}")
    def report(name: str) -> Response:
        job = find(name)
        answer = _first(job.result / page.FILE)
        # Opened by itself, it is as apart from the studio as in its frame.
        answer.headers["content-security-policy"] = "sandbox allow-scripts allow-downloads"
        return answer

    @app.get("/download/{name}/{what}")
    def download(name: str, what: str) -> Response:
        job = find(name)
        if what not in DOWNLOADS:
            raise HTTPException(404, "no such file")
        try:
            data, kind = DOWNLOADS[what](runner, job)
        except UnderpaintError as error:
            return Response(plain(str(error), runner.runs), 409, media_type="text/plain")
        headers = {"content-disposition": f'attachment; filename="{name}-{what}"'}
        if isinstance(data, bytes):
            return Response(data, media_type=kind, headers=headers)
        return archive.Streamed(data, kind, headers)


def _first(*paths: Path) -> Response:
    """The first file that is there, whole. Read at once: jobs replace their files while they are looked at, and a response
    that asks for the size first and opens the file then sends a broken one."""
    for path in paths:
        with contextlib.suppress(OSError):
            return Response(path.read_bytes(), media_type=KINDS[path.suffix], headers=FRESH)
    raise HTTPException(404, "not there yet")


def draw_curves(job: Job) -> str:
    """The losses so far, as SVG; nothing where there are none yet."""
    try:
        history = read_history(job.result / "history.csv")
        text = svg.convergence(history, recipe_of(read_facts(job.result), job.result))[1] if history else ""
    except UnderpaintError:
        text = ""
    empty = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"></svg>'
    # By itself in an <img> it needs its namespaces, and ink that shows on light and dark.
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return text.replace("<svg ", f'<svg {spaces} color="#808080" ', 1) or empty


def _file(path: Path, kind: str) -> tuple[bytes, str]:
    try:
        return path.read_bytes(), kind
    except OSError:
        raise UnderpaintError(f"{path.name}: is not there yet") from None


def _zip(runner: Runner, root: Path, paths: list[Path]) -> tuple[Generator[bytes], str]:
    return archive.stream(root, paths, lambda data: plain_json(data, runner.runs)), "application/zip"


def _figures(runner: Runner, job: Job) -> tuple[Generator[bytes], str]:
    paths = [Path(path) for path in runner.apart(tasks.figures, str(job.result))]
    return _zip(runner, job.result / FOLDER, paths)


def _all(runner: Runner, job: Job) -> tuple[Generator[bytes], str]:
    if not job.result.is_dir():
        raise UnderpaintError("there is nothing yet")
    return _zip(runner, job.result, archive.files(job.result))


DOWNLOADS: dict[str, Callable[[Runner, Job], tuple[bytes | Generator[bytes], str]]] = {
    "pastiche.png": lambda _, job: _file(job.result / "pastiche.png", "image/png"),
    "report.html": lambda _, job: _file(job.result / page.FILE, "text/html"),
    "figures.zip": _figures,
    "all.zip": _all,
}
"""By key: what a visitor may take away."""
