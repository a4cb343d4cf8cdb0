"""Visitors: who somebody is, by a cookie that only this studio can have signed."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path
from typing import NamedTuple

from underpaint.errors import UnderpaintError
from underpaint.storage.files import PRIVATE, write_bytes

YEAR = 31_536_000
FILE = ".key"
"""Not `.secret`, which earlier versions told every page."""


class Visitor(NamedTuple):
    """Who asks.

    Attributes:
        name: random; jobs are counted by it, and only who has it may stop or remove them.
        owner: whether they may do everything.
        fresh: whether they have no cookie yet.
    """

    name: str
    owner: bool
    fresh: bool


def secret_of(runs: Path) -> str:
    """What cookies are signed with: the same after a restart, so that jobs stay their visitors'. It leaves the server for
    nobody, and nobody else on the machine may read it.

    Raises:
        UnderpaintError: it cannot be read, or is none.
    """
    path = runs / FILE
    try:
        if not path.exists():
            write_bytes(path, secrets.token_hex(16).encode(), PRIVATE)
        elif os.name == "posix" and path.stat().st_mode & 0o077:
            path.chmod(PRIVATE)
        found = path.read_bytes()
    except OSError as error:
        raise UnderpaintError(f"{path}: {error.strerror}; make it yours, or remove it") from None
    if not re.fullmatch(rb"[0-9a-f]{32}", found):
        raise UnderpaintError(f"{path}: is damaged; remove it (runs will be nobody's but the owner's)")
    return found.decode()


class Visitors:
    """Knows visitors by their cookies.

    Args:
        secret: from `secret_of`.
        owned: whether there is an owner, who comes by a link with `key` in it.

    Attributes:
        key: makes whoever comes with it the owner.
        told: what browsers' memory is encrypted with, the same after a restart, so that a page finds its job again. Gradio
            tells it every page.
    """

    def __init__(self, secret: str, owned: bool = False) -> None:
        self._secret, self.owned = secret.encode(), owned
        # Cookies know hosts and no ports: two studios of one host would take away each other's.
        self._cookie, self._owner = (f"underpaint_{what}_{self._mac('studio')[:8]}" for what in ("visitor", "owner"))
        self.key, self.told = self._mac("key")[:32], self._mac("told")[:32]

    def _mac(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def of(self, cookies: str) -> Visitor:
        """Who it is by a request's `Cookie`; somebody new where it has none that is ours."""
        given = dict(part.strip().partition("=")[::2] for part in cookies.split(";"))
        name, _, mac = given.get(self._cookie, "").partition(".")
        if not name or not _equal(mac, self._mac(f"visitor {name}")):
            return Visitor(secrets.token_urlsafe(16), False, True)
        return Visitor(name, self.owned and _equal(given.get(self._owner, ""), self._mac(f"owner {name}")), False)

    def cookie(self, visitor: Visitor) -> tuple[str, str]:
        """A visitor's cookie, name and value."""
        return self._cookie, f"{visitor.name}.{self._mac(f'visitor {visitor.name}')}"

    def ownership(self, visitor: Visitor, key: str) -> tuple[str, str] | None:
        """The cookie that makes a visitor the owner; None where there is no owner, or the key is another."""
        if not self.owned or not _equal(key, self.key):
            return None
        return self._owner, self._mac(f"owner {visitor.name}")


def _equal(given: str, wanted: str) -> bool:
    """In constant time."""
    return hmac.compare_digest(given.encode(errors="surrogateescape"), wanted.encode())
