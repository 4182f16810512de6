"""Figures draw what the table says, with units, and are the same bytes for the same runs."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure

from scaling import bootstrap, pareto_front
from scaling.figures import (
    axis_label,
    drawable,
    error_against_cost_table,
    log_axis,
    plot_error_against_cost,
    save_figure,
    style,
)

matplotlib.use("Agg")


def runs(n_cells=12, seed=0):
    """Cells of three seeds along a power law of exponent 3, and some above it."""
    generator = np.random.default_rng(seed)
    cost = np.repeat(np.geomspace(1e8, 1e12, n_cells), 3)
    error = 0.6 * (cost / 1e8) ** (-1 / 3) * np.exp(generator.normal(0, 0.03, cost.size))
    return pd.DataFrame(
        {"train_flops": cost, "test_error": error, "n_params": np.round(cost**0.5), "seed": np.tile([0, 1, 2], n_cells),
         "cell": [str(number // 3) for number in range(cost.size)]}
    )  # fmt: skip


@pytest.fixture(scope="module")
def fitted():
    """Runs with their frontier and the intervals of a law."""
    table = runs()
    return table, pareto_front(table), [bootstrap(table, law="power", frontier=True, n_resamples=200)]


def draw(table, front, intervals):
    """The figure and its axes."""
    with rc_context(style()):
        figure = Figure(figsize=(6, 4))
        axes = plot_error_against_cost(figure.add_subplot(), table, front, intervals)
        figure.draw_without_rendering()
    return figure, axes


def test_every_trial_is_a_point_and_every_frontier_cell_a_ring(fitted):
    """As many marks as rows, at their places."""
    table, front, _ = fitted
    _, axes = draw(*fitted)
    points = axes.collections[0].get_offsets()
    rings = next(line for line in axes.lines if line.get_label().startswith("frontier"))

    assert sorted(points[:, 1]) == pytest.approx(sorted(table["test_error"]))
    assert list(rings.get_xdata()) == list(front["train_flops"])


def test_the_line_is_the_law_and_stays_within_the_data(fitted):
    """Nothing is drawn beyond the dearest frontier cell."""
    _, front, (intervals,) = fitted
    _, axes = draw(*fitted)
    line = next(line for line in axes.lines if line.get_label().startswith("power law"))
    cost, error = line.get_data()

    assert error == pytest.approx(intervals.fit.predict(cost))
    assert cost.max() <= front["train_flops"].max() * (1 + 1e-9)
    assert f"k = {intervals.fit.exponent:.2f} [" in line.get_label()


def test_the_slopes_for_comparison_have_the_exponents_they_are_labelled_with(fitted):
    """A line labelled k falls by one decade of error in k decades of cost."""
    _, axes = draw(*fitted)
    texts = {text.get_text(): text.xy for text in axes.texts}
    start = min(fitted[1]["train_flops"]), max(fitted[1]["test_error"])
    for k in (4, 9):
        end = texts[f"k = {k}"]
        assert np.log10(end[0] / start[0]) / np.log10(start[1] / end[1]) == pytest.approx(k)


def test_axes_say_what_and_in_which_unit():
    """Words and units; a stranger's column by its own name."""
    assert axis_label("train_flops") == "training compute [FLOP]"
    assert axis_label("energy_joules") == "energy [J]"
    assert axis_label("test_error") == "test error"
    assert axis_label("my_own_cost") == "my own cost"


def test_an_error_of_zero_is_lifted_for_drawing_and_kept_in_the_numbers():
    """Half an example of 200 is 0.25%; the csv says 0."""
    table = runs()
    table["n_test"] = 200
    table.loc[0, "test_error"] = 0.0
    table["trial_id"] = [f"t{number}" for number in table.index]
    shown = drawable(table, "train_flops", "test_error").set_index("trial_id")

    assert shown.loc["t0", "test_error"] == pytest.approx(0.0025)
    assert shown.loc["t0", "reported"] == 0.0
    assert shown["is_zero"].sum() == 1


def test_without_a_converged_fit_the_points_are_drawn_alone():
    """A refused law leaves no line; the legend says that it was refused, and how."""
    table = runs(2)
    table["trial_id"] = [f"t{number}" for number in table.index]
    intervals = [bootstrap(table, law="saturating", frontier=True, n_resamples=100)]
    assert not intervals[0].fit.converged
    _, axes = draw(table, pareto_front(table), intervals)

    assert not [line for line in axes.lines if "law" in str(line.get_label()) and len(line.get_xdata())]
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert f"saturating law: refused ({intervals[0].fit.status.name.lower().replace('_', ' ')})" in words


@pytest.mark.parametrize(("low", "high"), [(3e-4, 4e12), (4e6, 2.5e7), (0.3, 0.9)])
def test_tick_labels_are_the_numbers_they_stand_at(low, high):
    """Read back digit by digit; over less than a decade the ticks between powers are labelled too."""
    with rc_context(style()):
        axes = Figure().add_subplot()
        log_axis(axes, "x", "train_flops")
        axes.set_xlim(low, high)
        axes.figure.draw_without_rendering()
    ticks = [*axes.xaxis.get_major_ticks(), *axes.xaxis.get_minor_ticks()]
    named = [(tick.get_loc(), tick.label1.get_text()) for tick in ticks if tick.label1.get_text()]

    assert len([place for place, _ in named if low <= place <= high]) >= 2
    for place, words in named:
        factor, _, power = words.rpartition("10")
        power = power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
        assert float(factor.rstrip("×") or 1) * 10.0 ** int(power) == pytest.approx(place)


def test_sizes_that_are_unknown_or_all_alike_need_no_scale(fitted):
    """No colour bar for nothing."""
    table, front, intervals = fitted
    for changed in (table.drop(columns="n_params"), table.assign(n_params=1000)):
        figure, _ = draw(changed, front, intervals)
        assert len(figure.axes) == 1


def test_the_same_runs_give_the_same_bytes(fitted, tmp_path):
    """Png, svg and csv."""
    for folder in ("first", "second"):
        figure, _ = draw(*fitted)
        table = fitted[0].assign(trial_id=[f"t{number}" for number in fitted[0].index])
        save_figure(figure, error_against_cost_table(table, *fitted[1:]), tmp_path / folder, "figure")

    for suffix in (".png", ".svg", ".csv"):
        assert (tmp_path / "first" / f"figure{suffix}").read_bytes() == (
            tmp_path / "second" / f"figure{suffix}"
        ).read_bytes()


def test_the_csv_holds_all_that_is_drawn(fitted):
    """Trials, frontier, and the law with its band around it."""
    table = fitted[0].assign(trial_id=[f"t{number}" for number in fitted[0].index])
    numbers = error_against_cost_table(table, *fitted[1:])
    law = numbers[numbers["what"] == "law power"]

    assert (numbers["what"] == "trial").sum() == len(table)
    assert (numbers["what"] == "frontier").sum() == len(fitted[1])
    assert (law["low"] < law["test_error"]).all()
    assert (law["test_error"] < law["high"]).all()


@pytest.mark.parametrize("n_cells", [4, 400])
def test_few_and_many_trials_are_drawn_without_a_warning(n_cells):
    """Marks shrink as they become many."""
    table = runs(n_cells)
    _, axes = draw(table, pareto_front(table), [])
    size = axes.collections[0].get_sizes()[0]

    assert 4 <= size <= 18
