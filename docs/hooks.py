"""What mkdocs does to a page's text: a section of the README stands where benchmarks.md links to it.

So a number is kept in one file, and both the repository's pages and the site show it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

HERE = re.compile(r'^\[README\.md, "(?P<title>[^"\n]+)"\]\(\.\./README\.md#[^)\n]*\)<!--[^>]*-->$', re.MULTILINE)


def section(text: str, title: str) -> str:
    """A second-level section of a Markdown text, heading included."""
    found = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise LookupError(f"README.md has no section {title!r}")
    return found[0].rstrip() + "\n"


def on_page_markdown(markdown: str, config: Any, **_: Any) -> str:
    """Puts the README's sections in, their links seen from docs/."""
    readme = Path(config.config_file_path).parent / "README.md"

    def put(link: re.Match[str]) -> str:
        return section(readme.read_text(encoding="utf-8"), link["title"]).replace("](docs/", "](")

    return HERE.sub(put, markdown)
