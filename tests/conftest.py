"""What holds for every test: one thread, and in CI nothing is skipped.

In CI a test that lacks what it needs fails, so that nothing passes there which was never run. Elsewhere it is skipped:
a person may have no browser, no PostgreSQL, and no copy of a data set.
"""

import os
import subprocess

import pytest
from hypothesis import settings

# Before numpy and torch are imported. Small operations on two threads took twice the processor time of one (measured on
# two cores), and a result would hang on which test ran before.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# An example that takes long on a busy machine is no fault of the code.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Turn a skip into a failure where the variable CI is set, but for tests marked as optional."""
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if skipped and in_ci() and item.get_closest_marker("optional") is None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{reason} (in CI nothing is skipped: make system-packages installs what tests need)"
    return report


def in_ci():
    """Whether this is a run of CI: GitHub, GitLab and .ci/run set the variable."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


@pytest.fixture
def read_only(request):
    """A function that makes a folder one that cannot be written to, for as long as the test lasts."""
    mounted = []

    def make(folder):
        folder.chmod(0o555)
        if not os.access(folder, os.W_OK):
            return
        # The administrator may write anywhere but on a mount that forbids it.
        if subprocess.run(["mount", "--bind", folder, folder], capture_output=True, check=False).returncode:
            request.applymarker(pytest.mark.optional)
            pytest.skip("no folder can be made read-only for this user")
        mounted.append(folder)
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], capture_output=True, check=True)

    yield make
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)
