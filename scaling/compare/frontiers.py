"""Frontiers that luck does not choose: smoothed over the grid, and cross-fitted over the seeds.

A run is on the frontier of its arm if the *other* seeds of all cells put its cell there. A cell that is chosen by its
own error is there because it was lucky, and its luck would pass for performance. What the other seeds say is
first smoothed over the grid, as far as the cells scatter no more than their seeds do: a choice by few noisy seeds would
differ between two equal arms, and that difference is in no resample of the runs chosen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.laws.base import Array

# Costs that differ by less are one budget: of ten data sizes that add a per cent each to the cost of a million uses,
# only the best belongs on the frontier. Assumed; sweeps space their budgets by more.
SAME_BUDGET = 0.1
# What the log error of a cell is smoothed over, besides its cost.
SURFACE_COLUMNS = ("n_train", "n_params", "width", "depth", "epochs")
# A column whose variance the others explain but for this share says nothing more.
LEAST_NEW_VARIANCE = 0.01
# Cells per coefficient of the surface.
CELLS_PER_COEFFICIENT = 3


def crossfitted(part: pd.DataFrame, cost: str, error: str) -> NDArray[np.bool_]:
    """Which runs of an arm belong to cells that the other seeds put on the frontier.

    Args:
        part: The runs of one arm, with ``_cell`` and ``seed``, ordered by what they say.
        cost, error: Columns.
    """
    cell = pd.factorize(part["_cell"])[0]
    count = np.bincount(cell)
    order = part.groupby("_cell", sort=False)["seed"].rank(method="first").to_numpy(dtype=np.int64) - 1
    costs, errors = (part[name].to_numpy(dtype=np.float64) for name in (cost, error))
    design = surface_design(_features(part, cell, costs))
    noise = _seed_variance(errors, cell)
    chosen = np.zeros(cell.size, dtype=bool)
    for number in range(int(count.max())):
        held = order == number
        # A cell of one seed has no other to be judged by.
        rest = ~held | (count[cell] == 1)
        n_rest = np.bincount(cell[rest], minlength=count.size)
        spent, reached = (np.bincount(cell[rest], values[rest], count.size) / n_rest for values in (costs, errors))
        smooth = smoothed(_log(reached), design, noise / n_rest)
        chosen[held] = on_frontier(_rounded(spent), _rounded(smooth))[cell[held]]
    return chosen


def on_frontier(cost: Array, error: Array) -> NDArray[np.bool_]:
    """Cells that none beats: no cheaper one is as good, and none of the same budget is better.

    Args:
        cost: Of each cell.
        error: Of each cell, or anything that rises with it.
    """
    order = np.argsort(cost, kind="stable")
    costs = cost[order]
    least = np.r_[np.inf, np.minimum.accumulate(error[order])]
    cheaper = least[np.searchsorted(costs, cost, side="left")]
    same_budget = least[np.searchsorted(costs, cost * (1 + SAME_BUDGET), side="right")]
    return np.asarray((error < cheaper) & (error <= same_budget))


def surface_design(features: Sequence[Array]) -> Array | None:
    """Columns of a quadratic surface over the features, poorer where cells are few; None where too few for any.

    Args:
        features: Log quantities, one value per cell; those that add nothing to the others are left out.
    """
    n_cells = features[0].size
    kept: list[Array] = []
    for values in features:
        scale = values.std()
        if scale < 1e-9:
            continue
        values = (values - values.mean()) / scale
        base = np.array([np.ones(n_cells), *kept]).T
        rest = values - base @ np.linalg.lstsq(base, values, rcond=None)[0]
        if (rest**2).mean() > LEAST_NEW_VARIANCE:
            kept.append(values)
    squares = [values**2 for values in kept]
    products = [kept[i] * kept[j] for i in range(len(kept)) for j in range(i)]
    for columns in ([*kept, *squares, *products], [*kept, *squares], kept):
        design = np.array([np.ones(n_cells), *columns]).T
        if CELLS_PER_COEFFICIENT * design.shape[1] <= n_cells:
            return design
    return None


def smoothed(values: Array, design: Array | None, noise: Array) -> Array:
    """Values drawn towards their surface, by the share of their scatter that is noise (James and Stein).

    Args:
        values: Log error of each cell.
        design: Columns of the surface; None leaves the values as they are.
        noise: Variance of each value; NaN where unknown, which draws them onto the surface.
    """
    if design is None:
        return values
    rank = int(np.linalg.matrix_rank(design))
    surface = design @ np.linalg.lstsq(design, values, rcond=None)[0]
    rest = values - surface
    scatter = float((rest**2).sum()) / max(values.size - rank, 1)
    expected = float(np.nanmean(noise)) if np.isfinite(noise).any() else scatter
    real = max(0.0, 1.0 - expected / scatter) if scatter > 0 else 1.0
    return np.asarray(surface + real * rest)


def _features(part: pd.DataFrame, cell: NDArray[np.int64], costs: Array) -> list[Array]:
    """Logs of what tells the cells apart, one value per cell: the cost first."""
    count = np.bincount(cell)
    found = [costs]
    for name in SURFACE_COLUMNS:
        if name in part.columns:
            values = part[name].to_numpy(dtype=np.float64, na_value=np.nan)
            if (values > 0).all():
                found.append(values)
    return [np.log(np.bincount(cell, values) / count) for values in found]


def _seed_variance(errors: Array, cell: NDArray[np.int64]) -> float:
    """Variance of log error between the seeds of a cell, pooled; NaN if no cell has two."""
    values = _log(errors)
    count = np.bincount(cell)
    freedom = int(values.size - count.size)
    mean = np.bincount(cell, values) / count
    return float(((values - mean[cell]) ** 2).sum()) / freedom if freedom else float("nan")


def _log(errors: Array) -> Array:
    """Log error; no error at all counts as half of the least one there is."""
    positive = errors[errors > 0]
    return np.log(np.maximum(errors, 0.5 * positive.min() if positive.size else 1.0))


def _rounded(values: Array) -> Array:
    """Values to ten significant digits: equal ones must not come apart by the rounding of a sum."""
    with np.errstate(divide="ignore"):
        scale = 10.0 ** (9 - np.floor(np.log10(np.abs(np.where(values == 0, 1.0, values)))))
    return np.round(values * scale) / scale
