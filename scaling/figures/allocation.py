"""Where to put the next computation: isoFLOP curves of a surface, and the best split between size and data."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from scaling.allocation import optimal_allocation
from scaling.bootstrap import Intervals, named_values
from scaling.figures.style import DASHES, MARKERS, PALETTE, in_powers, log_axis, plain_powers, say_instead
from scaling.fit import Fit

# Runs within this factor of a budget are drawn on its curve.
NEAR_BUDGET = 1.25
SIZES = 80


def allocation_table(intervals: Intervals, flops: np.ndarray, *, flops_per_param_example: float) -> pd.DataFrame:
    """Best size and data at each budget, with their intervals by percentiles of the resampled surfaces.

    Args:
        intervals: Bootstrapped fit of a law in size and data.
        flops: Budgets, (m,) [FLOP].
        flops_per_param_example: k in ``flops = k size data``.

    Raises:
        ValueError: If the surface may not be quoted or has no draws.
    """
    fitted = intervals.fit
    if not fitted.converged or fitted.optimum is None or not len(intervals.draws):
        raise ValueError(f"the {fitted.law} law has no best split: {fitted.reason}")
    best = optimal_allocation(fitted.parameters, flops, flops_per_param_example=flops_per_param_example)
    named = named_values(fitted.form, intervals.draws, fitted.optimum)
    drawn = []
    for row in zip(*(named[name] for name in fitted.form.names), strict=True):
        values = dict(zip(fitted.form.names, map(float, row), strict=True))
        if all(values[name] > 0 for name in ("A", "alpha", "B", "beta")):
            drawn.append(optimal_allocation(values, flops, flops_per_param_example=flops_per_param_example))
    tail = (1 - intervals.level) / 2
    ends = np.quantile(np.array(drawn), [tail, 1 - tail], axis=0)
    return pd.DataFrame({
        "train_flops": flops,
        "n_params": best[0], "n_params_low": ends[0, 0], "n_params_high": ends[1, 0],
        "n_train": best[1], "n_train_low": ends[0, 1], "n_train_high": ends[1, 1],
    })  # fmt: skip


def plot_allocation(axes: Axes, intervals: Intervals, flops: np.ndarray, *, flops_per_param_example: float) -> Axes:
    """Draw the best model size and data-set size against compute, with their bands.

    Args:
        axes: Where to draw; both axes become logarithmic.
        intervals: Bootstrapped fit of a law in size and data.
        flops: Budgets, (m,) [FLOP].
        flops_per_param_example: k in ``flops = k size data``.
    """
    fitted = intervals.fit
    if not fitted.converged or not len(intervals.draws):
        return say_instead(axes, f"the {fitted.law} law has no best split: {fitted.reason}")
    table = allocation_table(intervals, flops, flops_per_param_example=flops_per_param_example)
    log_axis(axes, "x", "train_flops")
    axes.set_yscale("log")
    plain_powers(axes.yaxis)
    for place, (name, words) in enumerate((("n_params", "parameters"), ("n_train", "training examples"))):
        colour = PALETTE[1 + place]
        axes.fill_between(
            table["train_flops"], table[f"{name}_low"], table[f"{name}_high"], color=colour, alpha=0.18, linewidth=0
        )
        axes.plot(table["train_flops"], table[name], color=colour, ls=DASHES[place], lw=1.6, label=words)
    axes.set_ylabel("best number of parameters or examples")
    axes.legend(loc="upper left", fontsize=8, title=f"with {intervals.level:.0%} bands", title_fontsize=8)
    return axes


def plot_isoflop(
    axes: Axes,
    surface: Fit | Intervals,
    budgets: np.ndarray,
    *,
    flops_per_param_example: float,
    runs: pd.DataFrame | None = None,
    size: str = "n_params",
    cost: str = "train_flops",
) -> Axes:
    """Draw the error a surface gives along lines of equal compute, the best size of each, and the runs near them.

    Args:
        axes: Where to draw; both axes become logarithmic.
        surface: Fit of a law in size and data; with its intervals the best sizes have bars.
        budgets: Compute of each curve, (m,) [FLOP].
        flops_per_param_example: k in ``flops = k size data``.
        runs: Runs whose cost lies within a factor of 1.25 of a budget are drawn on its curve.
        size, cost: Columns of those runs.
    """
    fitted = surface.fit if isinstance(surface, Intervals) else surface
    if not fitted.converged:
        return say_instead(axes, f"the {fitted.law} law has no isoFLOP curves: {fitted.reason}")
    best = _best_sizes(surface, budgets, flops_per_param_example)
    seen = np.exp(fitted.points.x[0])
    sizes = np.geomspace(seen.min(), seen.max(), SIZES)
    log_axis(axes, "x", size)
    log_axis(axes, "y", fitted.error)
    for place, budget in enumerate(budgets):
        colour = PALETTE[place % 7]
        data = budget / flops_per_param_example / sizes
        # Where a curve would need less data than any run had, the surface is not drawn.
        inside = data >= np.exp(fitted.points.x[1]).min() / 2
        if inside.any():
            axes.plot(
                sizes[inside], fitted.predict(sizes[inside], data[inside]), color=colour, lw=1.3,
                ls=DASHES[place % len(DASHES)], label=f"{in_powers(budget)} FLOP",
            )  # fmt: skip
        star = best.iloc[place]
        if sizes[0] <= star["n_params"] <= sizes[-1]:
            height = float(fitted.predict(star["n_params"], star["n_train"]))
            ends = star[["n_params_low", "n_params_high"]].to_numpy(float).clip(sizes[0], sizes[-1])
            # White below, or it would vanish among the runs.
            for width, ink in ((4.0, "white"), (1.8, colour)):
                axes.plot(ends, [height, height], color=ink, lw=width, zorder=4)
            axes.plot(star["n_params"], height, "*", color=colour, ms=11, mec="white", mew=0.6, zorder=5)
        if runs is not None:
            near = runs[(runs[cost] > budget / NEAR_BUDGET) & (runs[cost] < budget * NEAR_BUDGET)]
            near = near[near[fitted.error] > 0]
            axes.plot(
                near[size].astype(float), near[fitted.error], MARKERS[place % len(MARKERS)], color=colour, ms=3.5,
                alpha=0.6, mew=0,
            )  # fmt: skip
    words = "stars: best size"
    if isinstance(surface, Intervals):
        words += f"\nbars: its {surface.level:.0%} interval"
    # Beside the axes: curves and runs leave no corner free.
    axes.legend(
        title=words, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, title_fontsize=8, alignment="left"
    )
    return axes


def _best_sizes(surface: Fit | Intervals, budgets: np.ndarray, k: float) -> pd.DataFrame:
    """Best size and data of each budget, with the ends of the size where they are known."""
    if isinstance(surface, Intervals) and len(surface.draws):
        return allocation_table(surface, budgets, flops_per_param_example=k)
    fitted = surface.fit if isinstance(surface, Intervals) else surface
    n_params, n_train = optimal_allocation(fitted.parameters, budgets, flops_per_param_example=k)
    return pd.DataFrame({"n_params": n_params, "n_train": n_train, "n_params_low": np.nan, "n_params_high": np.nan})
