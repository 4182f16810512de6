"""Whatever the table holds: a clear ValueError or a result with a status, never a crash, a warning or a lie."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from scaling import FitStatus, backtest, bootstrap, choose_law, draw_runs, fit, pareto_front

RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
ONE_COST = ["power", "saturating", "exponential", "m4", "bnsl1"]

wild = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -1.0, 1e-300, 1e300, 1e308, 5e-324, math.nan, math.inf, 1.0, 2.0]),
)
costs = st.one_of(st.floats(1e-300, 1e300), st.sampled_from([1.0, 10.0, 100.0]), wild)
errors = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.1, 0.1, 0.5, 1.0, math.nan, 1e-300]), wild)


@st.composite
def tables(draw):
    """A table of up to 25 rows of anything."""
    n = draw(st.integers(0, 25))
    columns = {
        "train_flops": draw(st.lists(costs, min_size=n, max_size=n)),
        "my_loss": draw(st.lists(errors, min_size=n, max_size=n)),
    }
    if draw(st.booleans()):
        columns["seed"] = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    if draw(st.booleans()):
        columns["n_test"] = draw(st.lists(st.sampled_from([0, 1, 10, 100_000]), min_size=n, max_size=n))
    return pd.DataFrame(columns)


def check_sentence(problem):
    """A refusal says what is wrong in more than a word."""
    assert len(str(problem)) > 20


def check(result):
    """What every result promises."""
    assert isinstance(result.status, FitStatus)
    assert result.reason
    assert repr(result)
    assert result._repr_html_()
    if result.converged:
        assert all(math.isfinite(value) for value in result.parameters.values())
        assert result.gradient_norm < 1e-2
        assert np.all(np.isfinite(result.predict(np.array(result.cost_range))))
        assert result.n_points > result.form.n_parameters
        if result.exponent is not None:
            assert result.exponent > 0
    else:
        assert result.exponent is None


@RELAXED
@given(tables(), st.sampled_from(ONE_COST), st.booleans())
def test_any_table_gives_a_status_or_a_sentence(table, law, frontier):
    """NaN, infinities, zeros, negatives, ties, one row, none."""
    try:
        result = fit(table, law, error="my_loss", frontier=frontier)
    except ValueError as problem:
        check_sentence(problem)
        return
    check(result)
    assert len(result.trial_ids) + len(result.left_out) == len(table)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables(), st.sampled_from(["power", "saturating"]), st.booleans())
def test_any_table_can_be_resampled_or_is_refused(table, law, frontier):
    """Intervals keep their promises on degenerate tables too."""
    try:
        intervals = bootstrap(table, law, error="my_loss", frontier=frontier, n_resamples=20)
    except ValueError as problem:
        check_sentence(problem)
        return
    check(intervals.fit)
    assert len(intervals.draws) + intervals.n_failed == 20
    for interval in intervals.parameters.values():
        assert interval.low <= interval.high


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables())
def test_any_table_has_a_front_or_is_refused(table):
    """The front needs no law, only order."""
    try:
        front = pareto_front(table, error="my_loss")
    except ValueError as problem:
        check_sentence(problem)
        return
    assert front["train_flops"].is_monotonic_increasing


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables())
def test_any_table_has_a_choice_of_law_or_is_refused(table):
    """Ties, repeated costs, single seeds: a law with the least error, or none and no average."""
    try:
        choice = choose_law(table, ["power", "saturating"], error="my_loss")
    except ValueError as problem:
        check_sentence(problem)
        return
    for fitted in choice.fits.values():
        check(fitted)
    assert all(weight >= 0 for weight in choice.weights.values())
    if choice.best is None:
        with pytest.raises(ValueError, match="no law could be compared"):
            choice.predict(1.0)
    else:
        assert sum(choice.weights.values()) == pytest.approx(1.0)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=10), st.integers(0, 9), st.floats(1.0, 1e6, exclude_min=True))
def test_errors_in_percent_are_refused(shares, place, percent):
    """One value above 1 is enough, and its row is named."""
    values = list(shares)
    values.insert(min(place, len(values)), percent)
    table = pd.DataFrame({"train_flops": np.arange(1.0, len(values) + 1), "test_error": values})

    with pytest.raises(ValueError, match=rf"row {values.index(percent) + 1}: .*divide percentages by 100"):
        fit(table, "power")


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(2, 4), st.integers(0, 1000), st.sampled_from(["power", "saturating"]))
def test_runs_listed_several_times_move_the_curve_by_little(times, seed, law):
    """A table pasted under itself says nothing new; only the estimate of its scatter may move."""
    truth = {"E": 0.02, "A": 90.0, "alpha": 0.25}
    once = draw_runs("saturating", truth, {"cost": np.geomspace(1e9, 1e13, 12)}, seed=seed)
    again = pd.concat([once] * times, ignore_index=True).drop(columns=["trial_id"])

    one, many = fit(once, law), fit(again, law)

    cost = np.geomspace(1e9, 1e14, 9)
    assert many.n_cells == one.n_cells
    assert np.abs(np.log(many.predict(cost) / one.predict(cost))).max() < 0.1


@RELAXED
@given(
    st.floats(0.0, 0.3), st.floats(1e-3, 1.0), st.floats(0.03, 2.0), st.floats(-250, 250), st.floats(0.5, 60),
    st.integers(8, 40),
)  # fmt: skip
@example(0.25, 1.0, 2.0, 155.0, 1.0, 8)  # A would be 1e310
def test_noise_free_saturating_runs_never_give_a_wrong_converged_exponent(E, scale, alpha, start, decades, n):
    """If it says converged on runs that follow the law exactly, the exponent is right."""
    cost = 10 ** np.linspace(start, min(start + decades, 300), n)
    table = pd.DataFrame({"train_flops": cost, "my_loss": E + scale * (cost / cost[0]) ** -alpha})

    result = fit(table, "saturating", error="my_loss")

    check(result)
    if result.converged:
        assert result.exponent == pytest.approx(1 / alpha, rel=1e-3)
        assert result.parameters["E"] == pytest.approx(E, rel=1e-3, abs=1e-6)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False), st.floats(-100, 100), st.sampled_from(["power", "saturating", "exponential"]))
def test_row_order_and_unit_do_not_matter(random, exponent, law):
    """Shuffled and rescaled, the same curve."""
    runs = draw_runs("saturating", {"E": 0.02, "A": 90.0, "alpha": 0.25}, {"cost": np.geomspace(1e9, 1e13, 12)})
    rows = list(range(len(runs)))
    random.shuffle(rows)
    unit = 10.0**exponent
    other = runs.iloc[rows].assign(train_flops=lambda table: table["train_flops"] * unit)

    one, two = fit(runs, law), fit(other, law)

    assert one.status is two.status
    assert two.predict(1e12 * unit) == pytest.approx(one.predict(1e12), rel=1e-6)


@pytest.mark.parametrize("law", ONE_COST)
@pytest.mark.parametrize(
    "error",
    [
        np.full(20, 0.3),
        np.r_[np.full(10, 0.9), np.full(10, 0.1)],
        np.linspace(0.9, 0.1, 20),
        np.geomspace(1e-300, 1e-200, 20)[::-1],
        np.tile([0.1, 0.9], 10),
    ],
    ids=["constant", "step", "line", "tiny", "alternating"],
)
def test_shapes_no_law_expects_end_with_a_status(law, error):
    """Constant, a step, a straight line, denormal, alternating."""
    table = pd.DataFrame({"train_flops": np.geomspace(1e3, 1e9, 20), "my_loss": error})

    check(fit(table, law, error="my_loss"))


@pytest.mark.parametrize("law", ONE_COST)
def test_constant_error_has_no_exponent(law):
    """Error that compute does not change is never a converged exponent."""
    table = pd.DataFrame({"train_flops": np.geomspace(1e3, 1e9, 20), "my_loss": 0.3})

    assert fit(table, law, error="my_loss").exponent is None


def test_one_cluster_has_no_interval():
    """A single run's curve resampled as a whole would give an interval of width 0: it gives none."""
    runs = draw_runs("power", {"A": 30.0, "alpha": 0.2}, {"cost": np.geomspace(1e9, 1e13, 20)}, n_seeds=1)

    intervals = bootstrap(runs.assign(cell="one"), "power", n_resamples=50)

    assert intervals.parameters == {}
    assert intervals.n_failed == 50
    assert "too few to resample" in repr(intervals)


@pytest.mark.parametrize(
    "table", [None, [1, 2], pd.DataFrame(), pd.DataFrame({"train_flops": ["a"], "test_error": [0.1]})]
)
@pytest.mark.parametrize("call", [fit, bootstrap, backtest, pareto_front])
def test_what_is_no_runs_table_is_refused_in_a_sentence(table, call):
    """Wrong types and text where numbers belong."""
    with pytest.raises(ValueError, match=r"runs table|number"):
        call(table)
