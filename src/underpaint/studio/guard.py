"""The guard before every page: who may come in, from where, with how much, and what a page may load."""

from __future__ import annotations

import base64
import binascii
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from underpaint.studio.guesses import Guesses, address
from underpaint.studio.hosts import Hosts
from underpaint.studio.visitors import YEAR, Visitor, Visitors

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "frame-src 'self'",
        "frame-ancestors 'self'",
        "base-uri 'self'",
        "form-action 'self'",
    )
)
"""No page of the studio loads anything from another host."""

DOORS = (
    "/assets/",
    "/coalition/",
    "/curves/",
    "/download/",
    "/live/",
    "/pastiche/",
    "/report/",
    "/static/",
    "/svelte/",
    "/gradio_api/file=",
    "/gradio_api/heartbeat/",
    "/gradio_api/queue/",
    "/gradio_api/run/",
    "/gradio_api/upload",
)
"""What paths begin with that pages ask for, ..."""

PAGES = (
    "/",
    "/config",
    "/favicon.ico",
    "/gradio_api/cancel",
    "/gradio_api/info",
    "/gradio_api/reset",
    "/gradio_api/startup-events",
    "/gradio_api/theme.css",
    "/manifest.json",
    "/robots.txt",
    "/theme.css",
)
"""... and those that are asked for as they are. Gradio's other doors, to proxies, recordings and assistants, are shut."""

UPLOAD = "/gradio_api/upload"
ROOM = 1_000_000
"""Bytes of a request that is no upload, and of an upload besides its file."""

AT_ONCE = 100
"""Requests of one visitor that may be under way: pages keep a few open each."""

VISITOR, OWNER = "x-underpaint-visitor", "x-underpaint-owner"
"""Headers in which the guard tells the pages who asks. What comes in under these names is dropped."""

DROPPED = (VISITOR, OWNER, "x-gradio-server")
FORWARDED = "x-forwarded-host"


@dataclass(frozen=True)
class Rules:
    """What the guard goes by.

    Attributes:
        hosts: names besides the loopback's: see `Hosts`.
        password: None where none is needed.
        root: the path under which a proxy shows the studio, "/studio"; empty for none.
        upload: bytes of one file.
    """

    hosts: Iterable[str] = ()
    password: str | None = None
    root: str = ""
    upload: int = 40_000_000


@dataclass(frozen=True)
class Refusal:
    """What is answered instead of a page."""

    status: int
    text: str
    headers: tuple[tuple[str, str], ...] = ()


