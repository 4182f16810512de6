"""Fits: their status, what they leave out, and what must not change them."""

import json

import numpy as np
import pandas as pd
import pytest

from scaling import FitStatus, draw_runs, fit, pareto_front
from scaling.laws import LAWS

TRUTH = {"E": 0.02, "A": 90.0, "alpha": 0.25}
COST = np.geomspace(1e9, 1e13, 30)


def sweep(law="saturating", truth=None, noise=0.03, seed=0, cost=COST, **more):
    """A sweep of known truth."""
    return draw_runs(law, truth or TRUTH, {"cost": cost}, seed_noise=noise, seed=seed, **more)


def test_converged_fit_has_an_exponent_and_an_equation():
    """k is 1/alpha, and the repr shows it."""
    result = fit(sweep(), "saturating")

    assert result.converged
    assert result.exponent == pytest.approx(1 / result.parameters["alpha"])
    assert result.exponent == pytest.approx(4.0, rel=0.1)
    assert "exponent k" in repr(result)
    assert result.equation in result._repr_html_()
    assert result.n_starts_agreeing == result.n_starts
    assert (result.n_runs, result.n_cells) == (90, 30)


def test_power_law_fit_agrees_with_a_straight_line():
    """Without outliers to speak of, and Huber's threshold out of reach, it is least squares in the logarithms."""
    runs = sweep("power", {"A": 30.0, "alpha": 0.2}, noise=0.0)
    wiggle = 1 + 0.01 * np.where(np.arange(len(runs)) % 2, 1, -1)
    runs["test_error"] *= wiggle

    result = fit(runs, "power")

    slope, level = np.polyfit(np.log(runs["train_flops"]), np.log(runs["test_error"]), 1)
    assert result.parameters["alpha"] == pytest.approx(-slope, rel=1e-9)
    assert result.parameters["A"] == pytest.approx(np.exp(level), rel=1e-8)


def test_one_wild_run_hardly_moves_the_exponent():
    """A run ten times off in error counts as one run, not as a hundred."""
    runs = sweep()
    spoilt = runs.copy()
    spoilt.loc[80, "test_error"] *= 8

    clean, robust = fit(runs, "saturating"), fit(spoilt, "saturating")

    assert robust.exponent == pytest.approx(clean.exponent, rel=0.03)


def test_pure_power_law_is_not_quoted_with_an_irreducible_error():
    """E = 0 fits as well, and the reason says so."""
    statuses = [fit(sweep("power", {"A": 30.0, "alpha": 0.2}, seed=seed), "saturating") for seed in range(8)]

    assert all(s.status in (FitStatus.AT_BOUND, FitStatus.NOT_IDENTIFIED) for s in statuses[:2])
    assert sum(s.converged for s in statuses) <= 1
    assert all(s.exponent is None for s in statuses if not s.converged)
    assert "irreducible" in statuses[0].reason or "E = 0" in statuses[0].reason


@pytest.mark.parametrize(("law", "needed"), [("power", 3), ("saturating", 4), ("m4", 6)])
def test_too_few_budgets_give_a_status_and_no_parameters(law, needed):
    """One budget fewer than needed is named with both numbers."""
    result = fit(sweep(cost=COST[: needed - 1]), law)

    assert result.status is FitStatus.TOO_FEW_RUNS
    assert result.parameters == {}
    assert str(needed - 1) in result.reason
    assert str(needed) in result.reason
    with pytest.raises(ValueError, match="not fitted"):
        result.predict(1e10)


def test_error_that_rises_with_cost_is_at_a_bound():
    """A negative exponent is no scaling law."""
    runs = sweep()
    runs["test_error"] = runs["test_error"].to_numpy()[::-1]

    result = fit(runs, "power")

    assert result.status is FitStatus.AT_BOUND
    assert "alpha" in result.reason


def test_error_that_does_not_depend_on_cost_is_not_identified():
    """Pure noise has no exponent."""
    runs = sweep()
    runs["test_error"] = 0.3 * np.exp(0.05 * np.random.default_rng(0).standard_normal(len(runs)))

    result = fit(runs, "power")

    assert result.status in (FitStatus.NOT_IDENTIFIED, FitStatus.AT_BOUND)
    assert result.exponent is None


def test_input_that_never_varies_is_not_identified():
    """One size says nothing of the exponent of size."""
    truth = {"E": 0.02, "A": 5.0, "alpha": 0.3, "B": 20.0, "beta": 0.4}
    inputs = {"size": np.full(40, 1e4), "data": np.geomspace(1e2, 1e6, 40).round()}
    runs = draw_runs("size_and_data", truth, inputs, seed_noise=0.02, error="test_loss")

    result = fit(runs, "size_and_data", error="test_loss")

    assert not result.converged
    assert result.exponent is None


