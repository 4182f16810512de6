"""Backtests: what laws fitted to the cheaper runs said of the dearer ones, against what was then measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from scaling.figures.style import MARKERS, PALETTE, column_kind, log_axis, say_instead
from scaling.holdout import Backtest


def backtest_table(tested: Backtest) -> pd.DataFrame:
    """The numbers behind `plot_backtest`: one row per law, cut and later point."""
    return tested.table


def plot_backtest(axes: Axes, tested: Backtest, *, error: str = "test_error") -> Axes:
    """Draw predicted against later measured error for the middle cut, with prediction bands.

    On the diagonal a law was right. The scores in the legend are over all cuts, whose predictions are in the table.

    Args:
        axes: Where to draw; both axes become logarithmic, with the same limits.
        tested: From `scaling.backtest`.
        error: Column of the error, for the labels.
    """
    table = tested.table
    usable = table[np.isfinite(table["predicted"].astype(float)) & (table["error"] > 0) & (table["predicted"] > 0)]
    if usable.empty:
        return say_instead(axes, "no law could be tested on runs held back: there are too few budgets")
    cuts = np.array(sorted(usable["fitted_up_to"].unique()))
    cut = float(cuts[len(cuts) // 2])
    shown = usable[usable["fitted_up_to"] == cut]
    log_axis(axes, "x", error)
    log_axis(axes, "y", error)
    # What the runs span and a little more; a prediction beyond is drawn on the edge.
    low, high = float(shown["error"].min()) / 1.6, float(shown["error"].max()) * 1.6
    if column_kind(error) == "fraction":
        high = min(high, 1.3)
    axes.plot([low, high], [low, high], color="#555555", lw=1, dashes=(4, 2), zorder=1)
    laws = list(shown["law"].unique())
    for place, law in enumerate(laws):
        part = shown[shown["law"] == law]
        # Side by side, so that the bars of one run do not hide each other.
        measured = part["error"] * 1.008 ** (place - (len(laws) - 1) / 2)
        colour = PALETTE[1 + place % 6]
        banded = part["low"].notna() & part["high"].notna()
        axes.vlines(
            measured[banded], part.loc[banded, "low"].clip(low, high), part.loc[banded, "high"].clip(low, high),
            color=colour, alpha=0.5, lw=1,
        )  # fmt: skip
        axes.plot(
            measured, part["predicted"].clip(low, high), MARKERS[place % len(MARKERS)], color=colour, ms=4.5, mew=0,
            label=_words(tested, str(law)),
        )  # fmt: skip
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_xlabel(f"measured {axes.get_xlabel()}")
    axes.set_ylabel(f"predicted {axes.get_ylabel()}")
    # Above the axes: marks and bars fill every corner inside.
    axes.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2, fontsize=8, alignment="left",
        title=f"fitted up to a cost of {cut:.2g}; bars: {tested.level:.0%} bands", title_fontsize=8,
    )  # fmt: skip
    return axes


def _words(tested: Backtest, law: str) -> str:
    score = tested.scores.set_index("law").loc[law]
    inside = "" if np.isnan(score["inside"]) else f"; {score['inside']:.0%} within its {tested.level:.0%} band"
    return f"{law}: off by {score['rmse_log']:.0%} in log error{inside}"
