"""What a sweep survives, with real nodes, servers and disks: no record is lost and no finished trial repeated.

Minutes in all, so `make test-faults` runs them and `make test` does not. SIGKILL of worker and driver are in
test_tuning.py and test_killed_driver.py.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from cluster.records import read_records

pytestmark = [pytest.mark.faults, pytest.mark.slow]
N_TRIALS = 24


def executions(folder):
    """How often each trial came to its end."""
    diary = folder / "diary"
    return Counter(line.split()[0] for line in diary.read_text().splitlines()) if diary.exists() else Counter()


def by_id(folder):
    """Records by trial id."""
    return {record["trial_id"]: record for record in read_records(folder)}


def wait_for_records(driver, folder, count, seconds=180):
    """Wait until so many trials have finished."""
    deadline = time.monotonic() + seconds
    while len(list(folder.glob("*.json"))) < count:
        assert driver.poll() is None, driver.stdout.read()
        assert time.monotonic() < deadline, f"{len(list(folder.glob('*.json')))} of {count} records"
        time.sleep(0.05)


def finish(driver, seconds=300):
    """Wait for a driver and return what it said."""
    try:
        output, _ = driver.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        driver.kill()
        raise AssertionError(driver.communicate()[0]) from None
    assert driver.returncode == 0, output
    return output


def assert_whole(folder, n_trials=N_TRIALS):
    """Every trial has its record, and each ran to its end once; one may die between its end and its record."""
    records = by_id(folder / "records")
    assert len(records) == n_trials
    assert {record["status"] for record in records.values()} == {"finished"}
    counts = executions(folder)
    assert all(1 <= counts[trial_id] <= record["attempts"] for trial_id, record in records.items()), counts
    return records


def test_a_machine_that_loses_its_power(real_cluster, tmp_path):
    """SIGKILL to all of one of three nodes: its trials are repeated elsewhere, and their records say so."""
    real_cluster.head()
    real_cluster.worker(cpus=2)
    doomed = real_cluster.worker(cpus=2)
    driver = real_cluster.drive(n_trials=N_TRIALS, seconds=1.0)
    wait_for_records(driver, tmp_path / "records", 6)
    doomed.kill()
    output = finish(driver)

    records = assert_whole(tmp_path)
    repeated = [record for record in records.values() if record["attempts"] > 1]
    assert 1 <= len(repeated) <= 4, output
    assert all("machine was lost" in retry["reason"] for record in repeated for retry in record["retries"]), output
    assert all(record["row"]["lost_seconds"] > 0 for record in repeated)
    assert all(record["phases"][-1]["phase"] == "lost" for record in repeated)


def test_a_spot_machine_that_is_announced_to_go(real_cluster, tmp_path):
    """The notice drains it: no new trial begins there; when it goes, nothing counts against its trials."""
    real_cluster.head()
    real_cluster.worker(cpus=2)
    doomed = real_cluster.worker(cpus=2)
    driver = real_cluster.drive(n_trials=N_TRIALS, seconds=1.0)
    wait_for_records(driver, tmp_path / "records", 4)
    script = (
        "import sys, json; import ray\n"
        "from cluster.spot import drain_command\n"
        "import subprocess\n"
        "ray.init(address=sys.argv[1], log_to_driver=False)\n"
        "ids = {node['NodeID']: node['Resources'].get('CPU') for node in ray.nodes()}\n"
        "pids = json.loads(sys.argv[2])\n"
        "import psutil\n"
        "line = next(' '.join(psutil.Process(pid).cmdline()) for pid in pids\n"
        "            if 'raylet' in psutil.Process(pid).name())\n"
        "(node_id,) = [one for one in ids if one in line]\n"
        "subprocess.run(drain_command(node_id, sys.argv[1], 20), check=True)\n"
        "print(node_id)\n"
    )
    pids = [process.pid for process in doomed.processes()]
    done = subprocess.run(
        [sys.executable, "-c", script, real_cluster.address, str(pids)],
        env=real_cluster.environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    time.sleep(2)
    doomed.kill()
    output = finish(driver)

    records = assert_whole(tmp_path)
    reasons = {retry["reason"] for record in records.values() for retry in record["retries"]}
    assert all("machine was lost" in reason for reason in reasons), output


def test_a_head_that_is_lost_with_its_disk(real_cluster, tmp_path):
    """SIGKILL to the head and the driver on it; a new head with an empty disk goes on from the storage."""
    storage = (tmp_path / "bucket").as_uri()
    head = real_cluster.head(cpus=2)
    driver = real_cluster.drive("first", n_trials=N_TRIALS, seconds=0.5, storage=storage)
    wait_for_records(driver, tmp_path / "bucket" / "sweep" / "trials", 6)
    head.kill()
    driver.kill()
    driver.communicate()
    before = set(executions(tmp_path))
    stored = {path.stem for path in (tmp_path / "bucket" / "sweep" / "trials").glob("*.json")}
    assert 6 <= len(stored) < N_TRIALS

    real_cluster.head(cpus=2)
    output = finish(real_cluster.drive("records", n_trials=N_TRIALS, seconds=0.2, storage=storage))

    assert f"fetched {len(stored)}" in output
    assert len(by_id(tmp_path / "records")) == N_TRIALS
    counts = executions(tmp_path)
    assert all(counts[trial_id] == 1 for trial_id in stored)
    # A record that was on the lost disk alone, in the moment of its copying, is made again.
    assert len([trial_id for trial_id in before if counts[trial_id] > 1]) <= 2
    assert {path.stem for path in (tmp_path / "bucket" / "sweep" / "trials").glob("*.json")} == set(counts)


def test_a_driver_whose_head_is_lost_ends_and_says_so(real_cluster, tmp_path):
    """It lives on another machine than the head: it must not wait for ever, and its records are whole."""
    head = real_cluster.head(cpus=2)
    driver = real_cluster.drive(n_trials=N_TRIALS, seconds=0.5)
    wait_for_records(driver, tmp_path / "records", 4)
    head.kill()
    driver.communicate(timeout=180)
    assert driver.returncode != 0
    n_before = len(by_id(tmp_path / "records"))
    assert 4 <= n_before < N_TRIALS

    real_cluster.head(cpus=2)
    finish(real_cluster.drive(n_trials=N_TRIALS, seconds=0.2))
    assert_whole(tmp_path)


def test_a_machine_without_the_data_set(real_cluster, tmp_path):
    """Preparation fails on one of two nodes: what failed there runs on the other, and no trial is left failed."""
    real_cluster.head()
    real_cluster.worker(cpus=1)
    real_cluster.worker(cpus=1, NP_NO_DATA="1")
    output = finish(real_cluster.drive(n_trials=8, seconds=1.0, prepare_fails_where="NP_NO_DATA"))

    records = assert_whole(tmp_path, 8)
    reasons = {retry["reason"] for record in records.values() for retry in record["retries"]}
    assert reasons == {"its machine could not be prepared (OSError: no data set on this machine)"}, output


def test_a_cluster_that_has_no_worker_yet(real_cluster, tmp_path):
    """The driver knows what may come and waits for it; what no machine to come could hold is refused at once."""
    real_cluster.environment["NINTHPOWER_GROWTH"] = '[{"name": "spot", "resources": {"CPU": 2}, "most": 3}]'
    real_cluster.head()
    driver = real_cluster.drive(n_trials=8, seconds=0.2)
    refused = real_cluster.drive("other", n_trials=1, trial_cpus=4)
    output, _ = refused.communicate(timeout=120)
    assert refused.returncode != 0
    assert "4 CPU, which no machine of the cluster can give" in output
    assert "a new spot would have 2 CPU" in output
    assert driver.poll() is None
    assert not list((tmp_path / "records").glob("*.json"))

    real_cluster.worker(cpus=2)
    finish(driver)
    assert_whole(tmp_path, 8)


def test_a_disk_that_is_full(tmp_path):
    """A real file system of one megabyte: the sweep stops with one sentence, and goes on when there is room."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        ballast = small / "ballast"
        ballast.write_bytes(b"x" * (2**20 - 160 * 1024))
        script = Path(__file__).with_name("drive_sweep.py")
        settings = {"address": None, "cpus": 2, "folder": str(small / "records"), "n_trials": 200, "seconds": 0.01}
        command = [sys.executable, str(script), json.dumps(settings)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        first = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
        n_before = len(by_id(small / "records"))
        assert first.returncode != 0
        assert 0 < n_before < 200
        assert re.search(r"could not be written: .*No space left", first.stderr), first.stderr[-2000:]

        ballast.unlink()
        settings["folder"] = str(small / "records")
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
        second = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
        assert second.returncode == 0, second.stderr[-2000:]
        assert "200 of 200 trials are done" in second.stdout
        # A trial whose record found no room has run in vain, and runs again; no recorded one does.
        repeated = [trial_id for trial_id, count in executions(small).items() if count > 1]
        assert len(repeated) <= 4
    finally:
        subprocess.run(["umount", str(small)], check=True)
