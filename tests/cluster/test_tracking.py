"""Records in MLflow: under their own names, once each, whatever happens on the way."""

import json
import logging
import math
import os
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from cluster.mlflow_values import digest, run_values
from cluster.tracking import Tracker, read_runs

ROOT = Path(__file__).parents[2]
START, END = "2026-01-02T03:04:05+00:00", "2026-01-02T03:04:15.250000+00:00"


def record(number=0, **changes):
    """A trial's record in miniature."""
    trial_id = f"{number:016x}"
    spec = {
        "dataset": "digits", "family": "mlp", "technique": "prune", "width": 8, "depth": 2, "seed": number,
        "technique_options": {"share": 0.5}, "precision": "fp32",
    }  # fmt: skip
    row = {
        "trial_id": trial_id, "cell": "c0ffee", "sweep": "tiny", "dataset": "digits", "family": "mlp",
        "technique": "prune", "seed": number, "status": "finished", "reason": "", "width": 8, "depth": 2,
        "n_params": 1234, "test_error": 0.1 + number / 1000, "train_flops": 1.5e12, "energy_joules": None,
        "train_flops_prune-finetune": 2.5e11, "test_loss": float("inf"), "validation_loss": float("nan"),
    }  # fmt: skip
    curve = [{"step": step, "epoch": step / 2, "validation_error": 1 / (step + 1)} for step in range(4)]
    phases = [{"phase": "train", "flops": 1e12, "wall_seconds": 3.0, "energy_joules": None}]
    return {
        "record_version": 1, "trial_id": trial_id, "sweep": "tiny", "status": "finished", "reason": "",
        "spec": spec, "row": row, "curve": curve, "phases": phases, "environment": {"git": {"commit": "abc"}},
        "started_at": START, "ended_at": END, **changes,
    }  # fmt: skip


def client_of(tracker):
    """A client of MLflow itself, and the experiment's id."""
    from mlflow import MlflowClient

    client = MlflowClient(tracker.uri)
    return client, client.get_experiment_by_name(tracker.experiment).experiment_id


def trial_runs(tracker):
    """Runs of trials that are in view."""
    client, experiment_id = client_of(tracker)
    return list(client.search_runs([experiment_id], "tags.kind = 'trial'"))


@pytest.fixture(scope="module")
def delivered(tmp_path_factory):
    """Three records that went through the delivery thread into an SQLite file."""
    folder = tmp_path_factory.mktemp("results")
    tracker = Tracker.open(None, "tiny", folder=folder, description="Three trials.", tags={"owner": "tests"})
    with tracker:
        for number in range(3):
            tracker.finished(record(number))
    return tracker


def test_a_run_carries_the_names_of_the_runs_table(delivered):
    """Numbers are metrics, texts and settings params, and what is filtered by is a tag."""
    (run,) = [run for run in trial_runs(delivered) if run.data.tags["trial_id"] == record(1)["trial_id"]]

    assert run.data.metrics["test_error"] == 0.101
    assert run.data.metrics["n_params"] == 1234
    assert run.data.metrics["train_flops_prune-finetune"] == 2.5e11
    assert run.data.metrics["log10/train_flops"] == pytest.approx(math.log10(1.5e12))
    assert run.data.metrics["phase/train/wall_seconds"] == 3
    assert run.data.params["technique"] == "prune"
    assert run.data.params["width"] == "8"
    assert run.data.params["technique_options.share"] == "0.5"
    assert {"sweep", "technique", "family", "dataset", "trial_id", "status", "cell"} <= run.data.tags.keys()
    assert run.data.tags["environment.git.commit"] == "abc"


def test_unknown_and_unending_numbers_are_absent(delivered):
    """MLflow would show infinity as 1.8e308 and unknown energy as 0."""
    for run in trial_runs(delivered):
        assert not {"energy_joules", "test_loss", "validation_loss"} & run.data.metrics.keys()
        assert all(math.isfinite(value) for value in run.data.metrics.values())


def test_the_curve_is_drawn_by_step(delivered):
    """One point for each step, apart from the final value."""
    client, _ = client_of(delivered)
    history = client.get_metric_history(trial_runs(delivered)[0].info.run_id, "curve/validation_error")

    assert [(point.step, point.value) for point in history] == [(0, 1), (1, 1 / 2), (2, 1 / 3), (3, 1 / 4)]


