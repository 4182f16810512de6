"""Batched robust least squares: many starts, resamples or data sets of one law at once.

Levenberg-Marquardt with analytic Jacobians on the Huber loss, box bounds by an active set. Each
problem of the batch has its own damping and leaves the batch when it is done, so the cost is that
of the iterations really needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scaling.laws.base import Array, Law

# Huber's threshold in standard deviations: 95% efficiency for normal noise (Huber 1964).
HUBER_THRESHOLD = 1.345
# Numbers (problems x parameters x points) worked on at once: the Jacobian then stays in cache (measured).
CHUNK_NUMBERS = 60_000
# With fewer inliers than this the curvature of the inliers alone is no guide, and the majorising weights are used.
LEAST_INLIERS = 0.6
# Marquardt's damping to begin with where the optimum is near and where it may be far, and how it falls with a step
# that lowers the loss and rises with one that does not: the fewest steps over the laws' own starts (measured).
NEAR, FAR = 1e-4, 1e-2
FALL, RISE = 0.3, 3.0
# With more damping than this no step is left that arithmetic can see.
LARGEST_DAMPING = 1e15
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

    @cached_property
    def precision(self) -> Array:
        """One over sigma."""
        return 1.0 / self.sigma

    @cached_property
    def weight(self) -> Array:
        """Multiplicity over variance."""
        return self.multiplicity * self.precision**2

    def rows(self, index: NDArray[np.intp]) -> tuple[Array, Array, Array, Array]:
        """Log errors, precisions, multiplicities and weights of some problems of the batch.

        What the problems share is passed on as it is.
        """
        y, precision, multiplicity, weight = (
            values if values.ndim == 1 else values[index]
            for values in (self.y, self.precision, self.multiplicity, self.weight)
        )
        return y, precision, multiplicity, weight


@dataclass(frozen=True)
class Solutions:
    """Where each problem of a batch ended; ``converged`` says that its last step was below the tolerance."""

    theta: Array
    objective: Array
    converged: NDArray[np.bool_]


def huber(residual: Array, threshold: float) -> Array:
    """Huber's loss: quadratic up to the threshold, then linear."""
    size = np.abs(residual)
    inner = np.minimum(size, threshold)
    return inner * (size - 0.5 * inner)


