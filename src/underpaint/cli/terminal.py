"""The terminal: the application that commands join, and where it speaks. Standard output is for what was asked for alone."""

from __future__ import annotations

import typer
from rich.console import Console

app = typer.Typer(
    name="underpaint",
    help="Neural style transfer that explains itself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(stderr=True)
