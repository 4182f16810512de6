"""Batched robust least squares: many starts, resamples or data sets of one law at once.

Levenberg-Marquardt with analytic Jacobians on the Huber loss, box bounds by an active set. Each
problem of the batch has its own damping and leaves the batch when it is done, so the cost is that
of the iterations really needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling.laws.base import Array, Law

# Huber's threshold in standard deviations: 95% efficiency for normal noise (Huber 1964).
HUBER_THRESHOLD = 1.345
# Numbers (problems x parameters x points) worked on at once: the Jacobian then stays in cache (measured).
CHUNK_NUMBERS = 60_000
# With fewer inliers than this the curvature of the inliers alone is no guide, and the majorising weights are used.
LEAST_INLIERS = 0.6
# Accepted steps in a row that hardly lower the loss, after which a resample in a flat valley is done.
IDLE_STEPS = 2


@dataclass(frozen=True)
class Problem:
    """Points to fit: ``sum multiplicity * huber((law - y) / sigma)``.

    Attributes:
        x: Log inputs, (n_inputs, n_points), shared by all problems of a batch.
        y: Log errors, (n_points,) or one row per problem.
        sigma: Standard deviation of each point's log error, (n_points,) or one row per problem.
        multiplicity: How often each point counts, (n_points,) or one row per problem.
        threshold: Residual, in sigma, from which the loss grows linearly.
    """

    x: Array
    y: Array
    sigma: Array
    multiplicity: Array
    lower: Array
    upper: Array
    threshold: float = HUBER_THRESHOLD

    def rows(self, index: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        """Log errors, precisions (1/sigma) and multiplicities of some problems of the batch.

        What the problems share is passed on as it is.
        """
        y, sigma, multiplicity = (
            values if values.ndim == 1 else values[index] for values in (self.y, self.sigma, self.multiplicity)
        )
        return y, 1.0 / sigma, multiplicity


@dataclass(frozen=True)
class Solutions:
    """Where each problem of a batch ended.

    ``step`` is the last step in units of the conditional standard errors, ``converged`` says
    that it was below the tolerance.
    """

    theta: Array
    objective: Array
    converged: NDArray[np.bool_]
    step: Array


def huber(residual: Array, threshold: float) -> Array:
    """Huber's loss: quadratic up to the threshold, then linear."""
    size = np.abs(residual)
    inner = np.minimum(size, threshold)
    return inner * (size - 0.5 * inner)


