"""What it costs to log and search ten thousand trials in MLflow.

Run: python benchmarks/mlflow_scale.py [--uri postgresql+psycopg://...]    # by default a SQLite file

Records like those of a sweep (20 settings, 40 numbers, a curve of 6 points) are delivered by the tracker that sweeps
use, and offered once more from another folder; then searched as the UI does it (a page of 100, sorted by a metric; one
tag) and read back whole by `scaling.read_runs`, as every command does, from the file and from a server on file or
database.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from cluster.mlflow_client import DATABASES, SQLITE_PREFIX, open_client
from cluster.tracking import Tracker
from scaling import read_runs


def make_record(number: int) -> dict[str, Any]:
    """A record as a trial leaves it."""
    trial_id = f"{number:016x}"
    spec = {f"setting_{place}": number % (place + 2) for place in range(20)}
    row = {
        "trial_id": trial_id,
        "technique": "baseline",
        "family": "resnet",
        "dataset": "digits",
        "cell": f"{number // 3}",
    }
    row |= {f"number_{place}": 1e-3 * number + place for place in range(36)}
    row |= {"train_flops": 1e9 * (number + 1), "test_error": 1 / (number + 2), "status": "finished", "seed": number % 3}
    curve = [{"step": step, "validation_error": 1 / (step + 2)} for step in range(6)]
    stamp = "2026-01-01T00:00:00+00:00"
    return {
        "trial_id": trial_id, "sweep": "scale", "status": "finished", "reason": "", "spec": spec, "row": row,
        "curve": curve, "phases": [], "started_at": stamp, "ended_at": stamp, "attempts": 1, "retries": [],
    }  # fmt: skip


def told(n_records: int, each: int) -> Iterator[dict[str, Any]]:
    """Records, with a line on what their delivery took after so many each: by the clock, and of a core."""
    began, began_working = time.perf_counter(), time.process_time()
    for number in range(n_records):
        yield make_record(number)
        if (number + 1) % each == 0:
            seconds, worked = time.perf_counter() - began, time.process_time() - began_working
            print(f"| {number + 1} | {1e3 * seconds / each:.1f} | {1e3 * worked / each:.1f} |", flush=True)
            began, began_working = time.perf_counter(), time.process_time()


def timed(name: str, work: Any, times: int = 3) -> Any:
    """Print the best of some times."""
    best, result = float("inf"), None
    for _ in range(times):
        began = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - began)
    print(f"| {name} | {best:.2f} |", flush=True)
    return result


@contextmanager
def served(uri: str, folder: Path) -> Iterator[str]:
    """A server on loopback in front of a database; its address. A server is there already."""
    if not uri.startswith((SQLITE_PREFIX, *DATABASES)):
        yield uri
        return
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--artifacts-destination", str(folder)]
    # Not as an argument, which all users of the machine see: an address may hold a password.
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": uri}
    with open(folder / "server.log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        while not answers(f"http://127.0.0.1:{port}/health"):
            assert server.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def answers(address: str) -> bool:
    """Whether a server is there already."""
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def main() -> None:
    """Log, search, read back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--uri", default=None)
    arguments = parser.parse_args()
    each = max(1, arguments.trials // 10)
    with tempfile.TemporaryDirectory() as scratch:
        tracker = Tracker.open(arguments.uri, "scale", folder=Path(scratch))
        print("| trials | ms each to log | of a core |\n|---|---|---|")
        report = tracker.deliver_missing(told(arguments.trials, each))
        assert report.n_missing == 0, report.problem
        began = time.perf_counter()
        again = Tracker.open(tracker.uri, "scale", folder=Path(scratch) / "other")
        report = again.deliver_missing(make_record(number) for number in range(arguments.trials))
        assert report.n_missing == 0, report.problem
        print(f"offered again from another folder: {time.perf_counter() - began:.1f} s in all", flush=True)
        client = open_client(tracker.uri)
        found = client.get_experiment_by_name("scale")
        assert found is not None
        place = [found.experiment_id]
        print("| search | s |\n|---|---|")
        timed(
            "100 best by a metric",
            lambda: client.search_runs(place, "tags.kind = 'trial'", max_results=100, order_by=["metrics.test_error"]),
        )
        timed("one cell by its tag", lambda: client.search_runs(place, "tags.cell = '7'"))
        timed("by a setting and a metric", lambda: client.search_runs(
            place, "params.setting_3 = '1' and metrics.test_error < 0.01", max_results=100))  # fmt: skip
        if tracker.uri.startswith(SQLITE_PREFIX):
            rows = timed("all, read back from the file", lambda: read_runs(tracker.uri, "scale"), times=1)
            assert len(rows) == arguments.trials
        with served(tracker.uri, Path(scratch)) as address:
            rows = timed("all, read back from a server", lambda: read_runs(address, "scale"), times=1)
        assert len(rows) == arguments.trials


if __name__ == "__main__":
    main()
