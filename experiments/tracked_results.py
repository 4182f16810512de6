"""The results of a sweep as MLflow has them: the same table, sweep and records as from the results folder."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from cluster.records import Record
from experiments.run_links import run_address
from experiments.sweep import SweepSpec, parse_sweep
from scaling.runs import from_rows
from scaling.tracked import Store, TrackedRun, TrackedRuns, experiment_runs, open_store, read_curves, run_row

SWEEP_ARTIFACT = "sweep.json"
ENVIRONMENT_PREFIX = "environment."


def read_tracked_results(place: TrackedRuns) -> tuple[pd.DataFrame, SweepSpec | None, list[Record]]:
    """Read runs table, sweep and records of an experiment; the records hold no curves, see `tracked_curves`.

    The sweep is the file that its run holds; None for runs of another program, or of a sweep that has not ended yet.
    Runs of trials that the sweep no longer holds are left out.

    Raises:
        ValueError: If the server does not answer or refuses, there is no such experiment, or no run in it.
    """
    store = open_store(place)
    runs, others = experiment_runs(store, place)
    sweep = _read_sweep(store, others)
    specs = {trial.trial_id: trial.model_dump(mode="json") for trial in sweep.trials()} if sweep else {}
    rows = [(run, run_row(run)) for run in runs]
    kept = [(run, row) for run, row in rows if sweep is None or row["trial_id"] in specs]
    if not kept:
        raise ValueError(f"{place} holds no finished trial of its sweep; run ninthpower sync on its results first")
    records = [_record(run, row, specs.get(row["trial_id"], {})) for run, row in kept]
    try:
        return from_rows(row for _, row in kept), sweep, records
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def tracked_curves(place: TrackedRuns, records: Sequence[Record], names: Sequence[str]) -> list[Record]:
    """The same records with the named values of their training curves."""
    curves = read_curves(open_store(place), [record["run_id"] for record in records], names)
    return [{**record, "curve": curves.get(record["run_id"], [])} for record in records]


def tracked_links(place: TrackedRuns, records: Sequence[Record]) -> dict[str, str]:
    """Address of each trial's run in the MLflow UI; a store on this machine is seen through `ninthpower ui`."""
    return {record["trial_id"]: run_address(place.shown_address, record["run_id"]) for record in records}


def tracked_name(place: TrackedRuns) -> str:
    """A name for the runs that can be that of a folder: the last part of the experiment's."""
    name = re.sub(r"[^\w.-]", "-", place.experiment.rsplit("/", 1)[-1]).strip(".")
    return name or (f"experiment-{place.number}" if place.number else "runs")


def _read_sweep(store: Store, runs: Sequence[TrackedRun]) -> SweepSpec | None:
    """The sweep of the youngest run that holds one."""
    for run in sorted((run for run in runs if run.tags.get("kind") == "sweep"), key=lambda run: -(run.ended or 0)):
        content = store.artifact(run, SWEEP_ARTIFACT)
        if content is not None:
            return parse_sweep(json.loads(content))
    return None


def _record(run: TrackedRun, row: dict[str, Any], spec: dict[str, Any]) -> Record:
    environment: dict[str, Any] = {}
    for name, value in run.tags.items():
        if name.startswith(ENVIRONMENT_PREFIX):
            *path, last = name.removeprefix(ENVIRONMENT_PREFIX).split(".")
            place = environment
            for part in path:
                place = place.setdefault(part, {})
            place[last] = value
    return {
        "trial_id": row["trial_id"],
        "run_id": run.run_id,
        "sweep": row.get("sweep", ""),
        "status": row["status"],
        "reason": row.get("reason", ""),
        "spec": spec,
        "row": row,
        "started_at": _moment(run.started),
        "ended_at": _moment(run.ended),
        **({"environment": environment} if environment else {}),
    }


def _moment(milliseconds: int | None) -> str:
    return datetime.fromtimestamp((milliseconds or 0) / 1000, UTC).isoformat(timespec="milliseconds")
