"""Figures of a comparison show what the table says."""

import math
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from scaling.compare import Arms, BreakEven, Payback, Setting, compare, draw_arms
from scaling.compare.figures import draw_gains, draw_lifetimes, lifetimes_table, plot_gains, plot_lifetime

matplotlib.use("Agg")
SMALL = {"widths": (8, 32, 128), "depths": (2,), "n_trains": (100, 1600, 6400, 25600)}


@pytest.fixture(scope="module")
def found():
    """Two techniques, one without energy."""
    first = draw_arms(Arms(gain=2.0, lighter=4.0, dearer=3.0, **SMALL), technique="pruning", seed=1)
    second = draw_arms(Arms(gain=1.0, **SMALL), technique="nothing", seed=2)
    runs = pd.concat([first, second[second["technique"] == "nothing"]])
    runs["energy_joules"] = np.where(runs["technique"] == "nothing", np.nan, runs["train_flops"] / 1e9)
    return compare(runs, costs=["train_flops", "energy_joules"], setting=Setting(n_resamples=100))


def test_where_no_lifetime_has_a_curve_one_sentence_says_so(found):
    """Not a panel for each technique."""
    refused = tuple(BreakEven(one.technique, "baseline", one.payback, reason="few cells") for one in found.break_evens)
    axes = draw_lifetimes(replace(found, break_evens=refused)).axes

    assert len(refused) == 2
    assert len(axes) == 1
    assert "few cells" in " ".join(axes[0].texts[0].get_text().split())


def test_every_gain_is_a_mark_with_its_interval(found):
    """At its place, and one that has no number is a line of text."""
    gains = [gain for gain in found.gains if gain.cost == "energy_joules"]
    axes = plot_gains(Figure().add_subplot(), gains)
    with_number = [(place, gain.gain) for place, gain in enumerate(gains) if gain.gain is not None]
    lines = [line for line in axes.lines if len(set(line.get_ydata())) == 1 and line.get_ydata()[0] in (0, 1)]

    assert len(with_number) == 1
    place, gain = with_number[0]
    spans = [line for line in lines if len(line.get_xdata()) == 2 and line.get_ydata()[0] == place]
    assert any(list(line.get_xdata()) == [gain.low, gain.high] for line in spans)
    assert [text.get_text() for text in axes.texts] == ["no number"]


def test_lifetime_curves_are_those_of_the_table(found):
    """One line per arm, as long as the curve."""
    paid = found.break_even("pruning")
    axes = plot_lifetime(Figure().add_subplot(), paid)
    curves = [line for line in axes.lines if len(line.get_xdata()) == len(paid.curve)]

    assert [list(line.get_ydata()) for line in curves] == [
        paid.curve["baseline"].tolist(),
        paid.curve["technique"].tolist(),
    ]
    ratio = paid.curve["baseline"] / paid.curve["technique"]
    assert ratio.tolist() == pytest.approx(paid.curve["gain"].tolist(), rel=1e-6)
    assert set(lifetimes_table(found)["technique_name"]) <= {"pruning", "nothing"}


def test_figures_are_drawn_whole(found):
    """A panel per cost and per technique, on one page."""
    gains, lifetimes = draw_gains(found), draw_lifetimes(found)

    assert sum(axes.get_visible() for axes in gains.axes) == 2
    assert sum(axes.get_visible() for axes in lifetimes.axes) == 2
    for figure in (gains, lifetimes):
        figure.draw_without_rendering()
        assert all(math.isfinite(value) for axes in figure.axes for value in axes.get_xlim())


def test_a_lifetime_has_a_bar_for_each_number_of_uses_and_breaks_where_none_was_fitted():
    """Fifteen were tried and two gave nothing: two stretches of line; an interval without an upper end is an arrow."""
    uses = np.delete(np.geomspace(10.0, 1e8, 15), [5, 6])
    curve = pd.DataFrame({"uses": uses, "gain": 2.0, "gain_low": 1.5, "gain_high": 3.0})
    for arm, factor in (("baseline", 2.0), ("technique", 1.0)):
        value = factor * (1e9 + uses)
        curve = curve.assign(**{arm: value, f"{arm}_low": 0.8 * value, f"{arm}_high": 1.3 * value})
    curve.loc[3, "technique_high"] = np.inf
    axes = plot_lifetime(Figure().add_subplot(), BreakEven("b", "a", Payback.FROM_FIRST, at_error=0.1, curve=curve))

    for arm, drawn in zip(("baseline", "technique"), axes.containers, strict=True):
        line, carets, (bars,) = drawn.lines
        x, y = (np.asarray(values, dtype=float) for values in (line.get_xdata(), line.get_ydata()))
        assert list(np.flatnonzero(np.isnan(y))) == [5]
        assert np.max(np.abs(np.log(np.delete(x, 5) / uses))) < np.log(1.1)
        ends = [one[:, 1] for one in bars.get_segments() if one.ndim == 2 and np.isfinite(one).all()]
        assert len(ends) == len(uses)
        assert ends[0] == pytest.approx([curve[f"{arm}_low"][0], curve[f"{arm}_high"][0]])
        assert bool(carets) == (arm == "technique")
