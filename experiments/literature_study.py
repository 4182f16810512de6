"""The published results, as published and beyond: what `ninthpower literature` answers."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from experiments.answer import Answer
from scaling import bootstrap
from scaling.bootstrap import Intervals
from scaling.literature import published_results, read_published, regress_benchmark
from scaling.literature.regression import FORMS, MEASURES, Measure, Regression, benchmarks, log_axes, rows_of
from scaling.literature.robustness import (
    backtest_by_year,
    clustered_slope,
    errors_in_both,
    irreducible_errors,
    leave_one_out,
    quantile_exponents,
    year_beside_compute,
)
from scaling.progress import Progress, silent
from scaling.tracked import RunsSource
from scaling.words import counted

SOURCES = ("published", "torchvision")
LAWS = ("power", "saturating", "exponential")
N_RESAMPLES = 500
# Below this many results nothing is asked beyond the regression itself.
LEAST_RESULTS = 6


def read_source(source: str) -> pd.DataFrame:
    """The results that ship, torchvision's, or a user's csv.

    Raises:
        ValueError: If there is no such source, or a cell is wrong.
    """
    if source == "published":
        return published_results()
    if source == "torchvision":
        from experiments.torchvision_results import torchvision_results

        return torchvision_results()
    if not source.endswith(".csv"):
        raise ValueError(f"the source is {source!r}, but it is one of {', '.join(SOURCES)}, or a .csv of your own")
    return read_published(Path(source))


def as_published(table: pd.DataFrame) -> Answer:
    """The study's regressions by its own methods, and its two slips beside the corrected figures."""
    lines = [regress_benchmark(table, name, form) for name in benchmarks(table, "burden") for form in FORMS]
    printed = regress_benchmark(table, "ImageNet", measure="per-pass-as-printed")
    corrected = regress_benchmark(table, "ImageNet", measure="per-pass")
    passes = pd.DataFrame([
        {"unit": "as printed: multiply-adds among FLOP", **_line(printed)},
        {"unit": "multiply-adds throughout", **_line(corrected)},
    ]).drop(columns=["benchmark", "form"])  # fmt: skip
    sentences = (
        f"The ninth power comes from computation per network pass on ImageNet: exponent {printed.exponent:.2f} as "
        f"published, {corrected.exponent:.1f} if every row is counted in one unit (the column of FLOP holds "
        "multiply-adds).",
        f"Published exponents are reciprocals of slopes rounded to two decimals: "
        f"1/{printed.slope:.2f} = {printed.exponent_as_printed:.1f} where 1/{printed.slope:.4f} = "
        f"{printed.exponent:.2f}.",
    )
    content = {
        "burden": [line.to_dict() for line in lines],
        "per_pass_as_printed": printed.to_dict(),
        "per_pass": corrected.to_dict(),
    }
    titles = ("hardware burden in GFLOP, ordinary least squares", "computation per pass on ImageNet")
    return Answer(dict(zip(titles, (pd.DataFrame(map(_line, lines)), passes), strict=True)), sentences, content)


def listing(table: pd.DataFrame) -> Answer:
    """The results themselves, with what is known of each."""
    shown = table.drop(columns=["per_pass_flops_as_printed", "work", "paper_url"]).dropna(axis=1, how="all")
    empty = [name for name in shown.columns if (shown[name].astype(str) == "").all()]
    return Answer({counted(len(table), "result"): shown.drop(columns=empty)}, (), {"n_results": len(table)})


