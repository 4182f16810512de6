"""One driver at a time on a folder."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from cluster.lock import FolderInUseError, hold_folder

HOLD = (
    "import sys, time; from pathlib import Path; from cluster.lock import hold_folder\n"
    "with hold_folder(Path(sys.argv[1])):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(float(sys.argv[2]))\n"
)


@pytest.fixture
def holder(tmp_path):
    """Start another process that holds the folder for a time."""
    started = []

    def start(seconds):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path), str(seconds)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_second_driver_is_told_who_holds_the_folder(tmp_path, holder):
    """Host and process id are in the message."""
    process = holder(60)

    with (
        pytest.raises(FolderInUseError, match=f"process {process.pid} on {socket.gethostname()}"),
        hold_folder(tmp_path),
    ):
        pass


def test_a_killed_driver_holds_nothing(tmp_path, holder):
    """The operating system frees the lock; nothing has to be cleaned up by hand."""
    process = holder(60)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    with hold_folder(tmp_path):
        pass


def test_a_driver_that_waits_comes_in_when_the_other_ends(tmp_path, holder):
    """Waiting ends with the holder, not with the time allowed."""
    holder(0.3)
    began = time.monotonic()

    with hold_folder(tmp_path, wait_seconds=60):
        assert time.monotonic() - began < 30


def test_the_folder_is_free_again_after_use(tmp_path):
    """Also within one process, and after an error."""
    with pytest.raises(KeyError), hold_folder(tmp_path / "new"):
        raise KeyError("x")
    with hold_folder(tmp_path / "new"):
        pass
