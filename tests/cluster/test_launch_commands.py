"""The background services of the launch files, started by their own commands as `ray up` runs them: in a terminal."""

import os
import pty
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

ROOT = Path(__file__).parents[2]
LAUNCHERS = pytest.mark.parametrize("path", ["ray-cluster.yaml", "deploy/gcp-cluster.yaml"])
# Stands in for a program: notes its arguments and its process, and stays.
STUB = """#!/bin/sh
echo "$0 $*" >> "$HOME/calls"
echo $$ >> "$HOME/pids"
exec sleep 300
"""


@pytest.fixture
def home(tmp_path):
    """A home folder whose `mlflow` and `python` do nothing but stay."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("mlflow", "python"):
        (programs / name).write_text(STUB)
        (programs / name).chmod(stat.S_IRWXU)
    yield tmp_path
    for line in lines(tmp_path / "pids"):
        if psutil.pid_exists(int(line)):
            os.kill(int(line), signal.SIGKILL)


def lines(path):
    """Lines of a file, none if it is not there."""
    return path.read_text().splitlines() if path.exists() else []


def in_a_terminal(command, home):
    """Run a command as Ray does on a machine: an interactive login shell in a terminal that is closed after it."""
    environment = {**os.environ, "HOME": str(home), "PATH": f"{home / 'bin'}:{os.environ['PATH']}"}
    wrapped = f"export OMP_NUM_THREADS=1 && ({command})"
    main, terminal = pty.openpty()
    script = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY); os.execvp(sys.argv[1], sys.argv[1:])"
    try:
        subprocess.run(
            [sys.executable, "-c", script, "bash", "-c", "-i", wrapped],
            stdin=terminal, stdout=terminal, stderr=terminal, env=environment, check=True, timeout=60,
            start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(terminal)
        os.close(main)


def the_command(path, key, words):
    """The one command of a list that holds certain words."""
    (found,) = [command for command in yaml.safe_load((ROOT / path).read_text())[key] if words in command]
    return found


def wait_for_calls(home, count):
    """Wait until so many programs have been called, then a moment for those that are too many."""
    deadline = time.monotonic() + 30
    while len(lines(home / "calls")) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    return lines(home / "calls")


@LAUNCHERS
def test_mlflow_is_started_once_and_outlives_the_terminal(home, path):
    """Called twice, as by a second `ray up`: one server, which still runs when the terminals are gone."""
    command = the_command(path, "head_start_ray_commands", "mlflow server")
    (home / ".ninthpower-storage").write_text("s3://bucket/ninthpower\n")
    for _ in range(2):
        in_a_terminal(command, home)
        calls = wait_for_calls(home, 1)

    (call,) = calls
    assert "server --host 127.0.0.1 --port 5000" in call
    assert call.endswith("--artifacts-destination s3://bucket/ninthpower/mlflow")
    (process,) = lines(home / "pids")
    assert psutil.Process(int(process)).is_running()
    os.kill(int(process), signal.SIGKILL)
    time.sleep(0.2)

    in_a_terminal(command, home)
    assert len(wait_for_calls(home, 2)) == 2


@LAUNCHERS
def test_the_watcher_of_spot_notices_outlives_the_terminal(home, path):
    """It is needed until the machine goes."""
    in_a_terminal(the_command(path, "worker_start_ray_commands", "cluster.spot"), home)

    (call,) = wait_for_calls(home, 1)
    assert " -m cluster.spot " in call
    (process,) = lines(home / "pids")
    assert psutil.Process(int(process)).is_running()