def test_a_run_has_the_times_and_the_end_of_its_trial(delivered):
    """Not those of its delivery; and no run has a parent."""
    for run in trial_runs(delivered):
        assert run.info.end_time - run.info.start_time == 10_250
        assert run.info.start_time == 1_767_323_045_000
        assert run.info.status == "FINISHED"
        assert "mlflow.parentRunId" not in run.data.tags


def test_an_experiment_says_what_it_is(delivered):
    """Description and tags are on the experiment, its artifacts in the results folder."""
    client, experiment_id = client_of(delivered)
    experiment = client.get_experiment(experiment_id)

    assert experiment.tags["mlflow.note.content"] == "Three trials."
    assert experiment.tags["owner"] == "tests"
    assert experiment.artifact_location.startswith("file:///")


def test_rows_come_back_as_they_went(delivered):
    """Every known value of the row, number for number and text for text."""
    rows = {row["trial_id"]: row for row in read_runs(delivered.uri, "tiny")}

    assert len(rows) == 3
    for number in range(3):
        sent = record(number)["row"]
        known = {
            name: sent[name] for name in sent if name not in ("energy_joules", "test_loss", "validation_loss", "reason")
        }
        back = rows[sent["trial_id"]]
        assert {name: back[name] for name in known} == known
        assert "energy_joules" not in back


def test_rows_from_mlflow_make_a_runs_table(delivered):
    """The reader that fits accepts them as they are."""
    from scaling.runs import from_rows

    table = from_rows(read_runs(delivered.uri, "tiny"))

    assert sorted(table["test_error"]) == pytest.approx([0.1, 0.101, 0.102])
    assert table["n_params"].tolist() == [1234, 1234, 1234]


def test_a_database_is_written_by_one_and_read_by_many(delivered):
    """Write-ahead logging, so that the UI does not hold up the sweep."""
    import sqlite3

    with closing(sqlite3.connect(delivered.uri.removeprefix("sqlite:///"))) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_nothing_is_told_to_the_makers_of_mlflow(delivered):
    """Telemetry is off in this process and in those that it starts."""
    assert delivered
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["DO_NOT_TRACK"] == "true"


@pytest.mark.parametrize("lose_notes", [False, True], ids=["with its notes", "without its notes"])
def test_delivering_again_adds_nothing(tmp_path, lose_notes):
    """Also when the note of the delivery is lost, as by a crash between the two."""
    first = Tracker.open(None, "again", folder=tmp_path)
    assert first.deliver_missing([record(n) for n in range(3)]).n_delivered == 3
    (notes,) = (tmp_path / "tracking").glob("delivered-*.jsonl")
    if lose_notes:
        notes.write_text(notes.read_text().splitlines()[1] + '\n{"trial_id": "00')

    report = Tracker.open(None, "again", folder=tmp_path).deliver_missing([record(n) for n in range(4)])

    assert (report.n_delivered, report.n_missing) == (3 if lose_notes else 1, 0)
    assert sorted(run.data.tags["trial_id"] for run in trial_runs(first)) == [record(n)["trial_id"] for n in range(4)]


def test_a_run_that_was_begun_is_completed(tmp_path):
    """A crash after the run was created and before its values were written leaves one whole run."""
    tracker = Tracker.open(None, "half", folder=tmp_path)
    tracker.deliver_missing([record(7)])
    client, experiment_id = client_of(tracker)
    values = run_values(record(8))
    begun = client.create_run(experiment_id, tags=dict(values.tags))

    Tracker.open(None, "half", folder=tmp_path).deliver_missing([record(8)])

    (run,) = [run for run in trial_runs(tracker) if run.data.tags["trial_id"] == record(8)["trial_id"]]
    assert run.info.run_id == begun.info.run_id
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test_error"] == pytest.approx(0.108)


def test_a_trial_that_was_run_again_shows_its_last_record_only(tmp_path):
    """A failure that was mended gives way to the result."""
    failed = record(1, status="failed", reason="out of memory", row={"status": "failed"})
    tracker = Tracker.open(None, "mended", folder=tmp_path)
    with tracker:
        tracker.finished(failed)
        tracker.finished(record(1))

    (run,) = trial_runs(tracker)
    assert (run.info.status, run.data.tags["status"]) == ("FINISHED", "finished")
    assert run.data.tags["record"] == digest(record(1)) != digest(failed)


