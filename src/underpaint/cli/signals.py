"""Signals: SIGTERM and SIGHUP end a command as Ctrl-C does, which keeps what there is."""

from __future__ import annotations

import signal

NAMES = ("SIGTERM", "SIGHUP")


def as_ctrl_c() -> None:
    """From now on they interrupt. One that is ignored stays so (nohup), and what a system lacks is left out (Windows)."""
    for number in _numbers():
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(*_: object) -> None:
    # Once: a terminal that goes away, or a machine that shuts down, sends several, and the keeping takes a moment.
    for number in _numbers():
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _numbers() -> list[int]:
    return [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
