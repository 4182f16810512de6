"""A team's tracking server as docs/tracking.md sets it up: PostgreSQL, passwords, allowed hosts; away for a while."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from cluster.mlflow_client import open_client
from cluster.tracking import Tracker, read_runs

pytestmark = [pytest.mark.faults, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))

SECRETS = {"right": "correct horse battery", "wrong": "a wrong guess of 19"}
SWEEP = """
name: team
dataset: digits
family: mlp
grid: {width: [8, 16, 32], depth: [1], n_train: [100, 300], seed: [0]}
training: {epochs: 1, batch_size: 32, learning_rate: 0.01}
fit: {resamples: 100}
"""


def free_port():
    """A port that nobody listens on now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def record(number):
    """A record as a trial leaves it."""
    trial_id = f"{number:016x}"
    row = {"trial_id": trial_id, "status": "finished", "technique": "baseline", "test_error": 1 / (number + 2)}
    stamp = "2026-01-01T00:00:00+00:00"
    return {
        "trial_id": trial_id, "sweep": "s", "status": "finished", "spec": {"seed": number}, "row": row,
        "started_at": stamp, "ended_at": stamp,
    }  # fmt: skip


@contextmanager
def process(command, log, **options):
    """A server that is ended with all that it started."""
    with open(log, "w") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, **options)
    try:
        yield server
    finally:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(server.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        server.kill()
        server.wait()


def wait_for(port, log):
    """Wait until somebody listens."""
    for _ in range(900):
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(Path(log).read_text())


@pytest.fixture
def postgres(tmp_path_factory):
    """PostgreSQL of the distribution, in a folder and on a port of its own."""
    if not POSTGRES:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    folder = Path(f"/tmp/np-postgres-{os.getpid()}")
    folder.mkdir(mode=0o700)
    owner = {}
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        owner = {"user": "postgres", "group": "postgres", "extra_groups": []}
    port = free_port()
    binaries, log = POSTGRES[-1], tmp_path_factory.mktemp("postgres") / "log"
    try:
        options = ["--auth=trust", "--username=mlflow", "--no-sync"]
        subprocess.run(
            [binaries / "initdb", *options, "-D", folder / "data"], check=True, capture_output=True, cwd="/", **owner
        )
        command = [binaries / "postgres", "-D", folder / "data", "-p", str(port), "-h", "127.0.0.1", "-k", folder]
        with process(command, log, cwd="/", **owner) as server:
            wait_for(port, log)
            for _ in range(100):
                created = subprocess.run(
                    [binaries / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "mlflow", "mlflow"],
                    check=False, capture_output=True,
                )  # fmt: skip
                if created.returncode == 0:
                    break
                time.sleep(0.2)
            assert created.returncode == 0, created.stderr
            yield f"postgresql+psycopg://mlflow@127.0.0.1:{port}/mlflow"
            server.send_signal(signal.SIGINT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def serve(postgres, tmp_path):
    """Start the server of docs/tracking.md; `serve()` may be entered again on the same port."""
    port = free_port()
    environment = {
        **os.environ,
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a secret of this test",
        "MLFLOW_AUTH_ADMIN_PASSWORD": SECRETS["right"],
    }
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", postgres, "--artifacts-destination", str(tmp_path / "artifacts"),
    ]  # fmt: skip

    @contextmanager
    def start(*options):
        with process([*command, *options], tmp_path / "mlflow.log", env=environment, cwd=tmp_path):
            wait_for(port, tmp_path / "mlflow.log")
            yield f"http://127.0.0.1:{port}"

    return start


def status_of(url, **headers):
    """The HTTP status of a request."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_server_on_postgresql_that_goes_away_and_comes_back(serve, tmp_path):
    """Records wait, arrive once, and are what comes back; a foreign host's name is refused all the while."""
    tracker_of = {"experiment": "team", "folder": tmp_path / "results"}
    with serve() as uri:
        assert status_of(f"{uri}/health") == 200
        assert status_of(f"{uri}/api/2.0/mlflow/experiments/search?max_results=1", Host="evil.example.com") == 403
        tracker = Tracker.open(uri, **tracker_of)
        assert tracker.deliver_missing([record(number) for number in range(3)]).n_delivered == 3
    away = Tracker.open(uri, **tracker_of)
    with away:
        for number in range(3, 6):
            away.finished(record(number))
    assert away.close().n_missing == 3
    with serve() as uri:
        later = Tracker.open(uri, **tracker_of)
        report = later.deliver_missing([record(number) for number in range(6)])
        assert (report.n_delivered, report.n_missing) == (3, 0)
        rows = read_runs(uri, "team")
    assert sorted(row["trial_id"] for row in rows) == [record(number)["trial_id"] for number in range(6)]
    assert {row["trial_id"]: row["test_error"] for row in rows} == {
        record(number)["trial_id"]: pytest.approx(1 / (number + 2)) for number in range(6)
    }


def test_the_database_alone_will_do(postgres, tmp_path):
    """Without a server, as docs/tracking.md says."""
    tracker = Tracker.open(postgres, "direct", folder=tmp_path, artifact_root=(tmp_path / "artifacts").as_uri())
    assert tracker.deliver_missing([record(0)]).n_delivered == 1
    assert [row["trial_id"] for row in read_runs(postgres, "direct")] == [record(0)["trial_id"]]
    (tmp_path / "note.txt").write_text("fit")
    assert tracker.log_sweep_run("s", {"a": 1}, {"exponent": 9.0}, [tmp_path / "note.txt"]) == ""


def ninthpower(*arguments, password, cwd):
    """The command as a user of the server types it; what it says and its exit code."""
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": SECRETS[password],
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "400",
    }
    command = [sys.executable, "-m", "experiments.cli", *map(str, arguments)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=cwd, timeout=400)
    return ended.stdout + ended.stderr, ended.returncode


