"""Resamples of clusters as counts, and the batched refits of a law to all of them at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scaling.estimate import Optimum, known_variance, proposed_starts
from scaling.laws.base import Array, Law
from scaling.points import Points
from scaling.solver import Problem, solve

# A refit's parameters need a thousandth of their standard errors, no more.
REFIT_TOLERANCE = 1e-4
# Resamples times points held at once: 8 MB per array.
BATCH_NUMBERS = 1_000_000
# Groups of clusters left out for the acceleration of BCa: more would not change a printed digit.
JACKKNIFE_GROUPS = 200
# Loss that two further steps may still lower: a hundredth of what separates curves by a standard error.
REFIT_FLATNESS = 1e-3
# Starts that a resample without an optimum is tried from once more.
SECOND_STARTS = 6


def cluster_counts(points: Points, n_resamples: int, generator: np.random.Generator) -> Iterator[Array]:
    """How often each cluster was drawn, drawing as many as there are, in batches that fit in memory.

    Yields:
        Shape (batch, n_clusters); the batches add up to `n_resamples`.
    """
    n_clusters = points.n_clusters
    share = np.full(n_clusters, 1.0 / n_clusters)
    batch = max(1, BATCH_NUMBERS // points.n_points)
    for begin in range(0, n_resamples, batch):
        size = min(batch, n_resamples - begin)
        yield generator.multinomial(n_clusters, share, size=size).astype(np.float64)


def leave_one_out_counts(points: Points) -> Iterator[Array]:
    """Each cluster left out in turn, in batches; of many clusters, each of JACKKNIFE_GROUPS groups of them."""
    n_groups = min(points.n_clusters, JACKKNIFE_GROUPS)
    group = np.arange(points.n_clusters) % n_groups
    batch = max(1, BATCH_NUMBERS // points.n_points)
    for begin in range(0, n_groups, batch):
        number = np.arange(begin, min(begin + batch, n_groups))
        yield (group[None] != number[:, None]).astype(np.float64)


def front_counts(points: Points, multiplicity: Array) -> Array:
    """Counts of the points that no other point present beats; 0 for the rest.

    Args:
        points: Averaged cells, in any order.
        multiplicity: How often each is present, (n_resamples, n_points).
    """
    cost, error = points.x[0], points.y
    order = np.lexsort((error, cost))
    cost, error = cost[order], error[order]
    repeated = np.r_[False, (cost[1:] == cost[:-1]) & (error[1:] == error[:-1])]
    first = np.maximum.accumulate(np.where(repeated, 0, np.arange(cost.size)))
    result = np.zeros_like(multiplicity)
    present = multiplicity[:, order] > 0
    least = np.minimum.accumulate(np.where(present, error, np.inf), axis=1)
    before = np.concatenate([np.full((len(least), 1), np.inf), least[:, :-1]], axis=1)[:, first]
    result[:, order] = np.where(present & (error < before), multiplicity[:, order], 0.0)
    return result


def sigma_of(law: Law, points: Points, optimum: Optimum) -> Array:
    """Standard deviations of other points by the scale that a fit has estimated."""
    fitted = optimum.problem.sigma
    known = known_variance(law, optimum.theta[None], points.x - optimum.centre[:, None], points)
    if not known.any():
        return np.full(points.n_points, fitted[0])
    here = optimum.known_variance
    rest = float(np.median(fitted**2 - here))
    if rest >= 0:
        return np.sqrt(rest + known)
    return np.sqrt(known * float(np.median(fitted**2 / np.maximum(here, 1e-300))))


def refit(law: Law, points: Points, optimum: Optimum, multiplicity: Array, sigma: Array) -> tuple[Array, int]:
    """Refit a law to every resample from the optimum of all runs.

    Returns:
        Coordinates of the refits that reached an optimum, and how many did not: too few distinct inputs, or
        no convergence from any start.
    """
    x = points.x - optimum.centre[:, None]
    problem = Problem(
        x,
        points.y,
        sigma,
        multiplicity,
        optimum.problem.lower,
        optimum.problem.upper,
        optimum.problem.threshold,
    )
    start = np.repeat(optimum.theta[None], len(multiplicity), axis=0)
    found = solve(law, start, problem, tolerance=REFIT_TOLERANCE, max_steps=40, flat=REFIT_FLATNESS)
    theta, good = found.theta, found.converged & np.isfinite(found.objective)
    again = np.flatnonzero(~good)
    if again.size:
        theta[again], good[again] = _from_many_starts(law, points, problem, again)
    good &= _distinct_inputs(x, multiplicity) > law.n_parameters
    return theta[good], int((~good).sum())


def _from_many_starts(law: Law, points: Points, problem: Problem, which: np.ndarray) -> tuple[Array, np.ndarray]:
    """Second attempt: every start of the law for each of the resamples that did not converge."""
    starts = proposed_starts(law, problem.x, problem.y, np.ones(points.n_points))
    starts = starts[np.unique(np.linspace(0, len(starts) - 1, SECOND_STARTS).round().astype(int))]
    many = np.repeat(which, len(starts))
    batch = Problem(
        problem.x, problem.y, problem.sigma, problem.multiplicity[many],
        problem.lower, problem.upper, problem.threshold,
    )  # fmt: skip
    found = solve(
        law, np.tile(starts, (which.size, 1)), batch, tolerance=REFIT_TOLERANCE, max_steps=60, flat=REFIT_FLATNESS
    )
    objective = np.where(found.converged, found.objective, np.inf).reshape(which.size, -1)
    best = np.argmin(np.where(np.isnan(objective), np.inf, objective), axis=1) + np.arange(which.size) * len(starts)
    return found.theta[best], np.isfinite(found.objective[best]) & found.converged[best]


def _distinct_inputs(x: Array, multiplicity: Array) -> Array:
    """How many distinct inputs each resample holds."""
    label = np.unique(x, axis=1, return_inverse=True)[1].reshape(-1)
    order = np.argsort(label, kind="stable")
    first = np.flatnonzero(np.r_[True, np.diff(label[order]) > 0])
    return np.maximum.reduceat(multiplicity[:, order] > 0, first, axis=1).sum(axis=1)
