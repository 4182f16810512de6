"""From the records of a sweep to its runs table, fits, figures and report."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cluster.records import Record, read_record, record_path
from experiments.sweep import FitSpec, SweepSpec, parse_sweep
from scaling import backtest, bootstrap, pareto_front, read_runs
from scaling.bootstrap import Intervals
from scaling.export import write_json, write_runs
from scaling.holdout import Backtest
from scaling.report import Report, ReportFigure, ReportTable, write_report
from scaling.runs import from_rows, label
from scaling.selection import choose_on_validation

TRIALS_FOLDER = "trials"
SWEEP_FILE = "sweep.json"
FITS_VERSION = 1
FIGURE_INCHES = (7.2, 4.6)

FRONTIER_COLUMNS = (
    "dataset",
    "family",
    "technique",
    "width",
    "depth",
    "n_train",
    "epochs",
    "learning_rate",
    "n_params",
)


@dataclass(frozen=True)
class Analysis:
    """What a sweep found.

    Attributes:
        runs: The runs table.
        front: Frontier of the cells, see `scaling.pareto_front`.
        fits: Bootstrapped fits, one per law.
        tested: How well each law predicted dearer runs from cheaper ones; None for a single law.
        settings: What was asked to be fitted.
        sentences: The answer in words.
        paths: Every file written.
        report: The report among them.
    """

    runs: pd.DataFrame
    front: pd.DataFrame
    fits: tuple[Intervals, ...]
    tested: Backtest | None
    settings: FitSpec
    sentences: tuple[str, ...]
    paths: tuple[Path, ...]
    report: Path


def read_results(path: Path) -> tuple[pd.DataFrame, SweepSpec | None, list[Record]]:
    """Read the runs of a results folder from its records, or a runs table from a file.

    Returns:
        The runs table, the sweep and its records; None and [] where there is only a table. Records of
        trials that the sweep no longer holds are left out.

    Raises:
        ValueError: If there is nothing to read, or a file is damaged.
    """
    if not (path / SWEEP_FILE).is_file():
        return read_runs(path), None, []
    sweep = parse_sweep(json.loads((path / SWEEP_FILE).read_text(encoding="utf-8")))
    wanted = {trial.trial_id for trial in sweep.trials()}
    files = [record_path(path / TRIALS_FOLDER, trial_id) for trial_id in sorted(wanted)]
    records = [read_record(file) for file in files if file.exists()]
    if not records:
        raise ValueError(f"{path} holds no finished trial of its sweep yet; run ninthpower sweep first")
    return from_rows(record["row"] for record in records), sweep, records


def save_sweep(sweep: SweepSpec, folder: Path) -> Path:
    """Keep the sweep, as it was read, beside its results."""
    return write_json(sweep.model_dump(mode="json"), folder / SWEEP_FILE)


def analyse(
    runs: pd.DataFrame, settings: FitSpec, folder: Path, *, title: str, provenance: Mapping[str, str]
) -> Analysis:
    """Fit the frontier of some runs and write tables, fits, figures and the report into a folder.

    Raises:
        ValueError: If no trial finished, or the runs lack the cost or the error column.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from scaling.figures import error_against_cost_table, plot_error_against_cost, save_figure, style

    if not (runs["status"] == "finished").any():
        said = runs["reason"].iloc[0] if "reason" in runs.columns else "nothing"
        table = write_runs(runs, folder)[1]
        raise ValueError(
            f"none of the {len(runs)} trials finished, so there is nothing to fit; the first said: {said}; "
            f"all are in {table}"
        )
    everything = runs
    runs, not_chosen = choose_on_validation(runs)
    names: dict[str, Any] = {"cost": settings.cost, "error": settings.error}
    front = pareto_front(runs, **names)
    fits = tuple(
        bootstrap(runs, law=law, frontier=True, n_resamples=settings.resamples, level=settings.level, seed=0, **names)
        for law in settings.laws
    )
    tested = backtest(runs, settings.laws, frontier=True, **names) if len(settings.laws) > 1 else None
    sentences = answer(everything, front, fits, tested, settings)
    paths = write_runs(everything, folder)
    paths.append(write_json(fits_content(runs, front, fits, tested, settings), folder / "fits.json"))
    with rc_context(style()):
        figure = Figure(figsize=FIGURE_INCHES)
        plot_error_against_cost(figure.add_subplot(), runs, front, fits, **names)
        table = error_against_cost_table(runs, front, fits, **names)
        drawn = save_figure(figure, table, folder / "figures", "error_against_cost")
    paths += drawn
    report = write_report(
        Report(
            title=title,
            answer=sentences,
            figures=[ReportFigure("Error against compute", _caption(runs, settings), drawn[1])],
            tables=[
                ReportTable(
                    "The frontier",
                    "Cells that no other beats in both; means over seeds.",
                    frontier_view(front, settings),
                ),
                ReportTable("Laws", "Each law fitted to the frontier, with its status.", fits_view(fits)),
                *([backtest_view(tested)] if tested is not None else []),
                ReportTable("Trials", "Every trial, unfinished ones included.", trials_view(everything, settings)),
            ],
            not_known=not_known(everything, fits, settings, not_chosen),
            provenance=provenance,
        ),
        folder / "report.html",
    )
    return Analysis(everything, front, fits, tested, settings, sentences, (*paths, report), report)


