"""Runs of an SQLite store of MLflow's, read from the file, while somebody writes to it or not."""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from scaling.tracked.place import SQLITE_PREFIX
from scaling.tracked.store import TrackedRun

# What one statement of SQLite may name.
NAMES_AT_ONCE = 500


class FileStore:
    """An SQLite store on this machine. Tried with the tables of MLflow 3.17."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.shown = f"{SQLITE_PREFIX}{self._path}"
        if not self._path.is_file():
            raise ValueError(
                f"there is no MLflow store {self._path}; give sqlite:///PATH of the file, as a rule mlflow.db"
            )

    def experiments(self) -> dict[str, str]:
        """Id of every experiment that is not deleted, by name."""
        rows = self._rows("select name, experiment_id from experiments where lifecycle_stage = 'active'")
        return {str(name): str(number) for name, number in rows}

    def runs(self, experiment_id: str) -> Iterator[TrackedRun]:
        """Every run of an experiment that has ended and is not deleted, in no order."""
        ended = "lifecycle_stage = 'active' and status not in ('RUNNING', 'SCHEDULED')"
        chosen = f"from runs where experiment_id = ? and {ended}"
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for table in ("latest_metrics", "params", "tags"):
            query = f"select run_uuid, key, value from {table} where run_uuid in (select run_uuid {chosen})"
            values: dict[str, dict[str, Any]] = defaultdict(dict)
            for run_id, key, value in self._rows(query, (experiment_id,)):
                values[run_id][key] = value
            found[table] = values
        columns = "run_uuid, status, start_time, end_time, artifact_uri"
        for run_id, status, started, ended, artifacts in self._rows(f"select {columns} {chosen}", (experiment_id,)):
            metrics, params, tags = (found[table].get(run_id, {}) for table in ("latest_metrics", "params", "tags"))
            yield TrackedRun(run_id, status, started, ended, artifacts or "", metrics, params, tags)

    def history(self, run_ids: Sequence[str], metric: str) -> dict[str, list[tuple[int, float]]]:
        """Step and value of every point of a metric, by run; runs without the metric are absent."""
        found: dict[str, list[tuple[int, float]]] = {}
        for first in range(0, len(run_ids), NAMES_AT_ONCE):
            some = run_ids[first : first + NAMES_AT_ONCE]
            marks = ", ".join("?" * len(some))
            query = f"select run_uuid, step, value from metrics where key = ? and not is_nan and run_uuid in ({marks})"
            for run_id, step, value in self._rows(query, (metric, *some)):
                found.setdefault(run_id, []).append((step, value))
        return {run_id: sorted(points) for run_id, points in found.items()}

    def artifact(self, run: TrackedRun, name: str) -> bytes | None:
        """Content of a file of a run; None if it has no such file."""
        parts = urlsplit(run.artifacts)
        if parts.scheme not in ("", "file"):
            raise ValueError(
                f"the files of the run {run.run_id} lie at {parts.scheme}://..., out of reach from {self.shown}; give "
                "the http address of the server that keeps them"
            )
        path = Path(unquote(parts.path)) / name
        return path.read_bytes() if path.is_file() else None

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            try:
                return self._ask("mode=ro", query, values)
            except sqlite3.OperationalError:
                if os.access(self._path.parent, os.W_OK):
                    raise
                # SQLite wants to keep its locks beside the file, unless it is told that nobody writes to it.
                self._check_whole()
                return self._ask("mode=ro&immutable=1", query, values)
        except sqlite3.Error as error:
            raise ValueError(
                f"{self._path} cannot be read as an MLflow store ({error}); give the SQLite file that a sweep or an "
                "MLflow server writes"
            ) from None

    def _ask(self, mode: str, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"{self._path.as_uri()}?{mode}", uri=True, timeout=30)) as connection:
            return connection.execute(query, tuple(values)).fetchall()

    def _check_whole(self) -> None:
        rest = self._path.with_name(f"{self._path.name}-wal")
        if rest.is_file() and rest.stat().st_size:
            raise ValueError(
                f"{self._path} was being written to and its folder is read-only, so that what {rest.name} holds of it "
                "cannot be read; copy both files into a folder that can be written to, and give that one"
            )
