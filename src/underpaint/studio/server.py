"""Serves the studio."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from underpaint.errors import UnderpaintError
from underpaint.execution import memory
from underpaint.jobs import apart
from underpaint.jobs.runner import Runner
from underpaint.studio.guard import DOORS, PAGES, Guard, Rules
from underpaint.studio.hosts import Hosts, spelt
from underpaint.studio.under import Under
from underpaint.studio.visitors import Visitors, secret_of

PASSWORD = "UNDERPAINT_PASSWORD"
"""The environment variable with the password; needed where other machines can reach the studio."""


def application(runner: Runner, rules: Rules, owned: bool = False) -> Guard:
    """The ASGI application: guard, routes, pages.

    Args:
        owned: whether there is an owner: see `Visitors`.
    """
    # Before Gradio is imported: it reads these once.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str((runner.runs / ".uploads").resolve())
    import gradio as gr
    from fastapi import FastAPI

    from underpaint.studio import app as pages
    from underpaint.studio import routes, theme

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    routes.add(app, runner)
    visitors = Visitors(secret_of(runner.runs), owned)
    blocks = pages.build(runner, visitors.told)
    blocks.queue(default_concurrency_limit=8, max_size=256)
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        root_path=rules.root or None,
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
    return Guard(Under(app) if rules.root else app, visitors, rules)


def password() -> str | None:
    """The password of the environment, if there is one."""
    return os.environ.get(PASSWORD) or None


def listen(host: str, port: int) -> socket.socket:
    """A socket for `serve`: so that all that can go wrong has gone wrong before anything is begun.

    Raises:
        UnderpaintError: other machines could come in without a password, or the port is taken.
    """
    host = host.removeprefix("[").removesuffix("]")
    if host not in ("127.0.0.1", "localhost", "::1") and password() is None:
        raise UnderpaintError(f"--host {host}: other machines could come in; set {PASSWORD} to a password first")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except socket.gaierror as error:
        listener.close()
        raise UnderpaintError(f"--host {host}: {error.strerror}; name an address of this machine") from None
    except OSError as error:
        listener.close()
        raise UnderpaintError(f"--port {port}: {error.strerror}; choose another with --port") from None
    return listener


@dataclass(frozen=True)
class Place:
    """Where a studio is found.

    Attributes:
        names: host names that it answers to besides its own; without any, this machine's where it listens everywhere.
        root: the path under which a proxy shows it: "/studio".
        owned: whether there is an owner.

    Raises:
        UnderpaintError: a name, or the path, is none.
    """

    names: Sequence[str] = ()
    root: str = ""
    owned: bool = False

    def __post_init__(self) -> None:
        Hosts(self.names)
        prefix(self.root)


def serve(runner: Runner, listener: socket.socket, place: Place, tell: Callable[[str], None]) -> None:
    """Serves until it is interrupted; then stops all jobs, which keep what they have.

    Args:
        listener: from `listen`.
        place: by which names, and for whom.
        tell: told where it is found.
    """
    import uvicorn

    memory.give_back()
    apart.warm()
    host, port = listener.getsockname()[:2]
    own = [*place.names] or [socket.gethostname()] if host in ("0.0.0.0", "::") else [host, *place.names]
    try:
        rules = Rules(own, password(), prefix(place.root), runner.limits.bytes)
        app = application(runner, rules, place.owned)
        # Pages keep connections open for as long as they are; nobody waits for them to be closed.
        config = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=2)
        address = f"http://{spelt(host)}:{port}{rules.root}/"
        tell(f"Studio: {address} (Ctrl-C ends it; runs are kept in {runner.runs})")
        if place.owned:
            tell(f"Yours: {address}?owner={app.visitors.key} (whoever opens this may stop and remove every run)")
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        runner.close()


def prefix(root: str) -> str:
    """A path as prefixes are put together: "studio/" is "/studio", "/" is nothing.

    Raises:
        UnderpaintError: it is no path, or one that begins as the studio's own do: a proxy may take it off or leave it on.
    """
    path = "/" + root.strip("/") if root.strip("/") else ""
    if not re.fullmatch(r"(/[\w.~-]+)*", path, re.ASCII) or {".", ".."} & set(path.split("/")):
        raise UnderpaintError(f"--root-path {root}: is no path; name it as a proxy shows it, like /studio")
    if path and f"/{path.split('/')[1]}" in {f"/{own.split('/')[1]}" for own in (*DOORS, *PAGES)}:
        raise UnderpaintError(f"--root-path {root}: begins as an address of the studio's own; choose another, like /studio")
    return path