def fits_content(
    runs: pd.DataFrame,
    front: pd.DataFrame,
    fits: Sequence[Intervals],
    tested: Backtest | None,
    settings: FitSpec,
) -> dict[str, Any]:
    """The content of fits.json: refitting the same runs gives the same."""
    return {
        "version": FITS_VERSION,
        "cost": settings.cost,
        "error": settings.error,
        "trials": dict(sorted(Counter(runs["status"]).items())),
        "frontier": json.loads(front.to_json(orient="records", double_precision=15)),
        "fits": [intervals.to_dict() for intervals in fits],
        "backtest": None if tested is None else tested.to_dict(),
    }


def answer(
    runs: pd.DataFrame,
    front: pd.DataFrame,
    fits: Sequence[Intervals],
    tested: Backtest | None,
    settings: FitSpec,
) -> tuple[str, ...]:
    """The result in sentences, each number with its interval."""
    sentences = [_law_sentence(intervals, settings) for intervals in fits]
    if tested is not None:
        sentences.append(_backtest_sentence(tested))
    costs = front[settings.cost]
    decades = _decades(costs)
    best = float(front[settings.error].min())
    counts = Counter(runs["status"])
    others = "".join(f", {number} {status}" for status, number in sorted(counts.items()) if status != "finished")
    sentences.append(
        f"Seen in {len(runs)} trials ({counts['finished']} finished{others}), whose frontier has {len(front)} cells "
        f"over {decades:.1f} decades of {label(settings.cost)}; the least mean {label(settings.error)} is {best:.2%}."
    )
    left_out = [reason for _, reason in fits[0].fit.left_out if not reason.startswith("status ")]
    if left_out:
        sentences.append(f"{len(left_out)} finished trials are not in the fit; the first because {left_out[0]}.")
    return tuple(sentences)


def frontier_view(front: pd.DataFrame, settings: FitSpec) -> pd.DataFrame:
    """The frontier for people: the settings that vary, then cost, error and what stands behind it."""
    varied = [name for name in FRONTIER_COLUMNS if name in front.columns and front[name].nunique(dropna=False) > 1]
    return front[[*varied, settings.cost, settings.error, "spread", "n_seeds"]]


def fits_view(fits: Sequence[Intervals]) -> pd.DataFrame:
    """One row per law: its exponent with interval if it may be quoted, else why not."""
    rows = []
    for intervals in fits:
        found, exponent = intervals.fit, intervals.exponent
        rows.append(
            {
                "law": found.law,
                "status": found.status.name.lower(),
                "exponent k": found.exponent if exponent else None,
                "low": exponent.low if exponent else None,
                "high": exponent.high if exponent else None,
                "equation or reason": found.equation if found.converged else found.reason,
            }
        )
    return pd.DataFrame(rows)


def backtest_view(tested: Backtest) -> ReportTable:
    """Which law predicted dearer runs from cheaper ones."""
    return ReportTable(
        "Which law to believe",
        "Each law fitted to the runs below one budget after another and asked for those above: the typical error of "
        f"its log prediction, and how often the {tested.level:.0%} band held the run.",
        tested.scores,
    )


def trials_view(runs: pd.DataFrame, settings: FitSpec) -> pd.DataFrame:
    """The runs for people, cheapest first."""
    wanted = [
        "trial_id", "technique", "family", "width", "depth", "n_train", "seed", "status", settings.cost, settings.error,
        "validation_error", "n_params", "energy_joules", "energy_source", "wall_seconds", "reason",
    ]  # fmt: skip
    names = [name for name in dict.fromkeys(wanted) if name in runs.columns and runs[name].notna().any()]
    return runs[names].sort_values(settings.cost, kind="stable")