@pytest.fixture
def queries(monkeypatch):
    """Every query for runs that MLflow is asked, one after the other."""
    from mlflow import MlflowClient

    asked, search = [], MlflowClient.search_runs

    def heard(self, experiment_ids, filter_string="", *arguments, **options):
        asked.append(filter_string)
        return search(self, experiment_ids, filter_string, *arguments, **options)

    monkeypatch.setattr(MlflowClient, "search_runs", heard)
    return asked


def test_a_delivery_of_many_reads_once_what_is_there(tmp_path, monkeypatch, queries):
    """After some searches one by one; whole, half-written, outdated and absent runs are told apart as by a search."""
    monkeypatch.setattr("cluster.mlflow_store.MOST_SEARCHES", 2)
    before = Tracker.open(None, "many", folder=tmp_path)
    before.deliver_missing([record(n) for n in range(6)] + [record(6, status="failed", row={"status": "failed"})])
    client, experiment_id = client_of(before)
    client.create_run(experiment_id, tags=dict(run_values(record(7)).tags))
    ids = {run.data.tags["trial_id"]: run.info.run_id for run in trial_runs(before)}
    for notes in (tmp_path / "tracking").iterdir():
        notes.unlink()
    queries.clear()

    report = Tracker.open(None, "many", folder=tmp_path).deliver_missing([record(n) for n in range(10)])

    assert sum("trial_id" in query for query in queries) == 2
    assert queries.count("tags.kind = 'trial'") == 1
    assert (report.n_delivered, report.n_missing) == (10, 0)
    runs = {run.data.tags["trial_id"]: run for run in trial_runs(before)}
    assert sorted(runs) == sorted(record(n)["trial_id"] for n in range(10))
    assert len(trial_runs(before)) == 10
    assert all(run.info.status == "FINISHED" and run.data.tags["status"] == "finished" for run in runs.values())
    same = [n for n in range(8) if runs[record(n)["trial_id"]].info.run_id == ids[record(n)["trial_id"]]]
    assert same == [0, 1, 2, 3, 4, 5, 7]


def test_an_empty_experiment_is_not_searched_for_trials(tmp_path, queries):
    """Nothing can be there; what was tried meanwhile and has changed is looked for again."""
    tracker = Tracker.open(None, "fresh", folder=tmp_path)
    tracker.deliver_missing([record(n) for n in range(3)])
    assert not any("trial_id" in query for query in queries)

    tracker.deliver_missing([record(1, status="failed", row={"status": "failed"})])
    assert len(trial_runs(tracker)) == 3


DELIVER = (
    "import json, sys; from pathlib import Path; from cluster.tracking import Tracker\n"
    "tracker = Tracker.open(None, 'at once', folder=Path(sys.argv[1]))\n"
    "print(tracker.deliver_missing(json.loads(Path(sys.argv[1], 'records.json').read_text())).n_missing)\n"
)


def test_processes_that_deliver_the_same_records_at_once_write_each_once(tmp_path):
    """Two deliveries from one folder, as of a sweep and of `sync`, each from an experiment that it found empty."""
    (tmp_path / "records.json").write_text(json.dumps([record(n) for n in range(40)]))
    command = [sys.executable, "-c", DELIVER, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)]
    assert [process.communicate(timeout=120)[0] for process in processes] == ["0\n", "0\n"]

    ids = [row["trial_id"] for row in read_runs(f"sqlite:///{tmp_path}/mlflow.db", "at once")]
    assert sorted(ids) == [record(n)["trial_id"] for n in range(40)]


def test_the_run_of_the_sweep_is_written_over(tmp_path):
    """Metrics, files and description are the latest, and there is one such run, new params or not."""
    report = tmp_path / "report.html"
    figures = tmp_path / "figures"
    figures.mkdir()
    (figures / "fit.svg").write_text("<svg/>")
    tracker = Tracker.open(None, "sweeps", folder=tmp_path / "results")
    for law, exponent in (("power", 9.0), ("power", 8.0), ("offset", 7.0)):
        report.write_text(f"k = {exponent}")
        metrics = {"exponent": exponent, "exponent_low": None, "exponent_high": float("inf")}
        problem = tracker.log_sweep_run("it's", {"law": law, "none": None}, metrics, [report, figures], f"k {exponent}")
        assert problem == ""

        client, experiment_id = client_of(tracker)
        (run,) = client.search_runs([experiment_id])
        assert run.data.metrics == {"exponent": exponent}
        assert run.data.params == {"law": law}
        assert run.data.tags["mlflow.note.content"] == f"k {exponent}"
        assert run.info.run_name == "it's"
    assert {item.path for item in client.list_artifacts(run.info.run_id)} == {"report.html", "figures"}
    local = client.download_artifacts(run.info.run_id, "report.html", str(tmp_path))
    assert Path(local).read_text() == "k = 7.0"
    assert read_runs(tracker.uri, "sweeps") == []


