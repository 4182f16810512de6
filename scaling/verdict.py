"""Whether the runs determine the answer: the status of a fit and the sentence that explains it."""

from __future__ import annotations

import numpy as np

from scaling.estimate import Optimum
from scaling.laws.base import Array, Law
from scaling.points import Points
from scaling.solver import Problem, solve
from scaling.status import FitStatus

# Half the 95% point of chi-squared with 1 degree of freedom: a simpler law this close is not excluded.
HALF_CHI_SQUARED_95 = 1.92
# An exponent known no better than this (relative standard error) says next to nothing: 95% reaches from 0 to its double.
WORST_RELATIVE_ERROR = 0.5
# Derivative left at an optimum, in standard errors; noise-free data reach about 1e-4 by rounding alone.
LARGEST_CONDITION = 1e13
# Every so many of a law's starts is tried for the simpler law, besides the optimum itself.
SIMPLER_STRIDE = 8
LARGEST_GRADIENT = 1e-2


def judge(law: Law, points: Points, optimum: Optimum) -> tuple[FitStatus, str]:
    """Decide the status of an optimum and say why in one sentence."""
    checks = (_solver_trouble, _at_bound, _flat_direction, _rival_optimum, _simpler_law, _loose_exponent)
    for check in checks:
        verdict = check(law, points, optimum)
        if verdict is not None:
            return verdict
    return (
        FitStatus.CONVERGED,
        f"{optimum.n_agreeing} of {optimum.n_starts} starts agree, {points.n_points} points, "
        f"gradient {optimum.gradient_norm:.1g}",
    )


def covariance(points: Points, optimum: Optimum, law: Law) -> Array:
    """Covariance of the coordinates that allows for points of one cluster to move together (sandwich)."""
    problem = optimum.problem
    free = ~optimum.held
    prediction, jacobian = law.evaluate_with_jacobian(optimum.theta[None], problem.x)
    slope = np.clip((prediction[0] - problem.y) / problem.sigma, -problem.threshold, problem.threshold)
    scores = jacobian[0, free] * (problem.multiplicity * slope / problem.sigma)
    n_clusters = points.n_clusters
    sums = np.array([np.bincount(points.cluster, weights=row, minlength=n_clusters) for row in scores])
    bread = np.linalg.pinv(optimum.information[np.ix_(free, free)], hermitian=True)
    result = np.zeros((free.size, free.size))
    correction = n_clusters / max(n_clusters - free.sum(), 1)
    result[np.ix_(free, free)] = bread @ (sums @ sums.T) @ bread * correction
    return result


def design_effect(points: Points, optimum: Optimum, law: Law) -> float:
    """How many times the runs of a cluster repeat the same information, at least 1."""
    problem = optimum.problem
    residual = (law.evaluate(optimum.theta[None], problem.x)[0] - problem.y) / problem.sigma
    slope = np.clip(residual, -problem.threshold, problem.threshold)
    total = float((slope**2).sum())
    sums = np.bincount(points.cluster, weights=slope)
    return max(1.0, float((sums**2).sum()) / total) if total > 0 else 1.0


def _solver_trouble(law: Law, points: Points, optimum: Optimum) -> tuple[FitStatus, str] | None:
    if not np.isfinite(optimum.objective):
        return FitStatus.NOT_CONVERGED, "the law has no value on these points from any start"
    if not optimum.gradient_norm < LARGEST_GRADIENT:
        return (
            FitStatus.NOT_CONVERGED,
            f"the solver stopped with a gradient of {optimum.gradient_norm:.2g} standard errors",
        )
    free = ~optimum.held
    block = optimum.curvature[np.ix_(free, free)]
    size = np.sqrt(np.maximum(np.diag(optimum.information)[free], 1e-300))
    least = float(np.linalg.eigvalsh(block / np.outer(size, size))[0]) if free.any() else 0.0
    if least < -1e-4:
        return FitStatus.NOT_CONVERGED, f"the curvature is negative ({least:.2g}): a saddle, not an optimum"
    return None


def _at_bound(law: Law, points: Points, optimum: Optimum) -> tuple[FitStatus, str] | None:
    for index in np.flatnonzero(optimum.held):
        parameter = law.parameters[index]
        value = law.to_parameters(law.shift(optimum.theta, optimum.centre))[parameter.name]
        side = "lower" if optimum.theta[index] <= optimum.problem.lower[index] + 1e-9 else "upper"
        sentence = f"{parameter.name} ({parameter.meaning}) stopped on its {side} bound {value:.3g}"
        if parameter.name == "E":
            sentence += "; these runs show no irreducible error, so fit a law without it"
        return FitStatus.AT_BOUND, sentence
    return None


def _flat_direction(law: Law, points: Points, optimum: Optimum) -> tuple[FitStatus, str] | None:
    size = np.diag(optimum.information)
    unseen = [name for name, value in zip(law.names, size, strict=True) if not value > 0]
    if unseen:
        return FitStatus.NOT_IDENTIFIED, f"no run depends on {unseen[0]}"
    if optimum.condition_number > LARGEST_CONDITION:
        return (
            FitStatus.NOT_IDENTIFIED,
            f"the parameters can be traded for one another (condition number {optimum.condition_number:.1g})",
        )
    return None


def _rival_optimum(law: Law, points: Points, optimum: Optimum) -> tuple[FitStatus, str] | None:
    if not len(optimum.rivals):
        return None
    return (
        FitStatus.NOT_IDENTIFIED,
        f"{len(optimum.rivals)} of {optimum.n_starts} starts reached the same loss with another curve",
    )


def _simpler_law(law: Law, points: Points, optimum: Optimum) -> tuple[FitStatus, str] | None:
    """Hold the parameters of the reduced law: if the loss hardly rises, the data do not need them."""
    for name, value in law.reduced().items():
        index = law.names.index(name)
        problem = optimum.problem
        lower, upper = problem.lower.copy(), problem.upper.copy()
        lower[index] = upper[index] = value
        held = Problem(problem.x, problem.y, problem.sigma, problem.multiplicity, lower, upper, problem.threshold)
        proposed = law.starts(problem.x, problem.y, problem.multiplicity)[::SIMPLER_STRIDE]
        starts = np.concatenate([optimum.theta[None], proposed])
        rise = float(np.nanmin(solve(law, starts, held, tolerance=1e-3, max_steps=60).objective)) - optimum.objective
        rise /= design_effect(points, optimum, law)
        if rise < HALF_CHI_SQUARED_95:
            return (
                FitStatus.NOT_IDENTIFIED,
                f"{name} = {value:g} fits these runs as well (loss higher by {max(rise, 0.0):.2g}, {HALF_CHI_SQUARED_95} "
                f"would tell them apart): the law without {name} cannot be excluded",
            )
    return None


def _loose_exponent(law: Law, points: Points, optimum: Optimum) -> tuple[FitStatus, str] | None:
    spread = np.sqrt(np.maximum(np.diag(covariance(points, optimum, law)), 0.0))
    for index in law.shape_indices():
        estimate = float(optimum.theta[index])
        if spread[index] > WORST_RELATIVE_ERROR * abs(estimate):
            return (
                FitStatus.NOT_IDENTIFIED,
                f"{law.names[index]} is {estimate:.3g} with a standard error of {spread[index]:.2g}: "
                "these runs do not determine it",
            )
    return None
