"""The study's three figures in our own style, with intervals, each with its numbers as a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from scaling.figure_one import MODELS, PUBLISHED_OBSERVATIONS, Study
from scaling.figures import PALETTE, save_figure, style
from scaling.literature.history import compute_growth
from scaling.literature.regression import GIGA, MEASURES, benchmarks, log_axes, regress, rows_of
from scaling.prices import DEVICES

Array = NDArray[np.float64]

N_RESAMPLES = 2000
# Decades drawn beyond the data on each side.
MARGIN = 0.3
# Exponents beyond this are drawn as an arrow.
FARTHEST_EXPONENT = 60.0
YEAR_COLOURS = "cividis_r"
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))


def draw_figure_one(study: Study, folder: Path) -> list[Path]:
    """Performance of the six models against observations and against computation; returns the files."""
    with rc_context(style()):
        figure = Figure(figsize=(8.4, 3.9))
        left, right = figure.subplots(1, 2, sharey=True)
        plot_models(left, study, "n")
        left.axhline(study.reference, color="#555555", lw=0.8, dashes=(1, 2))
        top = study.reference
        for name, n in PUBLISHED_OBSERVATIONS.items():
            left.plot([n], [top], "x", color=PALETTE[MODELS.index(name)], ms=7, mew=1.8, zorder=5)
        left.set_xlabel("observations")
        left.set_ylabel("performance: −log10 of normalised squared error")
        plot_models(right, study, "flops")
        right.set_xlabel("computation of one fit [FLOP]")
        right.legend(
            *left.get_legend_handles_labels(), loc="upper left", bbox_to_anchor=(0.2, 1.0), fontsize=7.5,
            title="observations to reach\nthe dotted line", title_fontsize=7.5,
        )  # fmt: skip
        left.annotate("× as published", (0.98, 0.03), xycoords="axes fraction", ha="right", fontsize=8)
        return save_figure(figure, study.table, folder, "figure_1_models")


def plot_models(axes: Axes, study: Study, against: str) -> Axes:
    """Draw performance of each model, with twice its standard error, against a column of the study's table."""
    axes.set_xscale("log")
    for place, name in enumerate(MODELS):
        part = study.table[study.table["model"] == name].sort_values(against)
        label = f"{name} ({_needed(study, name)})" if against == "n" else name
        axes.plot(part[against], part["performance"], ls=LINES[place], color=PALETTE[place], lw=1.4, label=label)
        low, high = (part["performance"] + sign * 2 * part["standard_error"] for sign in (-1, 1))
        axes.fill_between(part[against], low, high, color=PALETTE[place], alpha=0.2, linewidth=0)
    axes.set_ylim(-0.1, 2.6)
    return axes


