"""Hosts: by which names and ports a studio may be called, and from whose pages."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from underpaint.errors import UnderpaintError

PORTS = {"http": 80, "https": 443}
ANY = "*"


class Host(NamedTuple):
    """A name or an address as browsers spell it (IPv6 in brackets), and a port where one is told."""

    name: str
    port: int | None


LOOPBACK = (Host("127.0.0.1", None), Host("localhost", None), Host("[::1]", None))


def parse(text: str) -> Host | None:
    """`name`, `name:8080`, `[::1]`, `[::1]:8080`; None of anything else."""
    found = re.fullmatch(r"(\[[0-9a-f:.]+(?:%[\w.~%-]+)?\]|[\w.-]+)(?::([0-9]{1,5}))?", text.strip().lower(), re.ASCII)
    if found is None:
        return None
    name, port = found[1].rstrip("."), int(found[2]) if found[2] else None
    if name.startswith("["):
        try:
            name = f"[{ipaddress.IPv6Address(name[1:-1].partition('%')[0])}]"  # one spelling of many
        except ValueError:
            return None
    return None if not name or (port or 0) > 65535 else Host(name, port)


def spelt(address: str) -> str:
    """An address as an URL has it."""
    return f"[{address}]" if ":" in address and not address.startswith("[") else address


class Hosts:
    """The names that a studio answers to, besides the loopback's.

    Args:
        names: each as `Host` has it, or a bare IPv6 address; with commas between several. "*" is any, which only makes sense
            with a password. A port that is told is the one that browsers use, where a proxy listens on another.

    Raises:
        UnderpaintError: one is no host.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        words = [word.strip() for name in names for word in name.split(",") if word.strip()]
        self._any = ANY in words
        self._told = {*LOOPBACK}
        for word in words:
            host = parse(word) or parse(spelt(word.partition("%")[0]))
            if host is None and word != ANY:
                raise UnderpaintError(
                    f"--host-name {word}: is no host; name it as studio.example.org or [::1], without http://"
                )
            if host is not None:
                self._told.add(host)
        self._names = {host.name for host in self._told}

    def answers(self, header: str) -> bool:
        """Whether it may be called so, by a request's `Host`."""
        host = parse(header)
        return host is not None and (self._any or host.name in self._names)

    def same(self, origin: str, header: str) -> bool:
        """Whether a page of that `Origin` is one of those that this `Host` serves."""
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        page, host, usual = parse(parts.netloc), parse(header), PORTS.get(parts.scheme)
        if page is None or host is None or usual is None or page.name != host.name:
            return False
        if (page.port or usual) == (host.port or usual):
            return True
        return host.port is None and page in self._told  # a proxy that passes the name on and not the port
