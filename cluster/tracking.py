"""Delivering records to MLflow beside the sweep, late if need be, never twice.

The records on disk are the truth and MLflow a copy: a tracking server that is down costs the sweep
nothing. MLflow is imported by the delivery thread, not by this module.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any

from cluster.delivery_log import Delivery, DeliveryLog
from cluster.logged_models import TrialModel
from cluster.mlflow_client import SQLITE_PREFIX, check_uri
from cluster.mlflow_errors import advice, failures, in_words, without_password
from cluster.mlflow_store import DESCRIPTION_TAG, MlflowStore, read_rows
from cluster.mlflow_values import MetricPoint, digest, is_finite, run_values, safe_name
from cluster.records import Record

logger = logging.getLogger(__name__)

# A record waits so long before it is written: its worker is to have the next trial before MLflow takes the driver.
GATHERING_SECONDS = 0.25
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0


class Result(Enum):
    """What became of one record on its way."""

    DELIVERED = "MLflow has it"
    AWAY = "the server does not answer; later it may"
    REFUSED = "MLflow takes no such record, now or later"


@dataclass(frozen=True)
class DeliveryReport:
    """What became of the records that were to be delivered.

    Attributes:
        n_delivered: Written now.
        n_missing: Still to be delivered.
        problem: Why some are missing, in one sentence; empty if none is.
    """

    n_delivered: int
    n_missing: int
    problem: str = ""


class Tracker:
    """The copy of a sweep in MLflow: a listener of the sweep with a delivery thread of its own."""

    def __init__(
        self,
        uri: str,
        experiment: str,
        artifact_root: str | None,
        folder: Path,
        tags: Mapping[str, str],
        datasets: Mapping[str, Mapping[str, Any]],
        colours: Mapping[str, str],
    ):
        self.uri = uri
        self.experiment = experiment
        self._artifact_root = artifact_root
        self._tags = dict(tags)
        self._datasets = dict(datasets)
        self._colours = dict(colours)
        self._log = DeliveryLog(folder, uri, experiment)
        self._store: MlflowStore | None = None
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._tried: set[str] = set()
        self.n_delivered = 0
        self._waiting: list[Record] = []
        self._n_refused = 0
        self._problem = ""
        self._is_away = False

    @classmethod
    def open(
        cls,
        uri: str | None,
        experiment: str,
        *,
        folder: Path,
        artifact_root: str | None = None,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        datasets: Mapping[str, Mapping[str, Any]] | None = None,
        colours: Mapping[str, str] | None = None,
    ) -> Tracker:
        """Name where records go; no connection is made yet.

        Args:
            uri: A server's http address or a database's; None means an SQLite file in the folder.
            experiment: Name of the MLflow experiment.
            folder: Results folder; holds the note of what was delivered.
            artifact_root: Where a new experiment keeps its artifacts; None means the folder for an SQLite
                file, the server's choice otherwise.
            description: Shown at the head of the experiment.
            tags: Further tags of the experiment.
            datasets: Facts of data sets by name, see `cluster.dataset_inputs`; each is an input of its trials' runs.
            colours: Colour of each technique in MLflow's charts, such as ``#0072B2``; MLflow's choice for the others.

        Raises:
            ValueError: If the address is of no kind that is written to.
        """
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        uri = check_uri(uri or f"{SQLITE_PREFIX}{folder / 'mlflow.db'}")
        if artifact_root is None and uri.startswith(SQLITE_PREFIX):
            artifact_root = (folder / "mlflow-artifacts").as_uri()
        notes = {DESCRIPTION_TAG: description} if description else {}
        return cls(uri, experiment, artifact_root, folder, {**notes, **(tags or {})}, datasets or {}, colours or {})

    def start(self) -> None:
        """Begin to deliver in a thread."""
        assert self._thread is None, "the tracker is started already"
        self._thread = threading.Thread(target=self._deliver_queue, name="mlflow-delivery", daemon=True)
        self._thread.start()

    def started(self, trial_id: str) -> None:
        """Do nothing: MLflow is told of finished trials."""

    def retried(self, trial_id: str, reason: str) -> None:
        """Do nothing: the record will count its retries."""

    def finished(self, record: Record) -> None:
        """Queue a record; the sweep does not wait."""
        self._queue.put(record)

    def close(self) -> DeliveryReport:
        """Deliver what is queued, unless the server is away, and end the thread."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        n_missing = len(self._waiting) + self._n_refused + self._queue.qsize()
        return DeliveryReport(self.n_delivered, n_missing, self._problem if n_missing else "")

    def __enter__(self) -> Tracker:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def deliver_missing(self, records: Iterable[Record]) -> DeliveryReport:
        """Deliver, here and now, the records that the server lacks; those it has are left alone.

        Of a trial that somebody delivered from another folder at the same time one run stays.
        """
        n_delivered = n_missing = 0
        problem = ""
        self._store = None  # what the server held when this process first asked it may be long ago
        for record in records:
            if self._is_delivered(record):
                continue
            result = Result.AWAY if problem else self._try(record)
            n_delivered += result is Result.DELIVERED
            n_missing += result is not Result.DELIVERED
            problem = self._problem if result is Result.AWAY else problem
        if not problem:
            self._drop_twins()
        return DeliveryReport(n_delivered, n_missing, self._problem if n_missing else "")

    def log_sweep_run(
        self,
        name: str,
        params: Mapping[str, Any],
        metrics: Mapping[str, Any],
        artifacts: Sequence[Path] = (),
        description: str = "",
    ) -> str:
        """Write the run of the sweep itself (fit, figures, report) over an earlier one.

        Args:
            name: The sweep.
            params: Settings; empty values are left out.
            metrics: Numbers; NaN, infinity and unknown values are left out.
            artifacts: Files, and folders with all they hold.
            description: Markdown, shown at the head of the run.

        Returns:
            An empty string, or one sentence on why the run could not be written.
        """
        points = [MetricPoint(safe_name(key), float(value)) for key, value in metrics.items() if is_finite(value)]
        texts = {safe_name(key): str(value) for key, value in params.items() if value not in (None, "")}
        try:
            with self._lock:
                self._connected().put_sweep(name, texts, points, artifacts, description)
        except failures() as error:
            return self._sentence(error)
        return ""

    def log_models(self, sweep: str, models: Sequence[TrialModel]) -> str:
        """Log the models that a sweep keeps to the runs of their trials, and take those that it does not out of view.

        Args:
            sweep: The sweep.
            models: All that it keeps; their trials' records are delivered. What MLflow has already is left alone.

        Returns:
            An empty string, or one sentence on why a model could not be written.
        """
        deliveries = {model.trial_id: self._log.find(model.trial_id) for model in models}
        runs = {trial_id: delivery.run_id for trial_id, delivery in deliveries.items() if delivery is not None}
        assert len(runs) == len(models), "a model's record is delivered before it"
        try:
            # Another process that logs the same models at once would take those half-written for leftovers.
            with self._log.hold(), self._lock:
                self._connected().put_models(sweep, models, runs)
        except failures() as error:
            return self._sentence(error).replace("the record", "the models", 1)
        return ""

    def _deliver_queue(self) -> None:
        """Deliver what has arrived a moment ago; after a failure wait, at first briefly, and try what has gathered.

        MLflow is imported and its store opened at once: later they would take a core from the first trials.
        """
        with suppress(*failures()), self._lock:
            self._connected()
        closing, pause_seconds, next_try = False, FIRST_PAUSE_SECONDS, 0.0
        while not closing:
            timeout = max(0.0, next_try - time.monotonic()) if self._waiting else None
            try:
                record = self._queue.get(timeout=timeout)
                closing = record is None
                if record and not self._waiting:
                    next_try = time.monotonic() + GATHERING_SECONDS
                self._waiting.extend([record] if record else [])
            except queue.Empty:
                pass
            if closing or time.monotonic() >= next_try:
                if self._deliver_waiting():
                    pause_seconds, next_try = FIRST_PAUSE_SECONDS, 0.0
                else:
                    next_try = time.monotonic() + pause_seconds
                    pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)

    def _deliver_waiting(self) -> bool:
        """Deliver until nothing waits; return False if the server is away."""
        while self._waiting:
            record = self._waiting[0]
            result = self._try(record)
            if result is Result.AWAY:
                return False
            self._waiting.pop(0)
            self.n_delivered += result is Result.DELIVERED
            self._n_refused += result is Result.REFUSED
        return True

    def _try(self, record: Record) -> Result:
        """Deliver one record, unless a note says that this or another process has."""
        with self._log.hold():
            if self._is_delivered(record):
                return Result.DELIVERED
            trial_id = record["trial_id"]
            tried_before = trial_id in self._tried or self._log.find(trial_id) is not None
            try:
                with self._lock:
                    store = self._connected()
                    self._tried.add(trial_id)
                    run_id = store.put(run_values(record, self._colours), tried_before=tried_before)
            except failures() as error:
                return self._failed(record, error)
            self._log.add(trial_id, Delivery(digest(record), run_id))
        self._is_away = False
        return Result.DELIVERED

    def _failed(self, record: Record, error: Exception) -> Result:
        self._problem = self._sentence(error)
        if getattr(error, "error_code", "") == "INVALID_PARAMETER_VALUE":
            logger.warning("MLflow refuses the record of trial %s: %s", record["trial_id"], self._problem)
            return Result.REFUSED
        if not self._is_away:
            logger.warning("%s; the sweep goes on and its records are delivered later", self._problem)
        self._is_away = True
        return Result.AWAY

    def _drop_twins(self) -> None:
        with self._log.hold():
            if not self._log.run_ids:
                return
            try:
                with self._lock:
                    moved = self._connected().drop_twins(self._log.run_ids)
            except failures() as error:
                logger.warning("%s; ninthpower sync looks for trials that are there twice", self._sentence(error))
                return
            for trial_id, run_id in moved.items():
                delivery = self._log.find(trial_id)
                assert delivery is not None, "only what was delivered has a twin"
                self._log.add(trial_id, replace(delivery, run_id=run_id))

    def _is_delivered(self, record: Record) -> bool:
        delivery = self._log.find(record["trial_id"])
        return delivery is not None and delivery.digest == digest(record)

    def _connected(self) -> MlflowStore:
        if self._store is None:
            self._store = MlflowStore(
                self.uri, self.experiment, artifact_root=self._artifact_root, tags=self._tags, datasets=self._datasets,
                writer=self._log.writer(),
            )  # fmt: skip
        return self._store

    def _sentence(self, error: Exception) -> str:
        remedy = advice(error)
        return f"the tracking server at {without_password(self.uri)} did not take the record: {in_words(error)}" + (
            f"; {remedy}" if remedy else ""
        )


def read_runs(uri: str, experiment: str) -> list[dict[str, Any]]:
    """Read the trials of an experiment back from MLflow, one mapping of the runs table's names each.

    Numbers come back as floats; settings that are no column of the table come along as texts.

    Raises:
        ValueError: If the address is of no kind that is read from, or there is no such experiment.
    """
    return list(read_rows(check_uri(uri), experiment))
