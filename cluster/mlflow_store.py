"""One MLflow experiment, written so that what is written twice is there once.

MLflow is imported when a store is opened, not before.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.dataset_inputs import dataset_input
from cluster.logged_models import TrialModel, put_models
from cluster.mlflow_client import open_client
from cluster.mlflow_errors import without_password
from cluster.mlflow_values import MetricPoint, RunValues

# What one call of log_batch may hold.
MOST_METRICS, MOST_PARAMS = 500, 100
PAGE = 1000
# Among n runs a search by tag takes 2 microseconds x n, to read all of them 3 milliseconds x n (SQLite, 10,000 runs):
# whoever has searched so often had better read them all, once.
MOST_SEARCHES = 1000
DESCRIPTION_TAG = "mlflow.note.content"
# Says which results folder a run was delivered from.
WRITER_TAG = "writer"


@dataclass(frozen=True)
class HeldRun:
    """What of a trial's run must be known to write it once.

    Attributes:
        run_id: MLflow's name for it.
        record: Hash of the record that it holds.
        status: MLflow's; as that of the record's end only if the run is whole.
    """

    run_id: str
    record: str
    status: str

    @classmethod
    def of(cls, run: Any) -> HeldRun:
        """Take it from MLflow's own."""
        return cls(str(run.info.run_id), run.data.tags.get("record", ""), run.info.status)


