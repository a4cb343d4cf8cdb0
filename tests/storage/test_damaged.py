"""Damaged and foreign folders: one line that names the file, or the same as before; never a traceback, never a wrong figure.

A seeded hundred of damages in each run; `UNDERPAINT_DAMAGE=1000 pytest tests/storage/test_damaged.py` tries as many.
"""

import csv
import io
import json
import os
import shutil
import zipfile
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

import underpaint
from underpaint.errors import UnderpaintError
from underpaint.explanation import ablating, explaining
from underpaint.paper import tables
from underpaint.report import methods, page
from underpaint.report.folder import Evidence
from underpaint.runs import checkpoint
from underpaint.runs.comparing import compare
from underpaint.runs.folder import read_checkpoint, read_facts
from underpaint.storage import documents, seals

KEPT = Path(__file__).parents[1] / "kept"
WEIGHTS = KEPT / "tiny.safetensors"
OPTIONS = underpaint.Options(weights=WEIGHTS, device="cpu")
FOLDERS = [path for kind in ("stopped", "explained", "ablated") for path in sorted(KEPT.glob(f"2*/{kind}"))]
EXAMPLES = int(os.environ.get("UNDERPAINT_DAMAGE", "100"))
PAGES = 1 if "UNDERPAINT_DAMAGE" in os.environ else 5
"""Every how many damages the page is built, which takes longest."""

PIECES = (
    *("facts", "recipe", "names", "inputs", "pastiche", "history", "players", "table"),
    *("configs", "settings", "attributions", "validation", "state", "ledger", "spatial"),
)
ODD = [None, True, -1, 0, 3.5, 10**9, 10**400, 1e300, float("nan"), float("inf"), "", "odd", "../../odd", "x" * 5000]
ODD += [[], {}, [[1]]]
SPOILT = ["", "nan", "-inf", "1e400", "1e200", "-3", "0.5", "odd", "../../odd.png", "9" * 5000, '"', "\u2603"]
WHOLE = [b"", b"[" * 100_000, b"\0" * 50, b"null", b"[[1]]", b"{}", b"PK\x03\x04", b'"a\n', b"\xff\xfe", b"\n" * 9]


