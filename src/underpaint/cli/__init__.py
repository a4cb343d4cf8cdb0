"""The command line. It calls the package's public interface and shows what comes of it."""

from __future__ import annotations

import io
import sys
from importlib import import_module

import typer

from underpaint.cli.signals import as_ctrl_c
from underpaint.cli.terminal import app
from underpaint.commands import command
from underpaint.errors import UnderpaintError, printable
from underpaint.execution.cores import wait_passively

# The rooms' commands join the application as they are imported; help lists them in this order.
for _room in ("paint", "networks", "explain", "show"):
    import_module(f"underpaint.cli.{_room}")


def main() -> None:
    """The entry point: an error that the user can mend is one line and exit code 2."""
    wait_passively()
    as_ctrl_c()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names that are no text come out as the bytes that they are; what the terminal has no letter for, spelt out.
        unicode = sys.stdout.encoding.lower().replace("-", "").startswith("utf8")
        sys.stdout.reconfigure(errors="surrogateescape" if unicode else "backslashreplace")
    try:
        code = app(standalone_mode=False, prog_name="underpaint")
    except UnderpaintError as error:
        _end(str(error))
    except OSError as error:  # of the machine (a full disk, a folder that may not be looked into), not of this program
        _end(": ".join(str(part) for part in (error.filename, error.strerror or error) if part))
    except typer.TyperException as error:
        _end(*_misused(error))
    except (KeyboardInterrupt, typer.Abort):
        _end("stopped", 130)
    else:
        sys.exit(code)


def _misused(error: typer.TyperException) -> tuple[str, int]:
    """What the parser says of a command that it cannot read, in one line; without any command, the help."""
    context = getattr(error, "ctx", None)
    if context is None:
        return error.format_message(), error.exit_code
    if not sys.argv[1:]:
        print(context.get_help())
        sys.exit(error.exit_code)
    words = context.command_path.split()[1:]
    return f"{error.format_message().rstrip('.')}; see {command(*words, '--help')}", error.exit_code


def _end(message: str, code: int = 2) -> None:
    print(f"underpaint: {printable(' '.join(message.split(chr(10))))}", file=sys.stderr)
    sys.exit(code)