class MlflowStore:
    """A live connection to one experiment; its methods raise MLflow's own exceptions."""

    def __init__(
        self,
        uri: str,
        experiment: str,
        *,
        artifact_root: str | None = None,
        tags: Mapping[str, str] | None = None,
        datasets: Mapping[str, Mapping[str, Any]] | None = None,
        writer: str = "",
    ) -> None:
        self._client = open_client(uri)
        self._writer = writer
        self.experiment_id = self._experiment(experiment, artifact_root, tags or {})
        self._may_hold_runs = bool(self._client.search_runs([self.experiment_id], max_results=1))
        # Runs by trial at some moment since the opening; None where that would have to be read first.
        self._held: dict[str, list[HeldRun]] | None = None if self._may_hold_runs else {}
        self._n_searches = 0
        self._inputs = {name: dataset_input(facts) for name, facts in (datasets or {}).items()}
        self._sweep_runs: dict[str, str] = {}

    def put(self, values: RunValues, *, tried_before: bool) -> str:
        """Write one trial's run, with its data set as an input and a link to its sweep's report; return its id.

        An experiment that was empty when it was opened, or that has been read whole since, is not searched for a trial
        that was not tried before by this process or, as the notes of deliveries tell, by another.
        """
        held = self._same_run(values, self._runs_of(values.tags["trial_id"], tried_before=tried_before))
        if held is not None and held.status == values.status:
            # The status is written last: the run is whole.
            return held.run_id
        run_id = self._begin(values) if held is None else held.run_id
        self._log(run_id, values.params, values.metrics, timestamp=values.end_milliseconds)
        dataset = self._inputs.get(values.tags.get("dataset", ""))
        if dataset is not None:
            self._client.log_inputs(run_id, datasets=[dataset])
        self._client.set_terminated(run_id, values.status, values.end_milliseconds)
        return run_id

    def _begin(self, values: RunValues) -> str:
        run = self._client.create_run(
            self.experiment_id,
            start_time=values.start_milliseconds,
            tags={**values.tags, WRITER_TAG: self._writer, **self._link(values.tags.get("sweep", ""))},
            run_name=values.name,
        )
        return str(run.info.run_id)

    def drop_twins(self, own_runs: Mapping[str, str]) -> dict[str, str]:
        """Leave one run of each trial that another folder delivered while this one did, out of whose sight it was.

        The trial that began last stays. From either folder that is the same run, and both may look at once.

        Args:
            own_runs: Runs by trial id, as the notes of this folder have them.

        Returns:
            The run that stays, by trial id, where it is not the one in `own_runs`.
        """
        elsewhere: dict[str, str] = {}
        query = f"tags.kind = 'trial' and tags.{WRITER_TAG} != {_quoted(self._writer)}"
        for other in list(_pages(self._client, self.experiment_id, query)):
            trial_id, other_id = other.data.tags["trial_id"], other.info.run_id
            if own_runs.get(trial_id, other_id) == other_id:
                continue
            own = self._run(own_runs[trial_id])
            if own is None:
                elsewhere[trial_id] = other_id
                continue
            is_younger = _age(own) > _age(other)
            if own.info.lifecycle_stage == "active":
                self._client.delete_run(other_id if is_younger else own.info.run_id)
            if own.info.lifecycle_stage != "active" or not is_younger:
                elsewhere[trial_id] = other_id
        return elsewhere

    def _run(self, run_id: str) -> Any | None:
        """A run, deleted or not; None for one that `mlflow gc` has removed."""
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def put_sweep(
        self,
        name: str,
        params: Mapping[str, str],
        metrics: Sequence[MetricPoint],
        artifacts: Sequence[Path],
        description: str,
        identity: Mapping[str, str] | None = None,
    ) -> str:
        """Write the run of the sweep itself, over the one that is there, and return its id.

        MLflow lets no param change; where one has, the old run gives way to a new one, and the trials' links are set
        anew. Another run than the sweep's is told by the tags in `identity`.
        """
        known_by = dict(identity) if identity else sweep_identity(name)
        tags = {**known_by, DESCRIPTION_TAG: description}
        run_id = None
        for run in self._find(**known_by):
            same = all(params.get(key, value) == value for key, value in run.data.params.items())
            if same and run_id is None:
                run_id = run.info.run_id
            else:
                self._client.delete_run(run.info.run_id)
        if run_id is None:
            run_id = self._client.create_run(self.experiment_id, tags=tags, run_name=name).info.run_id
            if not identity:
                self._link_trials(name, run_id)
        now = round(time.time() * 1000)
        self._client.set_tag(run_id, DESCRIPTION_TAG, description)
        self._log(run_id, params, metrics, timestamp=now)
        for artifact in artifacts:
            if artifact.is_dir():
                self._client.log_artifacts(run_id, str(artifact), artifact.name)
            else:
                self._client.log_artifact(run_id, str(artifact))
        self._client.set_terminated(run_id, "FINISHED", now)
        return run_id

    def put_models(self, sweep: str, models: Sequence[TrialModel], runs: Mapping[str, str]) -> None:
        """Make the logged models of a sweep those that are given; `runs` are the trials' runs by trial id."""
        put_models(self._client, self.experiment_id, sweep, models, runs)

    def _link(self, sweep: str) -> dict[str, str]:
        """The description of a trial's run: Markdown that leads to the report among the files of its sweep's run.

        The sweep's run is begun with the first of its trials, so that its address is known to all of them.
        """
        if not sweep:
            return {}
        if sweep not in self._sweep_runs:
            known_by = sweep_identity(sweep)
            found = self._find(**known_by) if self._may_hold_runs else []
            run = found[0] if found else self._client.create_run(self.experiment_id, tags=known_by, run_name=sweep)
            self._sweep_runs[sweep] = run.info.run_id
        return {DESCRIPTION_TAG: self._link_text(sweep, self._sweep_runs[sweep])}

    def _link_text(self, sweep: str, run_id: str) -> str:
        address = f"#/experiments/{self.experiment_id}/runs/{run_id}/artifacts/report.html"
        return f"A trial of the sweep {sweep}: [its report]({address}), once the sweep has ended."

    def _link_trials(self, sweep: str, run_id: str) -> None:
        """Lead the trials that are there to the new run of their sweep."""
        self._sweep_runs[sweep] = run_id
        text = self._link_text(sweep, run_id)
        for run in _pages(self._client, self.experiment_id, f"tags.kind = 'trial' and tags.sweep = {_quoted(sweep)}"):
            self._client.set_tag(run.info.run_id, DESCRIPTION_TAG, text)

    def _runs_of(self, trial_id: str, *, tried_before: bool) -> list[HeldRun]:
        """Runs of a trial: searched for, or, once there have been many searches, from a reading of all of them."""
        if self._held is None and self._n_searches >= MOST_SEARCHES:
            self._held = {}
            for run in _pages(self._client, self.experiment_id, "tags.kind = 'trial'"):
                self._held.setdefault(run.data.tags["trial_id"], []).append(HeldRun.of(run))
        if self._held is not None and not tried_before:
            return self._held.get(trial_id, [])
        self._n_searches += 1
        return [HeldRun.of(run) for run in self._find(trial_id=trial_id)]

    def _same_run(self, values: RunValues, held: Sequence[HeldRun]) -> HeldRun | None:
        """Find the run of the very same record, and take runs of the trial's earlier records out of view."""
        same = None
        for run in held:
            if run.record == values.tags["record"] and same is None:
                same = run
            else:
                self._client.delete_run(run.run_id)
        return same

    def _find(self, **tags: str) -> list[Any]:
        clauses = [f"tags.{key} = {_quoted(value)}" for key, value in tags.items()]
        return list(self._client.search_runs([self.experiment_id], " and ".join(clauses)))

    def _log(self, run_id: str, params: Mapping[str, str], points: Sequence[MetricPoint], *, timestamp: int) -> None:
        """Write everything in as few calls as MLflow allows; nearly always one."""
        from mlflow.entities import Metric, Param

        metrics = [Metric(point.name, point.value, timestamp, point.step) for point in points]
        entries = [Param(name, value) for name, value in params.items()]
        self._client.log_batch(run_id, metrics=metrics[:MOST_METRICS], params=entries[:MOST_PARAMS])
        for first in range(MOST_METRICS, len(metrics), MOST_METRICS):
            self._client.log_batch(run_id, metrics=metrics[first : first + MOST_METRICS])
        for first in range(MOST_PARAMS, len(entries), MOST_PARAMS):
            self._client.log_batch(run_id, params=entries[first : first + MOST_PARAMS])

    def _experiment(self, name: str, artifact_root: str | None, tags: Mapping[str, str]) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            return self._client.create_experiment(name, artifact_location=artifact_root, tags=dict(tags))
        if found.lifecycle_stage == "deleted":
            raise ValueError(f"the experiment {name!r} is deleted in MLflow; restore it there or name another")
        for key, value in tags.items():
            if found.tags.get(key) != value:
                self._client.set_experiment_tag(found.experiment_id, key, value)
        return found.experiment_id