def solve(
    law: Law, start: Array, problem: Problem, *, tolerance: float = 1e-7, max_steps: int = 200, flat: float = 0.0,
    damping: float = NEAR,
) -> Solutions:  # fmt: skip
    """Minimise every problem of a batch from its own start.

    Args:
        law: The form.
        start: Coordinates, (batch, n_parameters).
        problem: The points; arrays with a batch axis must match `start`.
        tolerance: Convergence: the largest step, in conditional standard errors of its parameter.
        max_steps: Trials per problem, accepted or not.
        flat: End a problem too when two accepted steps in a row lower its loss by less than this: the bottom of
            a valley, good enough for a resample's curve.
        damping: To begin with; `FAR` where the start is not near an optimum.
    """
    n_problems, n_parameters = start.shape
    chunk = max(1, CHUNK_NUMBERS // (n_parameters * problem.x.shape[1]))
    parts = []
    for begin in range(0, n_problems, chunk):
        index = np.arange(begin, min(begin + chunk, n_problems))
        parts.append(_solve_chunk(law, start[index], problem, index, tolerance, max_steps, flat, damping))
    return Solutions(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def derivatives(law: Law, theta: Array, problem: Problem, index: NDArray[np.intp]) -> tuple[Array, Array, Array]:
    """Objective, gradient (batch, p) and Gauss-Newton curvature (batch, p, p) of some problems."""
    y, precision, multiplicity, full = problem.rows(index)
    prediction, jacobian = law.evaluate_with_jacobian(theta, problem.x)
    residual = prediction
    residual -= y
    residual *= precision
    if np.isinf(problem.threshold):
        slope = residual * multiplicity
        objective, weight = 0.5 * np.einsum("bn,bn->b", slope, residual), full
    else:
        objective, slope, weight = _huber_parts(residual, multiplicity, full, problem.threshold)
    slope *= precision
    gradient = (jacobian @ slope[:, :, None])[:, :, 0]
    curvature = (jacobian * weight[..., None, :]) @ np.swapaxes(jacobian, 1, 2)
    return objective, gradient, curvature


def _huber_parts(residual: Array, multiplicity: Array, full: Array, threshold: float) -> tuple[Array, Array, Array]:
    """Objective, its slope in each residual, and the weight of each point in the curvature."""
    clipped = np.maximum(residual, -threshold)
    np.minimum(clipped, threshold, out=clipped)
    inlier = clipped == residual
    # For either sign: quadratic inside the threshold, linear outside.
    slope = clipped * multiplicity
    objective = np.einsum("bn,bn->b", slope, residual - 0.5 * clipped)
    weight = np.where(inlier, full, 0.0)
    scarce = weight.sum(axis=1) < LEAST_INLIERS * full.sum(axis=-1)
    if scarce.any():
        size = np.abs(residual[scarce])
        majorising = (np.abs(clipped[scarce]) + 1e-300) / (size + 1e-300)
        weight[scarce] = majorising * (full if full.ndim == 1 else full[scarce])
    return objective, slope, weight


def _solve_chunk(
    law: Law,
    start: Array,
    problem: Problem,
    index: NDArray[np.intp],
    tolerance: float,
    max_steps: int,
    flat: float,
    first_damping: float,
) -> tuple[Array, Array, NDArray[np.bool_]]:
    theta = np.clip(start, problem.lower, problem.upper)
    n_problems, n_parameters = theta.shape
    converged = np.zeros(n_problems, dtype=bool)
    diagonal = np.arange(n_parameters)
    with np.errstate(all="ignore"):
        objective, gradient, curvature = derivatives(law, theta, problem, index)
        objective = np.where(np.isfinite(objective), objective, np.inf)
        active = np.flatnonzero(np.isfinite(objective))
        # The problems still in work; what has ended is in the arrays above.
        here, old, gradient, curvature = theta[active], objective[active], gradient[active], curvature[active]
        damping, idle = np.full(active.size, first_damping), np.zeros(active.size, dtype=np.int64)
        for _ in range(max_steps):
            if not active.size:
                break
            size = np.sqrt(np.maximum(curvature[:, diagonal, diagonal], 1e-300))
            trial = here + _damped_step(here, gradient, curvature, size, damping, problem)
            np.maximum(trial, problem.lower, out=trial)
            np.minimum(trial, problem.upper, out=trial)
            new = derivatives(law, trial, problem, index[active])
            better = new[0] <= old * (1 + 1e-15)
            length = np.abs((trial - here) * size).max(axis=1)
            done = (length < tolerance) & ((damping < 1.0) | (better & (damping < 1e6)))
            # Also without `flat`: steps that raise the loss by less than rounding go nowhere.
            idle = np.where(better & (old - new[0] < flat), idle + 1, idle * ~better)
            done |= idle >= IDLE_STEPS
            if better.all():
                here, old, gradient, curvature = trial, *new
            elif better.any():
                here[better] = trial[better]
                for values, after in zip((old, gradient, curvature), new, strict=True):
                    values[better] = after[better]
            damping = np.maximum(np.where(better, damping * FALL, damping * RISE), 1e-12)
            ends = done | (damping >= LARGEST_DAMPING)
            if ends.any():
                gone, stays = active[ends], ~ends
                theta[gone], objective[gone], converged[gone] = here[ends], old[ends], done[ends]
                active, here, old, gradient, curvature, damping, idle = (
                    values[stays] for values in (active, here, old, gradient, curvature, damping, idle)
                )
        theta[active], objective[active] = here, old
    return theta, objective, converged


def _damped_step(
    theta: Array, gradient: Array, curvature: Array, size: Array, damping: Array, problem: Problem
) -> Array:
    """Marquardt's step with the parameters that press against a bound held there."""
    held = ((theta <= problem.lower) & (gradient > 0)) | ((theta >= problem.upper) & (gradient < 0))
    matrix = curvature / (size[:, :, None] * size[:, None, :])
    right = -gradient / size
    if held.any():
        matrix = np.where(held[:, :, None] | held[:, None, :], 0.0, matrix)
        right = np.where(held, 0.0, right)
    diagonal = np.arange(size.shape[1])
    matrix[:, diagonal, diagonal] = 1.0 + damping[:, None] + 1e-14
    # Scaled entries are small, so that their sum overflows only if one of them has.
    if not np.isfinite(matrix.sum() + right.sum()):
        bad = ~np.isfinite(matrix).all(axis=(1, 2)) | ~np.isfinite(right).all(axis=1)
        matrix[bad], right[bad] = np.eye(matrix.shape[1]), 0.0
    return np.linalg.solve(matrix, right[:, :, None])[:, :, 0] / size
