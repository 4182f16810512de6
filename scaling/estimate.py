"""From points to an optimum: starts, a robust scale, the best of many solutions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling.laws.base import Array, Law
from scaling.points import Points, sampling_variance
from scaling.solver import FAR, Problem, derivatives, solve

# Normal scale of a median absolute deviation.
MAD_TO_SIGMA = 1.4826
# Data that agree with a law to this relative precision are taken as free of noise.
LEAST_SIGMA = 1e-9
# Starts are screened on a sample of this many points when there are more.
SCREENING_POINTS = 100
# Steps of the screening; after each part, starts that have come to the same curve go on as one.
SCREENING_STEPS = (6, 6, 12, 24)
SCREENING_TOLERANCE = 1e-2
# Curves closer than this share of the scatter everywhere are one start.
SAME_CURVE = 0.05
# Objectives this close (in units where 0.5 is one standard error) are the same optimum.
SAME_OBJECTIVE = 1e-5
SCALE_ROUNDS = 3
# Starts that need more are in a flat valley; only the best of them is followed to its end.
START_STEPS = 60


@dataclass(frozen=True)
class Optimum:
    """The best solution of a law on some points, in coordinates of centred log inputs.

    Attributes:
        theta: Coordinates on ``x - centre``.
        centre: Mean log inputs, (n_inputs,).
        problem: What was minimised, its `sigma` the estimated standard deviation of each point.
        objective: Huber loss at `theta`.
        gradient_norm: Distance to the optimum by Newton's step, in standard errors.
        curvature: Second derivatives of the objective, by differences of the analytic gradient.
        information: Gauss-Newton curvature.
        held: Which parameters rest on a bound.
        n_agreeing: Starts that ended here.
        starts: Where they began.
        n_starts: Starts tried.
        rivals: Coordinates of starts with the same objective and other parameters.
        converged: Whether the solver met its tolerance.
    """

    theta: Array
    centre: Array
    problem: Problem
    objective: float
    gradient_norm: float
    curvature: Array
    information: Array
    held: NDArray[np.bool_]
    n_agreeing: int
    n_starts: int
    rivals: Array
    converged: bool
    known_variance: Array
    starts: Array

    @property
    def condition_number(self) -> float:
        """Of the information about the free parameters, each in its own units of precision."""
        free = ~self.held
        if not free.any():
            return 1.0
        block = self.information[np.ix_(free, free)]
        if not np.isfinite(block).all():
            return float("inf")
        size = np.sqrt(np.maximum(np.diag(block), 1e-300))
        scaled = block / size[:, None] / size[None, :]
        values = np.linalg.eigvalsh(scaled)
        return float(values[-1] / values[0]) if values[0] > 0 else float("inf")


def minimise(law: Law, points: Points, *, multiplicity: Array | None = None) -> Optimum:
    """Find the robust optimum of a law from many starts.

    The scale of Huber's threshold is the residuals' own (median absolute deviation, in rounds that
    start from least squares), beside what the test set's size contributes to each point.
    """
    centre = law.centre(points.x)
    x = points.x - centre[:, None]
    counts = np.ones(points.n_points) if multiplicity is None else multiplicity
    lower, upper = law.bounds(x, points.y)
    wide = Problem(x, points.y, np.ones(points.n_points), counts, lower, upper, threshold=np.inf)
    proposed = proposed_starts(law, x, points.y, counts)
    starts, group_sizes = distinct_starts(law, proposed, wide)
    sigma, starts[0] = estimate_sigma(law, starts[0], wide, points)
    problem = Problem(x, points.y, sigma, counts, lower, upper)
    found = solve(law, starts, problem, max_steps=START_STEPS)
    best = int(np.argmin(np.where(np.isnan(found.objective), np.inf, found.objective)))
    found_again = solve(law, found.theta[best : best + 1], problem, tolerance=1e-10, max_steps=300)
    theta, objective = found_again.theta[0], float(found_again.objective[0])
    agreeing, rivals = _compare(found.theta, found.objective, group_sizes, theta, objective, law, problem)
    gradient, curvature, information, held = local_shape(law, theta, problem)
    return Optimum(
        theta, centre, problem, objective, gradient, curvature, information, held,
        agreeing, proposed.shape[0], rivals, bool(found_again.converged[0]),
        known_variance(law, theta[None], x, points), proposed,
    )  # fmt: skip


def proposed_starts(law: Law, x: Array, y: Array, weight: Array) -> Array:
    """The law's starts that are numbers at all: on absurd points some are not."""
    with np.errstate(all="ignore"):
        starts = law.starts(x, y, weight)
    usable = starts[np.isfinite(starts).all(axis=1)]
    return usable if len(usable) else np.nan_to_num(starts[:1], posinf=1.0, neginf=-1.0)