def not_known(runs: pd.DataFrame, fits: Sequence[Intervals], settings: FitSpec, not_chosen: Sequence[str]) -> list[str]:
    """What the runs cannot say, one sentence each."""
    sentences = [
        f"The {intervals.fit.law} law gives no number: {intervals.fit.reason}."
        for intervals in fits
        if not intervals.fit.converged
    ]
    sources = set(runs["energy_source"].dropna()) if "energy_source" in runs.columns else {"unknown"}
    if "estimated" in sources:
        sentences.append(
            "Joules are estimated from a power model, not measured: this machine shows no energy counter "
            "for all of its parts."
        )
    if "unknown" in sources:
        sentences.append("The energy of some trials is unknown; they are left empty, not counted as 0.")
    if not_chosen:
        sentences.append(
            f"{len(not_chosen)} trials have a learning rate that did worse on validation than another; they are in the "
            "table and not in the fit, and what they cost is not charged to the trials that were chosen."
        )
    unfinished = runs.loc[runs["status"] != "finished", "status"]
    if len(unfinished):
        sentences.append(
            f"{len(unfinished)} trials did not finish and have no {label(settings.error)}; they are in the table."
        )
    sentences.append("Beyond the largest cost seen, a law is a guess; the figure draws none there.")
    return sentences


def provenance_of(sweep: SweepSpec | None, records: Sequence[Record]) -> dict[str, str]:
    """Enough to run the sweep again."""
    entries: dict[str, str] = {}
    if sweep is not None:
        entries["sweep"] = sweep.name
        entries["sweep file"] = json.dumps(sweep.model_dump(mode="json", exclude_none=True))
    if records:
        # A trial whose worker died has no environment of its own.
        environments = [record["environment"] for record in records if "environment" in record]
        entries["commit"] = _distinct(environment.get("git_commit") for environment in environments)
        entries["host"] = _distinct(environment.get("host") for environment in environments)
        entries["threads per trial"] = _distinct(environment.get("threads") for environment in environments)
        entries["device"] = _distinct(record["row"].get("device") for record in records)
        entries["versions"] = _distinct(
            ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
            for environment in environments
        )
        entries["measured"] = f"{min(r['started_at'] for r in records)} to {max(r['ended_at'] for r in records)}"
    return entries


def table_provenance(path: Path) -> dict[str, str]:
    """What is known of a table that came from elsewhere."""
    changed = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC)
    return {"runs table": path.name, "last changed": changed.isoformat(timespec="seconds")}


def _law_sentence(intervals: Intervals, settings: FitSpec) -> str:
    found, exponent = intervals.fit, intervals.exponent
    if not found.converged:
        return f"Under the {found.law} law the exponent is not given: {found.reason}."
    if found.exponent is None or exponent is None:
        return (
            f"Under the {found.law} law the exponent is not given, for it would have no interval: "
            f"{intervals.n_failed} of {intervals.n_resamples} resamples of the {found.n_cells} cells could not be "
            "fitted; more cells would help."
        )
    level = f"{settings.level:.0%}"
    halving = "" if "E" in found.parameters else (
        f", so halving the error takes {2**found.exponent:.3g} times the {label(settings.cost)} "
        f"[{2**exponent.low:.3g}, {2**exponent.high:.3g}]"
    )  # fmt: skip
    return (
        f"Under the {found.law} law, {label(settings.cost)} grows with performance to the power "
        f"{found.exponent:.2f} [{exponent.low:.2f}, {exponent.high:.2f}] ({level} interval){halving}."
    )


def _backtest_sentence(tested: Backtest) -> str:
    if tested.best is None:
        return "No law could be tested on runs held back: there are too few budgets."
    score = tested.scores.set_index("law").loc[tested.best]
    return (
        f"Fitted to the cheaper runs only, the {tested.best} law predicted the dearer ones best: "
        f"{score['rmse_log']:.1%} off in log error over {int(score['n_predictions'])} predictions."
    )


def _caption(runs: pd.DataFrame, settings: FitSpec) -> str:
    n_zero = int((runs[settings.error] == 0).sum())
    zeros = f" {n_zero} trials without a single error are drawn as triangles at half an example." if n_zero else ""
    return (
        f"Every trial is a point. Rings: the frontier of the cells. Lines: laws fitted to the frontier with "
        f"{settings.level:.0%} bands from resampling whole cells. Dashed: the slopes of exponents 4 and 9.{zeros}"
    )


def _decades(costs: pd.Series) -> float:
    import numpy as np

    return float(np.log10(costs.max() / costs.min())) if len(costs) else 0.0


def _distinct(values: Any) -> str:
    return "; ".join(sorted({str(value) for value in values if value is not None})) or "unknown"
