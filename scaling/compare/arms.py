"""The two arms of a comparison: which runs are on their frontiers, and which cells belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.laws.base import Array
from scaling.points import COUNTED_ON_TEST, Points, cluster_labels, log_of_counts, usable_runs

# Cells of two techniques are a pair if they agree in these, as far as the table has them.
MATCH_COLUMNS = ("dataset", "family", "width", "depth", "n_train", "epochs")
# With fewer cells in common there is nothing to resample together.
LEAST_COMMON = 3
# Costs that differ by less are one budget: of ten data sizes that add a per cent each to the cost of a million uses,
# only the best belongs on the frontier. Assumed; sweeps space their budgets by more.
SAME_BUDGET = 0.1


@dataclass(frozen=True)
class FrontierPair:
    """The frontier runs of two arms as one set of points.

    Attributes:
        points: Inputs are log cost and the arm (0 baseline, 1 technique); a cluster is a cell of the grid, in
            whichever arm.
        n_cells: Cells with a usable run, per arm; `n_common` of the grid are in both.
        n_frontier: Cells on the frontier, per arm.
        n_seeds: Most seeds of a cell.
        cost_range: Least and largest cost of the frontier runs, per arm.
        left_out: Runs that could not be placed, each with the reason.
        notes: What a reader must know of how the frontiers were chosen.
    """

    points: Points
    n_cells: tuple[int, int]
    n_common: int
    n_frontier: tuple[int, int]
    n_seeds: int
    cost_range: tuple[tuple[float, float], tuple[float, float]]
    left_out: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def read_pair(
    runs: pd.DataFrame, baseline: str, technique: str, *, cost: str, error: str, paired: bool = True
) -> FrontierPair:
    """Find the frontier of either arm and match their cells.

    The frontier is cross-fitted: a run enters if the *other* seeds of the cells put its cell on the frontier. Chosen
    by its own error a cell would be there because it was lucky, and the luck would pass for performance.

    Args:
        runs: The runs table, choices on validation made.
        baseline: Value of the column ``technique`` of the one arm, `technique` that of the other. They may be the same.
        cost: Column of the cost.
        error: Column of the error.
        paired: Resample a cell of the grid in both arms together. Without, each arm's cells stand alone.

    Raises:
        ValueError: If an arm has no usable run, or too few cells are in both.
    """
    parts, left_out = [], []
    for arm, name in enumerate((baseline, technique)):
        part, dropped = _usable(runs[runs["technique"] == name], cost, error)
        if part.empty:
            raise ValueError(f"no run of {name!r} has both {cost} and {error}{_first_reason(dropped)}")
        parts.append(part.assign(_arm=arm, _cell=_names(part, cost, arm)))
        left_out += dropped
    matched = _matched_by(parts) if paired else []
    if paired and not matched:
        raise ValueError(
            f"the runs have none of the columns {', '.join(MATCH_COLUMNS)} to match the cells of {technique!r} with "
            f"those of {baseline!r}; compare them unpaired"
        )
    for number, part in enumerate(parts):
        parts[number] = part.assign(_pair=_pair_keys(part, matched) if paired else part["_cell"])
    common = set(parts[0]["_pair"]) & set(parts[1]["_pair"])
    if paired and len(common) < LEAST_COMMON:
        count = f"{len(common)} cell{'' if len(common) == 1 else 's'}"
        raise ValueError(
            f"{technique!r} and {baseline!r} have {count} in common, matched by {', '.join(matched)}, and at least "
            f"{LEAST_COMMON} are needed; run both on the same grid, or compare them unpaired"
        )
    chosen = [part[_crossfitted(part, cost, error)] for part in parts]
    return FrontierPair(
        _points(pd.concat(chosen), cost, error, left_out),
        (parts[0]["_cell"].nunique(), parts[1]["_cell"].nunique()),
        len(common),
        (chosen[0]["_cell"].nunique(), chosen[1]["_cell"].nunique()),
        int(max(part.groupby("_cell").size().max() for part in parts)),
        (_range(chosen[0][cost]), _range(chosen[1][cost])),
        tuple(sorted(set(left_out))),
        _notes(parts, paired, common),
    )


def count_statuses(runs: pd.DataFrame, technique: str) -> dict[str, int]:
    """How the trials of a technique ended."""
    return dict(sorted(Counter(runs.loc[runs["technique"] == technique, "status"]).items()))


def _usable(runs: pd.DataFrame, cost: str, error: str) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    if runs.empty:
        return runs, []
    table, _, dropped = usable_runs(runs, [cost], error)
    reasons = list(dropped)
    known = _test_sizes(table, error)
    lost = (table[error] == 0).to_numpy() & ~(known > 0)
    reasons += [
        (str(trial), f"{error} is 0 and the number of test examples behind it is not known")
        for trial in table.loc[lost, "trial_id"]
    ]
    return table[~lost], reasons


def _first_reason(dropped: Sequence[tuple[str, str]]) -> str:
    if not dropped:
        return ""
    reason = Counter(reason for _, reason in dropped).most_common(1)[0]
    return f": {reason[0]} ({reason[1]} run{'' if reason[1] == 1 else 's'})"


def _names(part: pd.DataFrame, cost: str, arm: int) -> list[str]:
    """Name the cells of an arm by what tells them apart, so that their order is not that of the rows."""
    if "cell" in part.columns and part["cell"].notna().all():
        return [f"{arm}:{name}" for name in part["cell"]]
    labels = cluster_labels(part, cost)
    ids = part["trial_id"].astype(str).groupby(labels).transform("min")
    return [f"{arm}:{name}" for name in ids]


def _matched_by(parts: Sequence[pd.DataFrame]) -> list[str]:
    return [name for name in MATCH_COLUMNS if all(name in part and part[name].notna().all() for part in parts)]


def _pair_keys(part: pd.DataFrame, names: list[str]) -> list[str]:
    # Numbers of fixed width, so that the order of the names is that of the numbers.
    columns = [
        [f"{value:024.8f}" if isinstance(value, int | float) else str(value) for value in part[name].tolist()]
        for name in names
    ]
    return ["|".join(values) for values in zip(*columns, strict=True)]


def _crossfitted(part: pd.DataFrame, cost: str, error: str) -> NDArray[np.bool_]:
    """Which runs belong to cells that the other seeds put on the frontier."""
    cell = pd.factorize(part["_cell"])[0]
    order = part.groupby("_cell", sort=False)["seed"].rank(method="first").to_numpy(dtype=np.int64) - 1
    costs, errors = part[cost].to_numpy(dtype=np.float64), part[error].to_numpy(dtype=np.float64)
    n_cells, count = cell.max() + 1, np.bincount(cell)
    total_cost, total_error = np.bincount(cell, costs), np.bincount(cell, errors)
    chosen = np.zeros(cell.size, dtype=bool)
    for fold in range(int(count.max())):
        held = order == fold
        rest = np.maximum(count - np.bincount(cell[held], minlength=n_cells), 0)
        # A cell of one seed has no other to be judged by; its own is used, and a note says so.
        alone = rest == 0
        divisor = np.where(alone, count, rest)
        spent = (total_cost - np.where(alone, 0.0, np.bincount(cell[held], costs[held], n_cells))) / divisor
        reached = (total_error - np.where(alone, 0.0, np.bincount(cell[held], errors[held], n_cells))) / divisor
        # Equal costs and errors must not come apart by the rounding of a difference.
        chosen[held] = _on_front(_rounded(spent), _rounded(reached))[cell[held]]
    return chosen


def _on_front(cost: Array, error: Array) -> NDArray[np.bool_]:
    """Cells that none beats: no cheaper one is as good, and none of the same budget is better."""
    order = np.argsort(cost, kind="stable")
    costs = cost[order]
    least = np.r_[np.inf, np.minimum.accumulate(error[order])]
    cheaper = least[np.searchsorted(costs, cost, side="left")]
    same_budget = least[np.searchsorted(costs, cost * (1 + SAME_BUDGET), side="right")]
    return (error < cheaper) & (error <= same_budget)


def _rounded(values: Array) -> Array:
    """Values to ten significant digits."""
    with np.errstate(divide="ignore"):
        scale = 10.0 ** (9 - np.floor(np.log10(np.abs(np.where(values == 0, 1.0, values)))))
    return np.round(values * scale) / scale


def _test_sizes(table: pd.DataFrame, error: str) -> Array:
    if error in COUNTED_ON_TEST and "n_test" in table.columns:
        return table["n_test"].to_numpy(dtype=np.float64, na_value=np.nan)
    return np.full(len(table), np.nan)


def _points(table: pd.DataFrame, cost: str, error: str, left_out: list[tuple[str, str]]) -> Points:
    ordered = table.sort_values(["_pair", "_arm", "_cell", "seed", cost, error], kind="stable")
    n_test = _test_sizes(ordered, error)
    x = np.array([np.log(ordered[cost].to_numpy(dtype=np.float64)), ordered["_arm"].to_numpy(dtype=np.float64)])
    return Points(
        x=x,
        y=log_of_counts(ordered[error].to_numpy(dtype=np.float64), n_test),
        n_test=n_test,
        cluster=pd.factorize(ordered["_pair"])[0].astype(np.int64),
        n_seeds=np.ones(len(ordered)),
        seed_variance=float("nan"),
        trial_ids=tuple(sorted(set(ordered["trial_id"].astype(str)))),
        left_out=tuple(sorted(set(left_out))),
    )


def _range(values: pd.Series) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _notes(parts: Sequence[pd.DataFrame], paired: bool, common: set[str]) -> tuple[str, ...]:
    notes = []
    if any((part.groupby("_cell").size() == 1).any() for part in parts):
        notes.append(
            "there are cells of one seed, whose own luck helps to choose them for the frontier; it cancels only where "
            "both arms are equally noisy"
        )
    alone = sum(part.loc[~part["_pair"].isin(common), "_pair"].nunique() for part in parts)
    if paired and alone:
        notes.append(f"{alone} cell{' is' if alone == 1 else 's are'} in one arm only")
    if not paired:
        notes.append("the arms were resampled separately, cell by cell")
    return tuple(notes)
