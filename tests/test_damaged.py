"""Damaged files of a folder: whatever a decoder raises is one line that names the file."""

import json
import random
import shutil
from pathlib import Path

import pytest

from underpaint import ablating, explaining, records, sanity
from underpaint.errors import UnderpaintError
from underpaint.evidence import Evidence
from underpaint.run import read_facts, read_history

EXPLAINED = Path(__file__).parent / "kept/2026/explained"
SHUFFLED = b"shuffled,method,layer,value\nblocks 5-5,picture,,0.5\nblocks 5-5,shapley,relu1_1,0.25\n"
RUN = json.loads((EXPLAINED / "run.json").read_text())
ABLATED = {name: RUN[name] for name in ("recipe", "inputs", "networks", "environment")}
ABLATED |= {"judge": "compact", "configs": {"all": ["relu1_1", "relu3_1"]}}
MADE = {ablating.FILE: json.dumps(ABLATED).encode(), sanity.FILE: SHUFFLED}
"""What the folder lacks."""

READERS = {
    "run.json": read_facts,
    "history.csv": lambda folder: read_history(folder / "history.csv"),
    "coalitions.csv": lambda folder: Evidence(folder).table,
    sanity.FILE: lambda folder: sanity.summary(folder, {}),
    records.LEDGER: records.read_ledger,
    records.ATTRIBUTION: records.read_attributions,
    records.VALIDATION: records.read_validation,
    "spatial.npz": lambda folder: records.read_spatial(folder, ["relu1_1", "relu3_1"]),
    "explain.json": explaining.read_settings,
    ablating.FILE: ablating.read_facts,
}


def damaged(data, generator):
    """Cut off, with bits turned, with a piece of it elsewhere, or something else altogether."""
    way, place = generator.randrange(4), generator.randrange(max(len(data), 1))
    if way == 0:
        return data[:place]
    if way == 1:
        found = bytearray(data)
        for _ in range(generator.randrange(1, 9)):
            found[generator.randrange(len(found))] ^= 1 << generator.randrange(8)
        return bytes(found)
    if way == 2:
        return data[:place] + data[place // 2 :]
    return generator.choice([b"", b"[" * 100_000, b"\0" * 50, b"null", b"[[1]]", b"PK\x03\x04", b'"a\n', b"\xff\xfe"])


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_one_line_or_is_read(name, tmp_path):
    folder, generator = tmp_path / "it", random.Random(name)
    shutil.copytree(EXPLAINED, folder)
    path = folder / name
    whole = MADE.get(name) or path.read_bytes()
    path.write_bytes(whole)
    READERS[name](folder)
    said = []
    for _ in range(60):
        path.write_bytes(damaged(whole, generator))
        try:
            READERS[name](folder)
        except UnderpaintError as error:
            said.append(str(error))
    assert len(said) > 10
    assert all(name in each and "\n" not in each for each in said)
    path.unlink()
    if name != sanity.FILE:  # which need not be there
        with pytest.raises(UnderpaintError, match=name):
            READERS[name](folder)
