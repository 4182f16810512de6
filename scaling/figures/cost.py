"""Error against cost: every trial, the frontier, the laws with their bands, two slopes for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import colors
from matplotlib.axes import Axes

from scaling.figures.style import (
    DASHES,
    MOST_LARGE_RINGS,
    MOST_VECTOR_MARKS,
    PALETTE,
    SIZE_COLOURS,
    UNKNOWN_COLOUR,
    axis_label,
    drawable,
    has_band,
    log_axis,
    mark_size,
    ring_size,
)
from scaling.words import counted

if TYPE_CHECKING:
    from scaling.bootstrap import Intervals
    from scaling.fit import Fit

# Exponents k drawn for comparison: the floor of theory and the one of Thompson et al. 2020.
REFERENCE_EXPONENTS = (4, 9)
# So that a word that lies on trials can be read.
BEHIND_WORDS = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5}


def plot_error_against_cost(
    axes: Axes,
    runs: pd.DataFrame,
    front: pd.DataFrame,
    intervals: Sequence[Intervals],
    *,
    cost: str = "train_flops",
    error: str = "test_error",
) -> Axes:
    """Draw every trial, the frontier of the cells, the fitted laws with their bands, and two slopes.

    Args:
        axes: Where to draw; both axes become logarithmic.
        runs: Runs table. Trials that did not finish have no error and are not drawn.
        front: The frontier, as `scaling.pareto_front` returns it for the same columns.
        intervals: Bootstrapped fits; of those that did not converge the legend says that they are refused.
        cost: Cost column.
        error: Error column. An error of exactly 0 is drawn, as a triangle, at half an example.

    Returns:
        The axes.
    """
    shown = drawable(runs, cost, error)
    log_axis(axes, "x", cost)
    log_axis(axes, "y", error)
    points = _draw_trials(axes, shown, cost, error)
    axes.plot(
        front[cost], front[error].clip(lower=shown[error].min()), "o", mfc="none", mec="black", mew=1.1,
        ms=ring_size(len(front)), label="frontier (means over seeds)", zorder=4,
    )  # fmt: skip
    # Many rings would hide a law that runs through them.
    layer = 5 if len(front) > MOST_LARGE_RINGS else 3
    for place, fitted in enumerate(one for one in intervals if one.fit.converged):
        _draw_law(axes, fitted, PALETTE[1 + place % 6], DASHES[place % len(DASHES)], layer)
    for fitted in intervals:
        if not fitted.fit.converged:
            axes.plot([], [], " ", label=f"{fitted.fit.law} law: refused ({_in_short(fitted.fit)})")
    # The trials say how far the picture goes; a wide band may leave it.
    axes.set_ylim(*_room(shown[error]))
    _draw_reference_slopes(axes, front, cost, error)
    if points is not None:
        bar = axes.figure.colorbar(points, ax=axes, pad=0.01)
        bar.set_label(axis_label("n_params"))
    axes.legend(loc="upper right", fontsize=8)
    return axes


def error_against_cost_table(
    runs: pd.DataFrame,
    front: pd.DataFrame,
    intervals: Sequence[Intervals],
    *,
    cost: str = "train_flops",
    error: str = "test_error",
) -> pd.DataFrame:
    """The numbers behind `plot_error_against_cost`: one row per trial, frontier cell and point of a law."""
    shown = drawable(runs, cost, error)
    parts = [
        pd.DataFrame({"what": "trial", "trial_id": shown["trial_id"], cost: shown[cost], error: shown["reported"]}),
        pd.DataFrame({"what": "frontier", cost: front[cost], error: front[error]}),
    ]
    for fitted in intervals:
        if fitted.fit.converged:
            grid = _cost_grid(fitted)
            low, high = fitted.band(grid) if has_band(fitted) else (np.nan, np.nan)
            values = {"what": f"law {fitted.fit.law}", cost: grid, error: fitted.fit.predict(grid)}
            parts.append(pd.DataFrame({**values, "low": low, "high": high}))
    return pd.concat(parts, ignore_index=True)


def _draw_trials(axes: Axes, shown: pd.DataFrame, cost: str, error: str) -> Any:
    size = mark_size(len(shown))
    sizes_known = "n_params" in shown.columns and shown["n_params"].notna().any()
    hue = shown["n_params"].astype(float) if sizes_known else pd.Series(np.nan, index=shown.index)
    norm = colors.LogNorm(hue.min(), hue.max()) if sizes_known and hue.min() < hue.max() else None
    points = None
    for is_zero, marker in ((False, "o"), (True, "v")):
        part = shown[shown["is_zero"] == is_zero]
        if not len(part):
            continue
        paint = {"c": hue[part.index], "norm": norm, **SIZE_COLOURS} if norm else {"color": "#777777"}
        drawn = axes.scatter(part[cost], part[error], s=size, marker=marker, linewidths=0, alpha=0.75, **paint)
        drawn.set_rasterized(len(shown) > MOST_VECTOR_MARKS)
        points = drawn if norm else None
    if norm and hue.isna().any():
        words = f"size unknown, {counted(int(hue.isna().sum()), 'trial')}"
        axes.plot([], [], "o", color=UNKNOWN_COLOUR, mew=0, ms=4, label=words)
    return points


def _draw_law(axes: Axes, fitted: Intervals, colour: str, dashes: Any, layer: int) -> None:
    grid = _cost_grid(fitted)
    if has_band(fitted):
        axes.fill_between(grid, *fitted.band(grid), color=colour, alpha=0.18, linewidth=0)
    exponent = fitted.exponent
    words = f"{fitted.fit.law} law"
    if fitted.fit.exponent is not None and exponent is not None:
        words += f", k = {fitted.fit.exponent:.2f} [{exponent.low:.2f}, {exponent.high:.2f}]"
    elif not has_band(fitted):
        words += ", no interval"
    axes.plot(grid, fitted.fit.predict(grid), color=colour, lw=1.6, ls=dashes, label=words, zorder=layer)


def _in_short(fitted: Fit) -> str:
    return fitted.status.name.lower().replace("_", " ")


def _draw_reference_slopes(axes: Axes, front: pd.DataFrame, cost: str, error: str) -> None:
    usable = front[front[error] > 0]
    if len(usable) < 2:
        return
    ordered = usable.sort_values(cost)
    start_cost, start_error = float(ordered[cost].iloc[0]), float(ordered[error].iloc[0])
    end_cost, bottom = float(ordered[cost].iloc[-1]), axes.get_ylim()[0]
    for k, dashes in zip(REFERENCE_EXPONENTS, ((4, 2), (1, 2)), strict=True):
        # A steep line leaves the picture at its bottom: it ends there, with its label.
        leaves = start_cost * (start_error / (bottom * 1.02)) ** k
        ends = np.array([start_cost, min(end_cost, leaves)])
        values = start_error * (ends / start_cost) ** (-1 / k)
        axes.plot(ends, values, color="#555555", lw=1, dashes=dashes, zorder=1)
        axes.annotate(
            f"k = {k}", (ends[-1], values[-1]), xytext=(3, 4 if leaves < end_cost else 0), textcoords="offset points",
            va="center", fontsize=8, color="#555555", bbox=BEHIND_WORDS,
        )  # fmt: skip


def _room(errors: pd.Series) -> tuple[float, float]:
    low, high = float(errors.min()), float(errors.max())
    margin = max((high / low) ** 0.06, 1.05)
    return low / margin, high * margin


def _cost_grid(fitted: Intervals) -> np.ndarray:
    return np.geomspace(*fitted.fit.cost_range, 100)
