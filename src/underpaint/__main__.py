"""`python -m underpaint` is the command `underpaint`."""

from underpaint.cli import main

main()
