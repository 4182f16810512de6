"""Lower envelope of training curves: the least error reached by any run at each amount of compute."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scaling.pareto import pareto_positions


def training_envelope(
    curves: pd.DataFrame, *, cost: str = "train_flops", error: str = "validation_error", run: str = "trial_id",
    n_budgets: int = 60,
) -> pd.DataFrame:  # fmt: skip
    """The best run at each of many budgets along its training, as a table that `fit` can read.

    Args:
        curves: One row per measurement during training, in any order.
        cost: Column of the compute spent so far, positive.
        error: Column of the error at that point. Take validation's: the envelope is a choice.
        run: Column that names the run.
        n_budgets: Budgets, equally spaced in log compute; at each the least error reached up to there counts.

    Returns:
        One row per budget at which the envelope has fallen: ``train_flops`` (named as `cost`), the error, the run
        on the envelope as ``trial_id`` with the budget's number, and ``cell``, the run itself: points of one run
        move together and are resampled together.

    Raises:
        ValueError: If a column is missing or no row has a positive cost and an error.

    Source:
        Hoffmann et al. 2022 (arXiv:2203.15556), approach 1. Its known fault: with a learning rate that decays over
        a fixed length, points before the end are worse than a shorter run would be, and the envelope is biased up.
    """
    for name in (cost, error, run):
        if name not in curves.columns:
            raise ValueError(f"the curves have no column {name!r}; they have {', '.join(map(str, curves.columns))}")
    if n_budgets < 2:
        raise ValueError(f"n_budgets is {n_budgets}, but it is at least 2")
    usable = curves[(curves[cost] > 0) & np.isfinite(curves[cost]) & curves[error].notna()]
    if usable.empty:
        raise ValueError(f"no row of the curves has a positive {cost} and a {error}")
    costs, errors = usable[cost].to_numpy(dtype=np.float64), usable[error].to_numpy(dtype=np.float64)
    front = pareto_positions(costs, errors)
    budgets = np.geomspace(costs.min(), costs.max(), n_budgets)
    reached = np.searchsorted(costs[front], budgets * (1 + 1e-12), side="right") - 1
    positions = front[reached]
    names = usable[run].to_numpy(dtype=object)[positions]
    table = pd.DataFrame({
        "trial_id": [f"{name}@{number:04d}" for number, name in enumerate(names)],
        "cell": [str(name) for name in names],
        "status": "finished",
        cost: costs[positions],
        error: errors[positions],
    })  # fmt: skip
    return table.drop_duplicates(subset=[cost, error]).reset_index(drop=True)
