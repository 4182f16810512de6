"""Figure 1's observations, and the exponents of computation."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.special import digamma

from scaling import bootstrap, draw_runs
from scaling.figure_one import observations_needed, simulate
from scaling.learners import mean_log10_least_squares
from scaling.theory import compute_exponents, measured_exponents


@pytest.fixture(scope="module")
def study():
    """A small number of simulations where the published crossings are."""
    return simulate(n_simulations=150, observations=(15, 1100, 1500, 1700), lasso_observations=(80, 100, 165, 200))


def test_fifteen_observations_of_the_oracle_are_worth_1500_of_the_flexible_model(study):
    """About 1,560 is the exact crossing of the two mean logarithms, whatever the noise."""
    exact = brentq(lambda n: digamma(500) - digamma((n - 999) / 2) - (digamma(5) - digamma(3)), 1100, 3000)

    assert exact == pytest.approx(1560, abs=5)
    assert mean_log10_least_squares(15, 10) == pytest.approx(mean_log10_least_squares(round(exact), 1000), abs=1e-3)
    assert study.needed["oracle"] == 15
    assert study.needed["flexible"] == pytest.approx(exact, rel=0.06)


def test_regularised_model_needs_about_175_and_a_tuned_one_fewer(study):
    """Twice noise sqrt(log d / n) is near the publication's penalty; tuning halves what is needed."""
    assert 160 < study.needed["regularised"] < 205
    assert 72 <= study.needed["tuned lasso"] <= 100
    assert study.needed["expert"] > 15
    assert study.needed["tuned ridge"] > 1100


def test_a_study_is_the_same_for_the_same_seed():
    """Different for another."""
    settings = {"n_simulations": 3, "observations": (15,), "lasso_observations": (20,)}
    one, two, other = simulate(**settings), simulate(**settings), simulate(**settings, seed=1)

    pd.testing.assert_frame_equal(one.table, two.table)
    assert other.reference != one.reference


def test_observations_needed_are_interpolated():
    """Halfway between two logarithms; None where a model never gets there."""
    table = pd.DataFrame({"model": "m", "n": [10, 100, 1000], "performance": [0.0, 1.0, 2.0]})

    assert observations_needed(table, "m", 1.5) == pytest.approx(math.sqrt(100 * 1000))
    assert observations_needed(table, "m", 3.0) is None
    assert observations_needed(table, "m", -1.0) == 10


def test_halves_give_the_square_and_the_fourth_power():
    """Theory's k^2 for data and k^4 for computation."""
    found = compute_exponents(0.5, 0.5)

    assert (found.data, found.balanced, found.proportional) == (2.0, 4.0, 4.0)


def test_exponents_agree_with_brute_force():
    """Least cost N D for errors of size k times smaller, far below the scales; size proportional to data beside it."""
    alpha, beta = 0.4, 0.7
    found = compute_exponents(alpha, beta)

    def least_log_cost(error):
        def cost(log_n):
            left = error - math.exp(-alpha * log_n)
            return log_n - math.log(left) / beta if left > 0 else math.inf

        start = -math.log(error) / alpha
        return minimize_scalar(cost, bounds=(start + 1e-9, start + 40), method="bounded").fun

    def proportional_log_cost(error):
        return 2 * brentq(lambda x: math.exp(-alpha * x) + math.exp(-beta * x) - error, 0.1, 400)

    for function, exponent in ((least_log_cost, found.balanced), (proportional_log_cost, found.proportional)):
        rise = (function(1e-12) - function(1e-11)) / math.log(10)
        assert rise == pytest.approx(exponent, rel=1e-3)


@pytest.mark.parametrize("values", [(0.0, 0.5), (0.5, math.inf), (-1.0, 0.5)])
def test_exponents_of_error_are_positive(values):
    """Zero is no power law."""
    with pytest.raises(ValueError, match="an exponent by which error falls"):
        compute_exponents(*values)


def test_a_sweep_s_exponents_hold_the_truth():
    """alpha = beta = 1/2 drawn with little noise: 4 lies in the interval, and 9 does not."""
    size, data = (v.ravel() for v in np.meshgrid(10.0 ** np.arange(2, 7), 10.0 ** np.arange(2, 7)))
    truth = {"E": 0.01, "A": 2.0, "alpha": 0.5, "B": 3.0, "beta": 0.5}
    runs = draw_runs("size_and_data", truth, {"size": size, "data": data}, seed_noise=0.02, seed=1)
    found = measured_exponents(bootstrap(runs, "size_and_data", n_resamples=200))

    assert 4.0 in found.intervals["balanced"]
    assert 2.0 in found.intervals["data"]
    assert 9.0 not in found.intervals["balanced"]
    assert found.exponents.proportional >= found.exponents.balanced
    with pytest.raises(ValueError, match="has no exponents of size and data"):
        measured_exponents(
            bootstrap(runs.assign(train_flops=6.0 * size.repeat(3) * data.repeat(3)), "power", n_resamples=20)
        )
