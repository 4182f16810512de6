"""Profile likelihood: how the loss rises as one parameter is held, the others refitted.

Unlike a standard error it sees that a parameter is bounded on one side only, and says so with an
open interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.special import stdtrit

from scaling.fit import Fit
from scaling.interval import Interval
from scaling.laws.base import Array
from scaling.notebook import paragraph_html
from scaling.solver import Problem, solve
from scaling.verdict import design_effect, standard_errors

# Standard errors around the estimate that are searched, and points tried on each side.
REACH = 8.0
POINTS_PER_SIDE = 48


@dataclass(frozen=True, repr=False)
class Profile:
    """The rise of the loss along one parameter.

    Attributes:
        name: The parameter, in its own units.
        values: Values it was held at, increasing.
        rise: Rise of the loss there, divided by the design effect of the clusters; 0 at the estimate.
        interval: Values whose rise stays below the threshold of the level. A bound that was not reached
            within the parameter's range (or 8 standard errors) is given as that range's end, or infinite.
        open_below: Whether the data do not bound the parameter from below; `open_above` likewise.
    """

    name: str
    values: Array = field(compare=False)
    rise: Array = field(compare=False)
    interval: Interval
    open_below: bool
    open_above: bool

    def __repr__(self) -> str:
        ends = {(True, True): "on neither side", (True, False): "not from below", (False, True): "not from above"}
        bounded = ends.get((self.open_below, self.open_above), "on both sides")
        return f"Profile of {self.name}: {self.interval!r}, bounded by the data {bounded}"

    def _repr_html_(self) -> str:
        return paragraph_html(repr(self))


def profile_likelihood(fitted: Fit, name: str, *, level: float = 0.95) -> Profile:
    """Interval of a parameter from the rise of the loss along it.

    Args:
        fitted: A fit that has a curve, converged or not: this shows why not.
        name: A parameter of its law.
        level: Probability of the interval.

    Raises:
        ValueError: If nothing was fitted, there is no such parameter, or the level is not in (0, 1).
    """
    optimum, form = fitted.optimum, fitted.form
    if optimum is None:
        raise ValueError(f"law {fitted.law!r} was not fitted, so there is no profile: {fitted.reason}")
    if name not in form.names:
        raise ValueError(f"law {fitted.law!r} has no parameter {name!r}; it has {', '.join(form.names)}")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, but it lies between 0 and 1; 0.95 is usual")
    index = form.names.index(name)
    grid = _grid(fitted, index)
    rise, theta = _rise(fitted, index, grid)
    freedom = max(fitted.n_cells - form.n_parameters, 1)
    # Half of Student's quantile squared: the threshold of 1.92 for many clusters, more for few.
    threshold = 0.5 * float(stdtrit(freedom, (1 + level) / 2)) ** 2
    at = int(np.flatnonzero(grid == optimum.theta[index])[0])
    low, open_below = _crossing(grid[at::-1], rise[at::-1], threshold)
    high, open_above = _crossing(grid[at:], rise[at:], threshold)
    ends = _in_own_units(fitted, index, theta, grid, np.array([low, high]))
    values = _in_own_units(fitted, index, theta, grid, grid)
    return Profile(
        name, values, rise, Interval(float(ends.min()), float(ends.max()), level, "profile"), open_below, open_above
    )


def _grid(fitted: Fit, index: int) -> Array:
    """Values on both sides of the estimate, closer together near it, within the bounds."""
    optimum = fitted.optimum
    assert optimum is not None
    spread = float(standard_errors(fitted.points, optimum, fitted.form)[index])
    lower, upper = float(optimum.problem.lower[index]), float(optimum.problem.upper[index])
    estimate = float(optimum.theta[index])
    if not spread > 0:
        spread = 0.1 * min(abs(estimate) + 0.1, upper - lower)
    steps = REACH * spread * np.linspace(0, 1, POINTS_PER_SIDE + 1)[1:] ** 1.5
    below = np.unique(np.clip(estimate - steps, lower, upper))
    above = np.unique(np.clip(estimate + steps, lower, upper))
    return np.unique(np.concatenate([below, [estimate], above]))


def _rise(fitted: Fit, index: int, grid: Array) -> tuple[Array, Array]:
    """Loss above its least along a grid, each point from several starts: the optimum and its neighbours."""
    optimum, form = fitted.optimum, fitted.form
    assert optimum is not None
    problem = optimum.problem
    theta = np.empty((grid.size, form.n_parameters))
    loss = np.empty(grid.size)
    at = int(np.flatnonzero(grid == optimum.theta[index])[0])
    theta[at], loss[at] = optimum.theta, optimum.objective
    for direction in (range(at + 1, grid.size), range(at - 1, -1, -1)):
        previous = at
        for i in direction:
            lower, upper = problem.lower.copy(), problem.upper.copy()
            lower[index] = upper[index] = grid[i]
            held = Problem(problem.x, problem.y, problem.sigma, problem.multiplicity, lower, upper, problem.threshold)
            found = solve(form, np.stack([theta[previous], optimum.theta]), held, tolerance=1e-5, max_steps=100)
            best = int(np.argmin(np.where(np.isnan(found.objective), np.inf, found.objective)))
            theta[i], loss[i] = found.theta[best], found.objective[best]
            previous = i
    effect = design_effect(fitted.points, optimum, form)
    return np.maximum(loss - optimum.objective, 0.0) / effect, theta


def _crossing(grid: Array, rise: Array, threshold: float) -> tuple[float, bool]:
    """Where the rise first exceeds the threshold going away from the estimate, and whether it never does."""
    beyond = np.flatnonzero(rise > threshold)
    if not beyond.size:
        return float(grid[-1]), True
    last = int(beyond[0])
    if last == 0:
        return float(grid[0]), False
    # The square root of the rise is nearly straight.
    roots = np.sqrt(rise[last - 1 : last + 1])
    share = (math.sqrt(threshold) - roots[0]) / (roots[1] - roots[0])
    return float(grid[last - 1] + share * (grid[last] - grid[last - 1])), False


def _in_own_units(fitted: Fit, index: int, theta: Array, grid: Array, values: Array) -> Array:
    """Values of the held coordinate in the units of the equation, the other coordinates moving with it."""
    optimum, form = fitted.optimum, fitted.form
    assert optimum is not None
    own = form.natural(form.shift(theta, optimum.centre))[:, index]
    if grid.size == 1:
        return np.full(values.shape, own[0])
    return np.interp(values, grid, own)
