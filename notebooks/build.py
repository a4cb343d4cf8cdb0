"""Makes NST_XAI.ipynb from notebooks/NST_XAI.py: `python notebooks/build.py [--size 256] [--preset standard] [--out FILE]`.

The text form is what is edited; the notebook is executed from top to bottom, so that its outputs are those of its cells.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import jupytext
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
TIMEOUT = 3600

REPOSITORY = ""
"""OWNER/NAME on GitHub, the one place that has it: with it the notebook begins with a badge that opens it in Colab, and
installs the package from there. Empty until there is such an address."""


def compose(repository: str = REPOSITORY) -> Any:
    """The notebook without outputs, as NST_XAI.py and the repository's address have it."""
    notebook = jupytext.read(HERE / "NST_XAI.py")
    if repository:
        page = f"https://colab.research.google.com/github/{repository}/blob/main/NST_XAI.ipynb"
        badge = f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({page})"
        notebook.cells.insert(0, jupytext.reads(f"# %% [markdown]\n# {badge}", fmt="py:percent").cells[0])
        for cell in notebook.cells:
            name, address = '"UNDERPAINT_REPOSITORY", "underpaint"', f"git+https://github.com/{repository}"
            cell.source = cell.source.replace(name, f'"UNDERPAINT_REPOSITORY", "{address}"')
    return notebook


def build(size: int, preset: str, out: Path) -> None:
    """Executes every cell in a folder of its own and writes the notebook with its outputs."""
    notebook = compose()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"UNDERPAINT_SIZE": str(size), "UNDERPAINT_PRESET": preset, "UNDERPAINT_OUT": "out/notebook"}
        NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        # Times would make every build another file, and what libraries warn of names this machine's folders.
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    out.write_text(jupytext.writes(notebook, fmt="ipynb"), encoding="utf-8")


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--out", type=Path, default=HERE.parent / "NST_XAI.ipynb")
    args = parser.parse_args()
    build(args.size, args.preset, args.out)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
