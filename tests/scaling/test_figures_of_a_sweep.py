"""Grids, backtests, energy, curves, splits, fans and coverage: what is drawn is what the numbers say."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import rc_context
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from scipy.stats import binomtest

from scaling import backtest, bootstrap, draw_runs, figures, pareto_front
from scaling.calibrate import Calibration
from scaling.holdout import Backtest

matplotlib.use("Agg")

K = 6.0
SURFACE = {"E": 0.04, "A": 2.0, "alpha": 0.3, "B": 2.5, "beta": 0.4}


def grid(n_widths=5, n_sizes=5, n_seeds=3):
    """Runs of a known surface on a grid of width and data."""
    widths = np.unique(np.geomspace(4, min(4 * 2 ** (n_widths - 1), 4096), n_widths).round())
    width = np.repeat(widths, n_sizes)
    data = np.tile(np.geomspace(100, 1e5, n_sizes).round(), len(widths))
    size = 50 * width**2
    table = draw_runs("size_and_data", SURFACE, {"size": size, "data": data}, n_seeds=n_seeds, seed_noise=0.02)
    table["width"] = np.repeat(width, n_seeds)
    table["train_flops"] = K * table["n_params"] * table["n_train"]
    table["energy_joules"] = table["train_flops"] / 3e8
    table["energy_source"] = "estimated"
    table["utilisation"] = 0.3 * table["n_params"] / (table["n_params"] + 1e4)
    return table


def draw(plot, *arguments, **keywords):
    """Axes of a figure that was drawn to its last mark; a warning is an error."""
    with rc_context(figures.style()):
        figure = Figure(figsize=(6, 4))
        axes = plot(figure.add_subplot(), *arguments, **keywords)
        figure.draw_without_rendering()
    return axes


@pytest.fixture(scope="module")
def runs():
    """The grid."""
    return grid()


@pytest.fixture(scope="module")
def surface(runs):
    """The surface fitted to it."""
    found = bootstrap(runs, law="size_and_data", n_resamples=200)
    assert found.fit.converged
    return found


@pytest.fixture(scope="module")
def power(runs):
    """The power law of its frontier."""
    return bootstrap(runs, law="power", frontier=True, n_resamples=200)


def test_slices_hold_the_mean_the_best_and_the_worst_seed(runs):
    """Against plain loops."""
    table = figures.slice_table(runs, "n_train", "width").set_index(["n_train", "width"])

    assert len(table) == 25
    for (n_train, width), row in table.iterrows():
        errors = runs.loc[(runs["n_train"] == n_train) & (runs["width"] == width), "test_error"]
        assert (row["test_error"], row["least"], row["most"], row["n_seeds"]) == pytest.approx(
            (errors.mean(), errors.min(), errors.max(), 3)
        )


def test_of_several_cells_at_a_pair_the_best_is_taken(runs):
    """A technique that is worse everywhere changes nothing."""
    worse = runs.assign(
        cell=runs["cell"] + "-worse", trial_id=runs["trial_id"] + "w", test_error=runs["test_error"] * 1.5
    )

    pd.testing.assert_frame_equal(
        figures.slice_table(pd.concat([runs, worse]), "n_train", "width"), figures.slice_table(runs, "n_train", "width")
    )


def test_a_heat_map_leaves_pairs_without_a_run_empty(runs):
    """Every other field has its mean, and its number in percent."""
    missing = (runs["width"] == 4) & (runs["n_train"] == 100)
    axes = draw(figures.plot_heat_map, runs[~missing])
    values = axes.images[0].get_array()

    assert values.mask.sum() == 1
    assert values.mask[0, 0]
    best = runs[(runs["width"] == 64) & (runs["n_train"] == 100_000)]["test_error"].mean()
    assert values[-1, -1] == pytest.approx(best)
    assert f"{100 * best:.3g}" in {text.get_text() for text in axes.texts}
    assert len(axes.texts) == 24


def test_a_slice_is_a_line_of_means_with_bars_to_the_seeds(runs):
    """One for each width, eight at most."""
    axes = draw(figures.plot_slices, runs)
    table = figures.slice_table(runs, "n_train", "width")

    assert [container.get_label() for container in axes.containers] == ["4", "8", "16", "32", "64"]
    line, _, (bars,) = axes.containers[0].lines
    own = table[table["width"] == 4]
    assert line.get_ydata() == pytest.approx(own["test_error"].to_numpy())
    assert [segment[:, 1] for segment in bars.get_segments()] == pytest.approx(own[["least", "most"]].to_numpy())
    many = draw(figures.plot_slices, grid(n_widths=11))
    assert len({container.lines[0].get_color() for container in many.containers}) == len(many.containers) == 8
    assert many.get_legend().get_title().get_text() == "width (8 of 11)"


def test_the_backtest_draws_the_middle_cut_around_the_diagonal(runs):
    """As many marks as runs beyond it, each at its prediction."""
    tested = backtest(runs, ["power", "saturating"], frontier=True, n_resamples=50)
    axes = draw(figures.plot_backtest, tested)
    cuts = sorted(tested.table["fitted_up_to"].unique())
    part = tested.table[(tested.table["fitted_up_to"] == cuts[len(cuts) // 2]) & (tested.table["law"] == "power")]
    marks = next(line for line in axes.lines if line.get_label().startswith("power"))
    low, high = axes.get_ylim()

    assert marks.get_ydata() == pytest.approx(part["predicted"].to_numpy())
    assert marks.get_xdata() == pytest.approx(part["error"].to_numpy(), rel=0.05)
    assert low <= part["predicted"].min() <= part["predicted"].max() <= high
    diagonal = axes.lines[0]
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())


def test_a_prediction_far_off_is_an_arrow_with_its_number_and_leaves_the_others_apart():
    """The picture ends at a factor of 4; a band that goes on has an arrowhead at the edge, and the legend counts."""
    measured = np.geomspace(0.05, 0.2, 4)
    rows = [
        {"law": law, "fitted_up_to": 1e9, "error": error, "predicted": error * factor, "low": error * factor / wide,
         "high": error * factor * wide}
        for law, factors, wide in (("power", [1.1] * 4, 1.2), ("m4", [1e-9, 1.0, 1.0, np.nan], 100.0))
        for error, factor in zip(measured, factors, strict=True)
    ]  # fmt: skip
    scores = pd.DataFrame({"law": ["power", "m4"], "rmse_log": [0.1, 9.0], "inside": [1.0, 0.5]})
    axes = draw(figures.plot_backtest, Backtest(pd.DataFrame(rows), scores, pd.DataFrame(), "power", 0.95))
    low, high = axes.get_ylim()
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    drawn = {line.get_label().split(":")[0]: len(line.get_ydata()) for line in axes.lines}

    assert low == pytest.approx(0.05 / 4)
    assert high < 4 * 0.2
    assert (drawn["power"], drawn["m4"]) == (4, 2)
    assert "5e-09%" in {text.get_text() for text in axes.texts}
    assert "1 below the picture, down to 5e-09%; 1 without a prediction" in words[1]
    assert "off by a factor 8.1e+03" in words[1]
    assert "arrows: beyond the picture" in axes.get_legend().get_title().get_text()
    heads = [line for line in axes.lines if line.get_marker() in "v^" and len(line.get_ydata())]
    assert {float(value) for line in heads for value in line.get_ydata()} == {low, high}


def test_the_frontier_of_each_technique_is_that_of_its_own_runs(runs):
    """As drawn, with bars to the best and the worst seed; an error of 0 counts in the mean."""
    better = runs.assign(
        technique="pruning", trial_id=runs["trial_id"] + "p", cell=runs["cell"] + "p", test_error=runs["test_error"] / 2
    )
    better.loc[better.index[-1], "test_error"] = 0.0
    both = pd.concat([better, runs.assign(technique="baseline")], ignore_index=True)
    table = figures.technique_frontiers(both)
    axes = draw(figures.plot_technique_frontiers, both)

    assert [container.get_label() for container in axes.containers] == ["baseline", "pruning"]
    for container, part in zip(axes.containers, (runs, better), strict=True):
        own = table[table["technique"] == container.get_label()]
        means = part.groupby("cell")[["train_flops", "test_error"]].mean().sort_values(["train_flops", "test_error"])
        kept = means[means["test_error"] <= means["test_error"].cummin()]
        assert own[["train_flops", "test_error"]].to_numpy() == pytest.approx(kept.to_numpy())
        assert container.lines[0].get_ydata() == pytest.approx(own["test_error"].to_numpy())
        assert (own["least"] <= own["test_error"]).all()
        assert (own["test_error"] <= own["most"]).all()
    assert table["least"].min() == 0.0


def test_no_two_of_twenty_four_techniques_look_alike(runs):
    """Colour, mark and dash together; without the colour mark and dash still tell most apart."""
    many = [runs.assign(technique=f"t{number:02d}", trial_id=runs["trial_id"] + f"-{number}") for number in range(24)]
    axes = draw(figures.plot_technique_frontiers, pd.concat(many, ignore_index=True))
    lines = [container.lines[0] for container in axes.containers]

    assert len(lines) == 24
    assert len({(line.get_color(), line.get_marker(), str(line._dash_pattern)) for line in lines}) == 24


def test_of_many_curves_some_are_drawn_and_the_envelope_is_that_of_all():
    """The legend counts them."""
    curves = pd.DataFrame({
        "trial_id": np.repeat([f"t{number}" for number in range(1000)], 2),
        "train_flops": np.repeat(np.geomspace(1e6, 1e9, 1000), 2) * np.tile([0.5, 1.0], 1000),
        "validation_error": np.repeat(np.geomspace(0.9, 0.01, 1000), 2),
    })  # fmt: skip
    axes = draw(figures.plot_training_curves, curves)
    envelope = next(line for line in axes.lines if line.get_label() == "envelope")

    assert len(axes.collections[0].get_segments()) == 300
    assert axes.collections[0].get_label() == "300 of 1,000 trials"
    assert min(envelope.get_ydata()) == pytest.approx(0.01)


def test_energy_is_drawn_where_it_is_known_and_counted_where_not(runs):
    """Unknown energy is neither a point nor zero."""
    table = runs.copy()
    table.loc[:9, ["energy_joules", "energy_source"]] = [np.nan, "unknown"]
    axes = draw(figures.plot_energy, table)
    drawn = np.concatenate([points.get_offsets() for points in axes.collections])

    assert sorted(drawn[:, 1]) == pytest.approx(sorted(table["energy_joules"].dropna()))
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "10 trials not drawn: energy unknown" in words
    assert len(figures.energy_table(table)) == len(table) - 10


def test_lines_of_efficiency_are_where_they_say(runs):
    """On the line 10^8 FLOP/J energy is compute over 10^8."""
    axes = draw(figures.plot_energy, runs)
    found = {text.get_text(): text.xy for text in axes.texts}

    assert found
    for words, (flops, joules) in found.items():
        power = int(
            words.removesuffix(" FLOP/J").removeprefix("10").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
        )
        assert flops / joules == pytest.approx(10.0**power)


def test_a_figure_without_anything_to_draw_says_why(runs):
    """In words, instead of empty axes."""
    nothing = runs.assign(energy_joules=np.nan)
    refused = bootstrap(runs.iloc[:6], law="saturating", frontier=True, n_resamples=100)
    untested = backtest(runs.iloc[:6], ["power"], n_resamples=0)
    for plot, argument, words in (
        (figures.plot_energy, nothing, "the energy is unknown (75 trials)"),
        (figures.plot_fan, refused, refused.fit.reason),
        (figures.plot_backtest, untested, "too few budgets"),
        (figures.plot_training_curves, pd.DataFrame(), "no trial kept its training curve"),
    ):
        assert words in " ".join(draw(plot, argument).texts[0].get_text().split())


def test_the_envelope_is_the_least_that_was_reached_so_far():
    """At each of its steps, over all curves; and every trial is a line."""
    cost = np.geomspace(1e8, 1e10, 9)
    curves = pd.concat([
        pd.DataFrame({"trial_id": name, "train_flops": cost * scale, "validation_error": floor + (cost / 1e8) ** -0.5})
        for name, scale, floor in (("a", 1, 0.2), ("b", 3, 0.1), ("c", 10, 0.01))
    ])  # fmt: skip
    axes = draw(figures.plot_training_curves, curves)
    envelope = next(line for line in axes.lines if line.get_label() == "envelope")
    x, y = envelope.get_data()

    assert len(axes.collections[0].get_segments()) == 3
    for flops, error in zip(x, y, strict=True):
        assert error == curves.loc[curves["train_flops"] <= flops, "validation_error"].min()


def test_a_fan_widens_and_its_bands_lie_within_one_another(power):
    """50 within 80 within 95%, around the law, wider two decades beyond than at the end of the data."""
    table = figures.fan_table(power)

    for inner, outer in ((50, 80), (80, 95)):
        assert (table[f"low_{outer}"] <= table[f"low_{inner}"]).all()
        assert (table[f"high_{inner}"] <= table[f"high_{outer}"]).all()
    width = np.log(table["high_95"] / table["low_95"])
    end = table["decades_beyond"].to_numpy().nonzero()[0][0]
    assert width.iloc[-1] > width.iloc[end]
    assert table["decades_beyond"].iloc[-1] == pytest.approx(2.0)
    draw(figures.plot_fan, power)


def test_a_fan_that_opens_at_its_cheap_end_does_not_lift_the_picture_above_its_points():
    """Bands of thousands of percent run out of it; the law and its points fill it."""
    cost, noise = np.geomspace(1e8, 1e11, 8), np.exp(0.8 * np.sin(7.0 * np.arange(8)))
    few = pd.DataFrame({
        "trial_id": list("abcdefgh"), "status": "finished", "train_flops": cost,
        "test_error": np.minimum(0.5 * (cost / 1e8) ** -0.4 * noise, 0.95),
    })  # fmt: skip
    found = bootstrap(few, law="power", n_resamples=100)
    table = figures.fan_table(found)
    axes = draw(figures.plot_fan, found)
    highest = max(np.exp(found.fit.points.y).max(), table["test_error"].max())

    assert highest < axes.get_ylim()[1] <= 2.001 * highest
    assert table["high_95"].max() > axes.get_ylim()[1]


def test_the_best_split_spends_the_budget_and_lies_in_its_interval(surface):
    """Size times data times k is the budget; the truth is in the band, as the noise is small."""
    flops = np.geomspace(1e9, 1e12, 7)
    table = figures.allocation_table(surface, flops, flops_per_param_example=K)
    truth = (SURFACE["alpha"] * SURFACE["A"] / (SURFACE["beta"] * SURFACE["B"])) ** (1 / 0.7) * (flops / K) ** (
        0.4 / 0.7
    )

    assert (table["n_params"] * table["n_train"] * K).to_numpy() == pytest.approx(flops)
    for name in ("n_params", "n_train"):
        assert (table[f"{name}_low"] < table[name]).all()
        assert (table[name] < table[f"{name}_high"]).all()
    inside = (table["n_params_low"] < truth) & (truth < table["n_params_high"])
    assert inside.all()
    draw(figures.plot_allocation, surface, flops, flops_per_param_example=K)


def test_stars_stand_at_the_bottom_of_their_curves(runs, surface):
    """As a search along the drawn line finds it."""
    axes = draw(figures.plot_isoflop, surface.fit, np.array([1e9, 1e10]), flops_per_param_example=K, runs=runs)
    stars = [line for line in axes.lines if line.get_marker() == "*"]
    curves = [line for line in axes.lines if str(line.get_label()).endswith("FLOP")]

    assert len(stars) == len(curves) == 2
    for star, curve in zip(stars, curves, strict=True):
        x, y = curve.get_data()
        assert star.get_xdata()[0] == pytest.approx(x[np.argmin(y)], rel=0.15)
        assert star.get_ydata()[0] <= y.min() * (1 + 1e-9)


def test_the_bar_of_a_star_is_the_interval_of_the_best_size(surface):
    """That of the figure of the best split."""
    budgets = np.array([1e9, 1e10])
    axes = draw(figures.plot_isoflop, surface, budgets, flops_per_param_example=K)
    table = figures.allocation_table(surface, budgets, flops_per_param_example=K)
    bars = [line.get_xdata() for line in axes.lines if line.get_linewidth() == 1.8]

    assert np.array(bars) == pytest.approx(table[["n_params_low", "n_params_high"]].to_numpy())
    assert "95% interval" in axes.get_legend().get_title().get_text()


@pytest.mark.parametrize("column", ["n_params", "utilisation"])
def test_a_trial_that_lacks_the_number_behind_its_colour_is_drawn_and_counted(runs, column):
    """In a colour of its own, not left out."""
    table = runs.assign(utilisation=np.linspace(0.1, 0.4, len(runs)))
    table[column] = table[column].astype(float)
    table.loc[:6, column] = np.nan
    if column == "n_params":
        axes = draw(figures.plot_error_against_cost, table, pareto_front(table), [])
    else:
        axes = draw(figures.plot_energy, table)
    axes.figure.draw_without_rendering()
    colours = np.concatenate([points.get_facecolors() for points in axes.collections if len(points.get_offsets())])

    pink = np.isclose(colours[:, :3], to_rgb("#CC79A7")).all(axis=1)
    assert (len(colours), pink.sum()) == (len(table), 7)
    assert any(text.get_text().endswith("unknown, 7 trials") for text in axes.get_legend().get_texts())


def test_bars_of_coverage_are_the_chance_of_so_many_sweeps():
    """Wilson's interval, as scipy has it."""
    table = pd.DataFrame(
        {"quantity": ["alpha", "E"], "coverage_50": [0.5, 0.55], "coverage_80": [0.8, 1.0], "coverage_95": [0.9, 0.95]}
    )
    found = Calibration("power", table, 210, 10, {"converged": 210}, 0.05, 0.0, (0.5, 0.8, 0.95))

    for row in figures.coverage_table(found).itertuples():
        interval = binomtest(round(row.coverage * 200), 200).proportion_ci(method="wilson")
        assert (row.low, row.high) == pytest.approx((interval.low, interval.high), abs=2e-5)
    axes = draw(figures.plot_coverage, found)
    assert "200 sweeps" in axes.get_ylabel()


@pytest.mark.parametrize(("n_widths", "n_sizes", "n_seeds"), [(2, 2, 3), (6, 7, 3), (40, 42, 3)])
def test_few_and_many_trials_are_drawn_without_a_warning(n_widths, n_sizes, n_seeds):
    """12, 126 and 5,040 trials; where there are many, the marks are a picture within the svg."""
    table = grid(n_widths, n_sizes, n_seeds)
    axes = draw(figures.plot_error_against_cost, table, pareto_front(table), [])
    assert axes.collections[0].get_rasterized() == (len(table) > 1500)
    for plot in (figures.plot_heat_map, figures.plot_slices, figures.plot_energy):
        draw(plot, table)
