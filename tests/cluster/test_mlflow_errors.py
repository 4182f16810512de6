"""Trackers that are away or unwilling, said in a person's words and within seconds."""

import logging
import re
import socket
import sqlite3
import time
from contextlib import closing

import pytest

from cluster.mlflow_client import open_client
from cluster.mlflow_errors import advice, in_words
from cluster.tracking import Tracker, read_runs

RECORD = {
    "trial_id": "a", "status": "finished", "row": {"trial_id": "a", "test_error": 0.5},
    "started_at": "2026-01-01T00:00:00+00:00", "ended_at": "2026-01-01T00:00:01+00:00",
}  # fmt: skip


def closed_port():
    """A port of this machine on which nobody listens."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("kind", ["http://ada:hunter2@127.0.0.1:{}", "postgresql+psycopg://ada:hunter2@127.0.0.1:{}/m"])
def test_a_tracker_that_is_away_is_said_at_once_and_in_words(tmp_path, kind, caplog):
    """A server and a database alike; MLflow by itself tries a database for 100 s, with a warning for each try."""
    uri = kind.format(closed_port())
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        report = Tracker.open(uri, "e", folder=tmp_path).deliver_missing([RECORD])

    shown = uri.replace("ada:hunter2@", "")
    assert report.problem == f"the tracking server at {shown} did not take the record: nothing listens there"
    assert (report.n_delivered, report.n_missing) == (0, 1)
    assert time.monotonic() - began < 30
    assert [log.getMessage() for log in caplog.records] == [
        f"{report.problem}; the sweep goes on and its records are delivered later"
    ]


def test_a_database_without_its_driver_is_said_with_the_remedy(tmp_path):
    """The address names one that is not installed."""
    report = Tracker.open("mssql+pyodbc://h/m", "e", folder=tmp_path).deliver_missing([RECORD])

    assert "No module named 'pyodbc'; install that driver" in report.problem


@pytest.mark.parametrize(
    ("driver", "options"), [("", {"connect_timeout": 10}), ("+psycopg2", {"connect_timeout": 10}), ("+pg8000", {})]
)
def test_a_driver_is_given_no_option_that_it_does_not_know(monkeypatch, driver, options):
    """pg8000 would end in a TypeError."""
    import sqlalchemy

    def refuse(uri, connect_args):
        raise OSError(f"{uri} {connect_args}")

    monkeypatch.setattr(sqlalchemy, "create_engine", refuse)
    with pytest.raises(OSError, match=f"^postgresql{re.escape(driver)}://h/m {re.escape(str(options))}$"):
        open_client(f"postgresql{driver}://h/m")


def test_an_address_that_cannot_be_used_is_said_without_its_password(tmp_path):
    """A scheme with a typing error; an experiment that is not there."""
    with pytest.raises(ValueError, match="the tracking address 'htps://h:5000' is none of"):
        Tracker.open("htps://ada:hunter2@h:5000", "e", folder=tmp_path)
    with pytest.raises(ValueError, match=r"^sqlite:///.*mlflow\.db has no experiment 'e'"):
        read_runs(f"sqlite:///{tmp_path / 'mlflow.db'}", "e")


def test_a_store_in_a_read_only_folder_is_said(tmp_path, read_only):
    """Its records wait."""
    archive = tmp_path / "archive"
    archive.mkdir()
    uri = f"sqlite:///{archive / 'mlflow.db'}"
    tracker = Tracker.open(uri, "e", folder=tmp_path)
    read_only(archive)

    report = tracker.deliver_missing([RECORD])

    assert report.problem == f"the tracking server at {uri} did not take the record: its folder may not be written to"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("HTTPConnectionPool(host='h'): Read timed out. (read timeout=10)"), "it does not answer in time"),
        (OSError("(Caused by NameResolutionError(\"Failed to resolve 'h'\"))"), "nobody knows that name"),
        (OSError("('Connection aborted.', RemoteDisconnected('Remote end closed'))"), "it broke the connection"),
        (sqlite3.OperationalError("database is locked"), "another process holds it"),
        (OSError(28, "No space left on device"), "its disk is full"),
        (ValueError("http://ada:hunter2@h is no server\nof ours"), "http://h is no server"),
        (ValueError(""), "ValueError"),
    ],
)  # fmt: skip
def test_what_went_wrong_in_a_few_words(error, words):
    """What is not known is the first line of the message, without a password."""
    assert in_words(error) == words
    assert advice(error) == ""
