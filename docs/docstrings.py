"""What the API's pages make of two habits of the docstrings, as an extension of griffe.

One line may describe several names (`a, b: both ends.`); griffe takes what follows the first space for a type, and
the type of the line before for one that is not there. And examples stand in the text without a heading; Markdown takes `>>>`
for a quotation.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

SEVERAL = re.compile(r"^( +\w+(?:, \w+)+)(?=: )", re.MULTILINE)
EXAMPLES = re.compile(r"(?:^>>> .*\n?)+", re.MULTILINE)
SKIP = re.compile(r" *# doctest: \+SKIP$", re.MULTILINE)


def tidy(text: str) -> str:
    """A docstring as griffe reads it right."""
    text = SEVERAL.sub(lambda names: names[0].rstrip().replace(", ", ",\N{NO-BREAK SPACE}") + " ()", text)
    return EXAMPLES.sub(lambda lines: "```pycon\n" + SKIP.sub("", lines[0]).rstrip() + "\n```\n", text)


class Docstrings(Extension):
    """Tidies every docstring once it is read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Of modules, classes, functions and attributes alike."""
        if obj.docstring is not None:
            obj.docstring.value = tidy(obj.docstring.value)
