"""Both arms fitted at once and resampled together: the value that gains, bends and break-evens are read from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from scaling.bootstrap import MOST_FAILED, SPARE_CLUSTERS
from scaling.compare.laws import BEND, SHIFT, JointLaw
from scaling.estimate import Optimum
from scaling.fit import Fit, fit_points
from scaling.interval import Interval, Method, interval_bounds
from scaling.laws.base import Array
from scaling.points import Points
from scaling.resample import cluster_counts, leave_one_out_counts, refit, sigma_of
from scaling.status import FitStatus
from scaling.words import counted

AUTOMATIC = "automatic"
_METHOD: Method = "bca"


@dataclass(frozen=True)
class JointFit:
    """A joint law with its resamples.

    Attributes:
        fit: The fit, with a status.
        draws: Coordinates of the refits; empty where no interval can be given.
        leave_one_out: The same with each cell of the grid left out in turn.
        reason: Why there is no interval; empty if there is one.
    """

    fit: Fit
    draws: Array = field(compare=False)
    leave_one_out: Array = field(compare=False)
    reason: str

    @property
    def law(self) -> JointLaw:
        """The form."""
        assert isinstance(self.fit.form, JointLaw)
        return self.fit.form

    @property
    def optimum(self) -> Optimum:
        """The solution; there is one unless the status says that nothing was fitted."""
        assert self.fit.optimum is not None
        return self.fit.optimum

    @property
    def centre(self) -> float:
        """Log cost at which the coordinates have their origin."""
        return float(self.optimum.centre[0])

    @property
    def usable(self) -> bool:
        """Whether gains with intervals can be read from it."""
        return not self.reason

    def log_gain(self, log_cost: float) -> float:
        """Log of the gain at a log cost."""
        return float(self.law.log_gain(self.optimum.theta[None], np.array([log_cost - self.centre]))[0, 0])

    def log_gain_interval(self, log_cost: float, level: float) -> Interval:
        """Interval of the log gain at a log cost."""
        x = np.array([log_cost - self.centre])
        parts = [self.law.log_gain(theta, x)[:, 0] for theta in self._thetas()]
        return self.interval(*parts, level=level)

    def parameter(self, name: str) -> float:
        """Estimate of one coordinate."""
        return float(self.law.parameter(self.optimum.theta[None], name)[0])

    def parameter_interval(self, name: str, level: float) -> Interval:
        """Interval of one coordinate."""
        return self.interval(*(self.law.parameter(theta, name) for theta in self._thetas()), level=level)

    def log_cost_of(self, log_error: float, arm: int, level: float) -> tuple[float, Interval]:
        """Log cost at which an arm reaches an error, with its interval; infinite below the irreducible error."""
        parts = [self.law.log_cost(theta, log_error, arm) + self.centre for theta in self._thetas()]
        return float(parts[0][0]), self.interval(*parts, level=level)

    def interval(self, estimate: Array, draws: Array, jackknife: Array, *, level: float) -> Interval:
        """Interval of any function of the coordinates, from its values at the estimate, draws and leave-one-outs."""
        freedom = (_cells_of_smaller_arm(self.fit.points), self.law.n_parameters)
        low, high = interval_bounds(draws[:, None], estimate, jackknife[:, None], level, _METHOD, freedom)
        return Interval(float(low[0]), float(high[0]), level, _METHOD)

    def _thetas(self) -> tuple[Array, Array, Array]:
        return self.optimum.theta[None], self.draws, self.leave_one_out


def fit_pair(
    points: Points,
    *,
    law: str = AUTOMATIC,
    bends: bool,
    cost: str,
    error: str,
    n_resamples: int,
    seed: int,
) -> JointFit:
    """Fit a joint law to the frontier runs of both arms and resample their cells.

    Resamples leave the frontiers as they were chosen: other seeds chose them than those that are resampled.

    Args:
        points: The frontiers, from `scaling.compare.arms.read_pair`.
        law: ``power``, ``saturating``, or ``automatic``: saturating where its E is identified.
        bends: An exponent for each arm.
        cost, error: Names for the fit.
        n_resamples: Refits.
        seed: Of the resampling.
    """
    names = {"cost": cost, "error": error}
    if law == AUTOMATIC:
        saturating = fit_points(SHIFT["saturating"], points, frontier=True, **names)
        law = "saturating" if saturating.converged else "power"
    form = (BEND if bends else SHIFT)[law]
    fitted = fit_points(form, points, frontier=True, **names)
    empty = np.zeros((0, form.n_parameters))
    reason = _no_fit(fitted)
    if reason:
        return JointFit(fitted, empty, empty, reason)
    optimum = fitted.optimum
    assert optimum is not None
    counts = cluster_counts(points, n_resamples, np.random.default_rng(seed))
    draws, n_failed = _refits(form, points, optimum, counts)
    left = _refits(form, points, optimum, leave_one_out_counts(points))[0]
    if n_failed > MOST_FAILED * n_resamples:
        return JointFit(fitted, empty, empty, f"{n_failed} of {n_resamples} resamples found no optimum")
    return JointFit(fitted, draws, left, "")


def _cells_of_smaller_arm(points: Points) -> int:
    """Clusters that a comparison of the arms can rest on: no more than the smaller frontier has."""
    return min(np.unique(points.cluster[points.x[1] == arm]).size for arm in (0.0, 1.0))


def _no_fit(fitted: Fit) -> str:
    """Why a fit gives no gain; empty if it does."""
    if fitted.optimum is None or fitted.status is FitStatus.TOO_FEW_RUNS:
        return fitted.reason
    needed = fitted.form.n_parameters + SPARE_CLUSTERS
    if fitted.n_cells < needed:
        return f"{counted(fitted.n_cells, 'cell')} on the frontiers, and at least {needed} are needed to resample"
    return "" if fitted.converged else fitted.reason


def _refits(form: JointLaw, points: Points, optimum: Optimum, counts: Iterable[Array]) -> tuple[Array, int]:
    sigma = sigma_of(form, points, optimum)
    draws, n_failed = [np.zeros((0, form.n_parameters))], 0
    for batch in counts:
        theta, failed = refit(form, points, optimum, batch[:, points.cluster], sigma)
        draws.append(theta)
        n_failed += failed
    return np.concatenate(draws), n_failed