def turned(data, path):
    """The bytes of a file with some of them cut off, turned, doubled, or with something else altogether in their place."""
    raw = path.read_bytes()
    ways = ["cut", "bits", "doubled", "other", "gone", "lines"]
    way = data.draw(st.sampled_from(ways if path.suffix == ".png" else [*ways, "file"]), "way")
    place = data.draw(st.integers(0, max(len(raw) - 1, 0)), "place")
    if way == "gone":
        path.unlink()
        return
    if way == "cut":
        raw = raw[:place]
    elif way == "bits":
        found = bytearray(raw)
        for spot, bit in data.draw(
            st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 7)), min_size=1, max_size=8)
        ):
            found[spot] ^= 1 << bit
        raw = bytes(found)
    elif way == "doubled":
        raw = raw[:place] + raw[place // 2 :]
    elif way == "lines":
        raw = raw[: raw.rfind(b"\n", 0, place) + 1]
    elif way == "other":
        raw = data.draw(st.sampled_from(WHOLE))
    else:
        others = sorted(each for each in path.parent.iterdir() if each.is_file() and each != path)
        raw = data.draw(st.sampled_from(others)).read_bytes() if others else b""
    path.write_bytes(raw)


def inner(value, data):
    """A container somewhere in JSON, and a key of it."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = data.draw(st.sampled_from(keys), "key")
        if not (isinstance(value[key], dict | list) and value[key] and data.draw(st.booleans(), "deeper")):
            return value, key
        value = value[key]


def odd_json(data, path):
    """A field that is missing, is another, or one more."""
    found = json.loads(path.read_text())
    stale = found.pop(seals.SUM, None)
    container, key = inner(found, data)
    way, value = data.draw(st.sampled_from(["missing", "other", "more"]), "way"), data.draw(st.sampled_from(ODD), "value")
    if way == "missing":
        del container[key]
    elif way == "other":
        container[key] = value
    elif isinstance(container, dict):
        container["more"] = value
    else:
        container.append(value)
    if stale is None or data.draw(st.booleans(), "sealed"):
        with suppress(ValueError):
            stale = seals.sum_of(documents.parsed(json.dumps(found)))
    path.write_text(json.dumps(found | ({} if stale is None else {seals.SUM: stale})))


def odd_rows(data, path):
    """A column that is missing or one more, a row twice or not at all, or a cell with something else."""
    with suppress(ValueError):
        header, *rows = documents.rows_of(path.read_text())
        way = data.draw(st.sampled_from(["column", "more", "twice", "without", "cell"]), "way")
        place = data.draw(st.integers(0, len(header) - 1), "column")
        row = data.draw(st.integers(0, len(rows) - 1), "row") if rows else 0
        if way == "column":
            header, *rows = [each[:place] + each[place + 1 :] for each in (header, *rows)]
        elif way == "more":
            header, rows = [*header, "more"], [[*each, "1"] for each in rows]
        elif way == "twice":
            rows.insert(row, rows[row])
        elif way == "without":
            del rows[row]
        else:
            rows[row] = list(rows[row])
            rows[row][place] = data.draw(st.sampled_from(SPOILT), "cell")
        if data.draw(st.booleans(), "sealed"):
            path.write_text(documents.rows_text(header, rows))
        else:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([header, *rows])
            path.write_text(text.getvalue())


def odd_array(data, array):
    """Of another shape, another type, or with what is no figure."""
    way = data.draw(st.sampled_from(["flat", "half", "nan", "text", "huge", "empty", "whole"]), "way")
    if way == "flat":
        return array.reshape(-1)
    if way == "half":
        return array[: len(array) // 2] if array.ndim else array
    if way == "nan":
        return np.full(array.shape, np.nan, np.float32)
    if way == "text":
        return np.full(array.shape, "odd")
    if way == "huge":
        return (
            np.full(array.shape, 2**31 - 1, array.dtype)
            if array.dtype.kind == "i"
            else np.full(array.shape, 1e38, np.float32)
        )
    return (
        np.zeros((0, *array.shape[1:]), array.dtype) if way == "empty" or array.dtype.kind == "U" else array.astype(np.int64)
    )


def odd_arrays(data, path):
    """An .npz with an array that is missing, odd, or holds an object."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    name = data.draw(st.sampled_from(sorted(arrays)), "array")
    if data.draw(st.booleans(), "missing"):
        del arrays[name]
    else:
        arrays[name] = odd_array(data, arrays[name])
    np.savez_compressed(path, **arrays)
    if data.draw(st.integers(0, 5), "object") == 0:
        with zipfile.ZipFile(path, "a") as archive:
            buffer = io.BytesIO()
            np.save(buffer, np.array([{}], dtype=object))
            archive.writestr("more.npy", buffer.getvalue())


def odd_checkpoint(data, path):
    """A checkpoint of an older format, which has no sum, with a tensor or a number that is missing or odd."""
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    metadata |= {"format": checkpoint.OLDER[-1]}
    if data.draw(st.booleans(), "numbers"):
        numbers = json.loads(metadata["state"])
        container, key = inner(numbers, data)
        if data.draw(st.booleans(), "missing"):
            del container[key]
        else:
            container[key] = data.draw(st.sampled_from(ODD), "value")
        metadata["state"] = json.dumps(numbers)
    elif data.draw(st.booleans(), "metadata"):
        key = data.draw(st.sampled_from(sorted(metadata)), "key")
        metadata[key] = data.draw(st.sampled_from(["", "null", "odd", "nan", "[]", "1e400"]), "value")
    else:
        name = data.draw(st.sampled_from(sorted(name for name in tensors if not name.startswith(checkpoint.WATCH))), "tensor")
        if data.draw(st.booleans(), "missing"):
            del tensors[name]
        else:
            odd = odd_array(data, tensors[name].numpy())
            tensors[name] = torch.zeros(3) if odd.dtype.kind == "U" else torch.from_numpy(np.ascontiguousarray(odd))
    save_file(tensors, path, metadata)


FOREIGN = {".json": odd_json, ".csv": odd_rows, ".npz": odd_arrays, ".safetensors": odd_checkpoint}
"""Files that somebody else made: where they are sealed they are sealed as they are."""


def same(a, b):
    if is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a) if f.name != "path")
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return a == b


def shown(folder, name):
    """A piece of the folder's evidence, of a table its rows."""
    found = getattr(Evidence(folder), name)
    return found.rows if name == "table" else found


@cache
def known(kept):
    """What the undamaged folder's pieces are."""
    found = {}
    for name in PIECES:
        with suppress(UnderpaintError):
            found[name] = shown(kept, name)
    return found


def quietly(work, said):
    """What comes of it; None for an error in a line that leaves something to do."""
    try:
        return work()
    except UnderpaintError as error:
        said.append(str(error))
        return None


