"""Backtests: what laws fitted to the cheaper runs said of the dearer ones, against what was then measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from scaling.figures.style import MARKERS, PALETTE, column_kind, log_axis, say_instead
from scaling.holdout import Backtest

# Room beside what was measured, as a factor.
MARGIN = 1.6
# The picture follows predictions this far beyond what was measured, as a factor; what lies farther is an arrow. Wider,
# and the runs that were predicted well would share a line.
FARTHEST = 4.0
# The same for the ends of bands: they may be enormous where a prediction is near.
FARTHEST_BAND = 2.5
# Distance of two laws at one run, as a share of the width: their bars stand side by side.
BESIDE = 0.014
# Axes that span less than this factor get more ticks.
NARROW = 6.0
TICKS, FINE_TICKS = (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
# Where the mark of an arrow stands, as a share of the height from the edge that it points to.
ARROW_SHARE = 0.07
# Up to so many arrows have their numbers beside them: more would hide each other.
MOST_NUMBERS = 8


def backtest_table(tested: Backtest) -> pd.DataFrame:
    """The numbers behind `plot_backtest`: one row per law, cut and later point."""
    return tested.table


def plot_backtest(axes: Axes, tested: Backtest, *, error: str = "test_error") -> Axes:
    """Draw predicted against later measured error for the middle cut, with prediction bands.

    On the diagonal a law was right. The vertical axis reaches as far as the predictions do, up to a factor beyond what
    was measured; a prediction farther away is a hollow mark with an arrow, a band that goes on ends in an arrowhead,
    and the legend counts them. The scores in the legend are over all cuts, whose predictions are in the table.

    Args:
        axes: Where to draw; both axes become logarithmic.
        tested: From `scaling.backtest`.
        error: Column of the error, for the labels.
    """
    table = tested.table[tested.table["error"] > 0]
    usable = table[np.isfinite(table["predicted"].astype(float)) & (table["predicted"] > 0)]
    if usable.empty:
        return say_instead(axes, "no law could be tested on runs held back: there are too few budgets")
    cuts = np.array(sorted(usable["fitted_up_to"].unique()))
    cut = float(cuts[len(cuts) // 2])
    shown = usable[usable["fitted_up_to"] == cut]
    is_share = column_kind(error) == "fraction"
    log_axis(axes, "x", error)
    log_axis(axes, "y", error)
    span, height = _limits(shown, is_share)
    axes.set_xlim(*span)
    axes.set_ylim(*height)
    if is_share:
        for axis, (low, high) in ((axes.xaxis, span), (axes.yaxis, height)):
            axis.set_major_locator(LogLocator(subs=FINE_TICKS if high / low < NARROW else TICKS))
    axes.plot(span, span, color="#555555", lw=1, dashes=(4, 2), zorder=1)
    n_outside = int((~shown["predicted"].between(*height)).sum())
    arrows = False
    laws = list(shown["law"].unique())
    for place, law in enumerate(laws):
        part = shown[shown["law"] == law]
        n_none = int(((table["fitted_up_to"] == cut) & (table["law"] == law)).sum()) - len(part)
        beside = (span[1] / span[0]) ** (BESIDE * (place - (len(laws) - 1) / 2))
        part = part.assign(at=part["error"] * beside)
        colour, marker = PALETTE[1 + place % 6], MARKERS[place % len(MARKERS)]
        arrows |= _draw_bands(axes, part, height, colour)
        inside = part["predicted"].between(*height)
        arrows |= bool((~inside).any())
        axes.plot(
            part.loc[inside, "at"], part.loc[inside, "predicted"], marker, color=colour, ms=4.5, mew=0,
            label=_words(tested, str(law), part, height, n_none, is_share),
        )  # fmt: skip
        for row in part[~inside].itertuples():
            words = _error_text(row.predicted, is_share) if n_outside <= MOST_NUMBERS else ""
            _draw_arrow(axes, row.at, bool(row.predicted < height[0]), marker, colour, words)
    axes.set_xlabel(f"measured {axes.get_xlabel()}")
    axes.set_ylabel(f"predicted {axes.get_ylabel()}")
    beyond = "; arrows: beyond the picture" if arrows else ""
    # Above the axes: marks and bars fill every corner inside.
    axes.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2, fontsize=8, alignment="left",
        title=f"fitted up to a cost of {cut:.2g}; bars: {tested.level:.0%} bands{beyond}", title_fontsize=8,
    )  # fmt: skip
    return axes


def _limits(shown: pd.DataFrame, is_share: bool) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits of the measured errors, and of the predictions as far as the picture follows them."""
    least, most = float(shown["error"].min()), float(shown["error"].max())
    span = least / MARGIN, most * MARGIN
    lowest, highest = float(shown["predicted"].min()) / 1.2, float(shown["predicted"].max()) * 1.2
    # NaN where no band was computed: minimum and maximum of Python would keep it.
    low_end, high_end = np.nan_to_num(shown["low"].min(), nan=least), np.nan_to_num(shown["high"].max(), nan=most)
    height = (
        min(span[0], max(lowest, least / FARTHEST), max(float(low_end), least / FARTHEST_BAND)),
        max(span[1], min(highest, most * FARTHEST), min(float(high_end), most * FARTHEST_BAND)),
    )
    # No share is above 1; a law's prediction may be, and is then an arrow.
    ceiling = 1.3 if is_share else np.inf
    return (span[0], min(span[1], ceiling)), (height[0], min(height[1], ceiling))


