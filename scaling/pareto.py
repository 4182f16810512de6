"""Which points no other beats: sorting and a running minimum, nothing else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pareto_positions(cost: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.intp]:
    """Positions that no other point beats: none has less of one and no more of the other.

    Points equal in both are all kept. Positions come in order of cost. NaN is not checked.

    Args:
        cost: Shape (n,), any order.
        error: Shape (n,).
    """
    if not cost.size:
        return np.zeros(0, dtype=np.intp)
    order = np.argsort(cost, kind="stable")
    sorted_cost, sorted_error = cost[order], error[order]
    new_cost = np.r_[True, sorted_cost[1:] > sorted_cost[:-1]]
    group = np.cumsum(new_cost) - 1
    least = np.minimum.reduceat(sorted_error, np.flatnonzero(new_cost))
    before = np.r_[np.inf, np.minimum.accumulate(least)[:-1]]
    keep = (sorted_error == least[group]) & (sorted_error < before[group])
    return order[keep]
