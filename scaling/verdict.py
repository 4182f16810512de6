"""Whether the runs determine the answer: the status of a fit and the sentence that explains it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scaling.estimate import Optimum, sample
from scaling.laws.base import Array, Law
from scaling.points import Points
from scaling.solver import FAR, Problem, solve
from scaling.status import FitStatus

# Half the 95% point of chi-squared with 1 degree of freedom: a simpler law this close is not excluded.
HALF_CHI_SQUARED_95 = 1.92
# An exponent known no better than this (relative standard error) says next to nothing: 95% reaches from 0
# to its double.
WORST_RELATIVE_ERROR = 0.5
# Parameters that can be traded beyond this are told apart by rounding errors alone.
LARGEST_CONDITION = 1e13
# Distance left to the optimum, in standard errors; noise-free data reach about 1e-3 by rounding alone.
LARGEST_GRADIENT = 1e-2
# A curvature below this share of the information is a saddle, not rounding.
LEAST_CURVATURE = -1e-4
# Every so many of a law's starts is tried for the simpler law, besides the optimum itself.
SIMPLER_STRIDE = 8

Verdict = tuple[FitStatus, str]


@dataclass(frozen=True)
class _Case:
    law: Law
    points: Points
    optimum: Optimum


def judge(law: Law, points: Points, optimum: Optimum) -> Verdict:
    """Decide the status of an optimum and say why in one sentence."""
    case = _Case(law, points, optimum)
    checks = (_solver_trouble, _at_bound, _flat_direction, _rival_optimum, _simpler_law, _loose_exponent)
    with np.errstate(all="ignore"):
        for check in checks:
            verdict = check(case)
            if verdict is not None:
                return verdict
    return (
        FitStatus.CONVERGED,
        f"{optimum.n_agreeing} of {optimum.n_starts} starts agree, {points.n_points} points, "
        f"{optimum.gradient_norm:.1g} standard errors from the optimum",
    )


def _covariances(points: Points, optimum: Optimum, law: Law) -> tuple[Array, Array]:
    """Covariances of the coordinates: inverse information, and with points of one cluster moving together (sandwich).

    Rows of parameters that rest on a bound are 0.
    """
    problem = optimum.problem
    free = ~optimum.held
    block = np.ix_(free, free)
    prediction, jacobian = law.evaluate_with_jacobian(optimum.theta[None], problem.x)
    slope = np.clip((prediction[0] - problem.y) / problem.sigma, -problem.threshold, problem.threshold)
    scores = jacobian[0, free] * (problem.multiplicity * slope / problem.sigma)
    n_clusters = points.n_clusters
    sums = np.array([np.bincount(points.cluster, weights=row, minlength=n_clusters) for row in scores])
    bread = np.linalg.pinv(optimum.information[block], hermitian=True)
    classical, sandwich = np.zeros((free.size, free.size)), np.zeros((free.size, free.size))
    correction = n_clusters / max(n_clusters - free.sum(), 1)
    classical[block] = bread
    sandwich[block] = bread @ (sums @ sums.T) @ bread * correction
    return classical, sandwich


def design_effect(points: Points, optimum: Optimum, law: Law) -> float:
    """How many times the runs of a cluster repeat the same information, at least 1."""
    problem = optimum.problem
    residual = (law.evaluate(optimum.theta[None], problem.x)[0] - problem.y) / problem.sigma
    slope = np.clip(residual, -problem.threshold, problem.threshold)
    total = float((slope**2).sum())
    sums = np.bincount(points.cluster, weights=slope)
    return max(1.0, float((sums**2).sum()) / total) if total > 0 else 1.0


def standard_errors(points: Points, optimum: Optimum, law: Law) -> Array:
    """Standard error of each coordinate: the larger of the clusters' sandwich and the inverse information.

    With few clusters the sandwich alone is too small; with dependent runs the information alone is.
    """
    classical, sandwich = _covariances(points, optimum, law)
    return np.sqrt(np.maximum(np.maximum(np.diag(classical), np.diag(sandwich)), 0.0))


def _solver_trouble(case: _Case) -> Verdict | None:
    shapes = (case.optimum.curvature, case.optimum.information)
    if not (np.isfinite(case.optimum.objective) and all(np.isfinite(shape).all() for shape in shapes)):
        return FitStatus.NOT_CONVERGED, "the law has no value on these points from any start"
    if not case.optimum.gradient_norm < LARGEST_GRADIENT:
        return (
            FitStatus.NOT_CONVERGED,
            f"the solver stopped {case.optimum.gradient_norm:.2g} standard errors from an optimum",
        )
    free = ~case.optimum.held
    block = case.optimum.curvature[np.ix_(free, free)]
    size = np.sqrt(np.maximum(np.diag(case.optimum.information)[free], 1e-300))
    least = float(np.linalg.eigvalsh(block / size[:, None] / size[None, :])[0]) if free.any() else 0.0
    if least < LEAST_CURVATURE:
        return FitStatus.NOT_CONVERGED, f"the curvature is negative ({least:.2g}): a saddle, not an optimum"
    return None


def _at_bound(case: _Case) -> Verdict | None:
    for index in np.flatnonzero(case.optimum.held):
        parameter = case.law.parameters[index]
        value = case.law.to_parameters(case.law.shift(case.optimum.theta, case.optimum.centre))[parameter.name]
        side = "lower" if case.optimum.theta[index] <= case.optimum.problem.lower[index] + 1e-9 else "upper"
        sentence = f"{parameter.name} ({parameter.meaning}) stopped on its {side} bound {value:.3g}"
        if parameter.name == "E":
            sentence += "; these runs show no irreducible error, so fit a law without it"
        return FitStatus.AT_BOUND, sentence
    return None


def _flat_direction(case: _Case) -> Verdict | None:
    size = np.diag(case.optimum.information)
    unseen = [name for name, value in zip(case.law.names, size, strict=True) if not value > 0]
    if unseen:
        return FitStatus.NOT_IDENTIFIED, f"no run depends on {unseen[0]}"
    if case.optimum.condition_number > LARGEST_CONDITION:
        return (
            FitStatus.NOT_IDENTIFIED,
            f"the parameters can be traded for one another (condition number {case.optimum.condition_number:.1g})",
        )
    return None


def _rival_optimum(case: _Case) -> Verdict | None:
    if not len(case.optimum.rivals):
        return None
    return (
        FitStatus.NOT_IDENTIFIED,
        f"{len(case.optimum.rivals)} of {case.optimum.n_starts} starts reached the same loss with another curve",
    )


def _simpler_law(case: _Case) -> Verdict | None:
    """Hold the parameters of the reduced law: if the loss hardly rises, the data do not need them."""
    effect = design_effect(case.points, case.optimum, case.law)
    for name, value in case.law.reduced().items():
        index = case.law.names.index(name)
        problem = case.optimum.problem
        lower, upper = problem.lower.copy(), problem.upper.copy()
        lower[index] = upper[index] = value
        held = Problem(problem.x, problem.y, problem.sigma, problem.multiplicity, lower, upper, problem.threshold)
        rise = (_least_loss(case, held) - case.optimum.objective) / effect
        if rise < HALF_CHI_SQUARED_95:
            return (
                FitStatus.NOT_IDENTIFIED,
                f"{name} = {value:g} fits these runs as well (loss higher by {max(rise, 0.0):.2g}, "
                f"{HALF_CHI_SQUARED_95} would tell them apart): the law without {name} cannot be excluded",
            )
    return None


def _least_loss(case: _Case, held: Problem) -> float:
    """Least loss of a problem from the optimum and some starts, brought near on a sample of the points first."""
    starts = np.concatenate([case.optimum.theta[None], case.optimum.starts[::SIMPLER_STRIDE]])
    near = solve(case.law, starts, sample(held), tolerance=1e-2, max_steps=12, flat=0.03, damping=FAR)
    best = int(np.argmin(np.where(np.isnan(near.objective), np.inf, near.objective)))
    found = solve(case.law, near.theta[best : best + 1], held, tolerance=1e-2, max_steps=60, flat=0.01)
    return float(found.objective[0])


def _loose_exponent(case: _Case) -> Verdict | None:
    spread = standard_errors(case.points, case.optimum, case.law)
    for index in case.law.shape_indices():
        estimate = float(case.optimum.theta[index])
        if spread[index] > WORST_RELATIVE_ERROR * abs(estimate):
            return (
                FitStatus.NOT_IDENTIFIED,
                f"{case.law.names[index]} is {estimate:.3g} with a standard error of {spread[index]:.2g}: "
                "these runs do not determine it",
            )
    return None
