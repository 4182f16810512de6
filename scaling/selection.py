"""Choices between settings, made on validation so that the test error stays honest."""

from __future__ import annotations

import pandas as pd

from scaling.runs import check_runs

TUNING_COLUMN = "tuning_cell"


def choose_on_validation(
    runs: pd.DataFrame, *, group: str = TUNING_COLUMN, choice: str = "cell", by: str = "validation_error"
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Keep, of the cells that differ only in a tuned setting, the one that validates best.

    A tuned setting (the learning rate) is not a way to spend more; taking its best value by test error would
    report the luck of the draw as performance. Cells are compared by their mean over seeds; a cell with a trial
    that did not finish loses to those whose trials all did.

    Args:
        runs: The runs table.
        group: Column that is equal for cells that compete; without it nothing is chosen.
        choice: Column of the cells.
        by: Column of the validation measure.

    Returns:
        The runs kept, in their order, and the ids of the others.

    Raises:
        ValueError: If cells compete and the column to choose by is missing or empty for all of a group.
    """
    table = check_runs(runs)
    if group not in table.columns or choice not in table.columns:
        return table, ()
    competing = table.groupby(group)[choice].transform("nunique") > 1
    if not competing.any():
        return table, ()
    if by not in table.columns:
        raise ValueError(f"cells compete in the column {group!r}, but the runs have no {by!r} to choose by")
    # Not chosen unless nothing better is there: a cell with trials that left no measure.
    score = table[by].where(table["status"] == "finished")
    cells = pd.DataFrame({"group": table[group], "cell": table[choice], "score": score, "missing": score.isna()})
    means = cells.groupby(["group", "cell"], sort=True).agg(score=("score", "mean"), missing=("missing", "any"))
    ordered = means.sort_values(["missing", "score"], kind="stable").reset_index()
    chosen = set(ordered.groupby("group", sort=False)["cell"].first())
    kept = ~competing | table[choice].isin(chosen)
    return table[kept].reset_index(drop=True), tuple(table.loc[~kept, "trial_id"])
