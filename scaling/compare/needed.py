"""How many more trials, and how dear, would tell what these runs cannot."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.compare.joint import JointFit
from scaling.points import Points

# Chance that the further trials tell, if the estimate holds: what a power is usually asked for.
CHANCE = 0.8
# Beyond this many more seeds of a cell the answer is that no reasonable number would.
MOST_SEEDS = 300


@dataclass(frozen=True)
class Needed:
    """Further trials after which the interval excludes a gain of 1 with the chance `CHANCE`, if the estimate holds.

    They are more seeds of the cells that are on the frontiers now. More cells would mostly replace each other there,
    as a frontier holds the best of each budget.

    Attributes:
        n_trials: In both arms together; None if more than `MOST_SEEDS` of a cell would be needed, or if the cells
            scatter about their curves by more than any number of seeds takes away.
        n_seeds: Further seeds of each cell on the frontiers; None as above.
        cost: Mean budget of these trials.
    """

    n_trials: int | None
    n_seeds: int | None
    cost: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"n_trials": self.n_trials, "n_seeds": self.n_seeds, "cost": self.cost}


def trials_needed(fit: JointFit, log_low: float, log_high: float, level: float) -> Needed:
    """Seeds that would take the interval of the gain off 1, if the estimate holds.

    The variance that the interval shows is that of the seeds, which falls with their number, and of the cells, which
    does not. With k seeds more than n the interval shrinks accordingly, and the estimate moves by what the new ones
    say: its standard deviation, given the estimate now, is ``sqrt(V n k) / (n + k)`` with V the seeds' variance now.

    Args:
        fit: Joint fit; the gain is that at its centre.
        log_low: Lower bound of the log gain, `log_high` the upper one.
        level: Of that interval.
    """
    points = fit.fit.points
    gain = float(fit.optimum.theta[fit.law.names.index("log_gain")])
    # What lies between the estimate and the bound beyond 1.
    half_width = max(gain - log_low if gain > 0 else log_high - gain, 1e-12)
    z = NormalDist().inv_cdf((1 + level) / 2)
    variance = (half_width / z) ** 2
    cells = _cells(points)
    n_seeds = cells.size / np.unique(cells).size
    of_seeds = min(_variance_of_seeds(fit, cells), variance)
    surely = NormalDist().inv_cdf(CHANCE)

    def tells(more: int) -> bool:
        after = variance - of_seeds * more / (n_seeds + more)
        moves = math.sqrt(of_seeds * n_seeds * more) / (n_seeds + more)
        return z * math.sqrt(after) + surely * moves <= abs(gain)

    n_cells = int(np.unique(cells).size)
    more = _fewest(tells, MOST_SEEDS)
    cost = float(np.exp(points.x[0]).mean())
    return Needed(None if more is None else more * n_cells, more, cost)


def _cells(points: Points) -> NDArray[np.intp]:
    """The cell of each run: a cell of the grid in one of the arms."""
    return np.unique(2 * points.cluster + points.x[1].astype(np.int64), return_inverse=True)[1]


def _variance_of_seeds(fit: JointFit, cells: NDArray[np.intp]) -> float:
    """Variance of the log gain that comes from the seeds: all of it where no cell has two."""
    count = np.bincount(cells)
    freedom = cells.size - count.size
    if freedom == 0:
        return math.inf
    y = fit.fit.points.y
    within = float(((y - (np.bincount(cells, y) / count)[cells]) ** 2).sum()) / freedom
    optimum, law = fit.optimum, fit.law
    free = ~optimum.held
    problem = optimum.problem
    jacobian = law.evaluate_with_jacobian(optimum.theta[None], problem.x)[1][0][free] / problem.sigma
    # How much the estimate moves with each run.
    moves = np.linalg.pinv(jacobian @ jacobian.T, hermitian=True) @ jacobian / problem.sigma
    place = int(free[: law.names.index("log_gain")].sum())
    return within * float((moves[place] ** 2).sum())


def _fewest(tells: Callable[[int], bool], most: int) -> int | None:
    """Least number of seeds that tells, by doubling and bisection; a number that does not tell has none below it."""
    low, high = 0, 1
    while not tells(high):
        if high >= most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if tells(middle) else (middle, high)
    return high
