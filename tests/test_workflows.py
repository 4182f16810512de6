"""The workflows: valid by the schema of their kind, nothing of an event in a shell, no right that is not needed.

And what CI installs beyond pip, with an apt-get that only writes down what it is asked.
"""

import os
import re
import shutil
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


def test_make_says_that_it_installs_before_it_is_silent_for_minutes():
    """As make itself would run it for a set-up that is out of date."""
    command = ["make", "--dry-run", "--what-if", "pyproject.toml", "install"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert 0 < printed.index("installing into .venv (some minutes the first time)") < printed.index("pip install")


def test_a_night_that_fails_or_ends_before_its_time_is_told():
    """A job that ran out of time is cancelled, which `failure()` does not see; no cache is written twice by a name."""
    (nightly,) = [path for path in WORKFLOWS if path.name == "nightly.yml"]
    tell = jobs(nightly)["tell"]
    keys = [step["with"]["key"] for step in steps(nightly) if "cache/" in step.get("uses", "")]

    assert "needs.guard.result != 'success'" in tell["if"]
    assert "!cancelled()" in tell["if"]
    assert len(keys) == 2
    assert all("run_attempt" in key for key in keys)


@pytest.fixture
def telling(tmp_path):
    """Run the step that opens an issue, with a gh that writes down what it is asked; return that and the text."""
    (nightly,) = [path for path in WORKFLOWS if path.name == "nightly.yml"]
    script = jobs(nightly)["tell"]["steps"][-1]["run"]
    (tmp_path / "gh").write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n[ "$2" = list ] && cat {tmp_path}/open\nexit 0\n'
    )
    (tmp_path / "gh").chmod(0o755)

    def run(*, number="", comment="", **codes):
        (tmp_path / "open").write_text(number)
        if comment:
            (tmp_path / "night" / "n1" / "nightly" / "night").mkdir(parents=True)
            (tmp_path / "night" / "n1" / "nightly" / "night" / "comment.md").write_text(comment)
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PAGE": "https://example.org/run", **codes}
        subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=tmp_path, env=environment, check=True)
        return (tmp_path / "asked").read_text(), (tmp_path / "body.md").read_text()

    return run


def test_a_loss_opens_one_issue_with_its_table(telling):
    """Or adds to the one that is open."""
    asked, body = telling(CODE="1", SAME="0", SPEED="0", comment="dearer by 25%")

    assert "issue create --title The night has failed" in asked
    assert "dearer by 25%" in body
    assert "https://example.org/run" in body
    asked, _ = telling(CODE="1", SAME="0", SPEED="0", number="7")
    assert asked.splitlines()[-1].startswith("issue comment 7")


@pytest.mark.parametrize("codes", [{"CODE": "2", "SAME": "2", "SPEED": "2"}, {"CODE": "", "SAME": "", "SPEED": ""}])
def test_a_night_without_a_verdict_is_not_told_as_a_loss(telling, codes):
    """Even where an older comment lies in the artifact; each part that could not be judged is named."""
    _, body = telling(**codes, comment="dearer by 25%")

    assert "dearer" not in body
    assert "could not be judged" in body
    assert "could not be told" in body


def test_ci_does_what_a_person_can_do():
    """The same targets in the same order in the workflow and in .ci/run; the workflow installs in a step of its own."""
    lines = re.findall(r"^make ([a-z -]+)", (ROOT / ".ci" / "run").read_text(), flags=re.MULTILINE)
    asked = [target for line in lines for target in line.split()]
    (ci,) = [path for path in WORKFLOWS if path.name == "ci.yml"]
    done = [match for step in steps(ci) for match in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))]

    assert [target for target in done if target != "install"] == asked
    assert asked == ["system-packages", "lint", "types", "docs", "sweep", "test"]


@pytest.fixture
def system_packages(tmp_path):
    """Run .ci/system-packages where there is no browser, and an apt-get that ends as it is told."""
    for name in ("bash", "env", "mktemp", "rm", "tail", "cat"):
        (tmp_path / name).symlink_to(shutil.which(name))

    def command(name, script):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)

    def run(*, user=0, apt="exit 0", browser=False):
        command("id", f"echo {user}")
        if browser:
            command("google-chrome", "exit 0")
        if apt is not None:
            command("apt-get", f'echo "$@" >> {tmp_path}/asked; {apt}')
        done = subprocess.run(
            [ROOT / ".ci" / "system-packages"], env={"PATH": str(tmp_path), "TMPDIR": str(tmp_path)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        asked = tmp_path / "asked"
        return done, asked.read_text().splitlines() if asked.exists() else []

    return run


def test_what_is_lacking_is_installed_after_the_lists_are_brought_up_to_date(system_packages):
    """On a bare machine the lists of packages are empty."""
    done, asked = system_packages()

    assert done.returncode == 0, done.stderr
    assert ["update" in asked[0], "install" in asked[1]] == [True, True]
    assert "chromium" in asked[1]


def test_a_browser_of_another_maker_will_do(system_packages):
    """As on GitHub's machines; nothing is asked of apt-get for it."""
    _, asked = system_packages(browser=True)

    assert not any("chromium" in line for line in asked)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"apt": None}, "there is no apt-get here"),
        ({"user": 1000}, "this user may not install them"),
        ({"apt": "echo E: Unable to locate package; exit 100"}, "apt-get failed"),
    ],
)
def test_what_cannot_be_installed_is_said_with_the_remedy(system_packages, settings, reason):
    """CI ends there instead of passing over the tests."""
    done, _ = system_packages(**settings)

    assert done.returncode == 2
    assert reason in done.stderr
    assert "as root: apt-get install chromium" in done.stderr
