"""Connections to a tracking server or database, with traffic to nobody else.

MLflow is imported when one is opened, not before.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

from cluster.lock import one_at_a_time
from cluster.mlflow_errors import without_password

SQLITE_PREFIX = "sqlite:///"
SCHEMES = ("sqlite:///", "http://", "https://", "postgresql", "mysql", "mssql")
DATABASES = ("postgresql", "mysql")
# Drivers that take the option `connect_timeout`; another one, such as pg8000, waits as long as the system does.
PATIENT_DRIVERS = ("psycopg", "psycopg2", "mysqldb", "pymysql")
KNOCK_SECONDS = 10
# A server that is away must not hold the sweep: one try, short, and again later. MLflow's own defaults
# are seven tries of two minutes. What the user has set stays.
ENVIRONMENT = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def check_uri(uri: str) -> str:
    """Return the address of a tracking server or database if it is of a kind that is written to.

    Raises:
        ValueError: If it is not; the kinds are named.
    """
    if not uri.startswith(SCHEMES):
        raise ValueError(
            f"the tracking address {without_password(uri)!r} is none of {', '.join(SCHEMES)}; give a server's http "
            "address, or leave it out for an SQLite file in the results folder"
        )
    return uri


def open_client(uri: str) -> Any:
    """Connect to a tracking server or database without traffic to anybody else.

    A new SQLite file is created by one process at a time (MLflow crashes otherwise) and in the mode in
    which readers do not wait for the writer.
    """
    check_uri(uri)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if uri.startswith(DATABASES):
        _knock(uri)
    from sqlalchemy.exc import SADeprecationWarning

    # MLflow uses what SQLAlchemy 2.1 calls old; that is between the two of them.
    warnings.filterwarnings("ignore", category=SADeprecationWarning)
    from mlflow import MlflowClient

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if not uri.startswith(SQLITE_PREFIX):
        return MlflowClient(uri)
    path = Path(uri.removeprefix(SQLITE_PREFIX))
    with one_at_a_time(path.with_name(f".{path.name}.lock")):
        if not path.exists():
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def _knock(uri: str) -> None:
    """Raise what the database's driver raises if it is away: MLflow itself would try for 100 s before it says so."""
    import sqlalchemy

    is_patient = sqlalchemy.make_url(uri).get_driver_name() in PATIENT_DRIVERS
    engine = sqlalchemy.create_engine(uri, connect_args={"connect_timeout": KNOCK_SECONDS} if is_patient else {})
    try:
        engine.connect().close()
    finally:
        engine.dispose()
