"""Training curves with their lower envelope."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from scaling.envelope import training_envelope
from scaling.figures.style import MOST_VECTOR_MARKS, log_axis, say_instead


def plot_training_curves(
    axes: Axes, curves: pd.DataFrame, *, cost: str = "train_flops", error: str = "validation_error"
) -> Axes:
    """Draw the error of every trial along its training, and the least that any reached with each cost.

    Args:
        axes: Where to draw; both axes become logarithmic.
        curves: One row per measurement: ``trial_id``, `cost` and `error`.
        cost, error: Columns.
    """
    usable = pd.DataFrame() if curves.empty else curves[(curves[cost] > 0) & (curves[error] > 0)]
    if usable.empty:
        return say_instead(axes, "no trial kept its training curve")
    log_axis(axes, "x", cost)
    log_axis(axes, "y", error)
    lines = [
        part[[cost, error]].to_numpy(dtype=np.float64)
        for _, part in usable.sort_values(cost, kind="stable").groupby("trial_id", sort=True)
    ]
    alpha = float(np.clip(40 / len(lines), 0.06, 0.6))
    axes.add_collection(
        LineCollection(lines, colors="#0072B2", linewidths=0.7, alpha=alpha, rasterized=len(usable) > MOST_VECTOR_MARKS)
    )
    ends = np.array([line[-1] for line in lines])
    axes.plot(ends[:, 0], ends[:, 1], ".", color="#0072B2", ms=2.5, alpha=min(1.0, 2 * alpha), label="end of a trial")
    envelope = training_envelope(usable, cost=cost, error=error).sort_values(cost)
    axes.plot(envelope[cost], envelope[error], color="black", lw=1.6, drawstyle="steps-post", label="envelope")
    axes.autoscale()
    axes.legend(loc="upper right", fontsize=8)
    return axes