def draw_literature(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Growth of computation beside hardware, and performance against computation; returns the files.

    A table without hardware burdens has only its computation per pass drawn.
    """
    paths: list[Path] = []
    if benchmarks(table, "burden"):
        paths += _draw_history(table, folder)
        paths += _draw_benchmarks(table, folder, "burden", "figure_3_burden")
    if benchmarks(table, "per-pass"):
        paths += _draw_benchmarks(table, folder, "per-pass", "figure_3_per_pass")
    return paths


def _draw_history(table: pd.DataFrame, folder: Path) -> list[Path]:
    rows = table[table["hardware_burden_flop"].notna()]
    cards = [device for device in DEVICES if device.precision == "FP32"]
    with rc_context(style()):
        figure = Figure(figsize=(7.2, 4.2))
        axes = figure.add_subplot()
        axes.set_yscale("log")
        for place, name in enumerate(benchmarks(table, "burden")):
            part = rows[rows["benchmark"] == name]
            axes.plot(
                part["year"], part["hardware_burden_flop"], "osv^D*"[place % 6], ms=4, color=PALETTE[place % 8],
                alpha=0.7, label=name,
            )  # fmt: skip
        years, logs = np.array([d.year for d in cards]), np.log10([d.flops_per_second * 86400 for d in cards])
        axes.plot(years, 10**logs, "k-", lw=1.2, marker="_", ms=9, label="one GPU for a day (FP32 peak)")
        if "ImageNet" in set(rows["benchmark"]):
            growth = compute_growth(table, "ImageNet")
            words = f"ImageNet results: {growth.factor_per_year:.1f} times a year [{growth.low:.1f}, {growth.high:.1f}]"
            axes.annotate(words, (0.02, 0.96), xycoords="axes fraction", va="top", fontsize=8)
        axes.set_xlabel("year")
        axes.set_ylabel("hardware burden [FLOP]")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
        hardware = pd.DataFrame({"benchmark": "hardware, a day", "model": [d.name for d in cards], "year": years})
        numbers = pd.concat([
            rows[["benchmark", "model", "year", "hardware_burden_flop"]],
            hardware.assign(hardware_burden_flop=10**logs),
        ])  # fmt: skip
        return save_figure(figure, numbers, folder, "figure_2_history")


def _draw_benchmarks(table: pd.DataFrame, folder: Path, measure: str, name: str) -> list[Path]:
    names = benchmarks(table, measure)
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    parts = []
    with rc_context(style()):
        figure = Figure(figsize=(3.0 * columns + 0.9 if columns > 1 else 5.6, 2.7 * lines + 0.4))
        grid = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, benchmark in zip(grid, names, strict=False):
            parts.append(plot_benchmark(axes, table, benchmark, measure))
        for axes in grid[len(names) :]:
            axes.set_axis_off()
        years = Normalize(int(table["year"].min()), int(table["year"].max()))
        bar = figure.colorbar(ScalarMappable(years, YEAR_COLOURS), ax=list(grid), pad=0.01, aspect=40)
        bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        bar.set_label("year of the result")
        figure.supxlabel(f"{MEASURE_WORDS[measure]} [FLOP]", fontsize=9)
        figure.supylabel("error", fontsize=9)
        return save_figure(figure, pd.concat(parts, ignore_index=True), folder, name)


MEASURE_WORDS = {"burden": "hardware burden", "per-pass": "computation of one network pass"}


def plot_benchmark(axes: Axes, table: pd.DataFrame, benchmark: str, measure: str) -> pd.DataFrame:
    """Draw results, coloured by year, and the polynomial line with its 95% band; return the numbers drawn.

    The band resamples whole works (papers, or results of one burden and year).
    """
    rows = rows_of(table, benchmark, measure)
    compute, performance = log_axes(rows, measure)
    line = regress(compute, performance, "polynomial", benchmark)
    grid = np.linspace(compute.min() - MARGIN, compute.max() + MARGIN, 60)
    low, high = resampled_band(compute, performance, rows["work"], grid)
    flop, best = 10.0**grid * GIGA, 10.0 ** -(line.intercept + line.slope * grid)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.fill_between(flop, 10.0**-high, 10.0**-low, color=PALETTE[1], alpha=0.18, linewidth=0)
    axes.plot(flop, best, color=PALETTE[1], lw=1.4)
    years = Normalize(int(table["year"].min()), int(table["year"].max()))
    axes.scatter(rows[MEASURES[measure]], rows["error"], c=rows["year"], cmap=YEAR_COLOURS, norm=years, s=13, zorder=3)
    words = "slope not significant"
    interval = line.exponent_interval()
    if line.significant and line.exponent is not None and interval is not None:
        words = f"k = {line.exponent:.1f} [{interval[0]:.1f}, {interval[1]:.1f}]"
    axes.set_title(f"{benchmark}: {words}", fontsize=8.5)
    _percent_ticks(axes, rows["error"])
    drawn = pd.DataFrame({"benchmark": benchmark, "what": "line", "flop": flop, "error": best})
    drawn = drawn.assign(low=10.0**-high, high=10.0**-low)
    points = pd.DataFrame({"flop": rows[MEASURES[measure]], "error": rows["error"], "year": rows["year"]})
    points = points.assign(benchmark=benchmark, what=rows["model"])
    return pd.concat([points, drawn], ignore_index=True)


def resampled_band(
    compute: Array, performance: Array, works: pd.Series, grid: Array, *, seed: int = 0
) -> tuple[Array, Array]:
    """95% bounds of the polynomial line on a grid, whole works drawn with replacement."""
    codes, names = pd.factorize(works)
    generator = np.random.default_rng(seed)
    share = np.full(len(names), 1.0 / len(names))
    weight = generator.multinomial(len(names), share, size=N_RESAMPLES)[:, codes].astype(np.float64)
    total = weight.sum(axis=1, keepdims=True)
    mean_x, mean_y = weight @ compute[:, None] / total, weight @ performance[:, None] / total
    away = compute - mean_x
    spread = (weight * away**2).sum(axis=1, keepdims=True)
    usable = spread[:, 0] > 0
    slope = (weight * away * (performance - mean_y)).sum(axis=1, keepdims=True)[usable] / spread[usable]
    curves = mean_y[usable] + slope * (grid - mean_x[usable])
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    return low, high


def _percent_ticks(axes: Axes, error: pd.Series) -> None:
    """Three round errors over the range, as percentages: a log axis of less than a decade has no ticks of its own."""
    ends = np.geomspace(float(error.min()), float(error.max()), 3)
    values = sorted({float(f"{value:.2g}") for value in ends})
    axes.set_yticks(values, [f"{100 * value:g}%" for value in values])
    axes.set_yticks([], minor=True)


def _needed(study: Study, name: str) -> str:
    value = study.needed[name]
    return "never" if value is None else f"{value:,.0f}"


def draw_exponents(found: pd.DataFrame, folder: Path) -> list[Path]:
    """Exponent of computation by method and source, with intervals or ranges; returns the files.

    Args:
        found: ``source``, ``method``, ``exponent``, ``low``, ``high``; NaN where there is none, an infinite end is
            drawn as an arrow.
        folder: To write to.
    """
    shown = found[found[["exponent", "low"]].notna().any(axis=1)].reset_index(drop=True)
    methods, sources = list(dict.fromkeys(shown["method"])), list(dict.fromkeys(shown["source"]))
    with rc_context(style()):
        figure = Figure(figsize=(7.2, 0.34 * len(methods) + 1.2))
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_xlim(3, FARTHEST_EXPONENT)
        for place, source in enumerate(sources):
            part = shown[shown["source"] == source]
            height = np.array([methods.index(name) for name in part["method"]]) + 0.22 * (
                place - (len(sources) - 1) / 2
            )
            colour = PALETTE[place]
            axes.plot(part["exponent"], height, "osD^"[place % 4], color=colour, ms=4, label=source)
            axes.hlines(height, part["low"], part["high"].clip(upper=FARTHEST_EXPONENT), color=colour, lw=1.1)
            open_ended = (part["high"] > FARTHEST_EXPONENT).to_numpy()
            axes.plot(np.full(open_ended.sum(), FARTHEST_EXPONENT * 0.97), height[open_ended], ">", color=colour, ms=4)
        for k, words in ((4, "theory"), (9, "published")):
            axes.axvline(k, color="#555555", lw=0.9, dashes=(2, 2), zorder=0)
            axes.annotate(words, (k, -0.9), ha="center", fontsize=8, annotation_clip=False)
        axes.set_yticks(range(len(methods)), methods)
        axes.set_ylim(len(methods) - 0.4, -0.6)
        axes.set_xticks([4, 6, 9, 15, 30, 60], ["4", "6", "9", "15", "30", "60"])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("exponent k: computation grows with performance to the power k")
        figure.legend(loc="outside lower center", ncols=len(sources), fontsize=8)
        return save_figure(figure, found, folder, "figure_4_exponents")
