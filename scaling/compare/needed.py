"""How many more trials, and at which budget, would tell what these runs cannot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling.compare.joint import JointFit
from scaling.compare.laws import JointLaw
from scaling.laws.base import Array

# Candidate budgets, from the centre of the frontiers to their dearest run.
N_BUDGETS = 9
# Beyond this many more trials the answer is that no reasonable number would.
MOST_TRIALS = 100_000
# A budget must save at least this share of the trials to be preferred to a cheaper one.
WORTH_MORE = 0.1


@dataclass(frozen=True)
class Needed:
    """Further trials after which the interval excludes a gain of 1, if the estimate holds.

    Attributes:
        n_trials: In both arms together; None if more than `MOST_TRIALS` would be needed.
        cost: Budget of each of them.
    """

    n_trials: int | None
    cost: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"n_trials": self.n_trials, "cost": self.cost}


def trials_needed(fit: JointFit, log_low: float, log_high: float, n_seeds: int) -> Needed:
    """Trials that would shrink the interval of the gain until it touches 1 at the estimate as it is.

    The information of the runs is scaled so that it gives the interval found; each further cell, in both arms and with
    as many seeds as the others, adds the information of its two points on the fitted curves.

    Args:
        fit: Joint fit; the gain is that at its centre.
        log_low: Lower bound of the log gain, `log_high` the upper one.
        n_seeds: Seeds of a cell.
    """
    optimum, law = fit.optimum, fit.law
    position = law.names.index("log_gain")
    gain = abs(float(optimum.theta[position]))
    free = ~optimum.held
    information = optimum.information[np.ix_(free, free)]
    place = int(free[:position].sum())
    now = float(np.linalg.pinv(information, hermitian=True)[place, place])
    # In units of the variance that the information gives: what the half-width found is, and what it should be.
    half_width = max((log_high - log_low) / 2, 1e-12)
    target = now * (gain / half_width) ** 2
    x = optimum.problem.x[0]
    sigma = float(np.median(optimum.problem.sigma))
    best: tuple[int, float] | None = None
    # From the middle upwards: below it the law is farthest from what is asked of it.
    for budget in np.linspace(0.0, x.max(), N_BUDGETS):
        added = _information_of(law, optimum.theta, budget, sigma)[np.ix_(free, free)]
        n_cells = _cells_until(information, n_seeds * added, place, target, n_seeds)
        if n_cells is not None and (best is None or n_cells < best[0] * (1 - WORTH_MORE)):
            best = (n_cells, float(budget))
    if best is None:
        return Needed(None, float(np.exp(fit.centre)))
    return Needed(2 * n_seeds * best[0], float(np.exp(best[1] + fit.centre)))


def _information_of(law: JointLaw, theta: Array, budget: float, sigma: float) -> Array:
    """Information of one run of either arm at a budget."""
    x = np.array([[budget, budget], [0.0, 1.0]])
    jacobian = law.evaluate_with_jacobian(theta[None], x)[1][0]
    return np.asarray(jacobian @ jacobian.T / sigma**2)


def _cells_until(information: Array, added: Array, place: int, target: float, n_seeds: int) -> int | None:
    """Fewest cells that bring the variance to the target, by doubling and bisection."""

    def variance(n_cells: int) -> float:
        return float(np.linalg.pinv(information + n_cells * added, hermitian=True)[place, place])

    most = MOST_TRIALS // (2 * n_seeds)
    if not target > 0 or variance(most) > target:
        return None
    low, high = 0, 1
    while variance(high) > target:
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if variance(middle) > target else (low, middle)
    return high
