"""From MLflow's runs back to the runs table: the same columns, types and values as from the records on disk."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from scaling.columns import COLUMNS, PHASE_PREFIXES
from scaling.tracked.file import FileStore
from scaling.tracked.place import TrackedRuns
from scaling.tracked.server import ServerStore
from scaling.tracked.store import Store, TrackedRun, find_experiment

# The tag in which a run says what columns its line of the runs table has, and of what type: JSON such as
# {"test_error": "float", "seed": "int"}.
COLUMNS_TAG = "columns"
# How MLflow ends the runs of others, in the words of the runs table.
STATUSES = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "stopped"}
CURVE_PREFIX = "curve/"


def open_store(place: TrackedRuns) -> Store:
    """The server or file that holds an experiment; nothing is asked of it yet.

    Raises:
        ValueError: If there is no such file.
    """
    path = place.store_file
    return ServerStore(place.address) if path is None else FileStore(path)


def read_tracked(place: TrackedRuns) -> list[dict[str, Any]]:
    """Lines of the runs table of an experiment, by trial id.

    Raises:
        ValueError: If the server does not answer or refuses, or there is no such experiment or no run in it.
    """
    return [run_row(run) for run in trial_runs(open_store(place), place)]


def trial_runs(store: Store, place: TrackedRuns) -> list[TrackedRun]:
    """The runs of an experiment's trials, by trial id: those of this program, or all where none is.

    Raises:
        ValueError: As `read_tracked`.
    """
    return experiment_runs(store, place)[0]


def experiment_runs(store: Store, place: TrackedRuns) -> tuple[list[TrackedRun], list[TrackedRun]]:
    """The runs of trials as `trial_runs` gives them, and the others, such as that of the sweep itself.

    Raises:
        ValueError: As `read_tracked`.
    """
    name, number = find_experiment(store, place.experiment, place.number)
    runs = list(store.runs(number))
    ours = [run for run in runs if run.tags.get("kind") == "trial"]
    found = ours or [run for run in runs if "kind" not in run.tags]
    if not found:
        raise ValueError(f"the experiment {name!r} of {store.shown} holds no run that has ended; run a sweep first")
    chosen = {run.run_id for run in found}
    return sorted(found, key=_trial_id), [run for run in runs if run.run_id not in chosen]


def run_row(run: TrackedRun) -> dict[str, Any]:
    """The line of the runs table that a run holds.

    A run of this program says which columns it has. Of another's, every metric outside a section is a column, and so
    is every param that the runs table knows; its status is MLflow's.

    Raises:
        ValueError: If the run does not hold what it says it holds.
    """
    text = run.tags.get(COLUMNS_TAG)
    if text is None:
        return _stranger_row(run)
    try:
        types = dict(json.loads(text))
        return {name: _value(run, str(name), str(kind)) for name, kind in types.items()}
    except (ValueError, TypeError, KeyError, SyntaxError):
        raise ValueError(
            f"the run {run.run_id} in MLflow lacks a column that its tag {COLUMNS_TAG!r} names, or the tag is damaged; "
            "delete the run there and run ninthpower sync"
        ) from None


def read_curves(store: Store, run_ids: Sequence[str], names: Iterable[str]) -> dict[str, list[dict[str, float]]]:
    """The training curves of some runs: by run id, a mapping of each point's ``step`` and values, in order.

    Args:
        store: Where the runs are.
        run_ids: The runs.
        names: Which values of a point, such as ``validation_error``.
    """
    curves: dict[str, dict[int, dict[str, float]]] = {}
    for name in names:
        for run_id, points in store.history(run_ids, f"{CURVE_PREFIX}{name}").items():
            for step, value in points:
                curves.setdefault(run_id, {}).setdefault(step, {"step": step})[name] = value
    return {run_id: [points[step] for step in sorted(points)] for run_id, points in curves.items()}


def _value(run: TrackedRun, name: str, kind: str) -> Any:
    stored = safe_name(name)
    if kind in ("int", "float"):
        return int(run.metrics[stored]) if kind == "int" else float(run.metrics[stored])
    text = run.params.get(stored, "")
    return text if kind == "str" else ast.literal_eval(text)


def _stranger_row(run: TrackedRun) -> dict[str, Any]:
    known = {column.name for column in COLUMNS}
    params = {
        name: value for name, value in run.params.items() if name in known or name.startswith(tuple(PHASE_PREFIXES))
    }
    metrics = {name: value for name, value in run.metrics.items() if "/" not in name and math.isfinite(value)}
    return {"trial_id": run.run_id, "status": STATUSES.get(run.status, "failed"), **params, **metrics}


def _trial_id(run: TrackedRun) -> str:
    return str(run.params.get("trial_id") or run.tags.get("trial_id") or run.run_id)


def safe_name(name: str) -> str:
    """How a column is called in MLflow, which refuses some signs."""
    return re.sub(r"[^\w\-./ ]", "-", name)[:250]