def test_no_run_vanishes():
    """Every run is either read or listed with its reason."""
    runs = sweep()
    runs["reason"] = None
    runs.loc[0, ["status", "reason"]] = ["diverged", "loss above 1e4"]
    runs.loc[1, "status"] = "failed"
    runs.loc[2, "test_error"] = np.nan
    runs.loc[3, "train_flops"] = 0.0
    runs.loc[4, "test_error"] = 0.0

    result = fit(runs, "saturating")

    reasons = dict(result.left_out)
    assert len(result.trial_ids) + len(reasons) == len(runs)
    assert reasons["synthetic-000000"] == "status diverged: loss above 1e4"
    assert "status failed" in reasons["synthetic-000001"]
    assert "empty" in reasons["synthetic-000002"]
    assert "not above 0" in reasons["synthetic-000003"]
    assert "number of test examples" in reasons["synthetic-000004"]


def test_an_error_of_zero_of_unknown_size_counts_in_the_mean_of_its_cell_and_not_alone():
    """On a frontier beside other seeds it is the 0 that was measured; otherwise it stays out. The note counts both."""
    runs = sweep("power", {"A": 30.0, "alpha": 0.2})
    cells = runs["cell"].unique()
    beside, whole = runs["cell"] == cells[-1], runs["cell"] == cells[-2]
    runs.loc[runs.index[beside][:1], "test_error"] = 0.0
    runs.loc[whole, "test_error"] = 0.0

    front, alone = fit(runs, "power", frontier=True), fit(runs, "power")

    assert np.exp(front.points.y[-1]) == pytest.approx(runs.loc[beside, "test_error"].mean())
    assert len(front.left_out) == 3
    assert front.notes == (
        "4 runs have test_error 0, and nothing says how small it is: 1 counts as 0 in the mean of a cell with others, "
        "3 are left out, as 0 has no logarithm; give the number of test examples in a column `n_test`",
    )
    assert len(alone.left_out) == 4
    assert "4 are left out" in alone.notes[0]
    assert fit(runs.assign(n_test=1000), "power", frontier=True).notes == ()


def test_an_error_that_rises_with_the_cost_is_asked_about():
    """An accuracy does; an error that scatters about its law does not, nor one of a handful of runs by chance."""
    runs = sweep()

    found = fit(runs.assign(test_error=1 - runs["test_error"]), "power", frontier=True)

    assert not found.converged
    assert "if it is an accuracy, give 1 - accuracy as the error" in found.notes[0]
    assert fit(runs, "power").notes == fit(sweep(noise=0.5), "power").notes == ()
    few = pd.DataFrame({"train_flops": [1e9, 2e9, 3e9, 4e9], "test_error": [0.1, 0.2, 0.3, 0.4]})
    assert fit(few, "power").notes == ()


@pytest.mark.parametrize("function", [fit, pareto_front])
def test_a_cost_that_is_the_error_is_refused(function):
    """A column falls with itself under any law."""
    with pytest.raises(ValueError, match="'test_error' is both the cost and the error; name another"):
        function(sweep(), cost="test_error")


def test_error_of_zero_on_a_known_test_set_enters():
    """With the size of the test set known, a count of 0 is data and not a hole."""
    runs = sweep("power", {"A": 30.0, "alpha": 0.25}, n_test=100)
    assert (runs["test_error"] == 0).any()

    result = fit(runs, "power")

    assert result.left_out == ()
    assert result.converged
    assert result.parameters["alpha"] == pytest.approx(0.25, abs=0.04)


def test_seed_without_error_counts_in_the_mean_of_its_cell():
    """On a frontier a lucky seed lowers its cell's mean; leaving it out would raise it."""
    runs = sweep("power", {"A": 30.0, "alpha": 0.2})
    runs.loc[runs.index[-1], "test_error"] = 0.0

    result = fit(runs, "power", frontier=True)

    last = runs.groupby("cell")["test_error"].mean().iloc[-1]
    assert result.left_out == ()
    assert np.exp(result.points.y[-1]) == pytest.approx(last)


def test_small_test_sets_weigh_less():
    """Runs measured on 50 examples move the fit less than runs measured on 50,000."""
    runs = sweep(noise=0.02)
    runs["n_test"] = 50_000
    runs.loc[runs.index[-15:], "test_error"] *= 1.3
    sure = fit(runs, "saturating").parameters["E"]
    runs.loc[runs.index[-15:], "n_test"] = 50

    unsure = fit(runs, "saturating").parameters["E"]

    assert abs(unsure - 0.02) < abs(sure - 0.02)


def test_order_of_rows_changes_nothing():
    """Shuffled rows give the same numbers to the last bit."""
    runs = sweep()
    shuffled = runs.sample(frac=1, random_state=3)

    assert fit(runs, "saturating").to_dict() == fit(shuffled, "saturating").to_dict()


