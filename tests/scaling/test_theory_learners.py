"""The learners of Figure 1: drawn distributions against data that are really fitted, and against closed forms."""

import math

import numpy as np
import pytest
from sklearn.linear_model import lasso_path as reference_path

from scaling.lasso import lasso_path
from scaling.learners import (
    Task,
    expert,
    flexible,
    lasso,
    least_squares_risk,
    mean_log10_least_squares,
    oracle,
    ridge,
)

SMALL = Task(n_features=30, n_relevant=4, noise=0.8, coefficients="normal")


def fitted(task, n, n_simulations, solve):
    """Normalised squared errors of estimates from real data."""
    generator = np.random.default_rng(11)
    errors = np.empty(n_simulations)
    for place, b in enumerate(task.draw_coefficients(n_simulations, generator)):
        truth = np.zeros(task.n_features)
        truth[: b.size] = b
        features = generator.standard_normal((n, task.n_features))
        response = features @ truth + task.noise * generator.standard_normal(n)
        errors[place] = ((solve(features, response, truth) - truth) ** 2).sum() / (truth @ truth)
    return errors


def on_columns(columns):
    """Least squares on some features, 0 on the rest."""

    def solve(features, response, truth):
        found = np.zeros(truth.size)
        found[columns] = np.linalg.lstsq(features[:, columns], response, rcond=None)[0]
        return found

    return solve


def same_logarithms(drawn, real):
    """Means and quantiles of the log errors agree within their own noise."""
    a, b = np.log(drawn), np.log(real)
    error = math.hypot(a.std() / math.sqrt(a.size), b.std() / math.sqrt(b.size))
    assert abs(a.mean() - b.mean()) < 4 * error
    for probability in (0.25, 0.75):
        assert np.quantile(a, probability) == pytest.approx(np.quantile(b, probability), abs=0.12 * max(b.std(), 0.2))


@pytest.mark.parametrize("n", [3, 4, 6, 40])
def test_oracle_is_least_squares_on_the_right_features(n):
    """Drawn from chi-squared variables, compared with 3,000 regressions."""
    drawn = oracle(SMALL, n, 20_000, np.random.default_rng(1))

    same_logarithms(drawn, fitted(SMALL, n, 3000, on_columns(range(4))))


@pytest.mark.parametrize("n", [6, 40])
def test_expert_misses_one_feature_and_has_one_wrong(n):
    """What it leaves out is noise to it."""
    drawn = expert(SMALL, n, 20_000, np.random.default_rng(1))

    same_logarithms(drawn, fitted(SMALL, n, 3000, on_columns([0, 1, 2, 4])))


@pytest.mark.parametrize("n", [12, 29, 30, 33, 60])
def test_flexible_model_is_least_squares_on_all_features(n):
    """Below, at and above as many observations as features."""
    drawn = flexible(SMALL, n, 20_000, np.random.default_rng(1))

    same_logarithms(drawn, fitted(SMALL, n, 2000, on_columns(range(30))))


@pytest.mark.parametrize("n", [12, 30, 60])
def test_ridge_from_bidiagonal_matrices_is_ridge(n):
    """The penalty is a multiple of d noise^2 / |b|^2."""

    def solve(features, response, truth):
        penalty = 0.7 * 30 * SMALL.noise**2 / (truth @ truth)
        return np.linalg.solve(features.T @ features + penalty * np.eye(30), features.T @ response)

    drawn = ridge(SMALL, n, 20_000, np.random.default_rng(1), [0.7])[:, 0]

    same_logarithms(drawn, fitted(SMALL, n, 2000, solve))


@pytest.mark.parametrize("n", [20, 90])
def test_lasso_on_rotated_data_is_the_lasso(n):
    """With more observations than features only the triangular factor is drawn."""

    def solve(features, response, _):
        penalty = SMALL.noise * math.sqrt(math.log(30) / n)
        return lasso_path(features.T.copy(), response, n, [penalty])[0][0]

    drawn = lasso(SMALL, n, 3000, np.random.default_rng(1), [1.0])[0][:, 0]

    same_logarithms(drawn, fitted(SMALL, n, 2000, solve))


@pytest.mark.parametrize(("n", "p"), [(15, 10), (1500, 1000)])
def test_least_squares_at_one_and_a_half_observations_per_feature_agrees_with_its_closed_form(n, p):
    """The mean of the inverse Wishart distribution, and the mean logarithm from digamma functions."""
    task = Task(n_features=p, n_relevant=10, noise=0.5)
    errors = flexible(task, n, 200_000, np.random.default_rng(0)) * 10
    noise = errors.std() / math.sqrt(errors.size)

    assert errors.mean() == pytest.approx(least_squares_risk(n, p, 0.5), abs=4 * noise)
    log_error = np.log10(errors / 0.25)
    assert log_error.mean() == pytest.approx(mean_log10_least_squares(n, p), abs=4 * log_error.std() / 447)


def test_closed_form_agrees_with_regressions_on_data():
    """The same at n/p = 1.5 without any of our formulas' distributions."""
    task = Task(n_features=40, n_relevant=5, noise=1.0)
    errors = fitted(task, 60, 2000, on_columns(range(40))) * 5

    assert errors.mean() == pytest.approx(least_squares_risk(60, 40, 1.0), abs=4 * errors.std() / math.sqrt(2000))
    assert least_squares_risk(41, 40, 1.0) == math.inf


@pytest.mark.parametrize(("n", "d"), [(40, 120), (150, 30)])
def test_path_agrees_with_coordinate_descent(n, d):
    """scikit-learn's solutions on the same data at the same penalties."""
    generator = np.random.default_rng(5)
    features = generator.standard_normal((d, n))
    response = generator.standard_normal(6) @ features[:6] + 0.5 * generator.standard_normal(n)
    penalties = np.array([1.0, 0.5, 0.2, 0.1, 0.05])

    ours, steps = lasso_path(features, response, n, penalties)
    theirs = reference_path(features.T, response, alphas=penalties, tol=1e-12, max_iter=200_000)[1].T

    np.testing.assert_allclose(ours, theirs, atol=1e-7)
    assert (np.diff(steps) >= 0).all()


def test_penalties_have_to_fall():
    """A path goes one way."""
    with pytest.raises(ValueError, match=r"penalties are \[0.1, 0.2\]"):
        lasso_path(np.eye(3), np.ones(3), 3, [0.1, 0.2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_relevant": 2000}, "n_relevant is 2000"),
        ({"noise": 0.0}, "noise is 0.0"),
        ({"coefficients": "sparse"}, "coefficients is 'sparse'"),
    ],
)
def test_wrong_tasks_are_refused(settings, message):
    """With what is allowed."""
    with pytest.raises(ValueError, match=message):
        Task(**settings)
