"""Runs in MLflow as the table reader sees them: addresses, pages, refusals, and runs of other programs."""

import base64
import json
import re
import shutil
import socket
import sqlite3
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest

from scaling import fit, read_runs
from scaling.tracked import TrackedRuns, read_curves, runs_source
from scaling.tracked.server import MOST_POINTS, PAGE, ServerStore

EXPERIMENTS = [{"name": "Default", "experiment_id": "0"}, {"name": "ninthpower/digits", "experiment_id": "7"}]


def stranger_run(number, status="FINISHED", **metrics):
    """A run of a program that knows nothing of ours, as a server writes it."""
    values = {"train_flops": 1e6 * 4**number, "test_error": 0.5 / 2**number, "section/loss": 1.0, **metrics}
    return {
        "info": {"run_id": f"{number:032x}", "status": status, "start_time": "1000", "end_time": "2000"},
        "data": {
            "metrics": [{"key": key, "value": value} for key, value in values.items()],
            "params": [{"key": "width", "value": str(8 + number)}, {"key": "optimizer", "value": "adam"}],
            "tags": [{"key": "mlflow.user", "value": "ada"}],
        },
    }


class Server:
    """A tracking server in miniature, which notes what it is asked."""

    def __init__(self):
        self.runs, self.points, self.refusal, self.headers, self.asked = [], {}, None, [], []
        ours = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                query = parse_qs(urlsplit(self.path).query)
                ours.asked.append(len(query["run_id"]))
                points = [point for name in query["run_id"] for point in ours.points.get(name, [])]
                self.answer({"metrics": points[:MOST_POINTS]})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path.endswith("experiments/search"):
                    return self.answer({"experiments": EXPERIMENTS})
                first = int(body.get("page_token", 0))
                last = first + body["max_results"]
                page = {"runs": ours.runs[first:last]} if body["experiment_ids"] == ["7"] else {}
                return self.answer({**page, "next_page_token": str(last)} if last < len(ours.runs) else page)

            def answer(self, content):
                ours.headers.append(self.headers.get("Authorization"))
                status, text = ours.refusal or (200, json.dumps(content))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.uri = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        """End it."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch):
    """A server without passwords; a user's own variables play no part."""
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    running = Server()
    yield running
    running.close()


@pytest.mark.parametrize(
    ("text", "experiment", "found"),
    [
        ("http://h:5000", "ninthpower/a b", TrackedRuns("http://h:5000", "ninthpower/a b")),
        ("http://h:5000/#ninthpower/digits", None, TrackedRuns("http://h:5000", "ninthpower/digits")),
        ("https://h/mlflow#a%20b", None, TrackedRuns("https://h/mlflow", "a b")),
        ("http://h:5000/#/experiments/3/runs?workflowType=x", None, TrackedRuns("http://h:5000", number="3")),
        ("http://h:5000/#/experiments/3", None, TrackedRuns("http://h:5000", number="3")),
        ("sqlite:////srv/mlflow.db#e", None, TrackedRuns("sqlite:////srv/mlflow.db", "e")),
        ("results/digits", None, Path("results/digits")),
        (Path("postgresql.csv"), None, Path("postgresql.csv")),
    ],
)
def test_an_address_says_where_runs_lie(text, experiment, found):
    """The form of the command line, that of Python, and what the address bar of a browser shows."""
    assert runs_source(text, experiment) == found


def test_an_address_is_shown_without_its_password():
    """In messages, titles and reports."""
    assert str(runs_source("http://ada:secret@h:5000#e")) == "http://h:5000#e"


@pytest.mark.parametrize(
    ("text", "experiment", "words"),
    [
        (
            "postgresql+psycopg://ada:secret@h/db",
            None,
            "database of the kind postgresql+psycopg, which is read through",
        ),
        ("mysql://h/db#e", None, "give the http address of an MLflow server on it"),
        ("runs.csv", "e", "runs.csv is a path, which holds no experiment 'e'"),
        ("http://h#one", "two", "names the experiment 'one' and the call 'two'"),
    ],
)
def test_an_address_that_is_not_read_is_refused(text, experiment, words):
    """What is read instead is said, and no password."""
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        runs_source(text, experiment)
    assert "secret" not in str(caught.value)


def test_pages_are_read_to_the_end(server):
    """Two pages and a half come back whole, each run once."""
    n_runs = 5 * PAGE // 2
    server.runs = [stranger_run(0, test_error=1 / (number + 1)) for number in range(n_runs)]
    for number, run in enumerate(server.runs):
        run["info"]["run_id"] = f"{number:032x}"

    table = read_runs(server.uri, "ninthpower/digits")

    assert sorted(table["test_error"]) == sorted(1 / (number + 1) for number in range(n_runs))
    assert table["trial_id"].is_unique


def test_the_runs_of_another_program_make_a_table(server):
    """Metrics are columns, params where the runs table knows them; runs that go on are left out."""
    server.runs = [*map(stranger_run, range(8)), stranger_run(8, "KILLED"), stranger_run(9, "RUNNING")]

    table = read_runs(f"{server.uri}/#/experiments/7/runs")

    assert table["status"].tolist() == ["finished"] * 8 + ["stopped"]
    assert table["width"].tolist() == list(range(8, 17))
    assert set(table.columns) == {"trial_id", "status", "seed", "width", "train_flops", "test_error"}
    assert fit(table, "power").exponent == pytest.approx(2.0)
    pd.testing.assert_frame_equal(table, read_runs(server.uri))


