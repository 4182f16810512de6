"""The figures and the page of an analysis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.background import Background
from experiments.findings import fits_view, frontier_view, headline, not_known, trials_view
from experiments.other_axes import other_axes_view
from experiments.provenance import fit_provenance, method
from experiments.sweep import FitSpec
from scaling import bootstrap, figures
from scaling.bootstrap import Intervals
from scaling.columns import label
from scaling.holdout import Backtest
from scaling.report import Report, ReportChart, ReportFigure, ReportTable, write_report
from scaling.words import counted

FIGURE_INCHES = (7.2, 4.6)
SQUARE_INCHES = (5.6, 5.0)
SURFACE = "size_and_data"
BUDGETS = 5
BASELINE = "baseline"


@dataclass(frozen=True)
class Found:
    """An analysis before it is drawn."""

    everything: pd.DataFrame
    runs: pd.DataFrame
    not_chosen: Sequence[str]
    front: pd.DataFrame
    fits: Sequence[Intervals]
    others: Sequence[Intervals]
    tested: Backtest | None
    sentences: Sequence[str]
    settings: FitSpec


def write_page(found: Found, background: Background, drawn: Sequence[ReportFigure], path: Path) -> Path:
    """Write report.html."""
    settings = found.settings
    answer, more = headline(found.sentences, found.fits, found.tested)
    page = Report(
        title=background.title,
        answer=answer,
        more=more,
        chart=ReportChart(found.runs, (*found.fits, *found.others), settings.cost, settings.error, background.links),
        comparison=background.comparison,
        figures=drawn,
        tables=list(_tables(found)),
        method=method(found.everything, settings, ours=background.ours),
        not_known=[
            *not_known(found.everything, found.fits, settings, found.not_chosen),
            *filter(None, [background.not_compared]),
        ],
        provenance={**background.provenance, **fit_provenance(settings)},
    )
    return write_report(page, path)


def draw_all(found: Found, background: Background, folder: Path) -> tuple[list[ReportFigure], list[Path]]:
    """Draw what the runs can show, each figure with its numbers beside it."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    drawn: list[ReportFigure] = []
    paths: list[Path] = []
    with rc_context(figures.style()):
        for drawing in _drawings(found, background.curves):
            figure = Figure(figsize=drawing.inches)
            drawing.draw(figure.add_subplot())
            files = figures.save_figure(figure, drawing.table, folder, drawing.name)
            paths += files
            drawn.append(ReportFigure(drawing.title, drawing.caption, files[1]))
    return drawn, paths


@dataclass(frozen=True)
class _Drawing:
    name: str
    title: str
    caption: str
    table: pd.DataFrame
    draw: Any
    inches: tuple[float, float] = FIGURE_INCHES


def _drawings(found: Found, curves: pd.DataFrame) -> list[_Drawing]:
    drawings = [
        _against_cost(found),
        *_by_technique(found),
        *_over_the_grid(found),
        *_backtest(found),
        *_split(found),
        *_fan(found),
    ]
    if not curves.empty:
        drawings.append(_training_curves(curves))
    if "energy_joules" in found.everything.columns and found.everything["energy_joules"].notna().any():
        drawings.append(_energy(found))
    return drawings


def _against_cost(found: Found) -> _Drawing:
    settings, names = found.settings, {"cost": found.settings.cost, "error": found.settings.error}
    zeros = zeros_sentence(found.runs, settings.error)
    return _Drawing(
        "error_against_cost",
        f"{label(settings.error).capitalize()} against {label(settings.cost)}",
        f"Every trial is a point. Rings: the frontier of the cells. Lines: laws fitted to the frontier with "
        f"{settings.level:.0%} bands from resampling whole cells. Dashed: the slopes of exponents 4 and 9.{zeros}",
        figures.error_against_cost_table(found.runs, found.front, found.fits, **names),
        lambda axes: figures.plot_error_against_cost(axes, found.runs, found.front, found.fits, **names),
    )


def zeros_sentence(runs: pd.DataFrame, error: str) -> str:
    """Where trials without a single error stand in the picture; empty where there are none."""
    zeros = runs[runs[error] == 0]
    n_test = zeros["n_test"] if "n_test" in zeros.columns else pd.Series(np.nan, index=zeros.index)
    places = {
        "half an example": int(n_test.notna().sum()),
        "half the least other error, as their test sets have no known size": int(n_test.isna().sum()),
    }
    return "".join(
        f" {counted(number, 'trial')} without a single error: drawn as triangles at {place}."
        for place, number in places.items()
        if number
    )


