"""From the runs table to the points of a fit: which runs enter, how sure each is, which move together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from scaling.clusters import Columns, cluster_labels, labels_and_note
from scaling.columns import CELL_SETTINGS, column, did_you_mean
from scaling.laws.base import Array, Law
from scaling.pareto import pareto_positions
from scaling.reading import NOTES, number_hint
from scaling.runs import check_runs, checked_columns
from scaling.words import agree, counted

# The column each input of a law is read from unless the caller names another.
ROLE_COLUMNS: Mapping[str, str] = {
    "cost": "train_flops",
    "size": "n_params",
    "data": "n_train",
    "width": "width",
    "depth": "depth",
    "epochs": "epochs",
    "density": "density",
    "dense_error": "dense_error",
}
# Errors counted on the test set, so that its size says how far chance alone moves them.
COUNTED_ON_TEST = ("test_error", "shift_error")
# An error whose ranks rise with the cost's at least as clearly as this is perhaps an accuracy.
RISING = 0.5
# What a fit reads besides its inputs, the error and the settings of the cells, where a table has it.
LABELS = ("trial_id", "cell", "seed", "status", "reason", "n_test", "n_shift_test", "n_params")


@dataclass(frozen=True)
class Points:
    """What a fit sees, in an order that does not depend on the order of the rows.

    Attributes:
        x: Natural logarithms of the inputs, (n_inputs, n_points).
        y: Natural logarithm of the error, (n_points,).
        n_test: Size of the test set behind each error, NaN where unknown or not a count.
        cluster: Number of the cluster of each point: points of one are resampled together.
        n_seeds: Runs behind each point (1 unless cells were averaged).
        seed_variance: Variance of `y` from seed to seed, pooled over cells; NaN if no cell has two.
        trial_ids: The runs that entered.
        left_out: Runs that did not, each with its reason.
        notes: What in the table may not mean what it was taken for.
    """

    x: Array
    y: Array
    n_test: Array
    cluster: NDArray[np.int64]
    n_seeds: Array
    seed_variance: float
    trial_ids: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()

    @property
    def n_points(self) -> int:
        """Rows the solver sees: runs, or cells after averaging."""
        return int(self.y.size)

    @property
    def n_clusters(self) -> int:
        """Units of resampling."""
        return int(self.cluster.max()) + 1 if self.cluster.size else 0

    def take(self, keep: NDArray[np.intp] | NDArray[np.bool_]) -> Points:
        """Keep some points; clusters are renumbered."""
        cluster = np.unique(self.cluster[keep], return_inverse=True)[1].astype(np.int64)
        return replace(
            self,
            x=self.x[:, keep],
            y=self.y[keep],
            n_test=self.n_test[keep],
            cluster=cluster,
            n_seeds=self.n_seeds[keep],
        )


def read_points(
    runs: pd.DataFrame,
    law: Law,
    *,
    columns: Mapping[str, str],
    error: str,
    average: bool,
    cluster: str | None,
) -> Points:
    """Turn a runs table into points.

    Runs that did not finish, or lack an input or the error, are left out with a reason. An error of
    exactly 0 on a known number of test examples enters as half an example (the logarithm of a count
    of 0 has no value; half is the median-unbiased choice of Haldane and Anscombe) with the wide
    standard deviation that goes with it. Where the number is unknown nothing says how small the error is: averaged with
    other seeds of its cell it counts as the 0 that was measured, for to leave it out would make the cell worse than it
    is; alone, or where the whole cell is 0, it is left out with that reason. A note counts both.

    Args:
        runs: The runs table.
        law: Its roles say which columns are read.
        columns: Column of each role, where it differs from `ROLE_COLUMNS`.
        error: Column of the error.
        average: Average the seeds of a cell first, as a frontier needs.
        cluster: Column whose equal values are resampled together; the cell if None.

    Raises:
        ValueError: If a column is missing or does not hold numbers, the error is an input too, or the table is no
            runs table.
    """
    names = [columns.get(role, ROLE_COLUMNS.get(role, role)) for role in law.roles]
    check_axes(names, error)
    table = checked_columns(runs, {*names, error, *LABELS, *CELL_SETTINGS, *(() if cluster is None else (cluster,))})
    values = np.array([_numbers(runs, table, name) for name in names])
    errors = _numbers(runs, table, error)
    n_test = test_sizes(table, error)
    everywhere, note = labels_and_note(table, names[0], cluster)
    reasons = _reasons(table, names, values, error, errors, n_test, everywhere if average else None)
    identity = table["trial_id"]
    enters = reasons == ""
    left_out = tuple(sorted((str(identity[i]), str(reasons[i])) for i in np.flatnonzero(~enters)))
    points = _ordered(
        values[:, enters], errors[enters], n_test[enters], everywhere[enters], identity[enters], left_out, average
    )
    zeros = (errors == 0) & ~(n_test > 0) & ((reasons == "") | (reasons == no_size(error)))
    notes = (
        *map(str, runs.attrs.get(NOTES, ())),
        note,
        _note_of_zeros(error, int((zeros & enters).sum()), int((zeros & ~enters).sum())),
        _note_of_rise(points, names[0], error) if len(names) == 1 else "",
    )
    return replace(points, notes=tuple(filter(None, notes)))


def check_axes(inputs: Sequence[str], error: str) -> None:
    """Refuse an error that is its own cost.

    Raises:
        ValueError: If a column is both.
    """
    if error in inputs:
        raise ValueError(
            f"the column {error!r} is both the cost and the error; name another with --cost or --error (cost= or "
            "error= in Python)"
        )


def no_size(error: str) -> str:
    """Why an error of 0 alone stays out of a fit."""
    return f"{error} is 0 and the number of test examples behind it is not known"


def _note_of_zeros(error: str, n_averaged: int, n_left_out: int) -> str:
    """What became of errors of 0 of which nothing says how small they are; empty where there are none."""
    n_all = n_averaged + n_left_out
    if not n_all:
        return ""
    head = f"{counted(n_all, 'run')} {agree(n_all, 'has', 'have')} {error} 0, and nothing says how small it is"
    parts = []
    if n_averaged:
        parts.append(f"{n_averaged:,} {agree(n_averaged, 'counts', 'count')} as 0 in the mean of a cell with others")
    if n_left_out:
        parts.append(f"{n_left_out:,} {agree(n_left_out, 'is', 'are')} left out, as 0 has no logarithm")
    remedy = "; give the number of test examples in a column `n_test`" if error in COUNTED_ON_TEST else ""
    return f"{head}: {', '.join(parts)}{remedy}"


def _note_of_rise(points: Points, cost: str, error: str) -> str:
    """That the error rises with the cost, as an accuracy does; empty where it does not, or chance may have it so."""
    if points.n_points < 5:
        return ""
    cost_ranks, error_ranks = rankdata(points.x[0]), rankdata(points.y)
    if np.ptp(cost_ranks) == 0 or np.ptp(error_ranks) == 0:
        return ""
    correlation = float(np.corrcoef(cost_ranks, error_ranks)[0, 1])
    if correlation < max(RISING, 2 / np.sqrt(points.n_points - 1)):
        return ""
    return (
        f"{error} rises with {cost} (rank correlation {correlation:.2f}), where every law has it fall; if it is an "
        "accuracy, give 1 - accuracy as the error"
    )


def usable_runs(
    runs: pd.DataFrame, inputs: list[str], error: str, cluster: str | None = None
) -> tuple[pd.DataFrame, NDArray[np.int64], tuple[tuple[str, str], ...]]:
    """Rows that can be placed by input and error, the cluster of each, and the runs left out with reasons.

    An error of 0 is kept: only a logarithm cannot place it.

    Raises:
        ValueError: As `read_points`.
    """
    check_axes(inputs, error)
    table = check_runs(runs)
    values = np.array([_numbers(runs, table, name) for name in inputs])
    errors = _numbers(runs, table, error)
    reasons = _reasons(table, inputs, values, error, errors, np.ones(len(table)))
    kept = reasons == ""
    identity = table["trial_id"].to_numpy(dtype=object)
    left_out = tuple(sorted((str(identity[i]), str(reasons[i])) for i in np.flatnonzero(~kept)))
    labels = cluster_labels(table, inputs[0], cluster)[kept]
    return table[kept].reset_index(drop=True), labels, left_out


def _numbers(runs: pd.DataFrame, table: Columns, name: str) -> Array:
    """A checked column as numbers, empty cells as NaN."""
    if name not in table:
        raise ValueError(_no_column(name, [str(other) for other in runs.columns]))
    values = table[name]
    if not pd.api.types.is_numeric_dtype(values):
        cells = pd.Series(values)
        bad = int((pd.to_numeric(cells, errors="coerce").isna() & cells.notna()).to_numpy().argmax())
        raise ValueError(
            f"the column {name!r} holds text where numbers are needed: {cells.iloc[bad]!r} in row {bad + 1}"
            f"{number_hint(cells.iloc[bad])}"
        )
    if isinstance(values, np.ndarray):
        return values.astype(np.float64)
    return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))


def _no_column(name: str, present: Sequence[str]) -> str:
    remedy = "; name the one to take with --cost or --error (cost= or error= in Python), or rename it to that"
    hint = did_you_mean(name, present) or remedy
    return f"the runs table has no column {name!r}; it has {', '.join(present)}{hint}"


def test_sizes(table: Columns, error: str) -> Array:
    """Number of examples behind the error of each run; NaN where it is not known or no share of examples."""
    sizes = np.full(len(table["status"]), np.nan)
    if error in COUNTED_ON_TEST and "n_test" in table:
        sizes = _floats(table["n_test"])
    if error == "shift_error" and "n_shift_test" in table:
        own = _floats(table["n_shift_test"])
        sizes = np.where(np.isnan(own), sizes, own)
    return sizes


def _floats(values: Any) -> Array:
    return pd.Series(values).to_numpy(dtype=np.float64, na_value=np.nan)


def _reasons(
    table: Columns,
    names: list[str],
    values: Array,
    error: str,
    errors: Array,
    n_test: Array,
    averaged_by: NDArray[np.int64] | None = None,
) -> NDArray[np.object_]:
    """Why each run stays out; an empty text for those that enter. The first reason found counts."""
    reasons = np.full(errors.size, "", dtype=object)

    def leave(where: NDArray[np.bool_], reason: str) -> None:
        if where.any():
            reasons[where & (reasons == "")] = reason

    status = np.asarray(table["status"], dtype=object)
    unfinished = np.flatnonzero(status != "finished")
    given = np.asarray(table["reason"], dtype=object) if "reason" in table else np.full(errors.size, None)
    for i in unfinished:
        reasons[i] = f"status {status[i]}" + (f": {given[i]}" if given[i] else "")
    for name, inputs in zip(names, values, strict=True):
        leave(~np.isfinite(inputs), f"{name} is empty or not finite")
        leave(inputs <= 0, f"{name} is not above 0, and laws are in its logarithm")
    leave(~np.isfinite(errors), f"{error} is empty or not finite")
    leave(errors < 0, f"{error} is negative")
    placed = np.isfinite(n_test) & (n_test > 0)
    if averaged_by is not None:
        # A seed without error is no obstacle where the mean of its cell has a logarithm.
        seen = (errors > 0) & (reasons == "")
        placed |= np.bincount(averaged_by, weights=seen)[averaged_by] > 0
    leave((errors == 0) & ~placed, no_size(error))
    return reasons


def _ordered(
    values: Array,
    errors: Array,
    n_test: Array,
    labels: NDArray[np.int64],
    identity: NDArray[np.object_],
    left_out: tuple[tuple[str, str], ...],
    average: bool,
) -> Points:
    """Sort the runs by what they say, not by where they stood, and average cells if asked to."""
    by_cluster = np.unique(labels, return_inverse=True)[1]
    size = np.bincount(by_cluster).astype(np.float64) if labels.size else np.zeros(0)
    total = np.bincount(by_cluster, weights=errors) if labels.size else np.zeros(0)
    order = np.lexsort((total[by_cluster], size[by_cluster], n_test, errors, *values[::-1]))
    values, errors, n_test, labels = values[:, order], errors[order], n_test[order], labels[order]
    first = pd.factorize(labels)[0].astype(np.int64)
    x, y = np.log(values), log_of_counts(errors, n_test)
    seed_variance = _pooled_variance(y, first)
    count = np.bincount(first).astype(np.float64) if first.size else np.zeros(0)
    n_seeds = np.ones(y.size)
    if average and first.size:
        x = np.log(np.array([np.bincount(first, weights=row) / count for row in values]))
        n_test = np.bincount(first, weights=n_test) / count
        y = log_of_counts(np.bincount(first, weights=errors) / count, n_test)
        n_seeds, first = count, np.arange(count.size, dtype=np.int64)
    ids = tuple(sorted(str(value) for value in identity))
    return Points(x, y, n_test, first, n_seeds, seed_variance, ids, left_out)


def log_of_counts(errors: Array, n_test: Array) -> Array:
    """Log error, an error of 0 taken as half an example of the test set."""
    with np.errstate(divide="ignore"):
        return np.log(np.where(errors > 0, errors, 0.5 / (np.where(errors > 0, 1.0, n_test) + 1.0)))


def sampling_variance(log_error: Array, n_test: Array) -> Array:
    """Variance of a log error from the chance of which examples are in the test set; 0 where unknown."""
    error = np.minimum(np.exp(log_error), 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = (1.0 - error) / np.maximum(error * n_test, 0.5)
    return np.where(np.isfinite(n_test) & (n_test > 0), variance, 0.0)


def _pooled_variance(y: Array, cluster: NDArray[np.int64]) -> float:
    y, cluster = y[np.isfinite(y)], cluster[np.isfinite(y)]
    if not y.size:
        return float("nan")
    cluster = np.unique(cluster, return_inverse=True)[1]
    count = np.bincount(cluster)
    mean = np.bincount(cluster, weights=y) / count
    freedom = int(y.size - count.size)
    return float(((y - mean[cluster]) ** 2).sum() / freedom) if freedom > 0 else float("nan")


def frontier_points(points: Points) -> Points:
    """Keep the averaged cells that no other beats in cost and error."""
    return points.take(np.sort(pareto_positions(points.x[0], points.y)))


def column_unit(name: str) -> str:
    """Unit of a known column, empty for a stranger's."""
    try:
        return column(name).unit
    except ValueError:
        return ""
