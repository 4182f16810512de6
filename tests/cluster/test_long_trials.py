"""A long trial whose machine, or whose head, is lost under it: it goes on elsewhere and finds what it would have found.

The real command and the real training, on nodes of their own. SIGKILL of worker and driver are in test_checkpoints.py
and test_long_trial.py.
"""

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from experiments.machine import Machine
from experiments.spec import TrialSpec
from experiments.trial import run_trial

pytestmark = [pytest.mark.faults, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
SWEEP = """
name: long
family: mlp
points: [{width: 32, depth: 1, n_train: 1000}]
training: {epochs: 400, selection: best, augmentation: shift, technique: magnitude-pruning, validation_passes: 3}
execution: {device: cpu, checkpoint_seconds: 0.2}
"""


@pytest.fixture
def start(real_cluster, tmp_path):
    """A function that starts the sweep on the cluster as a person would."""
    drivers = []

    def run(results, *options):
        (tmp_path / "sweep.yaml").write_text(SWEEP)
        command = [sys.executable, "-m", "experiments.cli", "sweep", str(tmp_path / "sweep.yaml"), "--quiet"]
        command += ["--address", real_cluster.address, "--results", str(tmp_path / results), *options]
        drivers.append(
            subprocess.Popen(
                command, cwd=ROOT, env=real_cluster.environment,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
        )  # fmt: skip
        return drivers[-1]

    yield run
    for driver in drivers:
        driver.kill()
        driver.wait()
        driver.stdout.close()


def wait_for_a_checkpoint(driver, folder):
    """Wait for one, and a little longer, so that something is lost that came after it."""
    deadline = time.monotonic() + 300
    while not list(folder.glob("*.pt")):
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1.0)


def trains(node):
    """Whether a worker of Ray Tune lives on a node."""
    for process in node.processes():
        with suppress(psutil.NoSuchProcess):
            if "Trainable" in " ".join(process.cmdline()):
                return True
    return False


def the_record(driver, folder):
    """The sweep's one record, and what its driver said, once it has ended."""
    output, _ = driver.communicate(timeout=500)
    (path,) = (folder / "long" / "trials").glob("*.json")
    return json.loads(path.read_text()), output


def assert_as_if_never_ended(record, output):
    """It went on in the middle, and curve and results are those of the trial in one piece, to the last bit."""
    assert record["status"] == "finished", output
    assert record["continued"], output
    expected = run_trial(TrialSpec(**record["spec"]), Machine(device="cpu"))
    assert record["curve"] == expected["curve"]
    for name in ("test_error", "test_loss", "train_flops", "sparse_train_flops", "n_params"):
        assert record["row"][name] == expected["row"][name]


def test_a_long_trial_goes_on_when_its_machine_is_lost(real_cluster, start, tmp_path):
    """SIGKILL to all of the node that trains: the other one goes on from the checkpoint that the head has."""
    real_cluster.head()
    nodes = [real_cluster.worker(cpus=1) for _ in range(2)]
    driver = start("results")
    wait_for_a_checkpoint(driver, tmp_path / "results" / "long" / "trials" / "checkpoints")
    (doomed,) = [node for node in nodes if trains(node)]
    doomed.kill()

    record, output = the_record(driver, tmp_path / "results")

    assert_as_if_never_ended(record, output)
    (lost,) = record["retries"]
    assert "machine was lost" in lost["reason"]
    assert lost["lost_seconds"] > 0
    assert record["row"]["lost_seconds"] == lost["lost_seconds"]
    assert list((tmp_path / "results" / "long" / "trials" / "checkpoints").iterdir()) == []


def test_a_long_trial_goes_on_when_the_head_is_lost_with_its_disk(real_cluster, start, tmp_path):
    """SIGKILL to head and driver; a new head with an empty folder goes on from the checkpoint in the storage."""
    storage = (tmp_path / "bucket").as_uri()
    stored = tmp_path / "bucket" / "long" / "trials" / "checkpoints"
    head = real_cluster.head(cpus=1)
    driver = start("first", "--storage", storage)
    wait_for_a_checkpoint(driver, stored)
    head.kill()
    driver.kill()
    driver.communicate()
    assert not list((tmp_path / "bucket" / "long" / "trials").glob("*.json"))

    real_cluster.head(cpus=1)
    record, output = the_record(start("second", "--storage", storage), tmp_path / "second")

    assert_as_if_never_ended(record, output)
    (lost,) = record["retries"]
    assert lost["reason"] == "it was begun under a head that is gone"
    assert (lost["lost_seconds"], record["attempts"]) == (None, 2)
    assert "lost_seconds" not in record["row"]
    assert list(stored.iterdir()) == []
    assert [path.stem for path in (tmp_path / "bucket" / "long" / "trials").glob("*.json")] == [record["trial_id"]]
