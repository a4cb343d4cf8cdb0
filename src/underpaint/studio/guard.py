"""The guard before every page: who may come in, from where, and what a page may load."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "underpaint_visitor"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

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


def bare(host: str) -> str:
    """A host without its port, as `Host` spells it."""
    return host.rsplit(":", 1)[0] if ":" in host and not host.endswith("]") else host


class Guard:
    """Wraps an ASGI application.

    - `Host` must be one that the studio answers to: a foreign name that resolves to this machine (DNS rebinding) gets 403.
    - What changes anything must come from the studio's own pages: another `Origin`, or none with a foreign
      `Sec-Fetch-Site`, gets 403.
    - With a password, every request needs it (HTTP Basic, any user name), compared in constant time.
    - Every visitor gets a random cookie, by which jobs are counted.

    Args:
        app: what is guarded.
        hosts: names without ports, besides the loopback's; "*" for any, which only makes sense with a password.
        password: None where none is needed.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = (), password: str | None = None) -> None:
        self.app, self.password = app, password
        self.hosts = {host.lower() for host in (*LOOPBACK, *hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send, scope, *refusal)
            return
        visitor = visitor_of(headers.get("cookie", ""))
        fresh = None if visitor else secrets.token_urlsafe(16)
        if fresh:
            scope["headers"] = [*scope["headers"], (b"x-underpaint-visitor", fresh.encode())]

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_headers(fresh)]
            await send(message)

        await self.app(scope, receive, guarded)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Status and words for what is not let in."""
        host = headers.get("host", "")
        if "*" not in self.hosts and bare(host).lower() not in self.hosts:
            return 403, "This studio does not answer to that host name; start it with --host-name NAME.\n"
        if not self._own(scope, headers, host):
            return 403, "Only the studio's own pages may do that.\n"
        if self.password is not None and not self._knows(headers.get("authorization", "")):
            return 401, "This studio asks for its password.\n"
        return None

    @staticmethod
    def _own(scope: Scope, headers: dict[str, str], host: str) -> bool:
        """Whether a request that may change something comes from a page of ours (or from no page at all)."""
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            return True
        origin = headers.get("origin")
        if origin is not None:
            return urlsplit(origin).netloc.lower() == host.lower()
        return headers.get("sec-fetch-site", "none") in ("same-origin", "none")

    def _knows(self, authorization: str) -> bool:
        kind, _, text = authorization.partition(" ")
        try:
            given = base64.b64decode(text, validate=True).partition(b":")[2] if kind.lower() == "basic" else b""
        except (ValueError, binascii.Error):
            return False
        return hmac.compare_digest(given, (self.password or "").encode())


def visitor_of(cookies: str) -> str:
    """Who it is, by a request's cookies; empty for someone new."""
    try:
        found = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return ""
    return found.value[:64] if found else ""


def _headers(fresh: str | None) -> list[tuple[bytes, bytes]]:
    named = {
        "content-security-policy": POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
    }
    if fresh:
        named["set-cookie"] = f"{COOKIE}={fresh}; Path=/; HttpOnly; SameSite=Strict; Max-Age=31536000"
    return [(name.encode(), value.encode()) for name, value in named.items()]


async def _answer(send: Send, scope: Scope, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="underpaint studio", charset="UTF-8"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
