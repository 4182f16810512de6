"""The MLflow UI on the results of this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from experiments.delivering import ARTIFACTS_NAME, STORE_NAME
from experiments.run_links import experiment_links


def serve_ui(results_folder: Path, port: int) -> None:
    """Run the MLflow UI on loopback until it is interrupted.

    Raises:
        ValueError: If there is no store yet.
    """
    store = results_folder.absolute() / STORE_NAME
    if not store.exists():
        raise ValueError(f"there is no MLflow store {store}; run ninthpower sweep first, or give --results")
    for name, address in experiment_links(store, port).items():
        print(f"{name}  {address}")
    print(f"MLflow on http://127.0.0.1:{port} in some ten seconds (end it with Ctrl-C)", flush=True)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{store}",
        "--artifacts-destination", str(store.with_name(ARTIFACTS_NAME)), "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    os.execv(sys.executable, command)