FACTS = {
    "name": "digits", "digest": "0123456789abcdef" * 2, "description": "Handwritten digits", "licence": "CC BY 4.0",
    "source": "https://example.org/digits", "image_shape": [1, 8, 8], "n_classes": 10, "n_train": 1100,
    "n_validation": 250, "n_test": 447,
}  # fmt: skip


@pytest.mark.parametrize(
    ("source", "kind"), [("https://example.org/digits", "http"), ("the copy in scikit-learn", "code")]
)
def test_a_run_names_its_data_set_as_mlflow_does(tmp_path, source, kind):
    """An input that MLflow's own functions read and find: facts and a fingerprint, no data; others have none."""
    import mlflow.data

    tracker = Tracker.open(None, "inputs", folder=tmp_path, datasets={"digits": {**FACTS, "source": source}})
    other = record(2)
    other["row"] = {**other["row"], "dataset": "glyphs"}
    assert tracker.deliver_missing([record(1), other]).n_delivered == 2

    by_id = {run.data.tags["trial_id"]: run for run in trial_runs(tracker)}
    assert by_id[other["trial_id"]].inputs.dataset_inputs == []
    (found,) = by_id[record(1)["trial_id"]].inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("digits", FACTS["digest"])
    assert {tag.key: tag.value for tag in found.tags} == {"mlflow.data.context": "training"}
    assert json.loads(found.dataset.profile)["n_train"] == 1100
    assert "[-1, 1, 8, 8]" in found.dataset.schema.replace("\\", "")
    assert mlflow.data.get_source(found.dataset)._get_source_type() == kind
    client, experiment_id = client_of(tracker)
    query = f"dataset.name = 'digits' and dataset.digest = '{FACTS['digest']}' and dataset.context = 'training'"
    assert [run.data.tags["trial_id"] for run in client.search_runs([experiment_id], query)] == [record(1)["trial_id"]]


def test_every_trial_leads_to_the_report_of_its_sweep(tmp_path):
    """By an address that is right before the sweep's run is written, after it, and when a new run takes its place."""
    report = tmp_path / "report.html"
    report.write_text("<p>k = 9</p>")
    tracker = Tracker.open(None, "links", folder=tmp_path / "results")
    tracker.deliver_missing([record(1)])
    client, experiment_id = client_of(tracker)
    for law in (None, "power", "power", "saturating"):
        if law:
            assert tracker.log_sweep_run("tiny", {"law": law}, {}, [report]) == ""
            tracker.deliver_missing([record(2)])
        (run,) = client.search_runs([experiment_id], "tags.kind = 'sweep'")
        assert run.info.status == ("FINISHED" if law else "RUNNING")
        address = f"(#/experiments/{experiment_id}/runs/{run.info.run_id}/artifacts/report.html)"
        assert all(address in trial.data.tags["mlflow.note.content"] for trial in trial_runs(tracker))
        assert [file.path for file in client.list_artifacts(run.info.run_id)] == (["report.html"] if law else [])


def test_two_processes_may_create_the_store_at_once(tmp_path):
    """Each delivers its own trial; neither crashes on the other's tables."""
    script = (
        "import json, sys; from pathlib import Path; from cluster.tracking import Tracker\n"
        "tracker = Tracker.open(f'sqlite:///{sys.argv[1]}/mlflow.db', 'both', folder=Path(sys.argv[1]) / sys.argv[2])\n"
        "print(tracker.deliver_missing([json.loads(sys.argv[3])]))\n"
    )
    processes = []
    for number in range(2):
        sent = json.dumps(record(number, row={"trial_id": record(number)["trial_id"]}))
        command = [sys.executable, "-c", script, str(tmp_path), str(number), sent]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    outputs = [process.communicate(timeout=120)[0] for process in processes]

    assert all("n_delivered=1, n_missing=0" in output for output in outputs), outputs
    assert len(read_runs(f"sqlite:///{tmp_path}/mlflow.db", "both")) == 2


