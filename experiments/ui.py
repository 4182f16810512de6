"""The MLflow UI on the results of this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from experiments.delivering import ARTIFACTS_NAME
from experiments.destination import STORE_NAME
from experiments.run_links import experiment_links

HOST = "127.0.0.1"
START_SECONDS = 300.0
END_SECONDS = 10.0
STANDARD_ERROR = 2


def serve_ui(results_folder: Path, port: int) -> None:
    """Run the MLflow UI on loopback until it is interrupted; say that it is ready once it answers, and not before.

    Raises:
        ValueError: If there is no store yet, or the port is taken.
        RuntimeError: If the server ends by itself, or does not begin to answer.
    """
    store = results_folder.absolute() / STORE_NAME
    if not store.exists():
        raise ValueError(f"there is no MLflow store {store}; run ninthpower sweep first, or give --results")
    _check_free(port)
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{store}",
        "--artifacts-destination", str(store.with_name(ARTIFACTS_NAME)), "--host", HOST, "--port", str(port),
    ]  # fmt: skip
    print(f"MLflow starts, which takes some ten seconds, on port {port}", file=sys.stderr, flush=True)
    # The addresses stand alone on standard output: a program may read them there.
    server = subprocess.Popen(command, stdout=STANDARD_ERROR, env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"})
    try:
        _wait_until_ready(server, port)
        for name, address in experiment_links(store, port).items():
            print(f"{name}  {address}")
        print(f"MLflow is ready on http://{HOST}:{port} (end it with Ctrl-C)", flush=True)
        if server.wait():
            raise RuntimeError(f"MLflow's server has ended (exit code {server.returncode}); its words stand above")
    except KeyboardInterrupt:
        pass
    finally:
        _end(server)


def _check_free(port: int) -> None:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((HOST, port))
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise ValueError(
                f"port {port} of this machine cannot be had ({why}); give another by --port, such as --port {_free()}"
            ) from None


def _free() -> int:
    """Some port that nobody has."""
    with socket.socket() as trial:
        trial.bind((HOST, 0))
        return int(trial.getsockname()[1])


def _wait_until_ready(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(f"http://{HOST}:{port}/health"):
        if server.poll() is not None:
            raise RuntimeError(
                f"MLflow's server ended before it answered (exit code {server.returncode}); its words stand above"
            )
        if time.monotonic() > deadline:
            raise RuntimeError(f"MLflow's server has not answered on port {port} for {START_SECONDS:.0f} s; try again")
        time.sleep(0.2)


def _answers(address: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(address, timeout=2):
            return True
    except OSError:
        return False


def _end(server: subprocess.Popen[bytes]) -> None:
    """In order if it can: it passes the signal on to its own workers."""
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
