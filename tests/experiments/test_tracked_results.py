"""A sweep read back from MLflow is the sweep read from its results folder: every column, type, status and curve."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress

import pandas as pd
import psutil
import pytest

from cluster.records import write_record
from cluster.tracking import Tracker
from experiments.background import background_of
from experiments.results import read_results, save_sweep
from experiments.sweep import parse_sweep
from experiments.trial import identity
from scaling import read_runs
from scaling.tracked import runs_source

SWEEP = {
    "name": "kinds",
    "family": "mlp",
    "dataset": "digits",
    "grid": {"width": [8, 16], "depth": [1], "n_train": [100, 300], "seed": [0, 1]},
    "points": [{"width": 8, "depth": 1, "n_train": 100, "technique": [{"magnitude-pruning": {"density": [0.5, 1.0]}}]}],
    "fit": {"error": "validation_error", "resamples": 100},
}
ENDINGS = [
    ("diverged", "the loss is nan at step 3"),
    ("failed", 'ValueError: it\'s "bad"\nlast line'),
    ("stopped", "x" * 900),
]


def make_record(trial, number):
    """A record as a trial leaves it, with every kind of value that a row may hold."""
    status, reason = dict(enumerate(ENDINGS, 1)).get(number, ("finished", ""))
    row = identity(trial, "kinds", status, reason)
    row |= {"n_params": 100 + number, "train_flops": 4.0**number * 1e9 / 3, "wall_seconds": 0.1 + number, "devices": 1}
    row |= {
        "train_flops_train": 1e15 / 3,
        "device": "a core",
        "energy_source": "unknown",
        "mine/odd name (%)": 2.0**-30,
    }
    if status == "finished":
        row |= {"test_error": 1 / (number + 3), "validation_error": 1 / (number + 2), "n_test": 300}
        row |= {"chosen": "8-16", "whole": True, "empty": "", "inference_seconds": 1e-7}
    curve = [
        {"step": step, "epoch": step / 2, "train_flops": 1e9 * step, "validation_error": 1 / (step + number + 2)}
        for step in (1, 2, 4, 100)
    ]
    return {
        "trial_id": trial.trial_id, "sweep": "kinds", "status": status, "reason": reason,
        "spec": trial.model_dump(mode="json"), "row": {name: value for name, value in row.items() if value is not None},
        "curve": curve if status == "finished" else [], "phases": [], "started_at": "2026-01-02T03:04:05.678+00:00",
        "ended_at": "2026-01-02T03:04:06.789+00:00",
        "environment": {"versions": {"python": "3.11", "torch-pruning": "1.6"}, "git_commit": "abc", "threads": 1},
    }  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results folder and the SQLite store that its records were delivered to."""
    folder = tmp_path_factory.mktemp("results")
    sweep = parse_sweep(SWEEP)
    records = [make_record(trial, number) for number, trial in enumerate(sweep.trials())]
    for record in records:
        write_record(folder / "kinds" / "trials", record)
    path = save_sweep(sweep, folder / "kinds")
    tracker = Tracker.open(
        f"sqlite:///{folder / 'mlflow.db'}", sweep.experiment, folder=folder / "kinds",
        artifact_root=(folder / "artifacts").as_uri(),
    )  # fmt: skip
    assert tracker.deliver_missing(records).n_delivered == len(records) == 10
    assert tracker.log_sweep_run("kinds", {}, {}, [path]) == ""
    return folder


def same(place, results):
    """Whether a place holds what the results folder holds."""
    here, there = read_results(results / "kinds"), read_results(runs_source(place))
    pd.testing.assert_frame_equal(there[0], here[0], check_exact=True)
    assert there[1] == here[1]
    assert [record["spec"] for record in there[2]] == [record["spec"] for record in here[2]]
    pd.testing.assert_frame_equal(read_runs(place), here[0], check_exact=True)
    of = {"title": "t", "tracking_uri": f"sqlite:///{results / 'mlflow.db'}"}
    mine, theirs = (
        background_of(results / "kinds", *here[1:], **of),
        background_of(runs_source(place), *there[1:], **of),
    )
    pd.testing.assert_frame_equal(theirs.curves, mine.curves, check_exact=True)
    assert theirs.provenance == mine.provenance
    assert theirs.ours
    assert {name: link.split("#")[1] for name, link in theirs.links.items()} == {
        name: link.split("#")[1] for name, link in mine.links.items()
    }