def _by_technique(found: Found) -> list[_Drawing]:
    settings, names = found.settings, {"cost": found.settings.cost, "error": found.settings.error}
    if "technique" not in found.runs.columns or found.runs["technique"].nunique() < 2:
        return []
    table = figures.technique_frontiers(found.runs, **names)
    return [_Drawing(
        "technique_frontiers", "The frontier of each technique",
        f"{label(settings.error).capitalize()} against {label(settings.cost)}: means over seeds of the cells that no "
        "other of the same technique beats in both; bars reach from the best to the worst seed. Whether a difference "
        "is more than chance, the comparison of techniques says.",
        table, lambda axes: figures.plot_technique_frontiers(axes, found.runs, table=table, **names),
    )]  # fmt: skip


def _over_the_grid(found: Found) -> list[_Drawing]:
    runs, error = found.runs, found.settings.error
    varied = [name for name in ("n_train", "width", "depth") if name in runs.columns and runs[name].nunique() > 1]
    if len(varied) < 2:
        return []
    along, by = varied[:2]
    table = figures.slice_table(runs, along, by, error)
    others = [label(name) for name in (*varied[2:], "technique") if name in runs.columns and runs[name].nunique() > 1]
    best = f" Of several values of {' and '.join(others)}, the best is shown." if others else ""
    return [
        _Drawing(
            f"error_over_{along}_and_{by}", f"{label(error).capitalize()} over {label(along)} and {label(by)}",
            f"Means over seeds, in percent where errors are fractions; dark is worse.{best}", table,
            lambda axes: figures.plot_heat_map(axes, runs, along, by, error=error),
        ),
        _Drawing(
            f"error_along_{along}", f"{label(error).capitalize()} along {label(along)}",
            f"A line for each {label(by)}; bars reach from the best to the worst seed.{best}", table,
            lambda axes: figures.plot_slices(axes, runs, along, by, error=error),
        ),
    ]  # fmt: skip


def _backtest(found: Found) -> list[_Drawing]:
    tested = found.tested
    if tested is None or tested.table.empty:
        return []
    return [_Drawing(
        "backtest", "Predicted against measured",
        "Each law fitted to the cheaper runs only and asked for the dearer ones; on the dashed line it was right. "
        f"Bars: {tested.level:.0%} prediction bands. Hollow marks with an arrow, and arrowheads: beyond the picture.",
        figures.backtest_table(tested), lambda axes: figures.plot_backtest(axes, tested, error=found.settings.error),
        SQUARE_INCHES,
    )]  # fmt: skip


def _split(found: Found) -> list[_Drawing]:
    """IsoFLOP curves and the best split, where the runs determine a surface in size and data."""
    runs, error = found.runs, found.settings.error
    needed = ("n_params", "n_train", "train_flops")
    techniques = set(runs["technique"].dropna()) if "technique" in runs.columns else set()
    if len(techniques) > 1 and BASELINE in techniques:
        # One surface is one way of training.
        runs = runs[runs["technique"] == BASELINE]
    if not all(name in runs.columns and runs[name].nunique() > 2 for name in needed):
        return []
    positive = runs[(runs["n_params"] > 0) & (runs["n_train"] > 0) & (runs["train_flops"] > 0)]
    surface = bootstrap(positive, SURFACE, error=error, n_resamples=found.settings.resamples, seed=0)
    if not surface.fit.converged or not len(surface.draws):
        return []
    spent = positive["train_flops"].astype(float)
    k = float((spent / (positive["n_params"].astype(float) * positive["n_train"].astype(float))).median())
    low, high = np.quantile(spent, [0.15, 0.85])
    budgets = np.geomspace(low, high, BUDGETS)
    grid = np.geomspace(spent.min(), spent.max(), 40)
    table = figures.allocation_table(surface, grid, flops_per_param_example=k)
    whose = "the baseline's runs" if len(techniques) > 1 and BASELINE in techniques else "the runs"
    law = f"{surface.fit.equation}; training took {k:.3g} FLOP per parameter and example (median)."
    return [
        _Drawing(
            "isoflop", "Size against data at equal compute",
            f"Curves of the surface fitted to {whose}, with those within a quarter of each budget; stars: the best "
            f"size of each, bars: its {surface.level:.0%} interval. {law}", table,
            lambda axes: figures.plot_isoflop(axes, surface, budgets, flops_per_param_example=k, runs=positive),
        ),
        _Drawing(
            "best_split", "The best split of a budget",
            f"Parameters and examples that the surface calls best, with {surface.level:.0%} bands.", table,
            lambda axes: figures.plot_allocation(axes, surface, grid, flops_per_param_example=k),
        ),
    ]  # fmt: skip