def test_a_sweep_with_a_wrong_password_goes_on_and_is_delivered_later(serve, tmp_path, monkeypatch):
    """One sentence with the remedy, all records on disk, `sync` delivers; no password in any file, message or run."""
    pytest.importorskip("flask_wtf", reason="mlflow[auth] is not installed")
    place = tmp_path / "mine"
    place.mkdir()
    (place / "team.yaml").write_text(SWEEP)
    with serve("--app-name", "basic-auth") as uri:
        said, _ = ninthpower(
            "sweep", "team.yaml", "--results", "results", "--tracking-uri", uri, password="wrong", cwd=place
        )
        assert len(list((place / "results/team/trials").glob("*.json"))) == 6, said
        assert "Traceback" not in said
        remedy = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a user that it knows"
        assert remedy in said
        synced, code = ninthpower("sync", "results", "--tracking-uri", uri, password="right", cwd=place)
        assert code == 0, synced
        assert "team: 6 of 6 trials delivered to MLflow now" in synced

        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRETS["right"])
        client = open_client(uri)
        experiments = client.search_experiments()
        runs = client.search_runs([experiment.experiment_id for experiment in experiments])
        assert len(runs) == 7
        kept = [str(experiment.to_proto()) for experiment in experiments] + [str(run.to_proto()) for run in runs]
    files = [path for path in place.rglob("*") if path.is_file()]
    assert len(files) > 6
    everything = [said.encode(), synced.encode(), *(text.encode() for text in kept), *map(Path.read_bytes, files)]
    for secret in SECRETS.values():
        assert not any(secret.encode() in content for content in everything)


def test_a_password_in_the_address_is_in_no_message_and_no_file(serve, tmp_path):
    """Though the environment is the better place for it; one user may write there, another not."""
    pytest.importorskip("flask_wtf", reason="mlflow[auth] is not installed")
    with serve("--app-name", "basic-auth") as uri:
        for name, n_delivered in (("wrong", 0), ("right", 1)):
            password = SECRETS[name].replace(" ", "%20")
            address = uri.replace("//", f"//admin:{password}@")
            report = Tracker.open(address, "closed", folder=tmp_path / name).deliver_missing([record(0)])
            assert report.n_delivered == n_delivered
            assert password not in report.problem
            files = [path for path in (tmp_path / name).rglob("*") if path.is_file()]
            assert not any(password in path.read_text() or SECRETS[name] in path.read_text() for path in files)


def test_a_server_answers_only_to_the_names_it_was_given(serve, tmp_path):
    """By another name it refuses, in a sentence that says what to do; by an allowed one it takes the record."""
    with serve("--allowed-hosts", "tracking.localhost:*,localhost:*") as uri:
        refused = Tracker.open(uri, "named", folder=tmp_path / "refused").deliver_missing([record(0)])
        assert refused.n_missing == 1
        assert refused.problem.endswith("start it with --allowed-hosts and the name in this address")
        by_name = uri.replace("127.0.0.1", "localhost")
        assert Tracker.open(by_name, "named", folder=tmp_path / "taken").deliver_missing([record(0)]).n_delivered == 1


def test_whoever_has_no_password_is_kept_out(serve, tmp_path, monkeypatch):
    """MLflow's basic authentication: by the environment it lets in, without it nothing arrives or leaks."""
    pytest.importorskip("flask_wtf", reason="mlflow[auth] is not installed")
    with serve("--app-name", "basic-auth") as uri:
        api = f"{uri}/api/2.0/mlflow/experiments/search?max_results=1"
        assert status_of(api) == 401
        refused = Tracker.open(uri, "closed", folder=tmp_path / "refused").deliver_missing([record(0)])
        assert (refused.n_delivered, refused.n_missing) == (0, 1)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRETS["right"])
        let_in = Tracker.open(uri, "closed", folder=tmp_path / "let-in").deliver_missing([record(0)])
        assert (let_in.n_delivered, let_in.n_missing) == (1, 0)
    written = "".join(path.read_text() for path in (tmp_path / "let-in").rglob("*") if path.is_file())
    assert SECRETS["right"] not in written
