"""The workflows: valid by the schema of their kind, nothing of an event in a shell, no right that is not needed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def jobs(path):
    """Jobs of a workflow by name."""
    return yaml.safe_load(path.read_text())["jobs"]


def steps(path):
    """All steps of a workflow."""
    return [step for job in jobs(path).values() for step in job["steps"]]


def test_there_are_workflows():
    """The tests below would pass over an empty folder."""
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "nightly.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_they_are_valid(path):
    """By the schema that ships with check-jsonschema."""
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed: pip install '.[dev]'")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_expression_enters_a_shell(path):
    """A branch's name or an issue's title would be a command there; values come through the environment."""
    assert not [step["run"] for step in steps(path) if "${{" in step.get("run", "")]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_rights_are_the_least(path):
    """Reading by default; who may write runs nothing of the repository, and may write issues alone."""
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}
    for job in jobs(path).values():
        if "permissions" in job:
            assert job["permissions"] == {"issues": "write"}
            assert not any("checkout" in step.get("uses", "") for step in job["steps"])
    for step in steps(path):
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_what_runs_is_what_make_runs(path):
    """Every target that is named exists."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {match for step in steps(path) for match in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))}

    assert named
    assert named <= targets
