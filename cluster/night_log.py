"""Nights in MLflow: one run per night, so that a gain over many nights is a chart of its UI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.mlflow_client import open_client
from cluster.mlflow_errors import failures, in_words, without_password
from cluster.mlflow_store import MlflowStore
from cluster.mlflow_values import MetricPoint, is_finite, safe_name

MOST_NIGHTS = 400


def log_night(
    uri: str,
    experiment: str,
    night: str,
    *,
    params: Mapping[str, str],
    metrics: Mapping[str, float | None],
    artifacts: Sequence[Path] = (),
    description: str = "",
    artifact_root: str | None = None,
) -> str:
    """Write the run of a night, over an earlier one of the same name; return a problem in one sentence, or nothing.

    Args:
        uri: A server's http address or a database's.
        experiment: Name of the MLflow experiment.
        night: Name of the night.
        params: What it was compared with and came from.
        metrics: What is not known is left out.
        artifacts: Files to keep.
        description: Shown at the head of the run.
        artifact_root: Where a new experiment keeps its artifacts; the server's choice if None.
    """
    known = {**params, "night": night}
    points = [MetricPoint(safe_name(key), value) for key, value in metrics.items() if is_finite(value)]  # type: ignore[arg-type]
    try:
        store = MlflowStore(uri, experiment, artifact_root=artifact_root)
        store.put_sweep(night, known, points, artifacts, description, {"kind": "night", "night": night})
    except failures() as error:
        return f"the tracking server at {without_password(uri)} did not take the night: {in_words(error)}"
    return ""


def read_nights(uri: str, experiment: str) -> list[tuple[dict[str, str], dict[str, float]]]:
    """Params and metrics of the last nights, oldest first; none if there is no such experiment.

    Raises:
        ValueError: If the server does not answer.
    """
    try:
        client = open_client(uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return []
        runs = client.search_runs([found.experiment_id], "tags.kind = 'night'", max_results=MOST_NIGHTS)
    except failures() as error:
        where = without_password(uri)
        raise ValueError(f"the history of nights at {where} cannot be read: {in_words(error)}") from None
    pairs = [(dict(run.data.params), dict(run.data.metrics)) for run in runs]
    return sorted(pairs, key=lambda pair: pair[0].get("ended_at", ""))