@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "/tmp/mlruns", "mlruns", "databricks", ""])
def test_addresses_that_are_not_written_to_are_refused_at_once(tmp_path, uri):
    """The kinds that are allowed are named; nothing is delivered to a place that nobody named."""
    with pytest.raises(ValueError, match="http"):
        read_runs(uri, "x")
    if uri:
        with pytest.raises(ValueError, match="http"):
            Tracker.open(uri, "x", folder=tmp_path)


def test_a_record_that_mlflow_refuses_holds_up_no_other(tmp_path, caplog):
    """It is reported by its id, and the rest arrives."""
    strange = record(1, spec={"a" * 300: 1, "a" * 301: 2})
    tracker = Tracker.open(None, "strange", folder=tmp_path)
    with tracker:
        tracker.finished(strange)
        tracker.finished(record(2))
    report = tracker.close()

    assert report.n_delivered + report.n_missing == 2
    assert record(2)["trial_id"] in {run.data.tags["trial_id"] for run in trial_runs(tracker) if run.data.metrics}
    assert report.n_missing == len([entry for entry in caplog.records if "refuses" in entry.message])


@pytest.fixture
def server(tmp_path):
    """Start and kill an MLflow server on loopback, always on the same port and store."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = []

    class Server:
        uri = f"http://127.0.0.1:{port}"

        def start(self):
            command = [
                sys.executable,
                "-m",
                "mlflow",
                "server",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "--workers",
                "1",
            ]
            command += [
                "--backend-store-uri",
                f"sqlite:///{tmp_path}/server.db",
                "--artifacts-destination",
                str(tmp_path / "artifacts"),
            ]
            environment = {**os.environ, "DO_NOT_TRACK": "true"}
            with open(tmp_path / "server.log", "w") as log:
                running.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
            for _ in range(600):
                with closing(socket.socket()) as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        return
                time.sleep(0.1)
            raise AssertionError((tmp_path / "server.log").read_text())

        def kill(self):
            for process in running:
                # A child may end by itself while the list is made or read.
                with suppress(psutil.NoSuchProcess):
                    for child in psutil.Process(process.pid).children(recursive=True):
                        with suppress(psutil.NoSuchProcess):
                            child.kill()
                process.kill()
                process.wait()
            running.clear()

    yield Server()
    Server().kill()


@pytest.mark.slow
def test_a_server_that_dies_and_comes_back_misses_nothing(tmp_path, server, caplog):
    """The sweep is not held up, one warning is given, and each record arrives once."""
    caplog.set_level(logging.WARNING, logger="cluster.tracking")
    server.start()
    tracker = Tracker.open(server.uri, "remote", folder=tmp_path / "results")
    tracker.start()
    tracker.finished(record(0))
    while tracker.n_delivered < 1:
        time.sleep(0.05)
    server.kill()

    began = time.monotonic()
    for number in range(1, 6):
        tracker.finished(record(number))
    assert time.monotonic() - began < 0.1
    report = tracker.close()
    assert time.monotonic() - began < 15
    assert (report.n_delivered, report.n_missing) == (1, 5)
    assert "127.0.0.1" in report.problem
    assert len(caplog.records) == 1
    assert tracker.log_sweep_run("s", {}, {}).startswith("the tracking server at http://127.0.0.1")

    server.start()
    later = Tracker.open(server.uri, "remote", folder=tmp_path / "results")
    with later:
        later.finished(record(6))
    report = later.deliver_missing([record(n) for n in range(7)])
    assert (report.n_delivered, report.n_missing) == (5, 0)
    assert later.deliver_missing([record(n) for n in range(7)]).n_delivered == 0
    (tmp_path / "note.txt").write_text("fit")
    assert later.log_sweep_run("s", {"a": 1}, {"exponent": 9.0}, [tmp_path / "note.txt"]) == ""
    assert sorted(row["trial_id"] for row in read_runs(server.uri, "remote")) == [
        record(n)["trial_id"] for n in range(7)
    ]


def test_a_server_that_is_not_there_costs_a_sweep_next_to_nothing(tmp_path, caplog):
    """Twenty records are queued and the tracker closed; none is lost and one sentence is said."""
    with closing(socket.socket()) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    tracker = Tracker.open(f"http://user:secret@127.0.0.1:{port}", "absent", folder=tmp_path)
    tracker.start()
    tracker.deliver_missing([])
    began = time.monotonic()
    for number in range(20):
        tracker.finished(record(number))
    report = tracker.close()

    assert (report.n_delivered, report.n_missing) == (0, 20)
    assert time.monotonic() - began < 15
    assert "secret" not in report.problem
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text
    assert "delivered later" in caplog.text
