"""Where each trial's run is found in the MLflow UI."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from cluster.delivery_log import DeliveryLog
from cluster.mlflow_errors import without_password

# Where `ninthpower ui` serves a store on this machine unless another port is given.
LOCAL_UI = "http://127.0.0.1:5000"


def run_links(folder: Path, trial_ids: Iterable[str], *, uri: str, experiment: str) -> dict[str, str]:
    """Address of the run of each delivered trial; trials that MLflow has not yet are absent.

    Args:
        folder: Results folder of the sweep, which holds the note of what was delivered.
        trial_ids: Trials to look up.
        uri: Tracking server or database the sweep delivers to. A database is seen through `ninthpower ui`.
        experiment: Name of the MLflow experiment.
    """
    log = DeliveryLog(folder, uri, experiment)
    found = {trial_id: log.find(trial_id) for trial_id in trial_ids}
    return {name: run_address(uri, one.run_id) for name, one in found.items() if one is not None}


def run_address(uri: str, run_id: str) -> str:
    """Where a run is seen: on its tracking server, without a password, or for a database by `ninthpower ui`."""
    base = without_password(uri).rstrip("/") if uri.startswith(("http://", "https://")) else LOCAL_UI
    return f"{base}/#/runs/{quote(run_id)}"


def experiment_links(store: Path, port: int) -> dict[str, str]:
    """Address of the runs of each of our experiments in a SQLite store that is served on this machine.

    The address asks for MLflow's view of training runs; by itself it opens the one for language models. Where the
    experiment has a view of ours it opens on its charts.
    """
    from experiments.mlflow_view import VIEW, VIEW_TAG

    query = "select name, experiment_id from experiments where lifecycle_stage = 'active' and name != 'Default'"
    with closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)) as connection:
        found = connection.execute(f"{query} order by name").fetchall()
        tagged = connection.execute("select experiment_id from experiment_tags where key = ?", [VIEW_TAG]).fetchall()
    base, charts = f"http://127.0.0.1:{port}/#/experiments", f"&compareRunsMode=CHART&viewStateShareKey={VIEW}"
    return {
        str(name): f"{base}/{number}/runs?workflowType=machine_learning{charts if (number,) in tagged else ''}"
        for name, number in found
    }