def test_every_column_is_there(results):
    """The fixture holds what could be lost: other statuses, options, texts, whole numbers, truth values."""
    table = read_results(results / "kinds")[0]

    assert table["status"].value_counts().to_dict() == {"finished": 7, "diverged": 1, "failed": 1, "stopped": 1}
    assert {"density", "devices", "mine/odd name (%)", "chosen", "whole", "empty"} <= set(table.columns)
    assert table["devices"].dtype == "int64"


def test_the_store_gives_what_the_folder_gives(results):
    """Read from the SQLite file, by the experiment's name or as its only one."""
    same(f"sqlite:///{results / 'mlflow.db'}#ninthpower/kinds", results)
    same(f"sqlite:///{results / 'mlflow.db'}", results)


def test_a_sweep_is_fitted_from_the_store(results, ninthpower, tmp_path):
    """With the sweep's own columns, into a folder of its name; then exported; and listed."""
    place = f"sqlite:///{results / 'mlflow.db'}#ninthpower/kinds"
    fitted = ninthpower("fit", place, "--law", "power")
    assert fitted.returncode == 0, fitted.stderr
    assert fitted.stdout.splitlines()[-1] == "next: open kinds/report.html"
    assert json.loads((tmp_path / "kinds" / "fits.json").read_text())["error"] == "validation_error"
    exported = ninthpower("export", place, "--json")
    assert json.loads(exported.stdout) == ["kinds/export/export.json"]
    listed = json.loads(
        ninthpower("runs", place, "--status", "diverged", "--columns", "status,reason", "--json").stdout
    )
    assert listed == [{"status": "diverged", "reason": "the loss is nan at step 3"}]


def test_a_run_that_lost_a_value_is_refused(results, tmp_path):
    """It is named, rather than read with a hole."""
    copy = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(results / "mlflow.db")) as whole, closing(sqlite3.connect(copy)) as other:
        whole.backup(other)
        other.execute("delete from latest_metrics where key = 'n_params'")
        other.commit()
    with pytest.raises(ValueError, match="in MLflow lacks a column that its tag 'columns' names"):
        read_runs(f"sqlite:///{copy}#ninthpower/kinds")


def multiply(store, times):
    """Write the runs of the experiment again and again into one of its own, as a sweep of that many would."""
    with closing(sqlite3.connect(store)) as database:
        database.execute(
            "insert into experiments select 77, 'many', artifact_location, lifecycle_stage, creation_time, "
            "last_update_time, workspace from experiments where name = 'ninthpower/kinds'"
        )
        ids = "select r.run_uuid from runs r join tags t on t.run_uuid = r.run_uuid and t.key = 'record'"
        for number in range(times):
            tail = f"substr(run_uuid, 1, 26) || '{number:06d}'"
            for table in ("runs", "tags", "params", "latest_metrics"):
                names = [row[1] for row in database.execute(f"pragma table_info({table})")]
                new = {"run_uuid": tail, "experiment_id": "77"}
                if table == "params":
                    new["value"] = f"case key when 'trial_id' then value || '-{number:06d}' else value end"
                chosen = ", ".join(new.get(name, name) if name in ("run_uuid", "experiment_id", "value") else name
                                   for name in names)  # fmt: skip
                where = f"run_uuid in ({ids} where r.experiment_id != 77)"
                database.execute(f"insert into {table} ({', '.join(names)}) select {chosen} from {table} where {where}")
        database.commit()


@pytest.fixture
def server(results, tmp_path):
    """MLflow's own server on the store."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{results / 'mlflow.db'}", "--artifacts-destination", str(tmp_path),
    ]  # fmt: skip
    with open(tmp_path / "server.log", "w") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "DO_NOT_TRACK": "true"})
    deadline = time.monotonic() + 120
    try:
        while True:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert running.poll() is None, (tmp_path / "server.log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "server.log").read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        for child in psutil.Process(running.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        running.kill()
        running.wait()


@pytest.mark.slow
def test_the_server_gives_what_the_folder_gives(results, server):
    """Over MLflow's own REST interface; and of more runs than it gives at once, every one."""
    same(f"{server}#ninthpower/kinds", results)
    multiply(results / "mlflow.db", 120)

    many = read_runs(server, "many")

    assert len(many) == 1200
    pd.testing.assert_frame_equal(many, read_runs(f"sqlite:///{results / 'mlflow.db'}#many"), check_exact=True)
    assert many["status"].value_counts().to_dict() == {"finished": 840, "diverged": 120, "failed": 120, "stopped": 120}
