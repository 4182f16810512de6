"""The command line, for the tests of every command."""

import sys
from dataclasses import dataclass

import pytest

from experiments.cli import main


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def ninthpower(monkeypatch, capsys, tmp_path):
    """Run the command line as a person does in a folder, in this process so that imports are paid once.

    No command shows a traceback but where the test says so.
    """

    def run(*arguments, traceback=False):
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("NINTHPOWER_DEBUG", raising=False)
        monkeypatch.setattr(sys, "argv", ["ninthpower", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as ending:
            code = ending.code or 0
        written = capsys.readouterr()
        assert ("Traceback (most recent call last)" in written.err) == traceback, written.err
        return Done(code, written.out, written.err)

    return run
