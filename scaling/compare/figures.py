"""Figures of a comparison: gains with their intervals, and the cost of a lifetime against the number of uses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from scaling.columns import label
from scaling.compare.break_even import BreakEven, Payback
from scaling.compare.comparison import Comparison
from scaling.compare.gain import Gain, Verdict
from scaling.compare.laws import LARGEST_STATED_GAIN
from scaling.compare.sentence import cost_words
from scaling.figures import PALETTE, style
from scaling.figures.style import column_kind, plain_powers, say_instead

MOST_COLUMNS = 3
ROW_INCHES = 0.32
PANEL_INCHES = (3.4, 1.0)
# Least room beside the intervals, as a factor, so that 1 and its margin are always there.
LEAST_REACH = 1.15
MOST_TICKS = 5
# Factor by which the bars of the two arms stand beside the number of uses that they are of.
BESIDE = 1.06
MOST_FINE_TICKS = 7
FINE_TICKS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.6, 1.8, 2.0)
# Full, hollow and dashed read in grey as well.
_MARKS = {
    Verdict.SHIFTS: ("o", PALETTE[3], PALETTE[3]),
    Verdict.COSTS_MORE: ("s", PALETTE[2], PALETTE[2]),
    Verdict.EQUIVALENT: ("D", PALETTE[1], PALETTE[1]),
    Verdict.CANNOT_TELL: ("o", "#555555", "white"),
}
_WORDS = {
    Verdict.SHIFTS: "gain", Verdict.COSTS_MORE: "loss", Verdict.EQUIVALENT: "no difference",
    Verdict.CANNOT_TELL: "cannot tell",
}  # fmt: skip


def plot_gains(axes: Axes, gains: Sequence[Gain]) -> Axes:
    """Draw the gain of every technique on one cost with its interval, a forest plot.

    Args:
        axes: Where to draw; its x axis becomes logarithmic.
        gains: Of one cost. One without a number is a line of text.

    Returns:
        The axes.
    """
    axes.set_title(cost_words(gains[0].cost), fontsize=9, loc="left")
    if all(gain.gain is None for gain in gains):
        return say_instead(axes, f"no technique has a number; {gains[0].technique}: {gains[0].reason}", columns=48)
    axes.set_xscale("log")
    margin = gains[0].margin
    axes.axvspan(1 / (1 + margin), 1 + margin, color="#dddddd", linewidth=0, zorder=0)
    axes.axvline(1.0, color="#555555", lw=1, zorder=1)
    drawn: set[Verdict] = set()
    for place, gain in enumerate(gains):
        if gain.gain is None:
            axes.annotate(
                "no number", (0.5, place), xycoords=("axes fraction", "data"), ha="center", va="center", fontsize=7,
                color="#555555", bbox={"fc": "white", "ec": "none", "pad": 1},
            )  # fmt: skip
            continue
        mark, edge, face = _MARKS[gain.verdict]
        axes.plot([gain.gain.low, gain.gain.high], [place, place], color=edge, lw=1.4, zorder=2)
        axes.plot(
            gain.gain.value, place, mark, color=edge, mfc=face, ms=5, zorder=3,
            label=None if gain.verdict in drawn else _WORDS[gain.verdict],
        )  # fmt: skip
        drawn.add(gain.verdict)
    axes.set_yticks(range(len(gains)), [gain.technique for gain in gains])
    axes.set_ylim(len(gains) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    _factor_axis(axes, gains)
    return axes


def draw_gains(comparison: Comparison) -> Figure:
    """Draw one panel per cost that has a number for any technique."""
    panels = [[gain for gain in comparison.gains if gain.cost == cost] for cost in comparison.costs]
    panels = [panel for panel in panels if any(gain.gain is not None for gain in panel)] or panels[:1]
    n_columns = min(MOST_COLUMNS, len(panels))
    n_rows = math.ceil(len(panels) / n_columns)
    height = PANEL_INCHES[1] + ROW_INCHES * len(comparison.techniques)
    with rc_context(style()):
        figure = Figure(figsize=(1.4 + PANEL_INCHES[0] * n_columns, 0.4 + height * n_rows))
        grid = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True)
        for axes, panel in zip(grid.flat, panels, strict=False):
            plot_gains(axes, panel)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        _legend(figure, grid)
        figure.supxlabel(
            f"compute-equivalent gain over {comparison.baseline}, {comparison.setting.level:.0%} interval", fontsize=9
        )
    return figure


def gains_table(comparison: Comparison) -> pd.DataFrame:
    """The numbers behind `draw_gains`."""
    return comparison.table


def plot_lifetime(axes: Axes, found: BreakEven, *, error: str = "test_error", level: float = 0.95) -> Axes:
    """Draw what a technique and the baseline cost over a lifetime, at equal error, against the number of uses.

    Every number of uses has frontiers and resamples of its own, so that each has its own bar: a band between them would
    show what nobody computed. Where too few resamples found an optimum there is no bar, and the line is broken.

    Args:
        axes: Where to draw; both become logarithmic.
        found: With a curve; without one its reason is written.
        error: Column of the error, for the label.
        level: Of the intervals, for the legend.

    Returns:
        The axes.
    """
    axes.set_title(found.technique, fontsize=9, loc="left")
    if found.curve is None:
        return say_instead(axes, found.reason, columns=44, fontsize=7)
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain_powers(axes.xaxis)
    plain_powers(axes.yaxis)
    curve = found.curve
    _draw_arm(axes, curve, "baseline", label=found.baseline, color=PALETTE[0], linestyle=(0, (4, 2)), zorder=2)
    _draw_arm(axes, curve, "technique", label=found.technique, color=PALETTE[1], linestyle="-", zorder=3)
    _draw_break_even(axes, found, level)
    axes.set_xlabel("uses (inferences)")
    axes.set_ylabel(f"lifetime compute [FLOP] at {_at(found.at_error, error)}", fontsize=8)
    axes.legend(loc="upper left", fontsize=8)
    return axes


def draw_lifetimes(comparison: Comparison) -> Figure:
    """Draw one panel per technique; where none has a curve, say so once."""
    found = comparison.break_evens
    if found and all(one.curve is None for one in found):
        with rc_context(style()):
            figure = Figure(figsize=(3.8, 1.6))
            say_instead(
                figure.add_subplot(), f"no lifetime has a curve; {found[0].technique}: {found[0].reason}", columns=48
            )
        return figure
    n_columns = min(MOST_COLUMNS, max(1, len(found)))
    n_rows = max(1, math.ceil(len(found) / n_columns))
    with rc_context(style()):
        figure = Figure(figsize=(3.8 * n_columns, 3.2 * n_rows))
        grid = figure.subplots(n_rows, n_columns, squeeze=False)
        for axes, one in zip(grid.flat, found, strict=False):
            plot_lifetime(axes, one, error=comparison.setting.error, level=comparison.setting.level)
        for axes in grid.flat[len(found) :]:
            axes.set_visible(False)
    return figure


def lifetimes_table(comparison: Comparison) -> pd.DataFrame:
    """The numbers behind `draw_lifetimes`: one row per technique and number of uses."""
    parts = [
        found.curve.assign(technique_name=found.technique, at_error=found.at_error)
        for found in comparison.break_evens
        if found.curve is not None
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["technique_name", "uses"])


def _draw_arm(axes: Axes, curve: pd.DataFrame, arm: str, **look: Any) -> None:
    """Estimates joined by a line, each with its bar; a bar without an upper end is an arrow."""
    known = _with_gaps(curve[np.isfinite(curve[arm])])
    # Side by side, not one on the other.
    aside = BESIDE if arm == "technique" else 1 / BESIDE
    uses, value = known["uses"] * aside, known[arm]
    is_open = ~np.isfinite(known[f"{arm}_high"]) & np.isfinite(value)
    above = (known[f"{arm}_high"] - value).where(~is_open, 0.6 * value)
    axes.errorbar(
        uses, value, yerr=[value - known[f"{arm}_low"], above], lolims=is_open.to_numpy(), lw=1.4, elinewidth=1.0,
        marker="o", ms=2.4, **look,
    )  # fmt: skip


def _with_gaps(curve: pd.DataFrame) -> pd.DataFrame:
    """The curve with an empty row wherever numbers of uses that were tried are missing, which breaks a line."""
    steps = np.diff(np.log(curve["uses"].to_numpy(dtype=np.float64)))
    if not steps.size:
        return curve
    gaps = np.flatnonzero(steps > 1.5 * steps.min())
    empty = pd.DataFrame(np.nan, index=curve.index[gaps] + 0.5, columns=curve.columns)
    return pd.concat([curve.reset_index(drop=True).set_axis(curve.index), empty]).sort_index()


def _draw_break_even(axes: Axes, found: BreakEven, level: float) -> None:
    if found.payback not in (Payback.FROM, Payback.UP_TO) or found.uses is None or found.curve is None:
        return
    first, last = found.curve["uses"].iloc[[0, -1]]
    axes.axvspan(
        max(found.low, first),
        min(found.high, last),
        color=PALETTE[2],
        alpha=0.12,
        linewidth=0,
        label=f"break-even, {level:.0%} interval",
    )
    if first < found.uses < last:
        axes.axvline(found.uses, color=PALETTE[2], lw=1.2, dashes=(3, 2))


def _at(error: float | None, name: str) -> str:
    """At which error: a share in percent, a loss as it is."""
    if error is None:
        return "equal error"
    return f"{label(name)} {100 * error:.2g}%" if column_kind(name) == "fraction" else f"{label(name)} {error:.2g}"


def _factor_axis(axes: Axes, gains: Sequence[Gain]) -> None:
    """Ticks at plain factors: 0.5x, 1x, 2x, as many as there is room for."""
    ends = [end for gain in gains if gain.gain for end in (gain.gain.low, gain.gain.value, gain.gain.high)]
    # An end that is open runs out of the picture; it does not stretch the axis.
    stated = [end for end in ends if 1 / LARGEST_STATED_GAIN <= end <= LARGEST_STATED_GAIN]
    values = [min(max(end, 1e-6), 1e6) for end in stated] + [1.0]
    low, high = min(values) / LEAST_REACH, max(values) * LEAST_REACH
    axes.set_xlim(low, high)
    step = max(1, math.ceil(math.log2(high / low) / MOST_TICKS))
    ticks = [2.0**power for power in range(-20 * step, 21 * step, step) if low <= 2.0**power <= high]
    if len(ticks) < 3:
        ticks = _spread([tick for tick in FINE_TICKS if low <= tick <= high], (high / low) ** (1 / MOST_FINE_TICKS))
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}x"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _spread(ticks: Sequence[float], least: float) -> list[float]:
    """Of ordered ticks, 1 and those that are at least a factor apart from the tick kept before them and from 1."""
    kept: list[float] = []
    for tick in ticks:
        near_one = tick != 1.0 and max(tick, 1 / tick) < least
        if not near_one and (not kept or tick / kept[-1] >= least):
            kept.append(tick)
    return kept


def _legend(figure: Figure, grid: np.ndarray) -> None:
    found: dict[str, Any] = {}
    for axes in grid.flat:
        for handle, words in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(words, handle)
    if found:
        figure.legend(list(found.values()), list(found), loc="outside upper right", ncols=len(found), fontsize=8)
