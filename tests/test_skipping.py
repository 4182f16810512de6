"""What a test lacks: a skip on a person's machine, a failure in CI."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = '''
import pytest

@pytest.fixture(scope="session")
def browser():
    pytest.skip("no browser")

def test_with_a_browser(browser):
    """Its fixture skips."""

def test_that_skips_itself():
    pytest.skip("no data")

@pytest.mark.skipif(True, reason="no machine")
def test_that_is_marked():
    """Its mark skips."""

@pytest.mark.optional
@pytest.mark.skipif(True, reason="not part of the repository")
def test_that_may_be_skipped():
    """Anywhere."""

@pytest.mark.xfail(reason="known")
def test_that_is_known_to_fail():
    assert False

def test_that_passes():
    """As ever."""
'''


def outcome(folder, **variables):
    """Run those tests under this repository's rule; return code and what was said."""
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    (folder / "test_these.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n  optional: may be skipped\n")
    command = [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", str(folder)]
    inherited = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**inherited, **variables}
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("value", ["", "false", "0"])
def test_a_person_without_a_browser_sees_skips(tmp_path, value):
    """As does one who says that this is no CI."""
    code, said = outcome(tmp_path, CI=value)

    assert code == 0, said
    assert "1 passed, 4 skipped, 1 xfailed" in said


def test_in_ci_what_is_lacking_is_a_failure_with_its_reason(tmp_path):
    """Whether a fixture, the test or a mark skips; what is marked as optional may be skipped there too."""
    code, said = outcome(tmp_path, CI="true")

    assert code == 1, said
    assert "1 failed, 1 passed, 1 skipped, 1 xfailed, 2 errors" in said
    for reason in ("no browser", "no data", "no machine"):
        assert f"{reason} (in CI nothing is skipped" in said