@pytest.mark.parametrize("n_points", [3, 2 * MOST_POINTS // 5], ids=["short", "longer together than one answer"])
def test_curves_come_back_whole(server, n_points):
    """However many points the server gives at once; steps in order."""
    names = [f"{number:032x}" for number in range(4)]
    server.points = {
        name: [{"run_id": name, "step": str(step), "value": step / 2} for step in reversed(range(n_points))]
        for name in names[:3]
    }

    curves = read_curves(ServerStore(server.uri), names, ["validation_error"])

    assert set(curves) == set(names[:3])
    assert all([point["step"] for point in curve] == list(range(n_points)) for curve in curves.values())
    assert curves[names[0]][2] == {"step": 2, "validation_error": 1.0}


def test_a_name_and_password_are_sent_as_mlflow_sends_them(server, monkeypatch):
    """From its variables, or from the address, which wins."""
    server.runs = [stranger_run(0)]
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    read_runs(server.uri)
    read_runs(f"http://bob:p%40ss@127.0.0.1:{server.port}")
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    read_runs(server.uri)

    sent = [header.split() for header in dict.fromkeys(server.headers)]
    assert [base64.b64decode(value).decode() for kind, value in sent if kind == "Basic"] == ["ada:secret", "bob:p@ss"]
    assert sent[2] == ["Bearer", "t0ken"]


@pytest.mark.parametrize(
    ("refusal", "user", "words"),
    [
        (
            (401, "Not authenticated"),
            None,
            "asks who you are; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        ),
        ((401, "Not authenticated"), "ada", "does not let this user read (401); check MLFLOW_TRACKING_USERNAME"),
        ((403, "Permission denied"), "ada", "does not let this user read (403)"),
        (
            (403, "Invalid Host header"),
            None,
            "refuses requests for this host (403); start it with --allowed-hosts 127.",
        ),
        ((200, "<html>a shop</html>"), None, "is no MLflow tracking server (no JSON)"),
        ((404, "nothing"), None, "is no MLflow tracking server (status 404)"),
        ((500, '{"message": "the disk is full\\nat line 3"}'), None, "refuses (500): the disk is full"),
    ],
)
def test_a_refusal_is_one_sentence(server, monkeypatch, refusal, user, words):
    """What to do about it, and never the password."""
    server.refusal = refusal
    if user:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        read_runs(server.uri)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_server_that_is_away_is_said():
    """With its address and in words, not in those of a socket."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ValueError, match=rf"no tracking server answers at {uri} \(nothing listens there\); start it"):
        read_runs(uri)


SCHEMA = """
create table experiments (experiment_id integer, name, lifecycle_stage);
create table runs (run_uuid, status, start_time, end_time, artifact_uri, experiment_id integer, lifecycle_stage);
create table latest_metrics (run_uuid, key, value);
create table params (run_uuid, key, value);
create table tags (run_uuid, key, value);
insert into experiments values (7, 'ninthpower/digits', 'active');
insert into runs values ('a', 'FINISHED', 1000, 2000, '', 7, 'active');
insert into latest_metrics values ('a', 'train_flops', 1e6), ('a', 'test_error', 0.5);
"""


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_store_in_a_folder_that_is_read_only_is_read_if_it_is_whole(read_only, tmp_path, is_whole):
    """As on a snapshot or another person's share; what lies beside the file is not left out without a word."""
    folder = tmp_path / "archive"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(SCHEMA)
        connection.commit()
        if not is_whole:
            for name in ("mlflow.db", "mlflow.db-wal"):
                shutil.copy(folder / name, folder / f"half-{name}")
    name = "mlflow.db" if is_whole else "half-mlflow.db"
    read_only(folder)

    if is_whole:
        (row,) = read_runs(f"sqlite:///{folder / name}").to_dict("records")
        assert (row["train_flops"], row["test_error"]) == (1e6, 0.5)
    else:
        with pytest.raises(ValueError, match=r"what half-mlflow.db-wal holds of it cannot be read; copy both files"):
            read_runs(f"sqlite:///{folder / name}")


@pytest.mark.parametrize(
    ("experiment", "words"),
    [
        ("ninthpower/digts", "has no experiment 'ninthpower/digts'; did you mean 'ninthpower/digits'?"),
        ("#/experiments/9", "has no experiment 'number 9'; it has ninthpower/digits"),
        ("Default", "the experiment 'Default' of .* holds no run that has ended"),
    ],
)
def test_an_experiment_that_is_not_there_is_said(server, experiment, words):
    """The nearest name, or those that there are."""
    server.runs = [stranger_run(0)]
    with pytest.raises(ValueError, match=words):
        read_runs(f"{server.uri}/{experiment}") if experiment[0] == "#" else read_runs(server.uri, experiment)


def test_a_file_that_is_no_store_is_said(tmp_path):
    """Absent, or another program's."""
    other = tmp_path / "other.db"
    other.write_text("no database, but long enough to be looked at")
    with pytest.raises(ValueError, match=r"there is no MLflow store .*absent\.db"):
        read_runs(f"sqlite:///{tmp_path / 'absent.db'}")
    with pytest.raises(ValueError, match=r"other\.db cannot be read as an MLflow store"):
        read_runs(f"sqlite:///{other}")
