"""Backtests and the choice of a law: the right law predicts best, and the choice carries its uncertainty."""

import json

import numpy as np
import pytest

from scaling import backtest, bootstrap_choice, choose_law, draw_runs
from scaling.holdout import CUTS

COST = np.geomspace(1e9, 1e13, 24)


def sweep(law, truth, seed=0, noise=0.02):
    """A sweep of known truth."""
    return draw_runs(law, truth, {"cost": COST}, seed_noise=noise, seed=seed)


@pytest.mark.parametrize(
    ("law", "truth"),
    [
        ("saturating", {"E": 0.05, "A": 90.0, "alpha": 0.3}),
        ("exponential", {"a": -15.0, "b": 2.0}),
    ],
)
def test_the_true_law_wins_the_backtest(law, truth):
    """Among simple laws, the one the runs were drawn from predicts best."""
    result = backtest(sweep(law, truth), ["power", "saturating", "exponential"], n_resamples=0)

    assert result.best == law


def test_backtest_never_sees_what_it_predicts():
    """Errors above the last cut can be anything without changing what is fitted below it."""
    runs = sweep("saturating", {"E": 0.05, "A": 90.0, "alpha": 0.3})
    spoilt = runs.copy()
    spoilt.loc[spoilt["train_flops"] > COST[12], "test_error"] = 0.5

    one, two = (backtest(table, ["saturating"], cuts=[0.5], n_resamples=0).table for table in (runs, spoilt))

    assert one["predicted"].tolist() == two["predicted"].tolist()
    assert one["error"].tolist() != two["error"].tolist()


def test_table_says_how_far_it_reached():
    """Decades beyond the cut, checked against the costs themselves."""
    table = backtest(sweep("power", {"A": 30.0, "alpha": 0.2}), ["power"], cuts=[0.5], n_resamples=0).table

    assert table["decades_beyond"].to_numpy() == pytest.approx(
        np.log10(table["cost"] / table["fitted_up_to"]).to_numpy()
    )
    assert table["log_ratio"].to_numpy() == pytest.approx(np.log(table["predicted"] / table["error"]).to_numpy())


def test_bands_of_the_backtest_hold_most_later_runs():
    """With the right law, about the stated share of later runs lies inside."""
    shares = [
        backtest(sweep("saturating", {"E": 0.05, "A": 90.0, "alpha": 0.3}, seed), ["saturating"], cuts=[0.5, 0.75])
        .scores["inside"]
        .iloc[0]
        for seed in range(4)
    ]

    assert 0.85 <= np.mean(shares) <= 1.0


def test_law_that_could_not_be_fitted_has_no_score():
    """It is listed, not dropped, and never the best."""
    runs = sweep("power", {"A": 30.0, "alpha": 0.2}).query("train_flops < 5e9")

    result = backtest(runs, ["power", "bnsl3"], n_resamples=0)

    scores = result.scores.set_index("law")
    assert result.best == "power"
    assert np.isnan(scores.loc["bnsl3", "score"])
    assert scores.loc["bnsl3", "weight"] == 0


def test_backtest_of_two_budgets_is_an_answer_too():
    """Nothing can be fitted: no best law, an empty table, no exception."""
    runs = sweep("power", {"A": 30.0, "alpha": 0.2}).query("train_flops < 2e9").head(6)

    result = backtest(runs, ["power"], n_resamples=0)

    assert result.best is None
    assert result.table.empty
    json.dumps(result.to_dict(), allow_nan=False)


def test_frontier_backtest_scores_later_frontier_cells():
    """The predicted points are those of the frontier of all cells, above the cut."""
    runs = sweep("power", {"A": 30.0, "alpha": 0.2}, noise=0.2)

    table = backtest(runs, ["power"], frontier=True, cuts=[0.5], n_resamples=0).table

    assert np.all(np.diff(table["error"]) < 0)


def test_choice_predicts_by_weight():
    """The average lies between the laws it averages, and its weights sum to 1."""
    runs = sweep("saturating", {"E": 0.05, "A": 90.0, "alpha": 0.3})

    choice = choose_law(runs, ["power", "saturating", "exponential"])

    each = np.array([fitted.predict(1e15) for fitted in choice.fits.values()])
    assert sum(choice.weights.values()) == pytest.approx(1.0)
    assert each.min() <= choice.predict(1e15) <= each.max()
    assert choice.best == max(choice.weights, key=choice.weights.get) == choice.fit.law
    json.dumps(choice.to_dict(), allow_nan=False)


def test_band_of_a_choice_includes_the_choice():
    """Where two laws disagree beyond the data, the band reaches over both in proportion."""
    runs = sweep("saturating", {"E": 0.05, "A": 90.0, "alpha": 0.3}, noise=0.1)
    choice = choose_law(runs, ["saturating", "power"])
    intervals = bootstrap_choice(runs, choice, n_resamples=100)

    low, high = intervals.band(1e16)
    noisy_low, noisy_high = intervals.band(1e16, noise=True)

    assert low <= choice.predict(1e16) <= high
    assert noisy_low < low < high < noisy_high
    assert intervals.band(np.array([1e10, 1e12]))[0].shape == (2,)


def test_wrong_cuts_are_refused():
    """A cut is a share of the budgets."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        backtest(sweep("power", {"A": 30.0, "alpha": 0.2}), cuts=[0.5, 1.0])
    assert all(0 < cut < 1 for cut in CUTS)


def test_no_laws_are_refused():
    """A comparison of nothing is a mistake."""
    with pytest.raises(ValueError, match="laws is empty"):
        backtest(sweep("power", {"A": 30.0, "alpha": 0.2}), [])