def solve(
    law: Law, start: Array, problem: Problem, *, tolerance: float = 1e-7, max_steps: int = 200, flat: float = 0.0
) -> Solutions:
    """Minimise every problem of a batch from its own start.

    Args:
        law: The form.
        start: Coordinates, (batch, n_parameters).
        problem: The points; arrays with a batch axis must match `start`.
        tolerance: Convergence: the largest step, in conditional standard errors of its parameter.
        max_steps: Trials per problem, accepted or not.
        flat: End a problem too when two accepted steps in a row lower its loss by less than this: the bottom of
            a valley, good enough for a resample's curve.
    """
    n_problems, n_parameters = start.shape
    chunk = max(1, CHUNK_NUMBERS // (n_parameters * problem.x.shape[1]))
    parts = []
    for begin in range(0, n_problems, chunk):
        index = np.arange(begin, min(begin + chunk, n_problems))
        parts.append(_solve_chunk(law, start[index], problem, index, tolerance, max_steps, flat))
    return Solutions(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def derivatives(
    law: Law, theta: Array, problem: Problem, index: NDArray[np.intp], *, exact_curvature: bool = False
) -> tuple[Array, Array, Array]:
    """Objective, gradient (batch, p) and Gauss-Newton curvature (batch, p, p) of some problems.

    Args:
        exact_curvature: Count only the points inside Huber's threshold, as the loss does.
    """
    y, precision, multiplicity = problem.rows(index)
    prediction, jacobian = law.evaluate_with_jacobian(theta, problem.x)
    residual = prediction
    residual -= y
    residual *= precision
    clipped = np.clip(residual, -problem.threshold, problem.threshold)
    inlier = clipped == residual
    # For either sign: quadratic inside the threshold, linear outside.
    slope = clipped * multiplicity
    residual -= 0.5 * clipped
    objective = np.einsum("bn,bn->b", slope, residual)
    slope *= precision
    gradient = (jacobian @ slope[:, :, None])[:, :, 0]
    full = multiplicity * precision**2
    weight = full * inlier
    if not exact_curvature:
        scarce = weight.sum(axis=1) < LEAST_INLIERS * full.sum(axis=-1)
        if scarce.any():
            size = np.abs(residual[scarce] + 0.5 * clipped[scarce])
            majorising = (np.abs(clipped[scarce]) + 1e-300) / (size + 1e-300)
            weight[scarce] = majorising * (full if full.ndim == 1 else full[scarce])
    curvature = (jacobian * weight[:, None, :]) @ np.swapaxes(jacobian, 1, 2)
    return objective, gradient, curvature


def _solve_chunk(
    law: Law,
    start: Array,
    problem: Problem,
    index: NDArray[np.intp],
    tolerance: float,
    max_steps: int,
    flat: float,
) -> tuple[Array, Array, NDArray[np.bool_], Array]:
    theta = np.clip(start, problem.lower, problem.upper)
    n_problems, n_parameters = theta.shape
    damping = np.full(n_problems, 1e-4)
    step_size = np.full(n_problems, np.inf)
    converged = np.zeros(n_problems, dtype=bool)
    idle = np.zeros(n_problems, dtype=np.int64)
    diagonal = np.arange(n_parameters)
    with np.errstate(all="ignore"):
        objective, gradient, curvature = derivatives(law, theta, problem, index)
        objective = np.where(np.isfinite(objective), objective, np.inf)
        active = np.flatnonzero(np.isfinite(objective))
        for _ in range(max_steps):
            if not active.size:
                break
            here = theta[active]
            step = _damped_step(here, gradient[active], curvature[active], damping[active], problem, diagonal)
            trial = np.clip(here + step, problem.lower, problem.upper)
            step = trial - here
            new = derivatives(law, trial, problem, index[active])
            old = objective[active]
            better = new[0] <= old * (1 + 1e-15)
            length = np.abs(step * np.sqrt(np.maximum(curvature[active][:, diagonal, diagonal], 0.0))).max(axis=1)
            small = length < tolerance
            done = (small & (damping[active] < 1.0)) | (small & better & (damping[active] < 1e6))
            idle[active] = np.where(better & (old - new[0] < flat), idle[active] + 1, idle[active] * ~better)
            done |= idle[active] >= IDLE_STEPS
            moved = active[better]
            theta[moved] = trial[better]
            objective[moved], gradient[moved], curvature[moved] = (part[better] for part in new)
            damping[active] = np.where(better, damping[active] * 0.1, damping[active] * 8.0)
            np.maximum(damping, 1e-12, out=damping)
            step_size[active] = length
            converged[active[done]] = True
            active = active[~done & (damping[active] < 1e15)]
    return theta, objective, converged, step_size


def _damped_step(
    theta: Array,
    gradient: Array,
    curvature: Array,
    damping: Array,
    problem: Problem,
    diagonal: NDArray[np.intp],
) -> Array:
    """Marquardt's step with the parameters that press against a bound held there."""
    held = ((theta <= problem.lower) & (gradient > 0)) | ((theta >= problem.upper) & (gradient < 0))
    size = np.sqrt(np.maximum(curvature[:, diagonal, diagonal], 1e-300))
    matrix = curvature / (size[:, :, None] * size[:, None, :])
    right = -gradient / size
    if held.any():
        matrix = np.where(held[:, :, None] | held[:, None, :], 0.0, matrix)
        right = np.where(held, 0.0, right)
    matrix[:, diagonal, diagonal] = 1.0 + damping[:, None] + 1e-14
    bad = ~np.isfinite(matrix).all(axis=(1, 2)) | ~np.isfinite(right).all(axis=1)
    if bad.any():
        matrix[bad], right[bad] = np.eye(matrix.shape[1]), 0.0
    return np.linalg.solve(matrix, right[:, :, None])[:, :, 0] / size
