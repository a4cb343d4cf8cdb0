"""Serves the studio."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

from underpaint import memory
from underpaint.errors import UnderpaintError
from underpaint.jobs import apart
from underpaint.jobs.runner import Runner
from underpaint.studio.guard import Guard

PASSWORD = "UNDERPAINT_PASSWORD"
"""The environment variable with the password; needed where other machines can reach the studio."""


def application(runner: Runner, hosts: Sequence[str] = (), secret: str | None = None) -> Any:
    """The ASGI application: guard, routes, pages."""
    # Before Gradio is imported: it reads these once.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str((runner.runs / ".uploads").resolve())
    import gradio as gr
    from fastapi import FastAPI

    from underpaint.studio import app as pages
    from underpaint.studio import routes, theme

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    routes.add(app, runner)
    blocks = pages.build(runner)
    blocks.queue(default_concurrency_limit=8, max_size=256)
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        theme=theme.theme(),
        css=theme.CSS,
        js=theme.SCRIPT,
        max_file_size=runner.limits.bytes,
        footer_links=[],
        show_error=True,
        enable_monitoring=False,
        ssr_mode=False,
        run_history=False,
    )
    return Guard(app, hosts, secret)


def password() -> str | None:
    """The password of the environment, if there is one."""
    return os.environ.get(PASSWORD) or None


def listen(host: str, port: int) -> socket.socket:
    """A socket for `serve`: so that all that can go wrong has gone wrong before anything is begun.

    Raises:
        UnderpaintError: other machines could come in without a password, or the port is taken.
    """
    if host not in ("127.0.0.1", "localhost", "::1") and password() is None:
        raise UnderpaintError(f"--host {host}: other machines could come in; set {PASSWORD} to a password first")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UnderpaintError(f"--port {port}: {error.strerror}; choose another with --port") from None
    return listener


def serve(runner: Runner, listener: socket.socket, names: Sequence[str] = ()) -> None:
    """Serves until it is interrupted; then stops all jobs, which keep what they have.

    Args:
        listener: from `listen`.
        names: host names that it answers to besides its own; without any, this machine's where it listens everywhere.
    """
    import uvicorn

    memory.give_back()
    apart.warm()
    host = listener.getsockname()[0]
    own = [*names] or [socket.gethostname()] if host in ("0.0.0.0", "::") else [host, *names]
    # Pages keep connections open for as long as they are; nobody waits for them to be closed.
    app = application(runner, own, password())
    config = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=2)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        runner.close()
