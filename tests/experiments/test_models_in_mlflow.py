"""A sweep that keeps models has them beside its records and in MLflow, loaded there by MLflow's own function."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from cluster.mlflow_client import open_client
from cluster.records import read_records
from experiments.data import load_dataset
from experiments.delivering import open_tracker
from experiments.keeping import BestModels, best_of_each, log_kept_models
from experiments.kept_models import load_model
from experiments.sweep import load_sweep
from experiments.syncing import sync_sweep

SWEEP = {
    "name": "kept",
    "family": "mlp",
    "grid": {
        "width": 8, "depth": 1, "n_train": [60, 200], "seed": [0, 1],
        "technique": ["baseline", {"magnitude-pruning": {"density": 0.3}}],
    },
    "training": {"epochs": 4},
    "fit": {"resamples": 100},
    "tracking": {"models": "best"},
}  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The results of a sweep on a real Ray."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "kept.yaml").write_text(yaml.safe_dump(SWEEP))
    command = [sys.executable, "-m", "experiments.cli", "sweep", "kept.yaml", "--workers", "2"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stderr
    return folder / "results"


@pytest.fixture
def client(results):
    """MLflow's own client on the sweep's store."""
    return open_client(f"sqlite:///{results / 'mlflow.db'}")


def logged(client):
    """The logged models of the sweep's experiment."""
    experiment = client.get_experiment_by_name("ninthpower/kept")
    return list(client.search_logged_models([experiment.experiment_id]))


def test_the_models_on_disk_are_those_of_least_validation_error_of_each_technique(results):
    """Found here from the runs table; ties go by the loss."""
    import pandas as pd

    runs = pd.read_csv(results / "kept" / "runs.csv", dtype={"trial_id": str})
    best = runs.sort_values(["validation_error", "validation_loss"]).groupby("technique").head(1)["trial_id"]

    assert len(runs) == 8
    assert {path.stem for path in (results / "kept" / "models").iterdir()} == set(best)


def test_mlflow_has_each_kept_model_ready_linked_to_its_trials_run_with_its_numbers(client, results):
    """What the Models tab shows: name, run, metrics, params."""
    records = {record["trial_id"]: record for record in read_records(results / "kept" / "trials")}

    models = logged(client)

    assert {model.tags["trial_id"] for model in models} == {path.stem for path in (results / "kept/models").iterdir()}
    for model in models:
        row = records[model.tags["trial_id"]]["row"]
        run = client.get_run(model.source_run_id)
        metrics = {metric.key: metric.value for metric in model.metrics}
        assert model.status.value == "READY"
        assert run.data.tags["trial_id"] == model.tags["trial_id"]
        assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
        assert metrics["test_error"] == row["test_error"]
        assert model.params["technique"] == row["technique"]
        assert len(client.get_metric_history(run.info.run_id, "test_error")) == 1


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")  # MLflow's own types
def test_mlflow_loads_a_model_that_makes_the_errors_of_its_record(client, results, monkeypatch):
    """From the store alone and without a pickle; its signature takes the bytes of images."""
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    mlflow.set_tracking_uri(f"sqlite:///{results / 'mlflow.db'}")
    test = load_dataset("digits").test
    images = np.asarray(test.read(np.arange(len(test))))
    for logged_model in logged(client):
        model = mlflow.pyfunc.load_model(f"models:/{logged_model.model_id}")
        errors = np.mean(model.predict(images).argmax(1) != test.labels)
        assert errors == {metric.key: metric.value for metric in logged_model.metrics}["test_error"]
        folder = Path(mlflow.artifacts.download_artifacts(f"models:/{logged_model.model_id}"))
        assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle", ".cloudpickle")]


def test_a_report_that_is_written_again_says_how_it_comes_into_mlflow(ninthpower, results, tmp_path):
    """Only where the sweep was delivered, and the report lies beside its results."""
    here = ninthpower("report", results / "kept")
    elsewhere = ninthpower("report", results / "kept", "--out", tmp_path / "elsewhere")

    assert f"next: ninthpower sync {results / 'kept'}" in here.stdout
    assert "sync" not in elsewhere.stdout


def test_what_is_delivered_again_is_there_once_and_a_model_that_is_gone_is_told_of(client, results):
    """What MLflow has is left alone; a sweep that now asks for all says that those not kept cannot be had."""
    before = {model.model_id for model in logged(client)}

    assert sync_sweep(results / "kept", tracking_uri=None, storage_uri=None).problem == ""
    assert {model.model_id for model in logged(client)} == before

    sweep = load_sweep(results.parent / "kept.yaml", ["tracking.models=all"])
    said = log_kept_models(open_tracker(sweep, results, None), sweep, results / "kept")
    assert said.startswith("6 of 8 models that tracking.models: all asks for are not in")
    assert {model.model_id for model in logged(client)} == before


def record(trial_id, error, technique="baseline", dataset="digits", status="finished", loss=1.0):
    """As much of a record as the choice looks at."""
    row = {"technique": technique, "dataset": dataset, "validation_error": error, "validation_loss": loss}
    return {"trial_id": trial_id, "status": status, "row": row}


def test_the_best_is_chosen_by_validation_for_each_technique_and_data_set_whatever_the_order():
    """Errors of two data sets are not compared; of equal errors the lesser loss counts; others than finished do not."""
    records = [
        record("a", 0.3), record("b", 0.2), record("c", 0.2, loss=0.9), record("d", 0.0, status="stopped"),
        record("e", 0.5, technique="transfer"), record("f", 0.6, dataset="glyphs"),
    ]  # fmt: skip

    for order in (records, records[::-1]):
        assert {one["trial_id"] for one in best_of_each(order).values()} == {"c", "e", "f"}


def test_while_the_sweep_runs_no_more_models_lie_there_than_are_best_so_far(results, tmp_path):
    """A worse one goes as it comes, and a former best one when it is beaten."""
    sweep = load_sweep(results.parent / "kept.yaml")
    models = tmp_path / "models"
    models.mkdir()
    listener = BestModels(sweep, tmp_path)
    there = []
    for trial_id, error in [("a", 0.3), ("b", 0.4), ("c", 0.1), ("d", 0.2)]:
        (models / f"{trial_id}.pt").touch()
        listener.finished(record(trial_id, error))
        there.append(sorted(path.stem for path in models.iterdir()))

    assert there == [["a"], ["a"], ["c"], ["c"]]


def test_a_model_that_is_no_longer_the_best_leaves_mlflows_view(client, results):
    """What is logged follows what is kept."""
    sweep = load_sweep(results.parent / "kept.yaml")
    before = logged(client)

    with open_tracker(sweep, results, None) as tracker:
        assert tracker.log_models("kept", []) == ""

    assert len(before) == 2
    assert logged(client) == []


def test_the_kept_file_and_the_record_agree_after_a_real_sweep(results):
    """The worker packed it, the keeper wrote it, and it is read here."""
    test = load_dataset("digits").test
    records = {one["trial_id"]: one for one in read_records(results / "kept" / "trials")}
    for path in (results / "kept" / "models").iterdir():
        logits = load_model(results / "kept", path.stem).predict(test.read(np.arange(len(test))))
        assert np.mean(logits.argmax(1) != test.labels) == records[path.stem]["row"]["test_error"]