class Guard:
    """Wraps an ASGI application.

    - `Host` must be one that the studio answers to: a foreign name that resolves to this machine (DNS rebinding) gets 403.
    - What changes anything must come from the studio's own pages: another `Origin`, or none with a foreign
      `Sec-Fetch-Site`, gets 403; so does whatever another site's page embeds.
    - With a password, every request needs it (HTTP Basic, any user name); who is wrong too often has to wait.
    - Every visitor gets a signed cookie, by which jobs are counted and are theirs.
    - Bodies that are too long, and too many requests of one visitor at once, are refused.

    Args:
        app: what is guarded.
        visitors: knows cookies.
        rules: see there.
    """

    def __init__(self, app: ASGIApp, visitors: Visitors, rules: Rules) -> None:
        self.app, self.visitors, self.rules = app, visitors, rules
        self.hosts, self.root = Hosts(rules.hosts), rules.root
        self.guesses = None if rules.password is None else Guesses(rules.password)
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        visitor = self.visitors.of(headers.get("cookie", ""))
        # A proxy may take the prefix off or leave it on: the application sees it always.
        path = scope["path"].removeprefix(self.root) if scope["path"].startswith(f"{self.root}/") else scope["path"]
        who = address(scope.get("client")) if visitor.fresh else visitor.name
        refusal = self._refusal(scope, headers, path, who) or self._turn(scope, headers, path, visitor)
        if refusal is not None:
            await _answer(send, scope, refusal)
            return
        own = dict(scope) | {"path": self.root + path, "root_path": self.root, "headers": self._told(scope, visitor)}
        self._open[who] += 1
        try:
            await self.app(own, _measured(receive, self._most(path)), self._sender(send, scope, visitor))
        finally:
            self._open[who] -= 1
            if not self._open[who]:
                del self._open[who]

    def _refusal(self, scope: Scope, headers: dict[str, str], path: str, who: str) -> Refusal | None:
        """Of what is not let in."""
        host = headers.get("host", "")
        if sum(name.lower() == b"host" for name, _ in scope["headers"]) != 1 or not self.hosts.answers(host):
            return Refusal(403, "This studio does not answer to that host name; start it with --host-name NAME.")
        if not self._own(scope, headers, host):
            return Refusal(403, "Only the studio's own pages may do that.")
        if self.guesses is not None and (refusal := self._asked(self.guesses, headers, who)):
            return refusal
        if self._open[who] >= AT_ONCE:
            return Refusal(503, "That is too much at once; close some of the studio's pages.", (("retry-after", "5"),))
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._most(path):
            return Refusal(413, "That is too large.")
        return (
            None if path in PAGES or path.startswith(DOORS) or path == self.root else Refusal(404, "There is no such page.")
        )

    def _own(self, scope: Scope, headers: dict[str, str], host: str) -> bool:
        """Whether a request comes from a page of ours, or from no page at all, or only follows a link."""
        site = headers.get("sec-fetch-site", "none")
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            return site != "cross-site" or headers.get("sec-fetch-mode") == "navigate"
        origin = headers.get("origin")
        return self.hosts.same(origin, host) if origin is not None else site in ("same-origin", "none")

    def _asked(self, guesses: Guesses, headers: dict[str, str], who: str) -> Refusal | None:
        """For the password."""
        given = _password(headers.get("authorization", ""))
        if given is not None and (seconds := guesses.wait(who)):
            wait = str(math.ceil(seconds))
            return Refusal(429, f"Too many wrong passwords; wait {wait} s.", (("retry-after", wait),))
        if given is not None and guesses.right(who, given):
            return None
        basic = 'Basic realm="underpaint studio", charset="UTF-8"'
        return Refusal(401, "This studio asks for its password.", (("www-authenticate", basic),))

    def _turn(self, scope: Scope, headers: dict[str, str], path: str, visitor: Visitor) -> Refusal | None:
        """Another address for what was asked: the prefix with its slash; the page itself, for who came as the owner."""
        if scope["type"] != "http" or scope["method"] != "GET":
            return None
        if self.root and path == self.root:
            query = scope["query_string"].decode("latin-1")
            return Refusal(308, "", (("location", f"{self.root}/{'?' * bool(query)}{query}"),))
        key = parse_qs(scope["query_string"].decode("latin-1")).get("owner", [""])[0] if path == "/" else ""
        owner = self.visitors.ownership(visitor, key) if key else None
        if owner is None:
            return None
        cookies = (self.visitors.cookie(visitor), owner)
        return Refusal(303, "", (("location", f"{self.root}/"), *(self._cookie(scope, *each) for each in cookies)))

    def _most(self, path: str) -> int:
        return ROOM + (self.rules.upload if path.startswith(UPLOAD) else 0)

    def _told(self, scope: Scope, visitor: Visitor) -> list[tuple[bytes, bytes]]:
        """The headers that pages see."""
        dropped = {name.encode() for name in DROPPED}
        named = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == FORWARDED.encode()]
        if not all(self.hosts.answers(value.partition(",")[0]) for value in named):
            dropped.add(FORWARDED.encode())
        kept = [(name, value) for name, value in scope["headers"] if name.lower() not in dropped]
        own = [(VISITOR.encode(), visitor.name.encode()), (OWNER.encode(), b"1")]
        return kept + own[: 1 + visitor.owner]

    def _cookie(self, scope: Scope, name: str, value: str) -> tuple[str, str]:
        secure = "; Secure" * (scope.get("scheme") == "https")
        path = self.root or "/"
        # Lax: whoever follows a link from a letter is no stranger, whose new cookie would take the place of their own.
        return "set-cookie", f"{name}={value}; Path={path}; HttpOnly; SameSite=Lax; Max-Age={YEAR}{secure}"

    def _sender(self, send: Send, scope: Scope, visitor: Visitor) -> Send:
        """Adds what every page is sent with."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                fresh = [self._cookie(scope, *self.visitors.cookie(visitor))] if visitor.fresh else []
                message["headers"] = [*message.get("headers", ()), *_bytes((*SENT, *fresh))]
            await send(message)

        return guarded


SENT = (
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
)


def _bytes(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers]


def _password(authorization: str) -> bytes | None:
    """What was given; None where nothing was."""
    kind, _, text = authorization.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(text, validate=True).partition(b":")[2]
    except (ValueError, binascii.Error):
        return b""


def _measured(receive: Receive, most: int) -> Receive:
    """Ends a body that does not say how long it is once it is too long: as if the visitor had gone."""
    taken = 0

    async def measured() -> Any:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b"")) if message["type"] == "http.request" else 0
        return message if taken <= most else {"type": "http.disconnect"}

    return measured


async def _answer(send: Send, scope: Scope, refusal: Refusal) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = _bytes((("content-type", "text/plain; charset=utf-8"), ("cache-control", "no-store"), *refusal.headers))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{refusal.text}\n".encode() if refusal.text else b""})
