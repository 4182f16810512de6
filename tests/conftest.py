"""What holds for every test: one thread, and in CI nothing is skipped.

In CI a test that lacks what it needs fails, so that nothing passes there which was never run. Elsewhere it is skipped:
a person may have no browser, no PostgreSQL, and no copy of a data set.
"""

import os

import pytest

# Before numpy and torch are imported. Small operations on two threads took twice the processor time of one (measured on
# two cores), and a result would hang on which test ran before.
os.environ.setdefault("OMP_NUM_THREADS", "1")


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
