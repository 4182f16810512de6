"""A comparison in MLflow: one run per technique, so that techniques are rows of its table and gains the columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.mlflow_client import check_uri
from cluster.mlflow_errors import failures, in_words, without_password
from cluster.mlflow_store import DESCRIPTION_TAG, MlflowStore
from cluster.mlflow_values import MetricPoint, is_finite, safe_name


@dataclass(frozen=True)
class TechniqueRun:
    """What MLflow is told of one technique: unknown values are left out, never written as 0."""

    technique: str
    baseline: str
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    description: str


def log_comparison(
    uri: str,
    experiment: str,
    runs: Sequence[TechniqueRun],
    artifacts: Sequence[Path],
    *,
    artifact_root: str | None = None,
    description: str = "",
) -> str:
    """Write one run per technique over the earlier one, each with the files.

    Args:
        uri: A server's http address or a database's.
        experiment: Name of the MLflow experiment.
        runs: One per technique.
        artifacts: Files, and folders with all they hold.
        artifact_root: Where a new experiment keeps its artifacts; the server's choice if None.
        description: Shown at the head of the experiment.

    Returns:
        An empty string, or one sentence on why the comparison could not be written.

    Raises:
        ValueError: If the address is of no kind that is written to.
    """
    check_uri(uri)
    tags = {DESCRIPTION_TAG: description} if description else {}
    try:
        store = MlflowStore(uri, experiment, artifact_root=artifact_root, tags=tags)
        for run in runs:
            metrics = [
                MetricPoint(safe_name(key), float(value)) for key, value in run.metrics.items() if is_finite(value)
            ]
            params = {safe_name(key): str(value) for key, value in run.params.items() if value not in (None, "")}
            identity = {"kind": "comparison", "technique": run.technique, "baseline": run.baseline}
            store.put_sweep(run.technique, params, metrics, artifacts, run.description, identity)
    except failures() as error:
        return f"the tracking server at {without_password(uri)} did not take the comparison: {in_words(error)}"
    return ""
