"""The whole way on real parts: a sweep on a real Ray, killed and gone on with, in a real MLflow store."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from cluster.tracking import read_runs as read_tracked
from scaling import read_runs

ROOT = Path(__file__).parents[2]
SWEEP = """
name: way
description: A few tiny networks.
dataset: digits
family: mlp
grid: {width: [8, 16, 32], depth: 1, n_train: [50, 200], seed: [0, 1]}
training: {epochs: 40, learning_rate: 0.01}
fit: {resamples: 100}
"""
# What the clock, the meter and the machine decide.
NOT_COMPARED = [
    "inference_seconds", "utilisation", "hardware_burden_flop", "wall_seconds", "wall_seconds_train",
    "wall_seconds_overhead", "energy_joules", "energy_joules_train", "energy_joules_overhead", "peak_memory_bytes",
    "peak_memory_bytes_train",
]  # fmt: skip


def start(folder, sweep):
    """Start the command in its own process."""
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.cli", "sweep", str(sweep), "--results", str(folder), "--workers", "2"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
    )  # fmt: skip


def finish(process):
    """Wait for it and return what it said."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def records_of(folder):
    """Records on disk with the time each was written."""
    return {path.stem: path.stat().st_mtime_ns for path in (folder / "way" / "trials").glob("*.json")}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """The sweep file."""
    path = tmp_path_factory.mktemp("sweep") / "way.yaml"
    path.write_text(SWEEP)
    return path


@pytest.fixture(scope="module")
def whole(sweep, tmp_path_factory):
    """An uninterrupted sweep: its folder and its output."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, finish(start(folder, sweep))


def test_a_sweep_leaves_table_fits_figures_report_and_records(whole):
    """Everything that is promised, and what was printed names it."""
    folder, output = whole
    results = folder / "way"

    assert len(read_runs(results)) == 12
    assert {path.name for path in results.iterdir()} >= {
        "runs.parquet",
        "runs.csv",
        "fits.json",
        "report.html",
        "figures",
    }
    assert str(results / "report.html") in output
    assert "Under the power law" in output


def test_every_trial_and_the_sweep_are_in_mlflow(whole):
    """The store holds what the table holds, under the same names, and the run of the sweep with its files."""
    from mlflow import MlflowClient

    folder, _ = whole
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    tracked = pd.DataFrame(read_tracked(uri, "ninthpower/way")).set_index("trial_id").sort_index()
    table = read_runs(folder / "way").set_index("trial_id").sort_index()

    assert list(tracked.index) == list(table.index)
    for name in ("test_error", "train_flops", "energy_joules"):
        assert list(tracked[name].astype(float)) == pytest.approx(list(table[name]))
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("ninthpower/way")
    runs = client.search_runs([experiment.experiment_id])
    (of_sweep,) = [run for run in runs if "trial_id" not in run.data.tags]
    artifacts = {item.path for item in client.list_artifacts(of_sweep.info.run_id)}
    assert artifacts >= {"report.html", "fits.json", "runs.csv", "figures"}


def test_joules_of_parallel_trials_do_not_exceed_the_nodes(whole):
    """Trials that ran side by side share the node's power; their sum is that of one machine."""
    folder, _ = whole
    records = [json.loads(path.read_text()) for path in (folder / "way" / "trials").glob("*.json")]
    joules = sum(record["row"]["energy_joules"] for record in records)
    seconds = [pd.Timestamp(record[end]) for record in records for end in ("started_at", "ended_at")]
    span = (max(seconds) - min(seconds)).total_seconds()
    alone = max(record["row"]["energy_joules"] / record["row"]["wall_seconds"] for record in records)

    assert {record["row"]["energy_source"] for record in records} <= {"measured", "estimated"}
    # Had each trial been given the whole machine, the sum would be near twice this; a busy machine blurs the power.
    assert joules < 1.6 * alone * span


def test_killed_half_way_and_started_again(whole, sweep, tmp_path):
    """SIGKILL to the driver: no finished trial is repeated, and the table is that of an uninterrupted sweep."""
    process = start(tmp_path, sweep)
    deadline = time.monotonic() + 120
    while len(records_of(tmp_path)) < 3 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = records_of(tmp_path)
    assert 3 <= len(before) < 12

    output = finish(start(tmp_path, sweep))
    after = records_of(tmp_path)

    assert len(after) == 12
    assert {name: after[name] for name in before} == before
    # A worker may have handed in its record in the moment between the look at the folder and the kill.
    n_kept = int(re.search(r"(\d+) of 12 trials are finished already", output)[1])
    assert len(before) <= n_kept < 12
    first, second = (
        read_runs(folder / "way").set_index("trial_id").sort_index().drop(columns=NOT_COMPARED)
        for folder in (whole[0], tmp_path)
    )
    pd.testing.assert_frame_equal(first, second)


def test_run_again_it_repeats_nothing_and_fits_the_same(whole, sweep):
    """Only the fit is done again, and gives the same bytes."""
    folder, _ = whole
    before, fits = records_of(folder), (folder / "way" / "fits.json").read_bytes()
    output = finish(start(folder, sweep))

    assert records_of(folder) == before
    assert (folder / "way" / "fits.json").read_bytes() == fits
    assert "12 of 12 trials are finished already" in output