def beyond(
    table: pd.DataFrame,
    *,
    measure: str | None = None,
    names: Sequence[str] = (),
    laws: Sequence[str] = LAWS,
    runs: Sequence[RunsSource] = (),
    progress: Progress = silent,
) -> Answer:
    """Every exponent the results allow, by each method, with intervals, and the backtest by year.

    Args:
        table: Published results.
        measure: ``burden`` or ``per-pass``; by default the first the table has.
        names: Benchmarks; all of the measure if none.
        laws: Laws of the fit engine.
        runs: Sweeps or tables of runs whose exponents stand beside.
        progress: Hears how many benchmarks and fits of own runs are done.

    Raises:
        ValueError: If the measure, a benchmark or a law is unknown.
    """
    measure = measure or ("burden" if benchmarks(table, "burden") else "per-pass")
    if measure not in MEASURES:
        raise ValueError(f"measure is {measure!r}, but it is one of {', '.join(MEASURES)}")
    tables: dict[str, pd.DataFrame] = {}
    sentences: list[str] = []
    wanted = names or benchmarks(table, measure)
    n_parts = len(wanted) + len(runs) * len(laws)
    for done, name in enumerate(wanted):
        progress(done, n_parts)
        found = exponents(table, name, measure, laws)
        tables[f"{name}: exponent of computation ({measure})"] = found
        if len(rows_of(table, name, measure)) < LEAST_RESULTS:
            continue
        if year_tells_more(table, name, measure):
            sentences.append(_year_sentence(table, name, measure))
        if rows_of(table, name, measure)["year"].nunique() > 1:
            tested = backtest_by_year(table, name, measure)
            if len(tested):
                tables[f"{name}: root mean square error of log10(1/error) of later results"] = _wide(tested)
    own: list[dict[str, Any]] = []
    for path in runs:
        for law in laws:
            progress(len(wanted) + len(own), n_parts)
            own.append(_own_row(path, law))
    if own:
        tables["your runs, exponent of their frontier"] = pd.DataFrame(own)
    return Answer(tables, tuple(sentences), {"measure": measure, "n_results": len(table)})


def exponents(table: pd.DataFrame, name: str, measure: str, laws: Sequence[str] = LAWS) -> pd.DataFrame:
    """One row per method: the exponent, its interval (or range), and what it rests on."""
    line = regress_benchmark(table, name, measure=cast(Measure, measure))
    low, high = line.exponent_interval() or (math.nan, math.nan)
    note = f"{line.n} results, R2 {line.r2:.3f}" + ("" if line.significant else "; the slope is not significant")
    quoted = line.exponent if line.significant else None
    rows = [_row("least squares, Student's interval", quoted, low, high, note)]
    if line.n < LEAST_RESULTS or quoted is None:
        return pd.DataFrame(rows)
    rows += [_engine_row(table, name, measure, law) for law in laws]
    rows.append(_clusters_row(table, name, measure))
    dropped = leave_one_out(table, name, measure)["exponent"]
    rows.append(_row("leaving one result out", None, dropped.min(), dropped.max(), "range over the results"))
    both = errors_in_both(table, name, measure)["exponent"]
    note = "from exact computation to exact performance"
    rows.append(_row("errors in both variables", None, both.min(), both.max(), note))
    for floor in irreducible_errors(table, name, measure).itertuples():
        if floor.floor > 0:
            note = f"R2 {floor.r2:.3f}"
            rows.append(_row(f"irreducible error {floor.floor:g}", floor.exponent, math.nan, math.nan, note))
    for one in quantile_exponents(table, name, measure).itertuples():
        rows.append(_row(f"frontier with {one.share:.0%} of results below", one.exponent, math.nan, math.nan, ""))
    if year_tells_more(table, name, measure):
        year = year_beside_compute(table, name, measure)
        low, high = year.exponent_interval()
        rows.append(_row("computation with the year held", year.exponent, low, high, f"R2 {year.r2_both:.3f}"))
    return pd.DataFrame(rows)


def year_tells_more(table: pd.DataFrame, name: str, measure: str) -> bool:
    """Whether the years of the results differ, and say something else than their computation."""
    rows = rows_of(table, name, measure)
    if rows["year"].nunique() < 2 or len(rows) < LEAST_RESULTS:
        return False
    together = np.corrcoef(log_axes(rows, measure)[0], rows["year"].to_numpy(np.float64))[0, 1]
    return bool(abs(together) < 1 - 1e-9)


def engine_fit(
    table: pd.DataFrame, name: str, measure: str, law: str, n_resamples: int = N_RESAMPLES, level: float = 0.95
) -> Intervals:
    """The fit engine on one benchmark, works resampled whole.

    Raises:
        ValueError: As `scaling.bootstrap`.
    """
    column = MEASURES[measure]
    rows = rows_of(table, name, measure)[[column, "error", "work"]]
    return bootstrap(rows, law, cost=column, error="error", cluster="work", n_resamples=n_resamples, level=level)


def _engine_row(table: pd.DataFrame, name: str, measure: str, law: str) -> dict[str, Any]:
    found = engine_fit(table, name, measure, law)
    label = f"law {law}, works resampled"
    if not found.fit.converged:
        return _row(label, None, math.nan, math.nan, f"{found.fit.status.name.lower()}: {found.fit.reason}")
    if found.exponent is None:
        return _row(label, found.fit.exponent, math.nan, math.nan, found.fit.equation)
    return _row(label, found.fit.exponent, found.exponent.low, found.exponent.high, found.fit.equation)


