"""A driver killed or interrupted from outside, in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from cluster.records import FINAL_STATUSES, read_records

ROOT = Path(__file__).parents[2]
N_TRIALS = 24
# Each execution of a trial leaves a line, so that repetitions can be counted.
DRIVER = """
import sys
from pathlib import Path
from cluster.session import connect
from cluster.tuning import TrialRequest, run_trials

def make():
    def run(payload):
        import os, time
        time.sleep(0.15)
        line = os.open(payload["diary"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(line, (payload["trial_id"] + "\\n").encode())
        os.close(line)
        return {"trial_id": payload["trial_id"], "status": "finished", "row": {}}
    return run

folder = Path(sys.argv[1])
requests = [
    TrialRequest(f"t{n}", {"trial_id": f"t{n}", "diary": str(folder / "diary")}) for n in range(int(sys.argv[2]))
]
with connect(None, cpus=2) as session:
    print(run_trials(requests, make(), folder=folder / "records", session=session).sentence("again"), flush=True)
"""


def start_driver(folder):
    """Start the sweep as a process that leads a group of its own, as a shell would."""
    environment = {**os.environ, "HOME": str(folder / "no-such-home")}
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder), str(N_TRIALS)],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for_records(process, folder, count):
    """Wait until so many trials have finished."""
    deadline = time.monotonic() + 120
    while len(list(folder.glob("records/*.json"))) < count:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def executions(folder):
    """How often each trial was run to its end."""
    return Counter((folder / "diary").read_text().split())


def wait_until_gone(processes):
    """Wait for processes to end; return those that did not."""
    _, alive = psutil.wait_procs(processes, timeout=60)
    return alive


def recorded(folder):
    """Ids of the trials that have a final record."""
    return {record["trial_id"] for record in read_records(folder) if record["status"] in FINAL_STATUSES}


def is_agent(process):
    """Whether it is one of Ray's two helpers that look for their parent only now and then."""
    return any("agent" in part.lower() for part in process.cmdline())


@pytest.mark.slow
def test_after_a_kill_nothing_finished_is_repeated_and_no_process_is_left(tmp_path):
    """SIGKILL to the driver alone; Ray's processes follow it, and the next start does the rest."""
    process = start_driver(tmp_path)
    wait_for_records(process, tmp_path, 5)
    descendants = psutil.Process(process.pid).children(recursive=True)
    others = [descendant for descendant in descendants if not is_agent(descendant)]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(others) >= 5
    # The two agents follow within two minutes: they ask for their parent, then wait for the dead head.
    assert wait_until_gone(others) == []
    done = recorded(tmp_path / "records")
    assert 5 <= len(done) < N_TRIALS
    before = executions(tmp_path)

    second = start_driver(tmp_path)
    output, _ = second.communicate(timeout=120)

    assert f"{N_TRIALS} of {N_TRIALS} trials are done" in output
    assert len(list(read_records(tmp_path / "records"))) == N_TRIALS
    assert {trial_id: executions(tmp_path)[trial_id] for trial_id in done} == {
        trial_id: before[trial_id] for trial_id in done
    }
    assert not (tmp_path / "records" / ".tune").exists()
    assert not (tmp_path / "no-such-home").exists()


@pytest.mark.slow
def test_ctrl_c_on_a_terminal_ends_everything_in_order(tmp_path):
    """The whole group hears SIGINT, as from a terminal; the driver says how far it came and how to go on."""
    process = start_driver(tmp_path)
    wait_for_records(process, tmp_path, 3)
    descendants = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert output.startswith("stopped: ")
    assert output.endswith(f"of {N_TRIALS} trials are done; `again` goes on with the rest\n")
    assert wait_until_gone(descendants) == []
    assert 3 <= len(recorded(tmp_path / "records")) < N_TRIALS
    assert not (tmp_path / "records" / ".tune").exists()
