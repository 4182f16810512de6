"""Where runs go in MLflow: a late delivery finds the place that the sweep was told, without a word of its password."""

import json
import sqlite3
import types
from contextlib import closing

import pytest

import experiments.printing
import experiments.running
from cluster.records import write_record
from cluster.tuning import Outcome
from experiments.destination import (
    MEMORY,
    Destination,
    destination_of,
    first_destination,
    remember_destination,
    where_seen,
    without_credentials,
)
from experiments.results import save_sweep
from experiments.run_links import run_address
from experiments.running import FinishedSweep
from experiments.sweep import parse_sweep
from experiments.trial import identity

SWEEP = parse_sweep({"name": "late", "grid": {"width": [4, 8], "depth": 1, "n_train": 50}, "fit": {"resamples": 100}})
IN_FILE = parse_sweep({**SWEEP.model_dump(mode="json"), "tracking": {"uri": "http://file:5000"}})


@pytest.fixture
def folder(tmp_path):
    """Results of a small sweep that ended well and that MLflow knows nothing of."""
    folder = tmp_path / "results" / SWEEP.name
    save_sweep(SWEEP, folder)
    for trial in SWEEP.trials():
        stamp = "2026-01-01T00:00:00+00:00"
        record = {"trial_id": trial.trial_id, "status": "finished", "spec": trial.model_dump(mode="json")}
        record |= {"started_at": stamp, "ended_at": stamp, "row": identity(trial, SWEEP.name, "finished", "")}
        record["row"] |= {"train_flops": 1e6 * trial.width, "test_error": 1 / trial.width}
        write_record(folder / "trials", record)
    return folder


def n_runs(store):
    """Runs in an SQLite store."""
    with closing(sqlite3.connect(store)) as connection:
        return connection.execute("select count(*) from runs").fetchone()[0]


def test_sync_delivers_to_where_the_last_start_was_told_and_names_it(ninthpower, folder, tmp_path):
    """Not to the file beside the results, which stays unmade; the doctor asks in the same place."""
    remember_destination(folder, f"sqlite:///{tmp_path / 'team.db'}")

    done = ninthpower("sync", folder)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"late: 2 of 2 trials delivered to MLflow now (sqlite:///{tmp_path / 'team.db'})" in done.stdout
    assert n_runs(tmp_path / "team.db") == 3  # two trials and the sweep itself
    assert not (tmp_path / "results" / "mlflow.db").exists()
    assert done.stdout.splitlines()[-1] == f"next: open {folder / 'report.html'}"
    assert "MLflow has not been told" not in ninthpower("doctor", "--results", folder.parent).stdout


def test_what_is_told_now_goes_before_what_is_remembered(folder):
    """And that before the sweep file, and that before the file beside the results."""
    beside = f"sqlite:///{folder.parent / 'mlflow.db'}"
    assert destination_of(SWEEP, folder) == Destination(beside, is_beside=True)
    assert destination_of(IN_FILE, folder).uri == "http://file:5000"

    remember_destination(folder, "http://last:5000")
    assert destination_of(IN_FILE, folder).uri == "http://last:5000"
    assert destination_of(IN_FILE, folder, "http://now:5000").uri == "http://now:5000"
    assert first_destination(IN_FILE, folder, None).uri == "http://file:5000"

    remember_destination(folder, None)
    assert destination_of(SWEEP, folder).uri == beside


def test_a_relative_file_is_the_same_from_any_folder(folder, tmp_path, monkeypatch):
    """It is kept from the root."""
    monkeypatch.chdir(tmp_path)
    remember_destination(folder, "sqlite:///team.db")
    monkeypatch.chdir("/")

    assert destination_of(SWEEP, folder).uri == f"sqlite:///{tmp_path / 'team.db'}"


