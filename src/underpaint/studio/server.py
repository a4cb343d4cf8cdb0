"""Serves the studio."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

from underpaint.errors import UnderpaintError
from underpaint.jobs.runner import Runner
from underpaint.studio.guard import LOOPBACK, Guard

PASSWORD = "UNDERPAINT_PASSWORD"
"""The environment variable with the password; needed where other machines can reach the studio."""


def application(runner: Runner, hosts: Sequence[str] = (), secret: str | None = None) -> Any:
    """The ASGI application: guard, routes, pages."""
    # Before Gradio is imported: it reads these once.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str((runner.runs / ".uploads").resolve())
    import gradio as gr
    from fastapi import FastAPI

    from underpaint.studio import routes, theme
    from underpaint.studio.app import Pages

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    routes.add(app, runner)
    blocks = Pages(runner).build()
    blocks.queue(default_concurrency_limit=8, max_size=256)
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        theme=theme.theme(),
        css=theme.CSS,
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


def check_host(host: str, secret: str | None) -> None:
    """Raises an `UnderpaintError` where other machines could come in without a password."""
    if host not in ("127.0.0.1", "localhost", "::1") and not secret:
        raise UnderpaintError(f"--host {host}: other machines could come in; set {PASSWORD} to a password first")


def serve(runner: Runner, host: str, port: int, names: Sequence[str] = ()) -> None:
    """Serves until it is interrupted; then stops all jobs, which keep what they have.

    Raises:
        UnderpaintError: the port is taken, or a password is missing.
    """
    try:
        secret = password()
        check_host(host, secret)
        with _listen(host, port) as listener:
            own = [host, *names] if host not in ("0.0.0.0", "::") else [*names, *_names_here(names)]
            _run(application(runner, own, secret), listener)
    finally:
        runner.close()


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UnderpaintError(f"--port {port}: {error.strerror}; choose another with --port") from None
    return listener


def _run(app: Any, listener: socket.socket) -> None:
    import uvicorn

    # Pages keep connections open for as long as they are; nobody waits for them to be closed.
    config = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=2)
    uvicorn.Server(config).run(sockets=[listener])


def _names_here(names: Sequence[str]) -> list[str]:
    """Where it listens on every address and no name was given: this machine's own."""
    return [] if names else [socket.gethostname(), *LOOPBACK]
