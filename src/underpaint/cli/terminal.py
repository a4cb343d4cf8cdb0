"""The terminal: the application that commands join, and where it speaks.

Standard output is for what was asked for, standard error for everything else. What is said is never markup, whatever file
names and messages hold, and never wrapped: what is copied from a terminal is what was said.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from underpaint.errors import printable

# Without Typer's markup, help is shown as it is written: square brackets too.
app = typer.Typer(
    name="underpaint",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console(stderr=True, markup=False, emoji=False, highlight=False)


def note(text: str) -> None:
    """Says something besides the result, on standard error."""
    console.print("\n".join(printable(line) for line in text.split("\n")), soft_wrap=True)


def answer(text: str) -> None:
    """Says what was asked for, on standard output: a line stays a line."""
    print(text)


def version(asked: bool) -> None:
    """Of --version."""
    if asked:
        from underpaint import __version__

        answer(f"underpaint {__version__}")
        raise typer.Exit


@app.callback()
def _every(
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=version, is_eager=True)
    ] = False,
) -> None:
    """Neural style transfer that explains itself."""
