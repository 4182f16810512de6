"""The frontier: the least error reached with a given cost."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scaling.pareto import pareto_positions
from scaling.points import usable_runs


def pareto_front(runs: pd.DataFrame, cost: str = "train_flops", error: str = "test_error") -> pd.DataFrame:
    """Cells whose mean over seeds no other cell beats in both cost and error.

    Seeds are averaged first: the luckiest seed of a cell is not a frontier.

    Args:
        runs: The runs table.
        cost: Column of the cost, positive.
        error: Column of the error.

    Returns:
        One row per cell of the frontier in order of cost: the columns `cost` and `error` (means), ``n_seeds``,
        ``spread`` (standard deviation over seeds, empty for one seed), ``trial_ids``, and the columns of
        the table that are constant in the cell. Ties are all kept. ``attrs["left_out"]`` lists the
        runs that did not enter, with reasons.

    Raises:
        ValueError: If a column is missing or a value out of range.
    """
    table, labels, left_out = usable_runs(runs, [cost], error)
    grouped = table.assign(_cell=labels).groupby("_cell", sort=False)
    means = grouped[[cost, error]].mean()
    kept = pareto_positions(means[cost].to_numpy(float), means[error].to_numpy(float))
    rows = table[np.isin(labels, means.index[kept])].assign(_cell=lambda part: labels[part.index])
    front = _summaries(rows, means.iloc[kept], cost, error)
    front.attrs["left_out"] = left_out
    return front


def _summaries(rows: pd.DataFrame, means: pd.DataFrame, cost: str, error: str) -> pd.DataFrame:
    grouped = rows.groupby("_cell", sort=False)
    front = means.copy()
    front["n_seeds"] = grouped.size().reindex(means.index)
    front["spread"] = grouped[error].std(ddof=1).reindex(means.index)
    front["trial_ids"] = grouped["trial_id"].agg(lambda ids: tuple(sorted(ids))).reindex(means.index)
    per_run = {cost, error, "trial_id", "seed", "status", "reason", "_cell"}
    others = [name for name in rows.columns if name not in per_run]
    constant = grouped[others].nunique(dropna=False).max() <= 1 if others else pd.Series(dtype=bool)
    settings = [name for name in others if constant[name]]
    if settings:
        front = front.join(grouped[settings].first())
    order = [*settings, cost, error, "n_seeds", "spread", "trial_ids"]
    return front[order].sort_values([cost, error], kind="stable").reset_index(drop=True)
