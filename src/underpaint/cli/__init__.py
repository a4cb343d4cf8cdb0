"""The command line. It calls the package's public interface and shows what comes of it."""

from __future__ import annotations

import sys
from importlib import import_module

from underpaint.cli.terminal import app
from underpaint.cores import wait_passively
from underpaint.errors import UnderpaintError

# The rooms' commands join the application as they are imported; help lists them in this order.
for _room in ("paint", "explain", "show"):
    import_module(f"underpaint.cli.{_room}")


def main() -> None:
    """The entry point: an error that the user can mend is one line and exit code 2."""
    wait_passively()
    try:
        app()
    except UnderpaintError as error:
        print(f"underpaint: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("underpaint: stopped", file=sys.stderr)
        sys.exit(130)
