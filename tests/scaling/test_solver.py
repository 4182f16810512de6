"""The batched solver against scipy, one problem at a time."""

import numpy as np
import pytest
from scipy.optimize import least_squares, minimize

from scaling.estimate import distinct_starts, proposed_starts
from scaling.laws import LAWS
from scaling.solver import Problem, huber, solve

LAW = LAWS["saturating"]


def problem_with_outliers(seed=0, n=60):
    """A saturating law with noise and one run in ten far off."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-4, 4, n)[None]
    theta = np.array([0.05, -1.5, 0.4])
    y = LAW.evaluate(theta[None], x)[0] + 0.05 * rng.standard_normal(n)
    y[::10] += rng.choice([-1, 1], size=y[::10].size) * 0.8
    lower, upper = LAW.bounds(x, y)
    return Problem(x, y, np.full(n, 0.05), np.ones(n), lower, upper)


def test_huber_is_quadratic_then_linear():
    """Values by hand at 1, at the threshold, and beyond it."""
    assert huber(np.array([1.0, -2.0, 5.0]), 2.0) == pytest.approx([0.5, 2.0, 2 * (5 - 1)])


def test_robust_optimum_agrees_with_scipy():
    """scipy's own Huber loss finds the same parameters."""
    problem = problem_with_outliers()
    start = np.array([0.02, -1.0, 0.3])

    found = solve(LAW, start[None], problem)
    reference = least_squares(
        lambda theta: (LAW.evaluate(theta[None], problem.x)[0] - problem.y) / problem.sigma,
        start, bounds=([0, -50, 0], np.inf), loss="huber", f_scale=problem.threshold,
        xtol=1e-14, ftol=1e-14, gtol=1e-12,
    )  # fmt: skip

    assert found.converged.all()
    assert found.theta[0] == pytest.approx(reference.x, rel=1e-5)
    assert found.objective[0] == pytest.approx(reference.cost, rel=1e-9)


def test_parameter_that_wants_to_leave_stays_on_its_bound():
    """Where the truth has E below 0 the answer is that of the bounded problem of scipy."""
    problem = problem_with_outliers()
    shifted = Problem(
        problem.x, np.log(np.maximum(np.exp(problem.y) - 0.07, 0.003)), problem.sigma, problem.multiplicity,
        problem.lower, problem.upper,
    )  # fmt: skip
    start = np.array([0.02, -1.0, 0.3])

    found = solve(LAW, start[None], shifted)

    def loss(theta):
        residual = (LAW.evaluate(theta[None], shifted.x)[0] - shifted.y) / shifted.sigma
        return huber(residual, shifted.threshold).sum()

    reference = minimize(
        loss, start, method="L-BFGS-B", bounds=list(zip(shifted.lower, shifted.upper, strict=True)),
        options={"ftol": 1e-15, "gtol": 1e-8, "maxiter": 2000},
    )  # fmt: skip
    assert found.theta[0, 0] == 0
    assert found.objective[0] <= reference.fun * (1 + 1e-9)


def test_batch_equals_its_members():
    """Solving together or alone makes no difference beyond the tolerance."""
    problem = problem_with_outliers()
    rng = np.random.default_rng(1)
    counts = rng.multinomial(60, np.full(60, 1 / 60), size=7).astype(float)
    together = Problem(problem.x, problem.y, problem.sigma, counts, problem.lower, problem.upper)
    starts = np.tile([0.02, -1.0, 0.3], (7, 1))

    batch = solve(LAW, starts, together)

    for i in range(7):
        alone = Problem(problem.x, problem.y, problem.sigma, counts[i], problem.lower, problem.upper)
        single = solve(LAW, starts[:1], alone)
        assert batch.theta[i] == pytest.approx(single.theta[0], rel=1e-6)


def test_a_point_counted_twice_equals_two_points():
    """Multiplicities are what resampling with replacement means."""
    problem = problem_with_outliers()
    counts = np.ones(60)
    counts[5:9] = 2.0
    index = np.r_[np.arange(60), np.arange(5, 9)]
    start = np.array([[0.02, -1.0, 0.3]])

    weighted = solve(LAW, start, Problem(problem.x, problem.y, problem.sigma, counts, problem.lower, problem.upper))
    repeated = solve(
        LAW, start,
        Problem(problem.x[:, index], problem.y[index], problem.sigma[index], np.ones(64), problem.lower, problem.upper),
    )  # fmt: skip

    assert weighted.theta[0] == pytest.approx(repeated.theta[0], rel=1e-6)


def test_without_a_threshold_the_loss_is_that_of_least_squares():
    """An infinite threshold takes a shorter way through the arithmetic, to the optimum of scipy's linear loss."""
    robust = problem_with_outliers()
    problem = Problem(
        robust.x, robust.y, robust.sigma, robust.multiplicity, robust.lower, robust.upper, threshold=np.inf
    )
    start = np.array([0.02, -1.0, 0.3])

    found = solve(LAW, start[None], problem)
    reference = least_squares(
        lambda theta: (LAW.evaluate(theta[None], problem.x)[0] - problem.y) / problem.sigma,
        start, bounds=([0, -50, 0], np.inf), xtol=1e-14, ftol=1e-14, gtol=1e-12,
    )  # fmt: skip

    assert found.theta[0] == pytest.approx(reference.x, rel=1e-5, abs=1e-9)
    assert found.objective[0] == pytest.approx(reference.cost, rel=1e-9)


def test_screening_loses_no_start():
    """Every start proposed is counted for one of the curves that go on, and the best curve comes first."""
    problem = problem_with_outliers()
    wide = Problem(problem.x, problem.y, problem.sigma, problem.multiplicity, problem.lower, problem.upper, np.inf)
    proposed = proposed_starts(LAW, problem.x, problem.y, problem.multiplicity)

    starts, sizes = distinct_starts(LAW, proposed, wide)

    losses = ((LAW.evaluate(starts, problem.x) - problem.y) ** 2).sum(axis=1)
    assert sizes.sum() == len(proposed)
    assert len(starts) == len(sizes)
    assert losses.min() == losses[0]