@pytest.mark.parametrize("law", ["power", "saturating", "exponential", "m4", "bnsl1"])
@pytest.mark.parametrize("unit", [1e-12, 3.7e6])
def test_units_of_compute_change_nothing(law, unit):
    """PetaFLOP or FLOP: the same error at the same compute, the same status, the same exponent."""
    runs = sweep()
    scaled = runs.assign(train_flops=runs["train_flops"] * unit)

    one, other = fit(runs, law), fit(scaled, law)

    assert one.status is other.status
    assert other.predict(COST * unit) == pytest.approx(one.predict(COST), rel=1e-5)
    if one.exponent is not None:
        assert other.exponent == pytest.approx(one.exponent, rel=1e-5)


def test_seeds_of_a_cell_are_one_cluster():
    """Without a `cell` column the settings tell the cells apart."""
    runs = sweep().drop(columns="cell")

    assert fit(runs, "saturating").n_cells == 30


def test_rows_without_seeds_are_their_own_clusters():
    """A stranger's two columns: no row is taken for a repeat of another."""
    runs = sweep()[["train_flops", "test_error"]]

    assert fit(runs, "saturating").n_cells == 90


def test_repeats_that_nothing_tells_apart_are_noted():
    """60 of 90 rows repeat the cost of another; with seeds, or without repeats, there is nothing to say."""
    runs = sweep()

    bare = fit(runs[["train_flops", "test_error"]], "saturating")

    assert len(bare.notes) == 1
    assert "60 of 90 runs repeat the train_flops of another" in bare.notes[0]
    assert bare.notes[0] in repr(bare)
    assert bare.to_dict()["notes"] == list(bare.notes)
    assert fit(runs[["train_flops", "test_error", "seed"]], "saturating").notes == ()
    assert fit(runs[runs["seed"] == 0][["train_flops", "test_error"]], "saturating").notes == ()


def test_frontier_averages_seeds_before_it_chooses():
    """The luckiest seed is not the frontier: the prediction is not below that of the cells' means."""
    runs = sweep(noise=0.2)

    result = fit(runs, "power", frontier=True)

    means = runs.groupby("cell").agg(c=("train_flops", "first"), e=("test_error", "mean"))
    assert result.n_points < len(means)
    kept = np.exp(result.points.y)
    assert set(np.round(kept, 12)) <= set(np.round(means["e"], 12))


def test_frontier_of_a_surface_is_refused():
    """A law in two inputs has no single cost."""
    with pytest.raises(ValueError, match="single cost"):
        fit(sweep(), "size_and_data", frontier=True)


def test_missing_column_is_named():
    """The message gives what there is, and the remedy."""
    with pytest.raises(ValueError, match=r"no column 'energy_joules'; it has .*train_flops"):
        fit(sweep(), "power", cost="energy_joules")
    with pytest.raises(ValueError, match=r"it has train_flops, test_error; name the one to take with --cost"):
        fit(sweep()[["train_flops", "test_error"]], "power", cost="energy_joules")


def test_to_dict_is_json_and_the_same_each_time():
    """Refitting the same runs gives the same bytes."""
    texts = {json.dumps(fit(sweep(), "saturating").to_dict(), allow_nan=False, sort_keys=True) for _ in range(2)}
    few = fit(sweep(cost=COST[:2]), "saturating").to_dict()

    assert len(texts) == 1
    assert json.loads(json.dumps(few, allow_nan=False))["status"] == "too_few_runs"


def test_input_table_is_not_touched():
    """Read-only arrays fit, and nothing is written into the caller's table."""
    runs = sweep()
    for name in ("train_flops", "test_error"):
        values = runs[name].to_numpy().copy()
        values.setflags(write=False)
        runs[name] = pd.Series(values, copy=False)
    before = runs.copy(deep=True)

    fit(runs, "saturating", frontier=True)

    pd.testing.assert_frame_equal(runs, before)


def test_predict_and_inverse_of_a_fit_agree_with_its_parameters():
    """The centred coordinates inside give what the printed law gives."""
    result = fit(sweep(), "saturating")
    law = LAWS["saturating"]

    assert result.predict(COST) == pytest.approx(law.predict(result.parameters, COST), rel=1e-10)
    assert result.inverse(0.1) == pytest.approx(law.inverse(result.parameters, 0.1), rel=1e-9)
    assert result.decades_beyond(1e15) == pytest.approx(2.0)


def test_hundred_thousand_runs_are_fitted_quickly_and_well():
    """Every run counts: the precision is that of all of them."""
    runs = sweep(cost=np.geomspace(1e9, 1e13, 33_334))

    result = fit(runs, "saturating")

    assert result.n_runs == 100_002
    assert result.parameters["alpha"] == pytest.approx(0.25, abs=0.001)
