"""Error over the settings of a grid: heat maps of two of them, slices along one."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from scaling.figures.style import (
    DASHES,
    LINE_COLOURS,
    MARKERS,
    axis_label,
    column_kind,
    log_axis,
    percent_bar,
    say_instead,
)
from scaling.points import cluster_labels

# Numbers are written into a heat map of up to this many fields.
MOST_NUMBERS = 110
MOST_LINES = 8
MOST_TICKS = 10


def slice_table(runs: pd.DataFrame, along: str, by: str, error: str = "test_error") -> pd.DataFrame:
    """Mean error over seeds at each pair of two settings, the best cell where others vary besides.

    Args:
        runs: Runs table.
        along, by: Columns of two settings, such as ``n_train`` and ``width``.
        error: Column of the error.

    Returns:
        One row per pair that has runs: `along`, `by`, `error` (mean over seeds), ``least`` and ``most`` (its best and
        worst seed), ``n_seeds``.

    Raises:
        ValueError: If a column is missing.
    """
    for name in (along, by, error):
        if name not in runs.columns:
            raise ValueError(f"the runs have no column {name!r}; they have {', '.join(map(str, runs.columns))}")
    known = runs[runs[[along, by, error]].notna().all(axis=1)].reset_index(drop=True)
    if known.empty:
        return pd.DataFrame(columns=[along, by, error, "least", "most", "n_seeds"])
    known = known.assign(_cell=cluster_labels(known, along))
    cells = known.groupby([along, by, "_cell"], sort=True)[error].agg(["mean", "min", "max", "size"]).reset_index()
    best = cells.sort_values([along, by, "mean"], kind="stable").drop_duplicates([along, by])
    names = {"mean": error, "min": "least", "max": "most", "size": "n_seeds"}
    return best.drop(columns="_cell").rename(columns=names).reset_index(drop=True)


def plot_heat_map(
    axes: Axes, runs: pd.DataFrame, x: str = "n_train", y: str = "width", *, error: str = "test_error"
) -> Axes:
    """Colour each pair of two settings by its error; pairs without a run stay empty.

    Args:
        axes: Where to draw.
        runs: Runs table.
        x, y: Columns of the settings.
        error: Column of the error.
    """
    table = slice_table(runs, x, y, error)
    if table.empty:
        return say_instead(axes, f"no run has {x}, {y} and {error}")
    grid = table.pivot(index=y, columns=x, values=error)
    values = grid.to_numpy(dtype=np.float64)
    positive = values[values > 0]
    low, high = (positive.min(), positive.max()) if positive.size else (1.0, 1.0)
    # Dark is worse: the eye goes to the pale, good corner, in colour and in grey.
    norm = colors.LogNorm(low, high) if low < high else None
    shown = axes.imshow(
        np.ma.masked_invalid(np.where(values == 0, low, values)), cmap="cividis_r", norm=norm, origin="lower",
        aspect="auto", interpolation="nearest",
    )  # fmt: skip
    axes.grid(False)
    _ticks(axes, grid)
    axes.set_xlabel(axis_label(x))
    axes.set_ylabel(axis_label(y))
    if values.size <= MOST_NUMBERS:
        _write_numbers(axes, values, norm, error)
    if norm is None:
        axes.set_title(axis_label(error) + (" [%]" if column_kind(error) == "fraction" else ""), fontsize=9)
    else:
        bar = axes.figure.colorbar(shown, ax=axes, pad=0.01)
        bar.set_label(axis_label(error))
        if column_kind(error) == "fraction":
            percent_bar(bar)
    return axes


def plot_slices(
    axes: Axes, runs: pd.DataFrame, along: str = "n_train", by: str = "width", *, error: str = "test_error"
) -> Axes:
    """Draw error along one setting, a line for each value of another, with bars from the best to the worst seed.

    Args:
        axes: Where to draw; both axes become logarithmic.
        runs: Runs table.
        along, by: Columns of the settings. Of more than eight values of `by`, eight spread over them are drawn.
        error: Column of the error.
    """
    table = slice_table(runs, along, by, error)
    table = table[table[error] > 0]
    if table.empty:
        return say_instead(axes, f"no run has {along}, {by} and {error}")
    log_axis(axes, "x", along)
    log_axis(axes, "y", error)
    values = np.array(sorted(table[by].unique()))
    words, n_values = axis_label(by), len(values)
    if n_values > MOST_LINES:
        values = values[np.unique(np.linspace(0, len(values) - 1, MOST_LINES).round().astype(int))]
        words += f" ({MOST_LINES} of {n_values})"
    for place, value in enumerate(values):
        part = table[table[by] == value].sort_values(along)
        bars = np.maximum(np.array([part[error] - part["least"], part["most"] - part[error]], dtype=float), 0)
        axes.errorbar(
            part[along].astype(float), part[error], yerr=bars, color=LINE_COLOURS[place], lw=1.2, elinewidth=0.8,
            ls=DASHES[place % len(DASHES)], marker=MARKERS[place % len(MARKERS)], ms=4, label=f"{value:g}",
        )  # fmt: skip
    _whole_ticks(axes, table[along])
    axes.legend(title=words, fontsize=8, title_fontsize=8, ncols=2 if len(values) > 4 else 1)
    return axes


def _whole_ticks(axes: Axes, values: pd.Series) -> None:
    distinct = sorted(values.astype(float).unique())
    if len(distinct) <= 7:
        axes.xaxis.set_major_locator(FixedLocator(distinct))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _ticks(axes: Axes, grid: pd.DataFrame) -> None:
    for axis, values in ((axes.xaxis, grid.columns), (axes.yaxis, grid.index)):
        stride = max(1, math.ceil(len(values) / MOST_TICKS))
        places = list(range(0, len(values), stride))
        axis.set_ticks(places, [f"{values[place]:g}" for place in places])


def _write_numbers(axes: Axes, values: np.ndarray, norm: colors.Normalize | None, error: str) -> None:
    percent = column_kind(error) == "fraction"
    darkness = np.zeros(values.shape) if norm is None else np.asarray(norm(values), dtype=np.float64)
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        if np.isnan(value):
            continue
        dark = bool(darkness[row, column] > 0.5)
        axes.text(
            column, row, f"{100 * value:.3g}" if percent else f"{value:.3g}", ha="center", va="center", fontsize=7,
            color="white" if dark else "black",
        )  # fmt: skip
