"""The arithmetic of a night: seeds as the units that vary, and the compute that a change of loss stands for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from scaling.laws.base import Array
from scaling.pareto import pareto_positions

# Fewer seeds give no interval worth the name: with two, Student's quantile at 99.6% is 159.
LEAST_SEEDS = 3


@dataclass(frozen=True)
class LogGain:
    """Logarithm of a gain, its standard error over seeds, and the seeds it rests on."""

    value: float
    error: float
    n_seeds: int

    def bounds(self, level: float) -> tuple[float, float]:
        """Two-sided interval by Student's t: seeds are independent, and few."""
        reach = float(stdtrit(self.n_seeds - 1, (1 + level) / 2)) * self.error if self.error else 0.0
        return self.value - reach, self.value + reach


def frontier_slopes(log_cost: Array, log_error: Array) -> tuple[Array, NDArray[np.intp]]:
    """How fast the error of the baseline falls along its frontier, seed by seed.

    The frontier is that of the cells' means, the same for every seed. The slope of a seed is that of the least-squares
    line through its cells there.

    Args:
        log_cost: Logarithm of the cost, (seeds, cells).
        log_error: Logarithm of the error, (seeds, cells).

    Returns:
        Slopes alpha, positive where the error falls, (seeds,), and the positions of the cells on the frontier.

    Raises:
        ValueError: If the frontier has fewer than two budgets, or the error does not surely fall along it.
    """
    mean_cost, mean_error = log_cost.mean(axis=0), log_error.mean(axis=0)
    front = np.sort(pareto_positions(mean_cost, mean_error))
    cost = log_cost[:, front] - log_cost[:, front].mean(axis=1, keepdims=True)
    spread = (cost**2).sum(axis=1)
    if front.size < 2 or (spread <= 0).any():
        raise ValueError("the baseline's frontier has a single budget, so nothing says what a change of error costs")
    slopes = -(cost * log_error[:, front]).sum(axis=1) / spread
    low, _ = mean_gain(slopes).bounds(0.95)
    if low <= 0:
        raise ValueError("the baseline's error does not surely fall with this cost, so no cost stands for its change")
    return slopes, front


def mean_gain(values: Array) -> LogGain:
    """Mean over seeds with its standard error.

    Raises:
        ValueError: If there are too few seeds.
    """
    if values.size < LEAST_SEEDS:
        raise ValueError(f"{values.size} seeds are too few to tell a change from chance; use at least {LEAST_SEEDS}")
    error = 0.0 if (values == values[0]).all() else float(values.std(ddof=1)) / math.sqrt(values.size)
    return LogGain(float(values.mean()), error, values.size)


def equivalent_gain(change: Array, slopes: Array, dearer: Array) -> LogGain:
    """Compute-equivalent gain: the cost at which the baseline reaches tonight's error, over tonight's cost.

    Along the baseline's frontier the log error falls by alpha per unit of log cost; a rise of it by d therefore stands
    for a cost that is exp(-d/alpha) of the baseline's. The uncertainty of alpha enters with that of d.

    Args:
        change: Log error of tonight less that of the baseline, mean over the frontier's cells, (seeds,).
        slopes: Alpha, (seeds,).
        dearer: Log cost of tonight less that of the baseline, mean over the same cells, (seeds,).

    Source:
        Variance of a ratio of means: Cochran 1977, Sampling Techniques, 3rd edition, eq. 6.13.
    """
    alpha = slopes.mean()
    by_error = -change.mean() / alpha
    # What a seed adds to the estimate, to first order.
    influence = -(change + by_error * slopes) / alpha - dearer
    spread = mean_gain(influence)
    return LogGain(float(by_error - dearer.mean()), spread.error, spread.n_seeds)


def gain_at_equal_error(base: tuple[Array, Array], tonight: tuple[Array, Array]) -> LogGain:
    """Compute-equivalent gain of tonight's trials over the baseline's, along the baseline's frontier.

    Args:
        base: Log cost and log error of the baseline, each (seeds, cells).
        tonight: The same of the same trials tonight.

    Raises:
        ValueError: As in `frontier_slopes` and `mean_gain`.
    """
    slopes, front = frontier_slopes(*base)
    dearer, change = ((after - before)[:, front].mean(axis=1) for before, after in zip(base, tonight, strict=True))
    return equivalent_gain(change, slopes, dearer)
