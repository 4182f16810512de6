"""Energy against computation, with how well the hardware was used."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colors
from matplotlib.axes import Axes

from scaling.figures.style import (
    MOST_VECTOR_MARKS,
    SIZE_COLOURS,
    UNKNOWN_COLOUR,
    in_powers,
    log_axis,
    mark_size,
    percent_bar,
    say_instead,
)
from scaling.words import counted

# Lines of equal efficiency are this far apart, in decades.
EFFICIENCY_STEP = 1
SOURCES = (("measured", "o"), ("estimated", "s"))


def energy_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The numbers behind `plot_energy`: one row per trial with a known energy."""
    names = ["trial_id", "train_flops", "energy_joules", "energy_source", "utilisation"]
    known = _known(runs)
    return known[[name for name in names if name in known.columns]].reset_index(drop=True)


def plot_energy(axes: Axes, runs: pd.DataFrame) -> Axes:
    """Draw joules against training FLOP, with utilisation as colour and lines of equal FLOP per joule.

    Args:
        axes: Where to draw; both axes become logarithmic.
        runs: Runs table. Trials of unknown energy are counted in the figure, not drawn.
    """
    known = _known(runs)
    n_unknown = len(runs) - len(known)
    if known.empty:
        return say_instead(axes, f"the energy is unknown ({counted(len(runs), 'trial')})")
    log_axis(axes, "x", "train_flops")
    log_axis(axes, "y", "energy_joules")
    source = known["energy_source"] if "energy_source" in known.columns else pd.Series("unknown", index=known.index)
    used = known["utilisation"].astype(float) if "utilisation" in known.columns else pd.Series(np.nan, known.index)
    used = used.where(used > 0)
    hue = used if used.min() < used.max() else None
    norm = colors.LogNorm(hue.min(), hue.max()) if hue is not None else None
    drawn = None
    for name, marker in (*SOURCES, ("unknown", "D")):
        part = known[source.fillna("unknown") == name]
        if not len(part):
            continue
        paint = {"color": "#0072B2"} if hue is None else {"c": hue[part.index], "norm": norm, **SIZE_COLOURS}
        drawn = axes.scatter(
            part["train_flops"], part["energy_joules"], s=1.3 * mark_size(len(known)), marker=marker, linewidths=0,
            alpha=0.8, **paint,
        )  # fmt: skip
        drawn.set_rasterized(len(known) > MOST_VECTOR_MARKS)
        # A mark of its own: that of the scatter has the colour of whichever trial is first.
        key = "#0072B2" if hue is None else "#555555"
        axes.plot([], [], marker, color=key, mew=0, ms=5, label=f"{name}, {counted(len(part), 'trial')}")
    _efficiency_lines(axes, known)
    if norm is not None and drawn is not None:
        bar = axes.figure.colorbar(drawn, ax=axes, pad=0.06)
        bar.set_label("utilisation (share of peak rate)")
        percent_bar(bar)
    if hue is not None and hue.isna().any():
        n_uncoloured = counted(int(hue.isna().sum()), "trial")
        axes.plot([], [], "o", color=UNKNOWN_COLOUR, mew=0, ms=5, label=f"utilisation unknown, {n_uncoloured}")
    if n_unknown:
        axes.plot([], [], " ", label=f"{counted(n_unknown, 'trial')} not drawn: energy unknown")
    # The one corner through which no efficiency runs, nor the name of one.
    axes.legend(loc="lower right", fontsize=8)
    return axes


def _known(runs: pd.DataFrame) -> pd.DataFrame:
    if "energy_joules" not in runs.columns or "train_flops" not in runs.columns:
        return runs.iloc[:0].assign(energy_joules=pd.Series(dtype=float), train_flops=pd.Series(dtype=float))
    return runs[(runs["energy_joules"] > 0) & (runs["train_flops"] > 0)]


def _efficiency_lines(axes: Axes, known: pd.DataFrame) -> None:
    flops = known["train_flops"].to_numpy(float)
    rate = flops / known["energy_joules"].to_numpy(float)
    ends = np.array([flops.min(), flops.max()])
    if ends[0] == ends[1]:
        return
    limits = axes.get_ylim()
    for power in range(int(np.floor(np.log10(rate.min()))), int(np.ceil(np.log10(rate.max()))) + 1, EFFICIENCY_STEP):
        axes.plot(ends, ends / 10.0**power, color="#888888", lw=0.8, dashes=(1, 2), zorder=1)
        # A line that leaves the picture at its top is named there.
        leaves = min(ends[1], limits[1] * 10.0**power)
        if leaves > ends[0] and limits[0] <= leaves / 10.0**power:
            axes.annotate(
                f"{in_powers(10.0**power)} FLOP/J", (leaves, leaves / 10.0**power), xytext=(3, 0),
                textcoords="offset points", fontsize=7, va="center", color="#555555", annotation_clip=False,
            )  # fmt: skip
    axes.set_ylim(limits)
