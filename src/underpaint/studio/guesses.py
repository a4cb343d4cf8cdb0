"""Guesses at the password: who is wrong too often has to wait."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

FREE = 5
"""Wrong passwords that cost nothing."""

LONGEST = 60.0
"""Seconds: after each further one the wait doubles, from one second to this."""

FORGOTTEN = 3600.0
"""Seconds after which all is forgotten."""

KNOWN = 10_000
"""How many are remembered; then the one whose guess is the longest ago is forgotten."""


@dataclass
class _Guesser:
    wrong: int = 0
    last: bytes = b""
    when: float = 0.0
    until: float = 0.0


class Guesses:
    """Compares passwords, and remembers who was wrong.

    Args:
        password: the right one.
        clock: seconds.
    """

    def __init__(self, password: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._right, self._clock = hashlib.sha256(password.encode()).digest(), clock
        self._known: OrderedDict[str, _Guesser] = OrderedDict()

    def wait(self, who: str) -> float:
        """Seconds for which nothing that they say is listened to."""
        known = self._known.get(who)
        return 0.0 if known is None else max(0.0, known.until - self._clock())

    def right(self, who: str, given: bytes) -> bool:
        """Whether the password is right. Digests are compared: neither its length nor its beginning shows in the time.

        A wrong one that is said again is no new guess: a page that was left open says it twice a second.
        """
        digest, now = hashlib.sha256(given).digest(), self._clock()
        if hmac.compare_digest(digest, self._right):
            self._known.pop(who, None)
            return True
        known = self._known.get(who)
        if known is None or now - known.when > FORGOTTEN:
            known = _Guesser()
        if digest != known.last:
            known.wrong += 1
            if known.wrong >= FREE:
                known.until = now + min(LONGEST, 2.0 ** min(known.wrong - FREE, 16))
        known.last, known.when = digest, now
        self._known[who] = known
        self._known.move_to_end(who)
        while len(self._known) > KNOWN:
            self._known.popitem(last=False)
        return False


def address(client: tuple[str, int] | None) -> str:
    """Whom a guess counts against: an address, or the network of 64 bits that one household or server has in IPv6."""
    if client is None:
        return ""
    try:
        found = ipaddress.ip_address(client[0].partition("%")[0])
    except ValueError:
        return client[0]
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))