def _clusters_row(table: pd.DataFrame, name: str, measure: str) -> dict[str, Any]:
    n_works = rows_of(table, name, measure)["work"].nunique()
    if n_works < 3:
        return _row("clustered by paper", None, math.nan, math.nan, f"{n_works} papers are too few")
    found = clustered_slope(table, name, measure)
    note = f"{found.n_clusters} works; standard error {found.clustered_error:.4f}"
    note += f", as if independent {found.classical_error:.4f}"
    return _row("clustered by paper", found.exponent, found.low, found.high, note)


def _own_row(path: RunsSource, law: str) -> dict[str, Any]:
    from experiments.results import read_results
    from experiments.sweep import FitSpec

    table, sweep, _ = read_results(path)
    settings = sweep.fit if sweep else FitSpec()
    found = bootstrap(table, law, cost=settings.cost, error=settings.error, frontier=True, n_resamples=N_RESAMPLES)
    low, high = (math.nan, math.nan) if found.exponent is None else (found.exponent.low, found.exponent.high)
    note = found.fit.equation if found.fit.converged else found.fit.reason
    return {"runs": str(path), **_row(f"law {law}", found.fit.exponent, low, high, note)}


def _row(method: str, exponent: float | None, low: float, high: float, note: str) -> dict[str, Any]:
    value = math.nan if exponent is None else float(exponent)
    return {"method": method, "exponent": value, "low": float(low), "high": float(high), "note": note}


def _line(line: Regression) -> dict[str, Any]:
    low, high = (line.exponent_interval() if line.significant else None) or (math.nan, math.nan)
    exponent = line.exponent if line.significant and line.exponent is not None else math.nan
    return {
        "benchmark": line.benchmark, "form": line.form, "n": line.n,
        "intercept": f"{line.intercept:.4f}", "slope": f"{line.slope:.4f}", "standard error": f"{line.slope_error:.4f}",
        "R2": f"{line.r2:.3f}", "exponent": exponent, "low": low, "high": high,
        "reverse": math.nan if line.reverse_exponent is None or not line.significant else line.reverse_exponent,
    }  # fmt: skip


def _year_sentence(table: pd.DataFrame, name: str, measure: str) -> str:
    found = year_beside_compute(table, name, measure)
    change = found.yearly_gain - 1
    words = f"performance rises {change:.1%} a year" if change >= 0 else f"performance falls {-change:.1%} a year"
    return (
        f"{name}: computation alone explains {found.r2_compute:.1%} of the variance, the year alone "
        f"{found.r2_year:.1%}, both {found.r2_both:.1%}; at the same computation {words} "
        f"(coefficient {found.year:.3f}, standard error {found.year_error:.3f})."
    )


def _wide(tested: pd.DataFrame) -> pd.DataFrame:
    keys = ["before", "n_fitted", "n_predicted"]
    wide = tested.pivot(index=keys, columns="form", values="log10_error").reset_index()
    wide.columns.name = None
    return wide.rename(columns={"compute": "by computation", "year": "by year", "none": "by their mean"})


def draw_figures(
    source: str, table: pd.DataFrame, folder: Path, runs: Sequence[RunsSource] = (), *, progress: Progress = silent
) -> list[Path]:
    """Every figure of a source; of the published results all of the page on the ninth power, Figure 1 included.

    The exponents by method also show torchvision's weights, where torchvision is installed, and your own runs.
    """
    from scaling.literature.figures import draw_exponents, draw_figure_one, draw_literature

    paths = draw_literature(table, folder)
    if source != "published":
        return paths
    from scaling.figure_one import simulate

    parts = [
        exponents(table, "ImageNet", measure, ("power",)).assign(source=f"published, {words}")
        for measure, words in (("burden", "hardware burden"), ("per-pass", "per pass"))
    ]
    if importlib.util.find_spec("torchvision") is not None:
        weights = exponents(read_source("torchvision"), "ImageNet", "per-pass", ("power",))
        parts.append(weights.assign(source="torchvision's weights, per pass"))
    for path in runs:
        own = {**_own_row(path, "power"), "method": "law power, works resampled", "source": str(path)}
        parts.append(pd.DataFrame([own]))
    found = pd.concat(parts, ignore_index=True)[["source", "method", "exponent", "low", "high", "note"]]
    return [*paths, *draw_exponents(found, folder), *draw_figure_one(simulate(progress=progress), folder)]
