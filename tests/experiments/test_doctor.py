"""The doctor: every ailment that is put into a healthy place is found and said, and no other."""

import json
import os
import re
import socket
from contextlib import closing

import pytest

from cluster.lock import hold_folder
from cluster.records import write_record
from experiments import doctor
from experiments.results import save_sweep
from experiments.sweep import parse_sweep
from experiments.trial import identity

SWEEP = parse_sweep({"name": "ill", "grid": {"width": [4, 8], "depth": 1, "n_train": 50}})


@pytest.fixture(autouse=True)
def no_token(tmp_path, monkeypatch):
    """What Ray has left in the home of whoever runs the tests is no part of them."""
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "no-token"))


@pytest.fixture
def results(tmp_path):
    """Results of a small sweep that ended well."""
    folder = tmp_path / "results" / "ill"
    save_sweep(SWEEP, folder)
    for trial in SWEEP.trials():
        stamp = "2026-01-01T00:00:00+00:00"
        record = {"trial_id": trial.trial_id, "status": "finished", "spec": trial.model_dump(mode="json")}
        record |= {"started_at": stamp, "ended_at": stamp, "row": identity(trial, "ill", "finished", "")}
        record["row"] |= {"train_flops": 1e6 * trial.width, "test_error": 1 / trial.width}
        write_record(folder / "trials", record)
    return tmp_path / "results"


def complaints(results, **places):
    """What needs mending, MLflow's copy left aside."""
    found = doctor.examine(results, **places)
    return [finding.sentence for finding in found if not finding.good and "MLflow has not" not in finding.sentence]


def test_a_healthy_place_has_nothing_to_mend(results):
    """Here, where all that is needed is installed; and the sweep is described."""
    assert complaints(results) == []
    sentences = [finding.sentence for finding in doctor.examine(results)]
    assert any(sentence.endswith("2 finished, of 2 trials") for sentence in sentences)


def test_a_folder_without_results_is_healthy(tmp_path):
    """Before the first sweep."""
    assert complaints(tmp_path / "none") == []


def test_records_that_mlflow_lacks_are_counted_until_they_are_delivered(results, ninthpower):
    """And the remedy that is named is one."""
    (said,) = [finding.sentence for finding in doctor.examine(results) if "MLflow" in finding.sentence]
    assert f"2 trials; run: ninthpower sync {results / 'ill'}" in said

    synced = ninthpower("sync", results / "ill")
    assert "2 of 2 trials delivered to MLflow now" in synced.stdout
    assert not [finding for finding in doctor.examine(results) if "MLflow" in finding.sentence]
    assert "0 of 2 trials delivered" in ninthpower("sync", results).stdout


def test_a_damaged_record_and_a_failed_one(results):
    """The file is named, and what the failed trial said."""
    first, second = sorted((results / "ill" / "trials").glob("*.json"))
    first.write_text('{"record_version": 1, "tri')
    content = json.loads(second.read_text())
    second.write_text(json.dumps({**content, "status": "failed", "reason": "Traceback\nOSError: no data"}))

    damaged, failed = complaints(results)
    assert damaged.startswith(f"{first} is damaged")
    assert failed.endswith("1 trial failed and the next start tries it again; one said: OSError: no data")


def test_what_a_killed_sweep_left(results):
    """Half-written files; not while a sweep is at work there."""
    trials = results / "ill" / "trials"
    (trials / ".x-1.tmp").write_text("{")
    with hold_folder(trials):
        assert complaints(results) == []
        assert any(f"in use by process {os.getpid()}" in one.sentence for one in doctor.examine(results))

    (said,) = complaints(results)
    assert "a killed sweep left" in said


def test_a_store_that_is_none(results):
    """Half a copy, or another file of the name: what is in the records can be delivered again."""
    store = results / "mlflow.db"
    store.write_text("junk that is longer than the head of a database, which is a hundred bytes, or so it is said " * 2)

    said = f"{store} is no store of MLflow's (file is not a database); move it away"
    assert any(said in one for one in complaints(results))