def entries(folder):
    """All ways into a folder that read it."""
    yield lambda: underpaint.Run.load(folder).losses
    yield lambda: underpaint.resume(folder, OPTIONS)
    yield lambda: underpaint.carry_on(folder, 40, out=folder.parent / "carried", options=OPTIONS)
    yield lambda: explaining.resume(folder, OPTIONS)
    yield lambda: ablating.resume(folder, OPTIONS)
    yield lambda: told_of(underpaint.Explanation.load(folder))
    yield lambda: compare([folder], weights=WEIGHTS, device="cpu")
    yield lambda: list(tables.make(Evidence(folder), []))
    yield lambda: list(methods.make(Evidence(folder), []))
    yield lambda: read_checkpoint(folder, read_facts(folder), torch.device("cpu"))


def told_of(found):
    region = np.ones(found.run.pastiche.shape[:2], bool)
    return found.shapley, found.state, found.verdict, found.acted_in(region), found.origin(found.players[0], region)


@pytest.mark.timeout(7200)
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(data=st.data())
def test_a_damaged_folder_is_never_a_traceback_and_never_a_wrong_figure(data, tmp_path_factory):
    kept = data.draw(st.sampled_from(FOLDERS), "folder")
    folder = Path(shutil.copytree(kept, tmp_path_factory.mktemp("damaged") / kept.name))
    try:
        path = data.draw(st.sampled_from(sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".md")), "file")
        foreign = path.suffix in FOREIGN and path.parent == folder and data.draw(st.booleans(), "foreign")
        (FOREIGN[path.suffix] if foreign else turned)(data, path)
        event("foreign" if foreign else "damaged")
        said = []
        for name in PIECES:
            found = quietly(lambda name=name: shown(folder, name), said)
            if found is not None and not foreign and kept.parent.name != "2026":  # whose files were not sealed
                before = known(kept).get(name)
                near = name == "pastiche" and abs(found - before).max() < 0.51 / 255  # of pastiche.png, not of the checkpoint
                assert near or same(found, before), f"{name} is wrong"
        for entry in entries(folder):
            quietly(entry, said)
        if data.draw(st.integers(1, PAGES), "page") == 1:
            quietly(lambda: page.build(folder, WEIGHTS), said)
        assert not [each for each in said if "\n" in each or len(each) > 1000]
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)


def test_an_undamaged_folder_gives_all_that_it_has():
    """What the other test compares with, and that it compares."""
    for kept in FOLDERS:
        has = {
            "explained": set(PIECES),
            "ablated": {"facts", "table", "pastiche"},
            "stopped": {"facts", "history", "pastiche"},
        }
        assert set(known(kept)) >= has[kept.name]
    assert not same(known(FOLDERS[-1])["table"], known(FOLDERS[0] / "../explained")["table"])


@pytest.mark.parametrize("name", ["run.json", "history.csv", "attribution.csv", "coalitions.csv", "validation.json"])
def test_every_single_bit_of_a_sealed_file_counts(name, tmp_path):
    """All 8 bits of each of 200 bytes all over the file: an error, or nothing that is read is another."""
    kept = KEPT / "202611/explained"
    folder = Path(shutil.copytree(kept, tmp_path / "it"))
    raw, seen = (folder / name).read_bytes(), 0
    piece = {"run.json": "facts", "history.csv": "history", "coalitions.csv": "table"}.get(name, name.partition(".")[0])
    piece = "attributions" if piece == "attribution" else piece
    for place in range(0, len(raw), max(len(raw) // 200, 1)):
        found = bytearray(raw)
        found[place] ^= 1 << place % 8
        (folder / name).write_bytes(found)
        said = []
        shows = quietly(lambda: shown(folder, piece), said)
        assert all(name in each for each in said) if said else same(shows, known(kept)[piece])
        seen += len(said)
    assert seen > 150


def test_a_folder_points_to_nothing_outside(tmp_path):
    folder = Path(shutil.copytree(KEPT / "202611/explained", tmp_path / "it"))
    shutil.copy(folder / "inputs/content.png", tmp_path / "content.png")
    facts = json.loads((folder / "run.json").read_text())
    facts["inputs"][0]["file"] = "../content.png"
    documents.write_json(folder / "run.json", facts)
    with pytest.raises(UnderpaintError, match=r"inputs\.0\.file"):
        underpaint.Run.load(folder)
    shutil.copy(KEPT / "202611/explained/run.json", folder)
    table = (folder / "coalitions.csv").read_text()
    rows = [each.split(",")[:-1] for each in table.splitlines()]
    rows[1][-1] = "coalitions/../../content.png"
    documents.write_rows(folder / "coalitions.csv", rows[0], rows[1:])
    with pytest.raises(UnderpaintError, match="is no coalition's picture"):
        _ = Evidence(folder).table
