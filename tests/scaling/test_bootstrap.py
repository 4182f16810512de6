"""Intervals: against closed forms, by cluster, deterministic, and honest about failures."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scaling import FitStatus, bootstrap, draw_runs, fit
from scaling.calibrate import calibrate
from scaling.interval import expanded_normal, interval_bounds

TRUTH = {"E": 0.02, "A": 90.0, "alpha": 0.25}
COST = np.geomspace(1e9, 1e13, 40)


def sweep(seed=0, cost=COST, law="saturating", truth=TRUTH, **more):
    """A sweep of known truth."""
    return draw_runs(law, truth, {"cost": cost}, seed=seed, **more)


def test_interval_of_a_power_law_agrees_with_least_squares():
    """The width is that of Student's interval for the slope, to the noise of resampling."""
    runs = sweep(law="power", truth={"A": 30.0, "alpha": 0.2}, n_seeds=1, cost=np.geomspace(1e9, 1e13, 120))
    x, y = np.log(runs["train_flops"]), np.log(runs["test_error"])
    line = stats.linregress(x, y)
    half = stats.t.ppf(0.975, 118) * line.stderr

    interval = bootstrap(runs, "power", n_resamples=2000).parameters["alpha"]

    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.2)
    assert -line.slope in interval


def test_runs_that_move_together_widen_the_interval():
    """With noise shared by a cell, ten seeds are no more than one: resampling runs singly would miss it."""
    shared = sweep(n_seeds=10, seed_noise=0.001, cell_noise=0.1)
    by_cell = bootstrap(shared, "power").parameters["alpha"]
    by_run = bootstrap(shared, "power", cluster="trial_id").parameters["alpha"]

    assert by_cell.high - by_cell.low > 2.2 * (by_run.high - by_run.low)


def test_same_seed_same_intervals():
    """Deterministic by seed, and another seed gives other draws."""
    one, two = (bootstrap(sweep(), n_resamples=200, seed=5).to_dict() for _ in range(2))
    other = bootstrap(sweep(), n_resamples=200, seed=6).to_dict()

    assert json.dumps(one, allow_nan=False) == json.dumps(two, allow_nan=False)
    assert one["exponent"] != other["exponent"]


def test_order_of_rows_does_not_change_the_intervals():
    """The draws go by content, not by position."""
    runs = sweep()

    one, two = (bootstrap(table, n_resamples=100).to_dict() for table in (runs, runs.sample(frac=1, random_state=1)))

    assert one == two


def test_bands_hold_the_curve_and_the_runs():
    """The band of the law lies inside the band for one more run; at 95% nearly all runs lie in the latter."""
    runs = sweep()
    intervals = bootstrap(runs, n_resamples=500)

    low, high = intervals.band(COST)
    wide_low, wide_high = intervals.prediction_band(COST)

    curve = intervals.fit.predict(COST)
    assert np.all((low < curve) & (curve < high))
    assert np.all((wide_low < low) & (high < wide_high))
    per_run = [intervals.prediction_band(c) for c in (1e10, 1e12)]
    assert all(a < b for a, b in per_run)
    cost = runs["train_flops"].to_numpy()
    inside = (np.interp(cost, COST, wide_low) <= runs["test_error"]) & (
        runs["test_error"] <= np.interp(cost, COST, wide_high)
    )
    assert 0.9 <= inside.mean() <= 0.995


def test_band_widens_beyond_the_data():
    """Two decades out the law is less sure than at its middle."""
    intervals = bootstrap(sweep(), n_resamples=300)

    middle, far = (np.log(np.divide(*intervals.band(cost)[::-1])) for cost in (1e11, 1e15))

    assert far > 2 * middle


@pytest.mark.parametrize("method", ["percentile", "bca", "basic"])
def test_levels_are_nested(method):
    """A 50% interval lies inside the 95% interval of the same draws."""
    intervals = bootstrap(sweep(), n_resamples=400)

    narrow, wide = (intervals.interval("exponent", level=level, method=method) for level in (0.5, 0.95))

    assert wide.low <= narrow.low < narrow.high <= wide.high