def _draw_bands(axes: Axes, part: pd.DataFrame, height: tuple[float, float], colour: str) -> bool:
    """Draw the bands as bars, those that go on beyond the picture with arrowheads; whether there are such."""
    banded = part[part["low"].notna() & part["high"].notna()]
    axes.vlines(banded["at"], banded["low"].clip(*height), banded["high"].clip(*height), color=colour, alpha=0.5, lw=1)
    below, above = banded.loc[banded["low"] < height[0], "at"], banded.loc[banded["high"] > height[1], "at"]
    for places, edge, head in ((below, height[0], "v"), (above, height[1], "^")):
        axes.plot(places, np.full(len(places), edge), head, color=colour, alpha=0.7, ms=3.5, mew=0, clip_on=False)
    return bool(len(below) or len(above))


def _draw_arrow(axes: Axes, at: float, is_below: bool, marker: str, colour: str, words: str) -> None:
    """A hollow mark near the edge with an arrow to it, and the number where there is room for it."""
    low, high = axes.get_ylim()
    share = ARROW_SHARE if is_below else 1 - ARROW_SHARE
    mark = low * (high / low) ** share
    axes.annotate(
        "", (at, low if is_below else high), xytext=(at, mark),
        arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1, "shrinkA": 0, "shrinkB": 0}, zorder=3,
    )  # fmt: skip
    axes.plot(at, mark, marker, mfc="white", mec=colour, ms=4.5, mew=1, zorder=4)
    axes.annotate(
        words, (at, mark), xytext=(0, 6 if is_below else -6), textcoords="offset points", rotation=90, fontsize=6.5,
        color=colour, ha="center", va="bottom" if is_below else "top", zorder=5,
        bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 0.5},
    )  # fmt: skip


def _error_text(value: float, is_share: bool) -> str:
    return f"{100 * value:.3g}%" if is_share else f"{value:.3g}"


def _words(
    tested: Backtest, law: str, part: pd.DataFrame, height: tuple[float, float], n_none: int, is_share: bool
) -> str:
    score = tested.scores.set_index("law").loc[law]
    off = float(score["rmse_log"])
    words = law
    if np.isfinite(off):
        # Beyond a factor e a percentage of a logarithm says nothing.
        words += f": off by {off:.0%} in log error" if off <= 1 else f": off by a factor {np.exp(min(off, 700.0)):.2g}"
    words += "" if np.isnan(score["inside"]) else f"; {score['inside']:.0%} within its {tested.level:.0%} band"
    below, above = part["predicted"] < height[0], part["predicted"] > height[1]
    rest = []
    if below.any():
        rest.append(f"{below.sum()} below the picture, down to {_error_text(part['predicted'].min(), is_share)}")
    if above.any():
        rest.append(f"{above.sum()} above it, up to {_error_text(part['predicted'].max(), is_share)}")
    if n_none:
        rest.append(f"{n_none} without a prediction")
    # A line of its own: a longer one would take the room of the picture.
    return words + ("\n" + "; ".join(rest) if rest else "")
