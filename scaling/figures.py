"""Figures: functions that take axes and return them, in one style, each with its data as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import colors, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from scaling.runs import column, label

if TYPE_CHECKING:
    from scaling.bootstrap import Intervals

# Okabe and Ito's colours, told apart by the colour-blind, in an order that also steps in grey.
PALETTE = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
# Exponents k drawn for comparison: the floor of theory and the one of Thompson et al. 2020.
REFERENCE_EXPONENTS = (4, 9)


def style() -> dict[Any, Any]:
    """Return the settings all figures share, for ``matplotlib.rc_context``."""
    return {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.which": "major",
        "grid.color": "#dddddd",
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
        "savefig.dpi": 200,
        "svg.fonttype": "path",
        "svg.hashsalt": "ninthpower",
    }


def axis_label(name: str) -> str:
    """Label of a column of the runs table: its meaning in words, and its unit."""
    words = label(name)
    try:
        unit = column(name).unit
    except ValueError:
        unit = ""
    return f"{words} [{unit}]" if unit and unit not in words else words


def column_kind(name: str) -> str:
    """Kind of a column of the runs table, ``unknown`` for one it does not know."""
    try:
        return column(name).kind
    except ValueError:
        return "unknown"


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
        intervals: Bootstrapped fits; those that did not converge are not drawn.
        cost: Cost column.
        error: Error column. An error of exactly 0 is drawn, as a triangle, at half an example.

    Returns:
        The axes.
    """
    shown = drawable(runs, cost, error)
    axes.set_xscale("log")
    axes.set_yscale("log")
    points = _draw_trials(axes, shown, cost, error)
    axes.plot(
        front[cost], front[error].clip(lower=shown[error].min()), "o", mfc="none", mec="black", ms=6, mew=1.1,
        label="frontier (means over seeds)", zorder=4,
    )  # fmt: skip
    for place, fitted in enumerate(one for one in intervals if one.fit.converged):
        _draw_law(axes, fitted, PALETTE[1 + place])
    _draw_reference_slopes(axes, front, cost, error)
    axes.set_xlabel(axis_label(cost))
    axes.set_ylabel(axis_label(error))
    if column_kind(error) == "fraction":
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
        axes.yaxis.set_minor_formatter(NullFormatter())
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
            low, high = fitted.band(grid)
            values = {"what": f"law {fitted.fit.law}", cost: grid, error: fitted.fit.predict(grid)}
            parts.append(pd.DataFrame({**values, "low": low, "high": high}))
    return pd.concat(parts, ignore_index=True)


def drawable(runs: pd.DataFrame, cost: str, error: str) -> pd.DataFrame:
    """Trials with a cost and an error; zeros are lifted to half an example and marked ``is_zero``."""
    shown = runs.loc[runs[cost].notna() & (runs[cost] > 0) & runs[error].notna()].copy()
    shown["reported"] = shown[error]
    shown["is_zero"] = shown[error] == 0
    positive = shown.loc[~shown["is_zero"], error]
    floor = positive.min() / 2 if len(positive) else 1.0
    if "n_test" in shown.columns:
        floor = (0.5 / shown["n_test"].astype(float)).fillna(floor)
    shown[error] = shown[error].mask(shown["is_zero"], floor)
    return shown.sort_values([cost, error], kind="stable")


def save_figure(figure: Figure, table: pd.DataFrame, folder: Path, name: str) -> list[Path]:
    """Write a figure as png and svg with its numbers as csv beside it; return the paths.

    The same figure gives the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}{suffix}" for suffix in (".png", ".svg", ".csv")]
    with rc_context(style()):
        figure.savefig(paths[0], metadata={"Software": None})
        figure.savefig(paths[1], metadata={"Date": None, "Creator": None})
    table.to_csv(paths[2], index=False)
    return paths


def _draw_trials(axes: Axes, shown: pd.DataFrame, cost: str, error: str) -> Any:
    size = max(4.0, min(18.0, 2500 / max(1, len(shown))))
    sizes_known = "n_params" in shown.columns and shown["n_params"].notna().any()
    hue = shown["n_params"].astype(float) if sizes_known else pd.Series(np.nan, index=shown.index)
    # Cividis steps evenly in grey and for the colour-blind.
    norm = colors.LogNorm(hue.min(), hue.max()) if sizes_known and hue.min() < hue.max() else None
    points = None
    for is_zero, marker in ((False, "o"), (True, "v")):
        part = shown[shown["is_zero"] == is_zero]
        if not len(part):
            continue
        paint = {"c": hue[part.index], "cmap": "cividis_r", "norm": norm} if norm else {"color": "#777777"}
        drawn = axes.scatter(part[cost], part[error], s=size, marker=marker, linewidths=0, alpha=0.75, **paint)
        points = drawn if norm else None
    return points


def _draw_law(axes: Axes, fitted: Intervals, colour: str) -> None:
    grid = _cost_grid(fitted)
    low, high = fitted.band(grid)
    axes.fill_between(grid, low, high, color=colour, alpha=0.18, linewidth=0)
    exponent = fitted.exponent
    words = f"{fitted.fit.law} law"
    if fitted.fit.exponent is not None and exponent is not None:
        words += f", k = {fitted.fit.exponent:.2f} [{exponent.low:.2f}, {exponent.high:.2f}]"
    axes.plot(grid, fitted.fit.predict(grid), color=colour, lw=1.6, label=words)


def _draw_reference_slopes(axes: Axes, front: pd.DataFrame, cost: str, error: str) -> None:
    usable = front[front[error] > 0]
    if len(usable) < 2:
        return
    ordered = usable.sort_values(cost)
    start_cost, start_error = float(ordered[cost].iloc[0]), float(ordered[error].iloc[0])
    ends = np.array([start_cost, float(ordered[cost].iloc[-1])])
    for k, dashes in zip(REFERENCE_EXPONENTS, ((4, 2), (1, 2)), strict=True):
        values = start_error * (ends / start_cost) ** (-1 / k)
        axes.plot(ends, values, color="#555555", lw=1, dashes=dashes, zorder=1)
        axes.annotate(
            f"k = {k}", (ends[-1], values[-1]), xytext=(3, 0), textcoords="offset points", va="center", fontsize=8,
            color="#555555",
        )  # fmt: skip


def _cost_grid(fitted: Intervals) -> np.ndarray:
    return np.geomspace(*fitted.fit.cost_range, 100)
