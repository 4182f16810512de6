"""Projections as fans: a law beyond its data, with bands that widen."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from scaling.bootstrap import Intervals
from scaling.figures.style import DASHES, PALETTE, has_band, log_axis, ring_size, say_instead

LEVELS = (0.95, 0.8, 0.5)
# Tints of one blue, not one blue laid over itself: each band is then the colour that the legend says.
TINTS = ("#d9e9f3", "#a9cee5", "#6fadd3")
FAN_POINTS = 80


def fan_table(intervals: Intervals, *, decades: float = 2.0) -> pd.DataFrame:
    """The numbers behind `plot_fan`: cost, decades beyond the data, the law, and the ends at each level.

    Raises:
        ValueError: If the fit may not be quoted or has no draws.
    """
    fitted = intervals.fit
    if not has_band(intervals):
        raise ValueError(f"the {fitted.law} law has no projection: {_why(intervals)}")
    cost = np.geomspace(fitted.cost_range[0], fitted.cost_range[1] * 10**decades, FAN_POINTS)
    columns = {fitted.cost: cost, "decades_beyond": fitted.decades_beyond(cost), fitted.error: fitted.predict(cost)}
    for level in LEVELS:
        low, high = intervals.band(cost, level=level)
        columns |= {f"low_{round(100 * level)}": low, f"high_{round(100 * level)}": high}
    return pd.DataFrame(columns)


def plot_fan(axes: Axes, intervals: Intervals, *, decades: float = 2.0) -> Axes:
    """Draw a fitted law to some decades beyond its data as nested bands; the data end at the dotted line.

    Args:
        axes: Where to draw; both axes become logarithmic.
        intervals: Bootstrapped fit of a law in one cost.
        decades: How far beyond the dearest point fitted.
    """
    fitted = intervals.fit
    if not has_band(intervals):
        return say_instead(axes, f"the {fitted.law} law has no projection: {_why(intervals)}")
    table = fan_table(intervals, decades=decades)
    log_axis(axes, "x", fitted.cost)
    log_axis(axes, "y", fitted.error)
    for level, tint in zip(LEVELS, TINTS, strict=True):
        name = round(100 * level)
        axes.fill_between(
            table[fitted.cost], table[f"low_{name}"], table[f"high_{name}"], color=tint, linewidth=0,
            label=f"{name}% of resampled laws",
        )  # fmt: skip
    inside = table["decades_beyond"] == 0
    axes.plot(table.loc[inside, fitted.cost], table.loc[inside, fitted.error], color=PALETTE[1], lw=1.6, label="law")
    axes.plot(table.loc[~inside, fitted.cost], table.loc[~inside, fitted.error], color=PALETTE[1], lw=1.2, ls=DASHES[1])
    points = fitted.points
    axes.plot(
        np.exp(points.x[0]), np.exp(points.y), "o", mfc="none", mec="black", ms=ring_size(points.y.size),
        label="points fitted",
    )  # fmt: skip
    axes.axvline(fitted.cost_range[1], color="#555555", lw=1, dashes=(1, 2))
    axes.annotate(
        "end of the data", (fitted.cost_range[1], 0.98), xycoords=("data", "axes fraction"), xytext=(3, 0),
        textcoords="offset points", fontsize=8, va="top", color="#555555",
    )  # fmt: skip
    # The central law says how deep the picture goes: a lower end at 0 would make it bottomless.
    deepest = float(table[fitted.error].min())
    widest = f"{round(100 * LEVELS[0])}"
    # Nor do bands at the cheap end, where no cell was fitted, lift it far above the points.
    highest = max(float(np.exp(points.y).max()), float(table[fitted.error].max()))
    axes.set_ylim(
        max(float(table[f"low_{widest}"].min()) / 1.6, deepest / 4),
        min(max(float(table[f"high_{widest}"].max()), highest) * 1.1, highest * 2),
    )
    axes.legend(loc="lower left", fontsize=8)
    return axes


def _why(intervals: Intervals) -> str:
    if not intervals.fit.converged:
        return intervals.fit.reason
    return f"{intervals.n_failed} of {intervals.n_resamples} refits failed, so it has no interval"
