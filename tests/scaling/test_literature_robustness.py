"""What the regressions hang on: the published checks, and each method against another route."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar

from scaling.literature import check_published, published_results
from scaling.literature.regression import log_axes, rows_of
from scaling.literature.robustness import (
    backtest_by_year,
    clustered_slope,
    deming_slope,
    errors_in_both,
    irreducible_errors,
    leave_one_out,
    quantile_exponents,
    year_beside_compute,
)


@pytest.fixture(scope="module")
def table():
    """The results that come with the package."""
    return published_results()


def test_year_explains_more_than_compute_on_imagenet(table):
    """R2 .773 against .452; with both .823, compute 0.029 (.017) and 0.041 (.009) a year."""
    found = year_beside_compute(table, "ImageNet")

    assert [f"{v:.3f}" for v in (found.r2_compute, found.r2_year, found.r2_both)] == ["0.452", "0.773", "0.823"]
    assert [f"{v:.3f}" for v in (found.compute, found.compute_error)] == ["0.029", "0.017"]
    assert [f"{v:.3f}" for v in (found.year, found.year_error)] == ["0.041", "0.009"]


def test_interval_with_the_year_held_is_students(table):
    """13 results and 3 coefficients: 2.228 standard errors."""
    low, high = year_beside_compute(table, "ImageNet").exponent_interval()

    assert low == pytest.approx(1 / (0.029252 + 2.228139 * 0.017402), rel=1e-4)
    assert high == math.inf


def test_an_irreducible_error_lowers_the_exponent_and_fits_better(table):
    """The published R2 and exponents of five floors."""
    found = irreducible_errors(table, "ImageNet")

    assert found["floor"].tolist() == [0.0, 0.02, 0.05, 0.08, 0.1]
    assert [f"{v:.3f}" for v in found["r2"]] == ["0.452", "0.457", "0.469", "0.490", "0.519"]
    assert [f"{v:.1f}" for v in found["exponent"]] == ["13.6", "12.2", "10.0", "7.6", "5.6"]


def test_floors_that_were_reached_are_left_out(table):
    """Noisy Student has an error of 11.6%."""
    assert irreducible_errors(table, "ImageNet", floors=(0.05, 0.116, 0.2))["floor"].tolist() == [0.05]


def test_dropping_one_point_moves_the_exponent(table):
    """Up to the published 16.4, and down to 11.4: the published lower end of 10.2 is not reached by any one point."""
    found = leave_one_out(table, "ImageNet")

    compute, performance = log_axes(rows_of(table, "ImageNet", "burden"))
    by_scipy = [1 / stats.linregress(np.delete(compute, i), np.delete(performance, i)).slope for i in range(13)]
    assert found["exponent"].to_numpy() == pytest.approx(by_scipy)
    assert (f"{min(by_scipy):.1f}", f"{max(by_scipy):.1f}") == ("11.4", "16.4")
    assert found.loc[found["exponent"].idxmin(), "model"].startswith("OctResNet152")


def test_errors_in_both_run_from_the_regression_to_its_reverse(table):
    """13.6 where computation is exact, 6.2 where performance is."""
    found = errors_in_both(table, "ImageNet")["exponent"]

    assert (f"{found.iloc[0]:.1f}", f"{found.iloc[-1]:.1f}") == ("13.6", "6.2")
    assert found.is_monotonic_decreasing


def test_deming_agrees_with_a_search_for_the_most_likely_line(table):
    """Residuals weighed by the variance that errors on both axes give them."""
    x, y = log_axes(rows_of(table, "SQuAD 1.1", "burden"))

    def loss(slope):
        return np.var(y - slope * x) / (1 + (4.0 * slope) ** 2)

    best = minimize_scalar(loss, bounds=(0.05, 0.5), method="bounded", options={"xatol": 1e-9}).x
    assert deming_slope(x, y, 4.0) == pytest.approx(best, rel=1e-5)


def test_quantile_frontiers_leave_their_share_below(table):
    """The median line of a power law with symmetric noise has its exponent."""
    generator = np.random.default_rng(0)
    cost = np.geomspace(1e12, 1e18, 400)
    rows = check_published(pd.DataFrame({
        "benchmark": "b", "model": [f"m{i}" for i in range(400)], "year": 2020, "hardware_burden_flop": cost,
        "error": 0.5 * (cost / 1e12) ** -0.1 * np.exp(0.05 * generator.standard_normal(400)),
    }))  # fmt: skip

    assert quantile_exponents(rows, "b")["exponent"].to_numpy() == pytest.approx(10.0, rel=0.03)
    assert len(quantile_exponents(table, "ImageNet")) == 3


def test_clustering_by_paper_with_each_row_its_own_is_the_robust_error():
    """The sandwich of HC1, computed by hand."""
    generator = np.random.default_rng(2)
    cost = np.geomspace(1e9, 1e12, 30)
    error = 0.4 * (cost / 1e9) ** -0.15 * np.exp(0.1 * generator.standard_normal(30))
    frame = pd.DataFrame({
        "benchmark": "b", "model": [f"m{i}" for i in range(30)], "year": 2020, "error": error, "per_pass": cost,
        "per_pass_unit": "FLOP", "paper": [f"p{i}" for i in range(30)],
    })  # fmt: skip
    found = clustered_slope(check_published(frame), "b")

    x, y = np.log10(cost / 1e9), -np.log10(error)
    line = stats.linregress(x, y)
    residual = y - line.intercept - line.slope * x
    away = x - x.mean()
    by_hand = math.sqrt((away**2 * residual**2).sum() / (away**2).sum() ** 2 * 30 / 29 * 29 / 28)
    assert found.clustered_error == pytest.approx(by_hand)
    assert found.classical_error == pytest.approx(line.stderr)


def test_papers_repeat_each_other(table):
    """110 rows of ImageNet come from 11 papers, and say less than 110 independent ones."""
    found = clustered_slope(table, "ImageNet", "per-pass-as-printed")

    assert found.n == 110
    assert found.n_clusters < 20
    assert found.clustered_error > found.classical_error
    assert found.low < 9.35 < found.high


def test_backtest_predicts_later_results_from_earlier_ones():
    """On results that follow the computation exactly, it errs by nothing, and the mean errs."""
    year = np.arange(2010, 2020)
    cost = 10.0 ** np.array([12, 13, 12.5, 14, 13, 15, 14.5, 16, 15, 17])
    frame = pd.DataFrame({
        "benchmark": "b", "model": [f"m{y}" for y in year], "year": year, "error": (cost / 1e11) ** -0.1,
        "hardware_burden_flop": cost,
    })  # fmt: skip
    found = backtest_by_year(check_published(frame), "b")

    assert found.loc[found["form"] == "compute", "log10_error"].max() < 1e-12
    assert found.loc[found["form"] == "none", "log10_error"].min() > 0.05
    assert found["before"].min() == 2014
    assert (found["n_fitted"] + found["n_predicted"] == 10).all()