def test_bca_of_a_mean_agrees_with_scipy():
    """The same draws, the same leave-one-out values, the same interval as scipy's, apart from the expansion."""
    rng = np.random.default_rng(0)
    sample = rng.exponential(size=50)
    reference = stats.bootstrap(
        (sample,), np.mean, n_resamples=4000, method="BCa", confidence_level=0.9, rng=np.random.default_rng(1)
    )
    draws = reference.bootstrap_distribution[:, None]
    jackknife = ((sample.sum() - sample) / 49)[:, None]

    # So many clusters that nothing is expanded.
    low, high = interval_bounds(draws, np.array([sample.mean()]), jackknife, 0.9, "bca", (10**9, 1))

    expected = reference.confidence_interval
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), rel=2e-3)


def test_expansion_is_that_of_student():
    """For 20 clusters and 3 parameters: sqrt(20/17) times Student's quantile on 17 degrees."""
    assert expanded_normal(0.95, 20, 3) == pytest.approx(np.sqrt(20 / 17) * stats.t.ppf(0.975, 17))


def test_failed_resamples_are_counted():
    """With barely enough budgets many resamples have too few; they are reported, not hidden."""
    runs = sweep(cost=COST[:5])

    intervals = bootstrap(runs, n_resamples=300)

    assert 0 < intervals.n_failed < 300
    assert len(intervals.draws) == 300 - intervals.n_failed
    assert f"{intervals.n_failed} of 300" in repr(intervals)


def test_nothing_fitted_gives_no_interval_but_a_reason():
    """Two budgets: the value comes back with its status, and asking for a band says why there is none."""
    intervals = bootstrap(sweep(cost=COST[:2]), n_resamples=50)

    assert intervals.parameters == {}
    assert intervals.exponent is None
    assert intervals.n_failed == 50
    with pytest.raises(ValueError, match="distinct budgets"):
        intervals.band(1e10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level": 95}, "level is 95"),
        ({"n_resamples": 3}, "n_resamples is 3"),
        ({"seed": -1}, "seed is -1"),
        ({"method": "normal"}, "one of percentile, bca, basic"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    """With the value and what is allowed."""
    with pytest.raises(ValueError, match=message):
        bootstrap(sweep(), **settings)


def test_exponent_interval_is_only_given_for_a_quotable_fit():
    """A fit that cannot be quoted has intervals of its parameters but none of k."""
    runs = sweep(law="power", truth={"A": 30.0, "alpha": 0.2})

    intervals = bootstrap(runs, "saturating", n_resamples=100)

    assert not fit(runs, "saturating").converged
    assert intervals.exponent is None
    assert "exponent k" not in repr(intervals)


def test_intervals_cover_as_often_as_they_say():
    """Over 150 synthetic sweeps: 95% and 50% intervals hold the truth within the chance of so few sweeps."""
    result = calibrate(sweep(), parameters=TRUTH, seed_noise=0.05, cell_noise=0.0, n_sweeps=150, n_resamples=200)
    table = result.table.set_index("quantity")

    assert result.n_failed == 0
    for quantity in ("exponent", "E", "error one decade beyond"):
        assert 0.89 <= table.loc[quantity, "coverage_95"] <= 0.99
        assert 0.38 <= table.loc[quantity, "coverage_50"] <= 0.62


def test_frontier_intervals_hold_the_noise_free_frontier():
    """Choosing the frontier anew in each resample covers at least as often as stated."""
    sizes, data = (a.ravel().round() for a in np.meshgrid(np.geomspace(1e3, 1e7, 8), np.geomspace(1e2, 1e6, 6)))
    surface = {"E": 0.02, "A": 5.0, "alpha": 0.3, "B": 20.0, "beta": 0.4}
    runs = draw_runs("size_and_data", surface, {"size": sizes, "data": data}, seed_noise=0.0, error="test_loss")
    runs = runs.assign(train_flops=6 * runs["n_params"] * runs["n_train"])
    truth = dict(fit(runs, error="test_loss", frontier=True).parameters)

    result = calibrate(
        runs, parameters=truth, seed_noise=0.05, error="test_loss", frontier=True, n_sweeps=60, n_resamples=150
    )

    assert result.table.set_index("quantity").loc["exponent", "coverage_95"] >= 0.9


def test_an_exponent_that_no_jackknife_fit_has_is_no_error():
    """Left-out clusters may all give flat laws where a single resample does not."""
    table = pd.DataFrame(
        {"train_flops": [2.0, 3, 1, 1, 2.878678e101, 1.199346e34, 1], "my_loss": [1.0, 1, 1, 0, 1, 1e300, 0]}
    )
    found = bootstrap(table, "power", error="my_loss", n_resamples=20)

    assert found.exponent is None
    assert found.fit.status is not FitStatus.CONVERGED