def test_the_remedy_names_the_tracking_server_that_was_asked_for(results):
    """Else it would deliver to another one, and the finding would stay."""
    found = doctor.examine(results, tracking_uri="http://127.0.0.1:1")

    remedy = f"ninthpower sync {results / 'ill'} --tracking-uri http://127.0.0.1:1"
    assert any(finding.sentence.endswith(remedy) for finding in found)


def test_a_sweep_file_that_cannot_be_read(results):
    """A key that this version does not know."""
    path = results / "ill" / "sweep.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "gird": {}}))

    (said,) = complaints(results)
    assert "unknown key 'gird'" in said


def test_a_token_that_others_can_read(results, tmp_path, monkeypatch):
    """Whoever has it may run code on the cluster."""
    token = tmp_path / "token"
    token.write_text("0" * 64)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    token.chmod(0o600)
    assert complaints(results) == []

    token.chmod(0o644)
    (said,) = complaints(results)
    assert said.endswith(f"run: chmod 600 {token}")
    assert "0" * 64 not in said


def test_a_folder_that_may_not_be_written_to(results, read_only):
    """With the reason and the remedy, in the words that every command has for it."""
    read_only(results)

    (said,) = complaints(results)
    why = r"\((read-only file system|permission denied)\)"
    assert re.fullmatch(
        rf"{results} cannot be written to {why}; give --results and a folder that you may write to", said
    )


def test_what_is_too_small_or_missing(results, monkeypatch):
    """Room, open files, libraries."""
    monkeypatch.setattr(doctor, "LEAST_FREE_BYTES", 2**80)
    monkeypatch.setattr(doctor, "LEAST_OPEN_FILES", 2**60)
    monkeypatch.setattr(doctor, "NEEDED", {"a trial": ("torch", "no-such-library")})
    said = "\n".join(complaints(results))

    assert "a trial needs no-such-library, not installed; run: pip install 'ninthpower[trial]'" in said
    assert f"ulimit -n {2**60}" in said
    assert "make room" in said


def test_remote_places_that_do_not_answer(results, monkeypatch):
    """One sentence each, without credentials."""
    with closing(socket.socket()) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracking, storage, cluster = complaints(
        results,
        tracking_uri=f"http://user:hunter2@127.0.0.1:{port}",
        storage_uri="ftp://key:hunter2@bucket",
        address=f"http://127.0.0.1:{port}",
    )

    assert tracking == (
        f"the tracking server at http://127.0.0.1:{port} does not answer (nothing listens there); "
        "sweeps run without it, and ninthpower sync delivers later"
    )
    assert "is none of s3://" in storage
    assert cluster.startswith(f"no job server answers at http://127.0.0.1:{port}")
    assert "hunter2" not in tracking + storage + cluster


def test_the_command_ends_with_1_if_something_needs_mending(ninthpower, results):
    """And with 0 if not; every line says which."""
    ill = ninthpower("doctor", "--results", results)
    assert ill.returncode == 1
    assert {line[:4] for line in ill.stdout.splitlines()} == {"ok  ", "MEND"}

    assert ninthpower("sync", results).returncode == 0
    healthy = ninthpower("doctor", "--results", results)
    assert healthy.returncode == 0, healthy.stdout
    assert "MEND" not in healthy.stdout


def test_sync_exchanges_with_the_storage_both_ways(ninthpower, results, tmp_path):
    """What either side lacks."""
    bucket = (tmp_path / "bucket").as_uri()
    first = ninthpower("sync", results, "--storage", bucket)
    assert "2 written to the storage" in first.stdout
    record = next((results / "ill" / "trials").glob("*.json"))
    content = json.loads(record.read_text())
    record.unlink()

    second = ninthpower("sync", results, "--storage", bucket)
    assert "1 fetched from the storage" in second.stdout
    assert json.loads(record.read_text()) == content
    assert ninthpower("sync", tmp_path / "bucket").returncode == 2
