"""A private Ray that the tests of this folder share, and clusters of several nodes that they may break."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from cluster.session import connect

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="package")
def ray_session():
    """Two cores of a private Ray, started once and ended with them."""
    with connect(None, cpus=2, gpus=0) as session:
        yield session


def free_port():
    """A port that nobody listens on now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    """One `ray start --block` with all that it started."""

    def __init__(self, process):
        self.process = process
        self.known = []

    def processes(self):
        """The process and its descendants, those that outlived their parent included."""
        with suppress(psutil.NoSuchProcess):
            self.known = [
                psutil.Process(self.process.pid),
                *psutil.Process(self.process.pid).children(recursive=True),
            ]
        return [process for process in self.known if process.is_running()]

    def kill(self):
        """SIGKILL to everything at once: a machine that loses its power."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def terminate(self):
        """SIGTERM: a machine that is shut down."""
        self.process.send_signal(signal.SIGTERM)


class RealCluster:
    """Ray nodes on this machine with a token, ports and folders of their own."""

    def __init__(self, folder):
        self.folder = folder
        self.nodes = []
        self.dashboard = f"http://127.0.0.1:{free_port()}"
        # A socket's path must be short.
        self.ray_folder = Path(tempfile.mkdtemp(prefix="np-", dir="/tmp"))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "NINTHPOWER_"))}
        self.environment = {
            **inherited,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(16),
            "RAY_USAGE_STATS_ENABLED": "0",
            "HOME": str(folder),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # Seconds until a dead node is known to be dead; minutes by default.
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_failure_threshold": "4",
            "RAY_health_check_initial_delay_ms": "3000",
        }

    def head(self, *, cpus=0, dashboard=False):
        """Start a head at an address of its own and wait until it answers."""
        self.address = f"127.0.0.1:{free_port()}"
        options = ["--head", f"--port={self.address.split(':')[1]}", f"--ray-client-server-port={free_port()}"]
        options += [
            f"--include-dashboard={str(dashboard).lower()}",
            f"--temp-dir={self.ray_folder / secrets.token_hex(2)}",
        ]
        if dashboard:
            options += ["--dashboard-host=127.0.0.1", f"--dashboard-port={self.dashboard.rsplit(':', 1)[1]}"]
        return self._start(cpus, options)

    def worker(self, *, cpus=1, **environment):
        """Start a further node; variables are its alone."""
        return self._start(cpus, [f"--address={self.address}"], environment)

    def _start(self, cpus, options, environment=None):
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", f"--num-cpus={cpus}", "--num-gpus=0"]
        command += ["--object-store-memory=100000000", f"--dashboard-agent-listen-port={free_port()}", *options]
        log = self.folder / f"node-{len(self.nodes)}.log"
        with open(log, "w") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, cwd=ROOT, env={**self.environment, **(environment or {})}
            )
        node = Node(process)
        self.nodes.append(node)
        deadline = time.monotonic() + 120
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        node.processes()
        return node

    def drive(self, name="records", **settings):
        """Start a driver of trials as a process of its own; see drive_sweep.py for the settings."""
        settings = {"address": self.address, "folder": str(self.folder / name), **settings}
        command = [sys.executable, str(Path(__file__).with_name("drive_sweep.py")), json.dumps(settings)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment, cwd=ROOT
        )

    def close(self):
        """End every node that is left."""
        for node in reversed(self.nodes):
            node.kill()
        shutil.rmtree(self.ray_folder, ignore_errors=True)


@pytest.fixture
def real_cluster(tmp_path):
    """Nodes that a test starts and breaks."""
    cluster = RealCluster(tmp_path)
    yield cluster
    cluster.close()
