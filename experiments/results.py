"""From the records of a sweep to its runs table, fits, figures and report."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from cluster.records import Record, read_record, record_path
from experiments.background import Background
from experiments.findings import answer
from experiments.other_axes import fit_other_axes, other_axes, other_axes_content
from experiments.sweep import FitSpec, SweepSpec, parse_sweep
from experiments.tracked_results import read_tracked_results, tracked_name
from scaling import backtest, bootstrap, pareto_front, read_runs
from scaling.bootstrap import Intervals
from scaling.export import write_json, write_runs
from scaling.holdout import Backtest
from scaling.progress import Progress, silent
from scaling.runs import from_rows
from scaling.selection import choose_on_validation
from scaling.tracked import RunsSource, TrackedRuns
from scaling.words import counted

# What to do where a folder of results is not one's own.
OUT_REMEDY = "give --out and a folder that you may write to"
TRIALS_FOLDER = "trials"
SWEEP_FILE = "sweep.json"
FITS_FILE = "fits.json"
FITS_VERSION = 1


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


def read_results(path: RunsSource) -> tuple[pd.DataFrame, SweepSpec | None, list[Record]]:
    """Read the runs of a results folder from its records, a runs table from a file, or an experiment of MLflow's.

    Returns:
        The runs table, the sweep and its records; None and [] where there is only a table. Records of
        trials that the sweep no longer holds are left out.

    Raises:
        ValueError: If there is nothing to read, a file is damaged, or the tracking server does not answer.
    """
    if isinstance(path, TrackedRuns):
        return read_tracked_results(path)
    if not (path / SWEEP_FILE).is_file():
        return read_runs(path), None, []
    sweep = read_sweep(path)
    wanted = {trial.trial_id for trial in sweep.trials()}
    files = [record_path(path / TRIALS_FOLDER, trial_id) for trial_id in sorted(wanted)]
    records = [read_record(file) for file in files if file.exists()]
    if not records:
        raise ValueError(f"{path} holds no finished trial of its sweep yet; run ninthpower sweep first")
    return from_rows(record["row"] for record in records), sweep, records


def source_name(source: RunsSource) -> str:
    """What runs are called where no sweep names them."""
    return tracked_name(source) if isinstance(source, TrackedRuns) else source.name


def output_folder(source: RunsSource, sweep: SweepSpec | None = None) -> Path:
    """Where what is made of runs goes: the results folder, beside the table, or for MLflow's a folder of their name."""
    if isinstance(source, TrackedRuns):
        return Path(sweep.name if sweep else tracked_name(source))
    return source if source.is_dir() else source.with_suffix("")


def fitted_settings(folders: Sequence[Path], settings: FitSpec) -> FitSpec:
    """What was fitted last: columns, laws and intervals of the first fits.json of the folders, or else `settings`.

    Raises:
        ValueError: If fits.json is damaged.
    """
    file = next((folder / FITS_FILE for folder in folders if (folder / FITS_FILE).is_file()), None)
    if file is None:
        return settings
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        fits = content["fits"]
        return FitSpec(
            cost=content["cost"], error=content["error"], laws=tuple(one["fit"]["law"] for one in fits),
            resamples=fits[0]["n_resamples"], level=fits[0]["level"],
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, IndexError) as damage:
        raise ValueError(
            f"{file} is not what ninthpower fit writes ({type(damage).__name__}); run ninthpower fit again"
        ) from None


def save_sweep(sweep: SweepSpec, folder: Path) -> Path:
    """Keep the sweep, as it was read, beside its results."""
    return write_json(sweep.model_dump(mode="json"), folder / SWEEP_FILE)


def analyse(
    runs: pd.DataFrame, settings: FitSpec, folder: Path, *, background: Background, progress: Progress = silent
) -> Analysis:
    """Fit the frontier of some runs and write tables, fits, figures and the report into a folder.

    `progress` hears how many of its parts are done: a law, a pair of axes, the backtest, the drawing.

    Raises:
        ValueError: If no trial finished, or the runs lack the cost or the error column.
    """
    from experiments.report_comparison import comparison_parts
    from experiments.reporting import Found, draw_all, write_page

    if not (runs["status"] == "finished").any():
        said = runs["reason"].iloc[0] if "reason" in runs.columns else "nothing"
        table = write_runs(runs, folder)[1]
        raise ValueError(
            f"of {counted(len(runs), 'trial')} none finished, so there is nothing to fit; the first said: {said}; "
            f"all are in {table}"
        )
    everything = runs
    runs, not_chosen = choose_on_validation(runs)
    names: dict[str, Any] = {"cost": settings.cost, "error": settings.error}
    front = pareto_front(runs, **names)
    parts = itertools.count(1)
    n_parts = len(settings.laws) + len(other_axes(runs, settings)) + 2

    def told() -> None:
        progress(next(parts), n_parts)

    fits = []
    for law in settings.laws:
        fits.append(bootstrap(
            runs, law=law, frontier=True, n_resamples=settings.resamples, level=settings.level, seed=0, **names
        ))  # fmt: skip
        told()
    others = fit_other_axes(runs, settings, told)
    tested = backtest(runs, settings.laws, frontier=True, **names) if len(settings.laws) > 1 else None
    told()
    sentences = answer(everything, front, fits, tested, settings)
    paths = write_runs(everything, folder)
    paths.append(write_json(fits_content(runs, front, fits, tested, settings, others), folder / FITS_FILE))
    comparison, not_compared = comparison_parts(folder, everything)
    background = replace(background, comparison=comparison, not_compared=not_compared)
    found = Found(everything, runs, not_chosen, front, tuple(fits), others, tested, sentences, settings)
    drawn, files = draw_all(found, background, folder / "figures")
    report = write_page(found, background, drawn, folder / "report.html")
    return Analysis(everything, front, tuple(fits), tested, settings, sentences, (*paths, *files, report), report)


def fits_content(
    runs: pd.DataFrame,
    front: pd.DataFrame,
    fits: Sequence[Intervals],
    tested: Backtest | None,
    settings: FitSpec,
    others: Sequence[Intervals] = (),
) -> dict[str, Any]:
    """The content of fits.json: refitting the same runs gives the same."""
    return {
        "version": FITS_VERSION,
        "cost": settings.cost,
        "error": settings.error,
        "trials": dict(sorted(Counter(runs["status"]).items())),
        "frontier": json.loads(front.to_json(orient="records", double_precision=15)),
        "fits": [intervals.to_dict() for intervals in fits],
        "other_axes": other_axes_content(others),
        "backtest": None if tested is None else tested.to_dict(),
    }


def read_sweep_records(sweep: SweepSpec, folder: Path) -> list[Record]:
    """Read the records of a sweep's own trials."""
    paths = [record_path(folder / TRIALS_FOLDER, trial.trial_id) for trial in sweep.trials()]
    return [read_record(path) for path in paths if path.exists()]


def read_sweep(folder: Path) -> SweepSpec:
    """Read the sweep that a results folder is of.

    Raises:
        ValueError: If its file is damaged.
    """
    file = folder / SWEEP_FILE
    try:
        return parse_sweep(json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{file} cannot be read ({error}); run the sweep again to replace it") from None
