"""A sweep whose driver is killed in the middle of a long trial, as processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from experiments.machine import Machine
from experiments.spec import TrialSpec
from experiments.trial import run_trial

ROOT = Path(__file__).parents[2]
SWEEP = """
name: long
family: mlp
points: [{width: 32, depth: 1, n_train: 1000}]
training: {epochs: 400, selection: best, augmentation: shift, technique: magnitude-pruning, validation_passes: 3}
execution: {device: cpu, checkpoint_seconds: 0.2}
"""

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def start(folder):
    """Start the sweep as a person would."""
    command = [sys.executable, "-m", "experiments.cli", "sweep", str(folder / "sweep.yaml"), "--workers", "1"]
    return subprocess.Popen(
        [*command, "--results", str(folder / "results")], cwd=ROOT, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_a_killed_driver_s_long_trial_goes_on_from_its_checkpoint(tmp_path):
    """SIGKILL after a few checkpoints; the next start leaves the record of a trial that was never ended."""
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    driver = start(tmp_path)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("results/long/trials/checkpoints/*.pt")):
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1.0)
    workers = psutil.Process(driver.pid).children(recursive=True)
    # Ray's two agents follow within minutes; they train nothing.
    others = [worker for worker in workers if "agent" not in " ".join(worker.cmdline()).lower()]
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    assert not list(tmp_path.glob("results/long/trials/*.json"))
    assert psutil.wait_procs(others, timeout=60)[1] == []

    output, _ = start(tmp_path).communicate(timeout=500)

    (path,) = tmp_path.glob("results/long/trials/*.json")
    record = json.loads(path.read_text())
    expected = run_trial(TrialSpec(**record["spec"]), Machine(device="cpu"))
    assert record["continued"], output
    assert record["curve"] == expected["curve"]
    for name in ("test_error", "test_loss", "train_flops", "sparse_train_flops", "n_params"):
        assert record["row"][name] == expected["row"][name]
    (lost,) = record["retries"]
    assert lost["reason"] == "its sweep ended before it did"
    assert list((path.parent / "checkpoints").iterdir()) == []
