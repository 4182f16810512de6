"""Training curves with their lower envelope."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from scaling.envelope import training_envelope
from scaling.figures.style import MOST_VECTOR_MARKS, PALETTE, log_axis, say_instead

# More lines than this are a blot: of more trials as many are drawn, spread evenly over their final cost.
MOST_CURVES = 300


def plot_training_curves(
    axes: Axes, curves: pd.DataFrame, *, cost: str = "train_flops", error: str = "validation_error"
) -> Axes:
    """Draw the error of trials along their training, and the least that any of all reached with each cost.

    Of more than 300 trials, 300 spread over their final cost are drawn, and the legend says so; the envelope and the
    ends are those of all.

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
    lines = _lines(usable, cost, error)
    drawn = lines
    if len(lines) > MOST_CURVES:
        drawn = [lines[place] for place in np.linspace(0, len(lines) - 1, MOST_CURVES).round().astype(int)]
    alpha = float(np.clip(60 / len(drawn), 0.3, 0.6))
    words = "a trial" if len(drawn) == len(lines) else f"{len(drawn)} of {len(lines):,} trials"
    axes.add_collection(LineCollection(drawn, colors=PALETTE[1], linewidths=0.7, alpha=alpha, label=words))
    ends = np.array([line[-1] for line in lines])
    size = 3.5 if len(lines) <= MOST_CURVES else 1.5
    axes.plot(
        ends[:, 0], ends[:, 1], ".", color=PALETTE[2], ms=size, mew=0, label="end of a trial",
        rasterized=len(lines) > MOST_VECTOR_MARKS,
    )  # fmt: skip
    envelope = training_envelope(usable, cost=cost, error=error).sort_values(cost)
    axes.plot(envelope[cost], envelope[error], color="black", lw=1.6, drawstyle="steps-post", label="envelope")
    axes.autoscale()
    axes.legend(loc="upper right", fontsize=8, markerscale=1.0 if size > 3 else 2.5)
    return axes


def _lines(curves: pd.DataFrame, cost: str, error: str) -> list[np.ndarray]:
    """Cost and error of each trial in the order of its training; the trials in order of their final cost."""
    ordered = curves.sort_values(["trial_id", cost], kind="stable")
    starts = np.flatnonzero((ordered["trial_id"] != ordered["trial_id"].shift()).to_numpy())
    lines = np.split(ordered[[cost, error]].to_numpy(dtype=np.float64), starts[1:])
    return sorted(lines, key=lambda line: float(line[-1, 0]))
