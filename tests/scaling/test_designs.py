"""Allocation, isoFLOP minima, envelopes, quantile frontiers, conventions, calibration, synthetic runs."""

import json

import numpy as np
import pandas as pd
import pytest

from scaling import LAWS, draw_runs, fit
from scaling.allocation import optimal_allocation, optimal_frontier
from scaling.calibrate import calibrate
from scaling.conventions import EXACT, fit_conventions
from scaling.envelope import training_envelope
from scaling.isoflop import best_size, isoflop_minima
from scaling.quantile import quantile_frontier

SURFACE = {"E": 0.02, "A": 5.0, "alpha": 0.3, "B": 20.0, "beta": 0.4}
LAW = LAWS["size_and_data"]


@pytest.mark.parametrize("flops", [1e8, 1e12, 1e16])
@pytest.mark.parametrize("k", [6.0, 150.0])
def test_optimal_allocation_agrees_with_a_grid_search(flops, k):
    """Brute force along the isoFLOP line finds the same size, to the width of its grid."""
    sizes = np.geomspace(1e-2, 1e14, 240_001)
    best = sizes[np.argmin(LAW.predict(SURFACE, sizes, flops / (k * sizes)))]

    n_params, n_examples = optimal_allocation(SURFACE, flops, flops_per_param_example=k)

    assert n_params == pytest.approx(best, rel=2e-4)
    assert k * n_params * n_examples == pytest.approx(flops)


def test_optimal_frontier_is_the_error_at_the_optimal_allocation():
    """The implied law in cost equals the surface along its optimum."""
    flops = np.geomspace(1e8, 1e16, 9)
    implied = optimal_frontier(SURFACE, flops_per_param_example=6.0)

    along = LAW.predict(SURFACE, *optimal_allocation(SURFACE, flops, flops_per_param_example=6.0))

    assert LAWS["saturating"].predict(implied, flops) == pytest.approx(along, rel=1e-10)


@pytest.mark.parametrize(
    ("parameters", "flops", "k", "message"),
    [
        (SURFACE, -1.0, 6.0, "budget that is not positive"),
        (SURFACE, 1e9, 0.0, "flops_per_param_example is 0"),
        (SURFACE | {"alpha": 0.0}, 1e9, 6.0, "alpha is 0"),
        ({"A": 1.0}, 1e9, 6.0, "alpha is missing"),
    ],
)
def test_impossible_allocations_are_refused(parameters, flops, k, message):
    """Nothing is allocated from numbers that have no optimum."""
    with pytest.raises(ValueError, match=message):
        optimal_allocation(parameters, flops, flops_per_param_example=k)


def isoflop_runs(alpha=0.3, beta=0.4, noise=0.0, offset=1.0):
    """Six budgets of nine sizes each, centred on the optimum times an offset."""
    truth = SURFACE | {"alpha": alpha, "beta": beta}
    budgets = np.repeat(np.geomspace(1e9, 1e14, 6), 9)
    centre = optimal_allocation(truth, budgets, flops_per_param_example=6.0)[0] * offset
    size = centre * np.tile(np.geomspace(1 / 8, 8, 9), 6)
    inputs = {"size": size, "data": budgets / (6 * size)}
    columns = {"size": "size", "data": "data"}
    runs = draw_runs(LAW, truth, inputs, n_seeds=1, seed_noise=noise, error="test_loss", columns=columns)
    return runs.assign(budget=budgets)


def test_parabola_is_right_only_where_the_surface_is_symmetric():
    """Centred and symmetric, the parabola finds 1/2; off centre and asymmetric it is biased, and says so."""
    even = isoflop_minima(isoflop_runs(0.35, 0.35), size="size", data="data")
    uneven = isoflop_minima(isoflop_runs(0.3, 0.55, offset=3.0), size="size", data="data")

    assert even.size_exponent == pytest.approx(0.5, abs=1e-3)
    assert even.expected_bias == pytest.approx(0.0, abs=1e-3)
    true = 0.55 / 0.85
    assert uneven.surface_size_exponent == pytest.approx(true, rel=1e-4)
    assert uneven.size_exponent - true == pytest.approx(uneven.expected_bias, abs=1e-4)


def test_minimum_outside_the_sizes_tried_is_not_used():
    """A parabola that falls to the edge has no minimum to quote."""
    result = isoflop_minima(isoflop_runs(offset=200.0), size="size", data="data")

    assert not result.minima["usable"].any()
    assert result.size_exponent is None
    assert "outside" in result.minima["reason"].iloc[0]


def test_best_size_is_the_surface_s_own_optimum():
    """From a fitted surface, as from its parameters."""
    surface = fit(isoflop_runs(noise=0.01), LAW, error="test_loss", columns={"size": "size", "data": "data"})
    expected = optimal_allocation(surface.parameters, 1e12, flops_per_param_example=6.0)[0]

    assert best_size(surface, 1e12, flops_per_param_example=6.0) == pytest.approx(expected)


