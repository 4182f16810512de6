"""One sweep in a plain process, on one machine and on a cluster of three nodes: the same trials, the same numbers."""

import subprocess
import sys
from pathlib import Path

import pytest

from cluster.records import read_records
from experiments.running import machine_for
from experiments.sweep import load_sweep
from experiments.trial import run_trial

pytestmark = [pytest.mark.faults, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
SWEEP = """
name: same
dataset: digits
family: resnet
grid: {width: [4, 8], depth: 1, n_train: [64, 200], seed: [0, 1]}
training: {epochs: 2, learning_rate: 0.01, base_width: 8, augmentation: shift}
fit: {resamples: 100}
"""
# What clock, meter, machine and other processes decide.
MEASURED = ("seconds", "joules", "source", "utilisation", "burden", "peak_flops", "carbon", "memory")


def findings(records):
    """What each trial found, by id, without what was measured on the way."""
    return {
        record["trial_id"]: {
            name: value for name, value in record["row"].items() if not any(word in name for word in MEASURED)
        }
        for record in records
    }


def test_the_records_are_the_same_wherever_they_are_made(real_cluster, tmp_path):
    """To the last bit, on CPUs with the same number of threads."""
    path = tmp_path / "same.yaml"
    path.write_text(SWEEP)
    sweep = load_sweep(path)
    alone = findings(run_trial(trial, machine_for(sweep, None), sweep="same") for trial in sweep.trials())

    real_cluster.head()
    for _ in range(2):
        real_cluster.worker(cpus=1)
    places = {"machine": ["--workers", "2"], "cluster": ["--address", real_cluster.address]}
    for place, options in places.items():
        environment = dict(real_cluster.environment)
        done = subprocess.run(
            [sys.executable, "-m", "experiments.cli", "sweep", path, "--results", tmp_path / place, *options],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=400,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert findings(read_records(tmp_path / place / "same" / "trials")) == alone

    assert len(alone) == 8
    assert len({row["test_loss"] for row in alone.values()}) == 8
