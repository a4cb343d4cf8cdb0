"""The house: which room may know which (import-linter, pyproject.toml), and that each says what it is for."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import underpaint

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(underpaint.__file__).parent


def test_each_room_imports_from_those_below_it_alone():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    told = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout
    assert "0 broken" in told.stdout


def test_each_room_says_what_it_is_for_in_the_docs_too_and_no_module_lies_loose():
    rooms = [path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE]
    for room in rooms:
        doc = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
        assert doc, room
    page = (ROOT / "docs/house.md").read_text(encoding="utf-8")
    told = {room.replace(".", "/") for room in re.findall(r"^\| `([a-z.]+)` \|", page, re.MULTILINE)}
    assert told == {str(room.relative_to(PACKAGE)) for room in rooms} - {"samples"}
    loose = {path.stem for path in PACKAGE.glob("*.py")}
    assert loose == {"__init__", "__main__", "captions", "commands", "errors", "extensions", "recipe"}