def test_envelope_is_the_running_minimum_of_all_curves():
    """At each budget the least error of any run up to there, by brute force."""
    rng = np.random.default_rng(0)
    rows = [
        {"trial_id": f"t{run}", "train_flops": 1e6 * (run + 1) * step, "validation_error": rng.random() / step}
        for run in range(6)
        for step in range(1, 30)
    ]
    curves = pd.DataFrame(rows)

    envelope = training_envelope(curves, n_budgets=20)

    for _, row in envelope.iterrows():
        spent = curves["train_flops"] <= row["train_flops"] * (1 + 1e-9)
        assert row["validation_error"] == curves.loc[spent, "validation_error"].min()
    assert set(envelope["cell"]) <= set(curves["trial_id"])
    fit(envelope, "power", error="validation_error")


def test_quantile_frontier_has_its_share_below():
    """A tenth of 200 cells lies at or below the 10% line, to the points it passes through."""
    runs = draw_runs("power", {"A": 10.0, "alpha": 0.2}, {"cost": np.geomspace(1e9, 1e13, 200)}, seed_noise=0.3)

    frontier = quantile_frontier(runs, 0.1)

    means = runs.groupby("cell").agg(c=("train_flops", "first"), e=("test_error", "mean"))
    below = (means["e"] <= frontier.predict(means["c"].to_numpy()) * (1 + 1e-9)).mean()
    assert 0.09 <= below <= 0.12
    assert frontier.alpha == pytest.approx(0.2, abs=0.05)


def test_conventions_give_the_exponent_under_each_count():
    """Head and embeddings change the exponent where they are most of the small models, and what is missing is named."""
    size = np.geomspace(1e4, 1e8, 30)
    runs = pd.DataFrame({"n_params": (size + 5e5).round(), "n_params_core": size.round(), "n_train": 10_000})
    runs["train_flops"] = 6.0 * runs["n_params_core"] * runs["n_train"]
    runs["test_error"] = 30 * runs["train_flops"] ** -0.2

    result = fit_conventions(runs, "power")

    exponents = result.table.set_index("convention")["exponent"]
    assert exponents[EXACT] == pytest.approx(5.0)
    assert exponents.filter(like="without").iloc[0] == pytest.approx(5.0)
    assert exponents.filter(like="all parameters").iloc[0] < 4.0
    assert "n_params_core" in next(iter(fit_conventions(runs.drop(columns="n_params_core")).not_available.values()))
    json.dumps(result.to_dict(), allow_nan=False)


def test_calibration_before_the_sweep_needs_the_truth():
    """A design without errors says what it would need."""
    design = pd.DataFrame({"train_flops": np.geomspace(1e9, 1e12, 12)})

    with pytest.raises(ValueError, match="give parameters and seed_noise"):
        calibrate(design, "power")

    result = calibrate(
        design, "power", parameters={"A": 30.0, "alpha": 0.2}, seed_noise=0.05, n_sweeps=20, n_resamples=50
    )
    assert result.table["quantity"].tolist() == ["A", "alpha", "exponent", "error one decade beyond"]
    assert abs(result.table.set_index("quantity").loc["alpha", "bias"]) < 0.02


def test_calibration_takes_the_noise_from_the_runs():
    """The noises it draws are those the runs were drawn with."""
    runs = draw_runs(
        "power", {"A": 30.0, "alpha": 0.2}, {"cost": np.geomspace(1e9, 1e13, 80)},
        n_seeds=4, seed_noise=0.05, cell_noise=0.1,
    )  # fmt: skip

    result = calibrate(runs, "power", n_sweeps=2, n_resamples=20)

    assert result.seed_noise == pytest.approx(0.05, rel=0.15)
    assert result.cell_noise == pytest.approx(0.1, rel=0.3)
    json.dumps(result.to_dict(), allow_nan=False)


def test_synthetic_runs_have_the_noise_they_say():
    """Standard deviations between and within cells, by analysis of variance."""
    runs = draw_runs(
        "power", {"A": 30.0, "alpha": 0.2}, {"cost": np.geomspace(1e9, 1e13, 2000)},
        n_seeds=4, seed_noise=0.05, cell_noise=0.1,
    )  # fmt: skip
    log_ratio = np.log(runs["test_error"] / (30.0 * runs["train_flops"] ** -0.2)).to_numpy().reshape(2000, 4)

    assert log_ratio.std(axis=1, ddof=1).mean() == pytest.approx(0.05 * 0.921, rel=0.03)
    assert log_ratio.mean(axis=1).std() == pytest.approx(np.hypot(0.1, 0.025), rel=0.05)


def test_synthetic_runs_need_every_input():
    """A missing role is named."""
    with pytest.raises(ValueError, match="needs values for data"):
        draw_runs("size_and_data", SURFACE, {"size": [1e4]})
