"""Fixtures that tests of several folders use."""

import os
import subprocess

import pytest


@pytest.fixture
def read_only():
    """A function that makes a folder one that cannot be written to, for as long as the test lasts."""
    mounted = []

    def make(folder):
        folder.chmod(0o555)
        if not os.access(folder, os.W_OK):
            return
        # The administrator may write anywhere but on a mount that forbids it.
        if subprocess.run(["mount", "--bind", folder, folder], capture_output=True, check=False).returncode:
            pytest.skip("no folder can be made read-only for this user")
        mounted.append(folder)
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], capture_output=True, check=True)

    yield make
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)
