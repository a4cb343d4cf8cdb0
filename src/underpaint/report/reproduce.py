"""Reproducing: the command, and the lines of Python, that make a folder's picture again.

They name the inputs that the folder keeps and are run in it, so that they work wherever it lies. Device and threads are
those of the run, because its last digits hang on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from underpaint import commands
from underpaint.explanation import ablating
from underpaint.explanation.shapley.sampled import PERMUTATIONS
from underpaint.networks import registry
from underpaint.recipe import said, to_toml
from underpaint.report.folder import Evidence

FLAGS = ("network", "preset", "optimizer", "seed", "strength", "statistic", "precision")
"""Fields of a recipe that all three commands have flags for; the rest goes into a recipe file."""

FLAGGED = {
    "stylize": {"content_mask": "--content-mask", "style_mask": "--style-mask", "protect": "--protect", "start": "--start"},
    "explain": {"protect": "--protect"},
    "ablate": {"protect": "--protect"},
}
"""Pictures besides content and style that each command takes."""

OUT = "again"
"""The new folder, in the old one."""


def command(e: Evidence) -> str:
    """The command, of one line where flags say all; else a recipe follows, which it reads from standard input. Empty where
    the command has no option for a picture that Python gave.

    Raises:
        UnderpaintError: the folder does not tell.
    """
    files, own = _files(e), _own(e)
    flags = FLAGGED[e.kind]
    more = {role: file for role, file in files.items() if role != "content" and not _is_style(role)}
    if not more.keys() <= flags.keys():
        return ""
    words: list[commands.Word] = [e.kind, files["content"], *(files[role] for role in files if _is_style(role))]
    words += ["--size", e.recipe.size]
    for name in FLAGS:
        if name in own:
            words += [f"--{name}", own.pop(name)]
    if "crop" in own:
        words.append("--crop" if own.pop("crop") else "--no-crop")
    for role, file in more.items():
        words += [flags[role], file]
        own.pop(role, None)  # `start = "file"`, which the flag says
    for name, value in _besides(e).items():
        words += [f"--{name}"] if value is True else [f"--{name}", ",".join(value) if isinstance(value, list) else value]
    words += ["--out", OUT]
    if not own:
        return commands.command(*words)
    return f"{commands.command(*words, '--recipe', '-')} <<'TOML'\n{to_toml(own)}TOML"


def python(e: Evidence) -> str:
    """The same in Python.

    Raises:
        UnderpaintError: the folder does not tell.
    """
    files, besides = _files(e), _besides(e)
    threads = besides.pop("threads")
    styles = [file for role, file in files.items() if _is_style(role)]
    arguments = [repr(files["content"]), repr(styles[0] if len(styles) == 1 else styles), f"size={e.recipe.size}"]
    own = {name: value for name, value in _own(e).items() if name not in files}  # `start = "file"`, which the picture says
    names = {"start": "start_from"}
    pictures = {names.get(role, role): file for role, file in files.items() if role != "content" and not _is_style(role)}
    if "sanity" in besides:
        besides["check_sanity"] = besides.pop("sanity")
    arguments += [f"{name}={value!r}" for name, value in (own | pictures | besides | {"out": OUT}).items()]
    inner = "".join(f"    {argument},\n" for argument in arguments)
    return f"import torch\nimport underpaint\n\ntorch.set_num_threads({threads})\nunderpaint.{e.kind}(\n{inner})"


def _is_style(role: str) -> bool:
    return role.startswith("style") and role[5:].isdigit()


def _files(e: Evidence) -> dict[str, str]:
    """The inputs by role, as the folder keeps them."""
    return {entry["role"]: entry["file"] for entry in e.facts["inputs"]}


def _own(e: Evidence) -> dict[str, Any]:
    """What the recipe says besides its size and its preset's numbers."""
    own = said(e.recipe).model_dump(mode="json", exclude_unset=True)
    if e.kind != "stylize" and own.get("precision") == "float32":  # what `auto` is there
        del own["precision"]
    return {name: value for name, value in own.items() if name != "size"}


def _besides(e: Evidence) -> dict[str, Any]:
    """What is asked for besides the recipe, by the name of its flag."""
    facts = e.facts
    found: dict[str, Any] = {"device": facts["environment"]["device"], "threads": facts["environment"]["threads"]}
    found |= _weights(facts)
    if e.kind == "explain":
        s = e.settings
        judge = ",".join((s.judge, *s.others))
        found |= {"seeds": s.seeds} if s.seeds > 1 else {}
        found |= {"sanity": True} if s.sanity else {}
        found |= {"permutations": s.permutations} if s.permutations not in (None, PERMUTATIONS) else {}
    elif e.kind == "ablate":
        judge = str(facts["judge"])
        found |= {} if list(e.configs) == ablating.default_configs(e.recipe) else {"configs": list(e.configs)}
    else:
        found |= {"deterministic": True} if facts["deterministic"] else {}
        found |= {"frames": facts["frames"]} if facts["frames"] else {}
        return found
    return found | ({} if judge == e.recipe.network else {"judge": judge})


def _weights(facts: Mapping[str, Any]) -> dict[str, str]:
    """A weights file that only `--weights` finds: by name, for it is not the folder's to keep."""
    last = facts["networks"][-1] if facts.get("networks") else None
    file = None if last is None else registry.file_of(last["name"])
    if last is None or file is None or last["weights"] in (file.filename, *file.aliases):
        return {}
    return {"weights": last["weights"]}