def distinct_starts(law: Law, starts: Array, wide: Problem) -> tuple[Array, NDArray[np.int64]]:
    """Bring every start to its least-squares optimum and keep one of those that give the same curve.

    With many points a sample is enough for this; the optimum is then sought on all of them.

    Returns:
        The distinct starts, best first, and how many of those proposed each stands for.
    """
    problem = sample(wide)
    sizes = np.ones(len(starts), dtype=np.int64)
    for n_steps in SCREENING_STEPS:
        found = solve(law, starts, problem, tolerance=SCREENING_TOLERANCE, max_steps=n_steps, damping=FAR)
        order = np.argsort(np.where(np.isnan(found.objective), np.inf, found.objective), kind="stable")
        starts, objective = found.theta[order], found.objective[order]
        spread = np.sqrt(2.0 * max(float(objective[0]), 0.0) / problem.y.size) if np.isfinite(objective[0]) else 1.0
        kept, group = _one_of_each_curve(law, starts, problem, SAME_CURVE * spread)
        sizes = np.bincount(group, weights=sizes[order]).astype(np.int64)
        starts = starts[kept]
        if found.converged.all():
            break
    return starts, sizes


def _one_of_each_curve(
    law: Law, theta: Array, problem: Problem, tolerance: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions of the first of each group of like curves, and the group of each."""
    with np.errstate(all="ignore"):
        curves = law.evaluate(theta, problem.x)
        kept: list[int] = []
        group = np.full(len(theta), -1, dtype=np.intp)
        while (left := np.flatnonzero(group < 0)).size:
            same = np.abs(curves[left] - curves[left[0]]).max(axis=1) < tolerance
            # A curve without values is like no other, nor like itself.
            same[0] = True
            group[left[same]] = len(kept)
            kept.append(int(left[0]))
    return np.array(kept, dtype=np.intp), group


def sample(wide: Problem) -> Problem:
    """The problem on at most SCREENING_POINTS of its points."""
    if wide.y.size <= SCREENING_POINTS:
        return wide
    # The points are sorted by cost, so every k-th is a sample over the whole range.
    keep = np.unique(np.linspace(0, wide.y.size - 1, SCREENING_POINTS).round().astype(np.intp))
    return Problem(
        wide.x[:, keep], wide.y[keep], wide.sigma[keep], wide.multiplicity[keep],
        wide.lower, wide.upper, wide.threshold,
    )  # fmt: skip


def estimate_sigma(law: Law, start: Array, wide: Problem, points: Points) -> tuple[Array, Array]:
    """Standard deviation of each point's log error: the test set's share and one scale for the rest.

    Begins at the least-squares optimum near a start.

    Returns:
        The standard deviations, (n_points,), and the coordinates they were read at, nearly those of the optimum.
    """
    theta = solve(law, start[None], wide, tolerance=1e-3, max_steps=START_STEPS).theta
    correction = np.sqrt(points.n_points / max(points.n_points - law.n_parameters, 1))
    sigma = wide.sigma
    for _ in range(SCALE_ROUNDS):
        prediction = law.evaluate(theta, wide.x)[0]
        known = known_variance(law, theta, wide.x, points)
        sigma = combined_sigma((points.y - prediction) * correction, known)
        problem = Problem(wide.x, wide.y, sigma, wide.multiplicity, wide.lower, wide.upper)
        theta = solve(law, theta, problem, tolerance=3e-2, max_steps=30, flat=1e-4).theta
    return sigma, theta[0]


def known_variance(law: Law, theta: Array, x: Array, points: Points) -> Array:
    """Variance of each log error that is known beforehand: the test set's size, few seeds in a cell."""
    if not np.isfinite(points.n_test).any():
        return _seed_share(points)
    return sampling_variance(law.evaluate(theta, x)[0], points.n_test) + _seed_share(points)


def _seed_share(points: Points) -> Array:
    """Variance that averaging over few seeds leaves; 0 where cells have equally many and it is one scale."""
    if not np.isfinite(points.seed_variance) or np.all(points.n_seeds == points.n_seeds[0]):
        return np.zeros(points.n_points)
    return points.seed_variance / points.n_seeds


def combined_sigma(residual: Array, known_variance: Array) -> Array:
    """Standard deviations ``sqrt(tau^2 + known)`` whose tau makes the median standardised residual normal.

    Where the known part alone is more than the residuals show, it is scaled down instead.
    """
    size = np.abs(residual)
    plain = MAD_TO_SIGMA * float(np.median(size))
    if not np.any(known_variance > 0):
        return np.full(size.size, max(plain, LEAST_SIGMA))

    def too_wide(tau: float) -> bool:
        return MAD_TO_SIGMA * float(np.median(size / np.sqrt(tau**2 + known_variance))) < 1.0

    least = 1e-6 * max(plain, LEAST_SIGMA)
    if too_wide(least):
        shape = np.sqrt(known_variance + least**2)
        scale = MAD_TO_SIGMA * float(np.median(size / shape))
        return np.maximum(scale * shape, LEAST_SIGMA)
    low, high = least, max(4.0 * plain, LEAST_SIGMA) + float(np.sqrt(known_variance.max()))
    for _ in range(40):
        middle = np.sqrt(low * high)
        low, high = (low, middle) if too_wide(middle) else (middle, high)
    return np.sqrt(high**2 + known_variance)


def _compare(
    thetas: Array,
    objectives: Array,
    group_sizes: NDArray[np.int64],
    theta: Array,
    objective: float,
    law: Law,
    problem: Problem,
) -> tuple[int, Array]:
    """Count the starts that reached the optimum, and return those as good but elsewhere."""
    level = SAME_OBJECTIVE * (1.0 + abs(objective))
    equal = objectives <= objective + level
    with np.errstate(all="ignore"):
        curves = law.evaluate(thetas[equal], problem.x)
        reference = law.evaluate(theta[None], problem.x)
    sigma = problem.sigma
    gap = np.abs(curves - reference) / sigma
    same = np.where(np.isnan(gap), np.inf, gap).max(axis=1) < SAME_CURVE
    return max(int(group_sizes[equal].sum()), 1), thetas[equal][~same]


def local_shape(law: Law, theta: Array, problem: Problem) -> tuple[float, Array, Array, NDArray[np.bool_]]:
    """Gradient norm over free parameters, true and Gauss-Newton curvature, and the parameters on a bound."""
    one = np.zeros(1, dtype=np.intp)
    with np.errstate(all="ignore"):
        _, gradient, information = derivatives(law, theta[None], problem, one)
        size = np.sqrt(np.maximum(np.diag(information[0]), 1e-300))
        # Infinite bounds compare as never reached: inf - inf is not a number.
        held = (theta <= problem.lower + 1e-12) | (theta >= problem.upper - 1e-12 * (1.0 + np.abs(problem.upper)))
        step = np.minimum(1e-3 / size, 1e-4 * (1.0 + np.abs(theta)))
        around = np.concatenate([theta + np.diag(step), theta - np.diag(step)])
        slopes = derivatives(law, around, problem, np.zeros(len(around), dtype=np.intp))[1]
        n_parameters = theta.size
        curvature = (slopes[:n_parameters] - slopes[n_parameters:]) / (2 * step[:, None])
        free = ~held
        norm = _distance(gradient[0][free], information[0][np.ix_(free, free)])
    return norm, (curvature + curvature.T) / 2, information[0], held


def _distance(gradient: Array, information: Array) -> float:
    """Newton's step in standard errors, along whatever direction is worst: 0 at an optimum.

    The gradient alone is no certificate: in a narrow valley it is small far from the bottom.
    """
    if not gradient.size:
        return 0.0
    if not (np.isfinite(gradient).all() and np.isfinite(information).all()):
        return float("inf")
    size = np.sqrt(np.maximum(np.diag(information), 1e-300))
    scaled = gradient / size
    values, vectors = np.linalg.eigh(information / size[:, None] / size[None, :])
    along = vectors.T @ scaled
    return float(np.sqrt(np.sum(along**2 / np.maximum(values, 1e-14))))
