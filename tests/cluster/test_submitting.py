"""A sweep on a cluster that is somewhere else: a real head with a job server behind a token."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster.jobs import Job
from cluster.records import read_records
from experiments.submitting import ending, find_submitted

ROOT = Path(__file__).parents[2]
SWEEP = """
name: far
dataset: digits
family: mlp
grid: {width: [8, 16], depth: 1, n_train: [50, 200], seed: SEEDS}
training: {epochs: EPOCHS, learning_rate: 0.01}
fit: {resamples: 100}
"""


@pytest.fixture
def ninthpower(real_cluster, tmp_path):
    """The command line of somebody at home, who has the cluster's token."""

    def start(*arguments, **variables):
        command = [sys.executable, "-m", "experiments.cli", *map(str, arguments)]
        environment = {**real_cluster.environment, "NINTHPOWER_CLUSTER": real_cluster.dashboard, **variables}
        return subprocess.Popen(
            command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    return start


def finish(process, code=0):
    """Wait for a command and return what it printed."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


def write_sweep(tmp_path, seeds, epochs):
    """A sweep file of so many seeds."""
    path = tmp_path / "far.yaml"
    path.write_text(SWEEP.replace("SEEDS", str(list(range(seeds)))).replace("EPOCHS", str(epochs)))
    return path


def without_waits(folder):
    """Records of a folder by id."""
    return {record["trial_id"]: record for record in read_records(folder)}


@pytest.mark.faults
@pytest.mark.slow
def test_a_sweep_is_submitted_followed_cancelled_gone_on_with_and_brought_home(real_cluster, ninthpower, tmp_path):
    """One head, all of the ways of the command: what the cluster has is what arrives, and nothing is run twice."""
    real_cluster.head(cpus=2, dashboard=True)
    wrong = finish(ninthpower("submit", "--list", RAY_AUTH_TOKEN="0" * 32), 2)
    assert "wants its token" in wrong
    assert real_cluster.environment["RAY_AUTH_TOKEN"] not in wrong

    # A sweep of many trials is begun, left alone, and cancelled half-way.
    path = write_sweep(tmp_path, 20, 30)
    begun = finish(ninthpower("submit", path, "--detach"))
    job_id = re.search(r"job (far-\S+) on", begun)[1]
    remote = tmp_path / "ninthpower-results" / "far" / "trials"
    deadline = time.monotonic() + 180
    while len(list(remote.glob("*.json"))) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    cancelled = finish(ninthpower("submit", "--cancel", job_id))
    assert f"job {job_id} stopped" in cancelled, cancelled
    assert re.search(r"(\d+) of 80 trials are at home", cancelled)
    home = tmp_path / "results" / "far" / "trials"
    first = without_waits(home)
    assert 4 <= len(first) < 80

    # A part of it again, followed to its end; Ctrl-C in between ends the following alone.
    path = write_sweep(tmp_path, 2, 30)
    following = ninthpower("submit", path)
    said = ""
    while "job far-" not in said:
        said += following.stdout.readline()
    time.sleep(2)
    following.send_signal(signal.SIGINT)
    output, _ = following.communicate(timeout=60)
    assert following.returncode == 130, said + output
    assert "the sweep goes on without you" in output
    job_id = re.search(r"job (far-\S+) on", said)[1]
    attached = finish(ninthpower("submit", "--attach", job_id))
    assert f"job {job_id} succeeded" in attached
    assert re.search(r"[1-8] of 8 trials (is|are) finished already", attached)
    assert "8 of 8 trials are at home" in attached, attached
    second = without_waits(home)
    assert {trial_id: second[trial_id] for trial_id in first} == first
    there = without_waits(remote)
    assert {trial_id: there[trial_id] for trial_id in second} == second
    assert find_submitted(job_id, tmp_path / "results").sweep.name == "far"

    listed = finish(ninthpower("submit", "--list"))
    assert f"{job_id}\tSUCCEEDED" in listed
    fitted = finish(ninthpower("fit", tmp_path / "results" / "far", "--law", "power"))
    assert "report.html" in fitted


REFUSED = [
    (["submit"], "give one of a sweep file"),
    (["submit", "--attach", "x", "--list"], "give one of a sweep file"),
    (["submit", "--attach", "no-such-job"], "no job no-such-job was submitted from results"),
    (["submit", "--attach", "../../etc/passwd"], "may hold only letters"),
    (["submit", "--list", "--address", "ray://127.0.0.1:10001"], "is no address of a job server"),
    (["submit", "--list", "--address", "http://127.0.0.1:9"], "no job server answers at http://127.0.0.1:9"),
    (["submit", "nowhere.yaml"], "there is no sweep file nowhere.yaml"),
]


@pytest.mark.parametrize(("arguments", "words"), REFUSED, ids=[" ".join(one[0]) for one in REFUSED])
def test_what_cannot_be_submitted_is_said_in_one_sentence(arguments, words, monkeypatch, capsys, tmp_path):
    """Before anything runs anywhere."""
    from experiments.cli import main

    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("NINTHPOWER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "argv", ["ninthpower", *arguments])
    with pytest.raises(SystemExit) as ending:
        main()

    assert ending.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("ninthpower: ")
    assert error.count("\n") == 1
    assert words in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "exit_code", "code"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 3, 3),  # trials failed
        ("FAILED", 2, 2),
        ("FAILED", 1, 2),  # killed, or no such command there
        ("FAILED", None, 2),  # the head was lost
        ("FAILED", 130, 130),
        ("STOPPED", None, 130),
    ],
)
def test_a_followed_sweep_gives_its_own_exit_code(status, exit_code, code):
    """3 only where the sweep came to its end and trials failed."""
    assert ending(Job("far", status, "", 0.0, exit_code)) == code


def test_jobs_are_listed_for_machines(monkeypatch, capsys):
    """All that is known of each."""
    from experiments.cli import main

    jobs = [Job("far-1", "FAILED", "exit code 3", 12.5, 3)]
    monkeypatch.setattr("cluster.jobs.Jobs", lambda _: SimpleNamespace(all=lambda: jobs))
    monkeypatch.setattr(sys, "argv", ["ninthpower", "submit", "--list", "--json"])
    with pytest.raises(SystemExit) as ending_:
        main()

    assert not ending_.value.code
    assert json.loads(capsys.readouterr().out) == [
        {"job_id": "far-1", "status": "FAILED", "message": "exit code 3", "began": 12.5, "exit_code": 3}
    ]


def test_a_name_from_a_sweep_file_reaches_no_shell(tmp_path):
    """What is submitted is a fixed command; the sweep is a file beside it."""
    from experiments import submitting
    from experiments.sweep import parse_sweep

    seen = {}

    class Jobs:
        def submit(self, job_id, arguments, files):
            seen.update(job_id=job_id, arguments=arguments, sweep=json.loads((files / "sweep.yaml").read_text()))

    nasty = "$(touch owned); `id` && rm -rf ~ #"
    sweep = parse_sweep({"name": "plain", "description": nasty, "grid": {"width": [4], "depth": 1, "n_train": 50}})
    submitted = submitting.submit_sweep(Jobs(), sweep, tmp_path)

    assert seen["sweep"]["description"] == nasty
    assert seen["arguments"][:3] == ["ninthpower", "sweep", "sweep.yaml"]
    assert not any(nasty in argument for argument in seen["arguments"])
    assert re.fullmatch(r"plain-\d{8}-\d{6}-[0-9a-f]{6}", submitted.job_id)
    with pytest.raises(ValueError, match="is no name"):
        parse_sweep({"name": "../../x; id", "grid": {"width": [4]}})
