"""The command, in this process."""

import sys

import pytest

from underpaint import cli


@pytest.fixture
def run(monkeypatch, capsys):
    """Calls the command in this process; gives exit code, standard output and standard error."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["underpaint", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as exit_:
            code = exit_.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return call
