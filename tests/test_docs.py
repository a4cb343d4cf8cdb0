"""The documentation's site: it builds without a warning, every page is there, and none loads anything from another host."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="needs the docs extra")

ROOT = Path(__file__).resolve().parent.parent
LOADS = {"src", "srcset", "data", "poster", "background", "action", "formaction"}
ELSEWHERE = re.compile(r"^\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
IN_CSS = re.compile(r"""(?:url\(|@import)\s*["']?\s*(?:https?:)?//""", re.IGNORECASE)


class Loads(HTMLParser):
    """What a page makes the browser load, but for its styles, which are kept as text."""

    def __init__(self):
        super().__init__()
        self.addresses, self.styles, self.scripts, self._inside = [], [], [], None

    def handle_starttag(self, tag, attrs):
        self._inside = tag
        for name, value in attrs:
            if name == "style":
                self.styles.append(value)
            elif value and (name in LOADS or name.endswith(":href") or (name == "href" and tag not in ("a", "area"))):
                self.addresses.append(value)
            if name == "http-equiv":
                self.addresses.append(dict(attrs).get("content", "").partition("url=")[2])

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside == "style":
            self.styles.append(data)
        elif self._inside == "script":
            self.scripts.append(data)


def elsewhere(page):
    """The addresses on other hosts that a page loads."""
    loads = Loads()
    loads.feed(page)
    found = [a for a in loads.addresses if any(ELSEWHERE.match(part) for part in a.split(","))]
    return found + [s for s in loads.styles if IN_CSS.search(s)] + [s for s in loads.scripts if re.search(r"https?://", s)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built into a folder of its own as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    told = subprocess.run(command, cwd=ROOT, env=quiet, check=False, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path.name: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}


def test_every_page_of_the_docs_is_there_and_in_the_navigation(site, pages):
    written = {path.with_suffix(".html").name for path in (ROOT / "docs").glob("*.md")}
    assert set(pages) == written | {"404.html"}
    nav = {os.path.normpath(link) for link in re.findall(r'href="([^"]+)" class="md-nav__link', pages["stylize.html"])}
    assert written <= nav
    assert not list(site.rglob("*.py"))


def test_no_page_loads_anything_from_another_host(pages):
    assert {name: found for name, page in pages.items() if (found := elsewhere(page))} == {}


def test_no_style_sheet_loads_anything_from_another_host(site):
    sheets = list(site.rglob("*.css"))
    assert sheets
    assert not [sheet.name for sheet in sheets if IN_CSS.search(sheet.read_text(encoding="utf-8"))]


def test_nothing_asks_a_script_to_go_elsewhere(site, pages):
    """The theme's script would fetch mermaid and a repository's stars; no page has what makes it do so."""
    for page in pages.values():
        assert 'class="mermaid"' not in page
        assert 'data-md-component="source"' not in page
    assert "googletagmanager" not in str(pages)


@pytest.mark.parametrize(
    "loading",
    [
        '<script src="https://x.org/a.js"></script>',
        '<script src="//x.org/a.js"></script>',
        '<link rel="stylesheet" href="http://x.org/a.css">',
        '<img srcset="a.png 1x, https://x.org/b.png 2x">',
        "<style>@import 'https://x.org/a.css';</style>",
        '<p style="background: url(https://x.org/a.png)">',
        '<script>fetch("https://x.org")</script>',
    ],
)
def test_another_host_is_seen(loading):
    assert elsewhere(loading)
    assert not elsewhere(
        '<a href="https://x.org">x</a><img src="demo.jpg"><link rel="icon" href="a.png"><svg xmlns="http://w"/>'
    )


def test_the_readme_section_stands_on_the_benchmarks_page(pages):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| row_c \|.*\|$", readme, re.MULTILINE)
    assert rows
    for cell in rows[0].strip("| ").split(" | "):
        assert f"<td>{cell}</td>" in pages["benchmarks.html"]
    assert "../README.md" not in pages["benchmarks.html"]


def test_every_attribution_and_judge_is_explained():
    from underpaint.explanation import attribution
    from underpaint.quality import panel

    text = (ROOT / "docs/attributions.md").read_text(encoding="utf-8")
    source = Path(attribution.__file__).read_text(encoding="utf-8")
    methods = set(re.findall(r'(?:Attribution|_of_game)\(\s*"(\w+)"', source))
    assert len(methods) == 13
    assert [m for m in sorted(methods) if f"### {m}\n" not in text] == []
    assert [j for j in panel.SEES if f"`{j}`" not in text] == []


def test_the_public_interface_is_documented(pages):
    import underpaint

    missing = [name for name in underpaint.__all__ if f"::: underpaint.{name}\n" not in (ROOT / "docs/api.md").read_text()]
    assert missing == []
    for name in underpaint.__all__:
        assert re.search(rf'id="underpaint\.{name}"', pages["api.html"]), name
