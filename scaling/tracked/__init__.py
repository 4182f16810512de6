"""Runs that MLflow keeps, read over its REST interface or from its SQLite file, without MLflow."""

from scaling.tracked.place import RunsSource, TrackedRuns, is_tracked, runs_source
from scaling.tracked.store import Store, TrackedRun
from scaling.tracked.table import experiment_runs, open_store, read_curves, read_tracked, run_row, trial_runs

__all__ = [
    "RunsSource",
    "Store",
    "TrackedRun",
    "TrackedRuns",
    "experiment_runs",
    "is_tracked",
    "open_store",
    "read_curves",
    "read_tracked",
    "run_row",
    "runs_source",
    "trial_runs",
]