@pytest.mark.parametrize(
    ("uri", "kept"),
    [
        ("http://ada:hunter2@127.0.0.1:9", "http://127.0.0.1:9"),
        ("http://ada:hunt/er2@127.0.0.1:9", "http://127.0.0.1:9"),
        ("https://hunter2@host/mlflow", "https://host/mlflow"),
        (
            "postgresql+psycopg://ada:hunter2@host/runs?sslmode=require",
            "postgresql+psycopg://host/runs?sslmode=require",
        ),
        ("postgresql://host/runs?user=ada&password=hunter2&sslmode=require", "postgresql://host/runs?sslmode=require"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
    ],
)
def test_no_name_password_or_token_is_kept(folder, uri, kept):
    """Wherever the address holds it."""
    assert without_credentials(uri) == kept

    remember_destination(folder, uri)

    written = (folder / MEMORY).read_text()
    assert json.loads(written) == {"uri": kept, "lacks_credentials": uri != kept}
    assert "hunter2" not in written


def test_where_credentials_were_forgotten_sync_says_how_to_give_them(ninthpower, folder, monkeypatch):
    """In the sentence that says what is missing, with exit code 1."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    remember_destination(folder, "http://ada:hunter2@127.0.0.1:9")

    done = ninthpower("sync", folder)

    assert done.returncode == 1
    assert "(http://127.0.0.1:9), 2 not in MLflow yet: " in done.stdout
    assert "credentials, which are kept nowhere: give all of it by --tracking-uri\n" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"next: ninthpower doctor --results {folder.parent}"


def test_a_damaged_memory_is_said(ninthpower, folder):
    """With the remedy."""
    remember_destination(folder, "http://host")
    (folder / MEMORY).write_text("{")

    done = ninthpower("sync", folder)

    assert done.returncode == 2
    assert "destination.json is damaged (JSONDecodeError); delete it, and give --tracking-uri" in done.stderr


def test_sync_and_doctor_for_machines(ninthpower, folder):
    """JSON alone, before and after the delivery, with the exit code of the words."""
    ill = ninthpower("doctor", "--results", folder.parent, "--json")
    assert (ill.returncode, json.loads(ill.stdout)["good"]) == (1, False)

    (synced,) = json.loads(ninthpower("sync", folder, "--json").stdout)
    assert (synced["name"], synced["n_delivered"], synced["n_undelivered"], synced["problem"]) == ("late", 2, 0, "")
    assert synced["destination"] == f"sqlite:///{folder.parent / 'mlflow.db'}"

    healthy = json.loads(ninthpower("doctor", "--results", folder.parent, "--json").stdout)
    assert healthy["good"] is all(one["good"] for one in healthy["findings"])
    assert not [one for one in healthy["findings"] if "MLflow" in one["sentence"]]


def test_what_shows_the_runs_is_named_by_where_they_are(tmp_path):
    """A browser opens no database."""
    assert where_seen(Destination("sqlite:///x", is_beside=True), tmp_path, "late")[:2] == ["ninthpower", "ui"]
    assert where_seen(Destination("http://ada:x@host"), tmp_path, "late") == ["open", "http://host"]
    assert where_seen(Destination("postgresql://host/db"), tmp_path, "late")[1].endswith("late/report.html")


def test_no_link_of_a_report_holds_a_password():
    """Reports are sent to others."""
    assert run_address("http://ada:hunter2@host:5000/", "r1") == "http://host:5000/#/runs/r1"


@pytest.mark.parametrize(
    ("undelivered", "following"),
    [("", "next: open http://host"), ("2 trials are not in MLflow yet", "next: ninthpower sync results/late")],
)
def test_after_a_dead_server_the_next_command_is_sync(ninthpower, monkeypatch, tmp_path, undelivered, following):
    """And not to open what does not answer."""
    outcome = Outcome(2, 0, {"finished": 2}, 0, 1, False, 1.0, 0.5)
    finished = FinishedSweep(
        outcome, types.SimpleNamespace(), tmp_path / "results" / "late", Destination("http://host"), undelivered
    )
    monkeypatch.setattr(experiments.running, "run_sweep", lambda *_, **__: finished)
    monkeypatch.setattr(experiments.printing, "print_analysis", lambda *_: None)
    (tmp_path / "late.yaml").write_text(json.dumps(SWEEP.model_dump(mode="json")))

    assert ninthpower("sweep", "late.yaml").stdout.splitlines()[-1] == following