def _fan(found: Found) -> list[_Drawing]:
    order = {} if found.tested is None else {str(law): place for place, law in enumerate(found.tested.scores["law"])}
    quoted = [one for one in found.fits if one.exponent is not None]
    if not quoted:
        return []
    best = min(quoted, key=lambda one: order.get(one.fit.law, 0))
    return [_Drawing(
        "projection", "Beyond the data",
        f"The {best.fit.law} law to two decades beyond the dearest cell. The bands know of the noise, not of a law "
        "that is wrong out there.",
        figures.fan_table(best), lambda axes: figures.plot_fan(axes, best),
    )]  # fmt: skip


def _training_curves(curves: pd.DataFrame) -> _Drawing:
    return _Drawing(
        "training_curves", "Along the training",
        "Validation error of every trial as its compute is spent, and the least any had reached by then.", curves,
        lambda axes: figures.plot_training_curves(axes, curves),
    )  # fmt: skip


def _energy(found: Found) -> _Drawing:
    return _Drawing(
        "energy", "Energy against compute", "Dotted: equal FLOP per joule. Energy that is unknown is not drawn, nor 0.",
        figures.energy_table(found.everything), lambda axes: figures.plot_energy(axes, found.everything),
    )  # fmt: skip


def _tables(found: Found) -> list[ReportTable]:
    settings = found.settings
    tables = [
        ReportTable(
            "The frontier", "Cells that no other beats in both; means over seeds.", frontier_view(found.front, settings)
        ),
        ReportTable("Laws", "Each law fitted to the frontier, with its status.", fits_view(found.fits)),
    ]
    if found.tested is not None:
        tables.append(ReportTable(
            "Which law to believe",
            "Each law fitted to the runs below one budget after another and asked for those above: the typical error "
            f"of its log prediction, and how often the {found.tested.level:.0%} band held the run.",
            found.tested.scores,
        ))  # fmt: skip
    if found.others:
        tables.append(ReportTable(
            "Laws on other axes", "The same laws fitted to the frontier of every other cost and error of the runs.",
            other_axes_view(found.others), folded=True,
        ))  # fmt: skip
    techniques = techniques_view(found.everything, settings)
    if len(techniques) > 1:
        tables.insert(0, ReportTable(
            "Techniques", "How the trials of each ended, and its best cell: means over seeds.", techniques
        ))  # fmt: skip
    trials = trials_view(found.everything, settings)
    tables.append(ReportTable("Trials", "Every trial, unfinished ones included.", trials, folded=len(trials) > 20))
    return tables


def techniques_view(runs: pd.DataFrame, settings: FitSpec) -> pd.DataFrame:
    """One row per technique: trials by status and the best cell's error with its costs; unknown costs stay empty."""
    if "technique" not in runs.columns:
        return pd.DataFrame()
    costs = [name for name in ("train_flops", "energy_joules", "inference_flops", "inference_seconds", "n_params")
             if name in runs.columns]  # fmt: skip
    rows = []
    for name, part in runs.groupby(runs["technique"].fillna("unknown"), sort=True):
        counts = part["status"].value_counts()
        row: dict[str, Any] = {
            "technique": name,
            "trials": len(part),
            **{status: int(counts.get(status, 0)) for status in ("finished", "diverged", "failed", "stopped")},
        }
        known = part[(part["status"] == "finished") & part[settings.error].notna()]
        keys = [key for key in ("cell",) if key in known.columns] or [settings.cost]
        means = known.groupby(keys)[[settings.error, *costs]].mean()
        if len(means):
            row |= means.loc[means[settings.error].idxmin()].to_dict()
        rows.append(row)
    table = pd.DataFrame(rows)
    empty = [name for name in ("diverged", "failed", "stopped") if not table[name].any()]
    return table.drop(columns=empty)
