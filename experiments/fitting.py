"""Runs from a results folder, a table or MLflow: fitted and reported, or shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from experiments.background import background_of
from experiments.destination import STORE_NAME, destination_of
from experiments.results import (
    OUT_REMEDY,
    Analysis,
    analyse,
    fitted_settings,
    output_folder,
    read_results,
    source_name,
)
from experiments.sweep import FitSpec
from scaling.columns import label
from scaling.export import check_writable
from scaling.progress import Progress, silent
from scaling.tracked import RunsSource, TrackedRuns


@dataclass(frozen=True)
class FittedRuns:
    """An analysis and where it lies."""

    analysis: Analysis
    folder: Path


def fit_runs(
    path: RunsSource,
    *,
    cost: str | None = None,
    error: str | None = None,
    laws: Sequence[str] | None = None,
    out: Path | None = None,
    tracking_uri: str | None = None,
    as_before: bool = False,
    progress: Progress = silent,
) -> FittedRuns:
    """Fit and report a results folder, a table of runs, or an experiment in MLflow.

    Args:
        path: What to read.
        cost, error, laws: What to relate; by default what the sweep says, else train_flops, test_error and two laws.
        out: Folder to write to; by default see `experiments.results.output_folder`.
        tracking_uri: Where the sweep's runs are delivered to, for the links to them; by default as remembered.
        as_before: Let what was fitted last in the folder take the place of what the sweep says.
        progress: Hears how far it has come.

    Raises:
        ValueError: If there is nothing to read, a column is missing, a law is unknown, or the folder cannot be
            written to.
    """
    runs, sweep, records = read_results(path)
    folder = check_writable(out or output_folder(path, sweep), OUT_REMEDY)
    settings = sweep.fit if sweep else FitSpec()
    if as_before:
        settings = fitted_settings((folder, output_folder(path, sweep)), settings)
    asked = {"cost": cost, "error": error, "laws": tuple(laws) if laws else None}
    settings = settings.model_copy(update={name: value for name, value in asked.items() if value is not None})
    title = f"{sweep.name if sweep else source_name(path)}: {label(settings.error)} against {label(settings.cost)}"
    if sweep and isinstance(path, Path):
        uri = destination_of(sweep, path, tracking_uri).uri
    else:
        uri = tracking_uri or (sweep.tracking.uri if sweep else None) or _store_beside(path)
    background = background_of(path, sweep, records, title=title, tracking_uri=uri)
    return FittedRuns(analyse(runs, settings, folder, background=background, progress=progress), folder)


def _store_beside(path: RunsSource) -> str:
    return path.address if isinstance(path, TrackedRuns) else f"sqlite:///{path.absolute().parent / STORE_NAME}"


def select_runs(
    path: RunsSource, *, status: str | None = None, sort: str = "train_flops", columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Read, filter and sort runs for people.

    Raises:
        ValueError: If a column is not in the table, or no run has the status.
    """
    from experiments.findings import trials_view
    from scaling.columns import STATUSES

    table, sweep, _ = read_results(path)
    for name in (sort, *(columns or ())):
        if name not in table.columns:
            raise ValueError(f"the runs have no column {name!r}; they have {', '.join(map(str, table.columns))}")
    if status is not None:
        if status not in STATUSES:
            raise ValueError(f"status is {status!r}; it is one of {', '.join(STATUSES)}")
        table = table[table["status"] == status]
    table = table.sort_values(sort, kind="stable")
    if columns:
        return table[list(columns)]
    view = trials_view(table, sweep.fit if sweep else FitSpec())
    # What is the same in every row only takes room; who asks for it by name gets it.
    kept = [name for name in view.columns if len(view) == 1 or name == "status" or view[name].nunique(dropna=False) > 1]
    return view[kept]