def _age(run: Any) -> tuple[int, str]:
    """Which of two runs of a trial is the younger one: known as soon as a run is begun, and never the same twice."""
    return run.info.start_time, run.info.run_id


def sweep_identity(sweep: str) -> dict[str, str]:
    """The tags by which the run of a sweep is found."""
    return {"kind": "sweep", "sweep": sweep}


def read_rows(uri: str, experiment: str) -> Iterator[dict[str, Any]]:
    """Yield the trials of an experiment as rows of the runs table, in no order.

    Numbers come back as floats, texts as texts; settings of the spec that are no column of the table come
    along as texts. Unknown values are absent.

    Raises:
        ValueError: If there is no such experiment.
    """
    client = open_client(uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        shown = without_password(uri)
        raise ValueError(f"{shown} has no experiment {experiment!r}; `ninthpower ui` shows which there are")
    for run in _pages(client, found.experiment_id, "tags.kind = 'trial'"):
        metrics = {name: value for name, value in run.data.metrics.items() if "/" not in name}
        yield {**run.data.params, **metrics}


def _pages(client: Any, experiment_id: str, query: str) -> Iterator[Any]:
    """Yield all runs that MLflow finds, page by page."""
    token: str | None = None
    while True:
        page = client.search_runs([experiment_id], query, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _quoted(value: str) -> str:
    """Quote a text for MLflow's filter, which knows no escape."""
    if "'" in value and '"' in value:
        raise ValueError(f"{value!r} holds both kinds of quotation mark; MLflow cannot search for it")
    return f'"{value}"' if "'" in value else f"'{value}'"
