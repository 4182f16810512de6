"""The frontier of every technique in one picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from scaling.figures.style import (
    DASHES,
    MARKERS,
    MOST_VECTOR_MARKS,
    PALETTE,
    drawable,
    log_axis,
    mark_size,
    say_instead,
)
from scaling.frontier import pareto_front

BASELINE = "baseline"
# Yellow is too pale for a line on white.
COLOURS = PALETTE[1:7]


def technique_frontiers(runs: pd.DataFrame, *, cost: str = "train_flops", error: str = "test_error") -> pd.DataFrame:
    """The frontier of each technique by itself, the baseline first.

    Args:
        runs: Runs table. Trials without a cost, an error or a technique are left out.
        cost, error: Columns.

    Returns:
        One row per frontier cell: ``technique``, `cost`, `error` (means over seeds), ``least`` and ``most`` (its best
        and worst seed), ``n_seeds``.
    """
    known = runs[runs[cost].gt(0) & runs[error].notna() & runs["technique"].notna()]
    names = sorted(known["technique"].unique(), key=lambda name: (name != BASELINE, name))
    parts = []
    for name in names:
        own = known[known["technique"] == name]
        front = pareto_front(own, cost, error)
        seeds = own.set_index("trial_id")[error].loc[front["trial_ids"].explode()].to_numpy(dtype=np.float64)
        starts = np.cumsum([0, *front["n_seeds"]])[:-1]
        parts.append(pd.DataFrame({
            "technique": name, cost: front[cost], error: front[error], "least": np.minimum.reduceat(seeds, starts),
            "most": np.maximum.reduceat(seeds, starts), "n_seeds": front["n_seeds"],
        }))  # fmt: skip
    columns = ["technique", cost, error, "least", "most", "n_seeds"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def plot_technique_frontiers(
    axes: Axes,
    runs: pd.DataFrame,
    *,
    cost: str = "train_flops",
    error: str = "test_error",
    table: pd.DataFrame | None = None,
) -> Axes:
    """Draw the frontier of each technique as a line, with bars from the best to the worst seed.

    Twelve techniques differ in colour, mark and dash together; the baseline is black and thick, all trials lie grey
    behind.

    Args:
        axes: Where to draw; both axes become logarithmic.
        runs: Runs table.
        cost, error: Columns.
        table: Its frontiers, where `technique_frontiers` has found them already.
    """
    table = technique_frontiers(runs, cost=cost, error=error) if table is None else table
    if table.empty:
        return say_instead(axes, f"no trial has a technique, {cost} and {error}")
    log_axis(axes, "x", cost)
    log_axis(axes, "y", error)
    shown = drawable(runs, cost, error)
    axes.plot(
        shown[cost], shown[error], "o", color="#bbbbbb", ms=0.6 * mark_size(len(shown)) ** 0.5, mew=0, zorder=1,
        rasterized=len(shown) > MOST_VECTOR_MARKS,
    )  # fmt: skip
    # An error of exactly 0 is drawn at half an example.
    floor = float(shown[error].min())
    for place, name in enumerate(dict.fromkeys(table["technique"])):
        part = table[table["technique"] == name]
        mean, least, most = (part[column].clip(lower=floor) for column in (error, "least", "most"))
        axes.errorbar(
            part[cost], mean, yerr=[mean - least, most - mean], elinewidth=0.7, label=name, **_look(str(name), place)
        )
    axes.plot([], [], "o", color="#bbbbbb", ms=4, mew=0, label="a trial")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, handlelength=3.2)
    return axes


def _look(name: str, place: int) -> dict[str, Any]:
    if name == BASELINE:
        return {"color": PALETTE[0], "lw": 2.0, "ls": "-", "marker": MARKERS[0], "ms": 4, "zorder": 4}
    # The dash moves on by one where the colours begin again, so that no two of twenty-four are alike.
    return {
        "color": COLOURS[place % len(COLOURS)], "lw": 1.2, "ls": DASHES[(place + place // len(COLOURS)) % len(DASHES)],
        "marker": MARKERS[place % len(MARKERS)], "ms": 4, "zorder": 3,
    }  # fmt: skip
