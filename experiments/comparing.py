"""Comparison of techniques: from results folders and tables to the table, its files, figures and MLflow runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.results import OUT_REMEDY, read_results, source_name
from scaling.compare import Charges, Comparison, Setting, compare
from scaling.export import check_writable, write_json
from scaling.progress import Progress, silent
from scaling.reading import NOTES
from scaling.runs import check_runs
from scaling.tracked import RunsSource, TrackedRuns

COMPARISON_SUFFIX = "-comparison"


@dataclass(frozen=True)
class Compared:
    """A comparison, where its files lie, and why it is not in MLflow, if it should be and is not."""

    comparison: Comparison
    folder: Path
    paths: tuple[Path, ...]
    problem: str = ""


def compare_runs(
    paths: Sequence[RunsSource],
    *,
    baseline: str = "baseline",
    techniques: Sequence[str] | None = None,
    costs: Sequence[str] | None = None,
    by: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
    error: str | None = None,
    charges: Charges | None = None,
    setting: Setting | None = None,
    with_break_even: bool = True,
    out: Path | None = None,
    tracking_uri: str | None = None,
    artifact_folder: Path | None = None,
    track: bool = True,
    progress: Progress = silent,
) -> Compared:
    """Compare the techniques of one or several results folders or tables and write what was found.

    Args:
        paths: Results folders, .csv or .parquet files, experiments in MLflow; their runs are put together.
        baseline, techniques, costs, by, charges, with_break_even: As for `scaling.compare.compare`.
        where: Column and value of the runs to keep.
        error: Error column; by default the first sweep's, or test_error.
        setting: The rest of how it is compared.
        out: Folder to write to; by default ``comparison`` in the first results folder, or beside the first table.
        tracking_uri: MLflow server or database; by default that of the results, and none for tables.
        artifact_folder: Where a new MLflow experiment keeps its files; by default beside the results' own store, the
            server's choice otherwise.
        track: Write the comparison to MLflow.
        progress: Hears how far the comparison has come.

    Raises:
        ValueError: If there is nothing to read, a trial is in two tables, or the comparison is refused.
    """
    runs, name, sweep_error = read_all(paths)
    folder = check_writable(out or _output_folder(paths[0], name), OUT_REMEDY)
    runs = only_where(runs, where or {})
    asked = setting or Setting()
    asked = Setting(**{**vars(asked), "error": error or sweep_error or asked.error})
    found = compare(
        runs,
        baseline=baseline,
        techniques=techniques,
        costs=costs,
        by=by,
        charges=charges,
        setting=asked,
        with_break_even=with_break_even,
        progress=progress,
    )
    first = paths[0]
    written = write_comparison(found, folder)
    problem = ""
    uri = tracking_uri or _own_store(first)
    if track and uri is not None:
        root = artifact_folder or (None if tracking_uri else _own_artifacts(first))
        problem = log_comparison(
            found, name, written, uri, artifact_root=None if root is None else root.absolute().as_uri()
        )
    return Compared(found, folder, tuple(written), problem)


def read_all(paths: Sequence[RunsSource]) -> tuple[pd.DataFrame, str, str | None]:
    """Put the runs of several folders and files together.

    Returns:
        The runs, a name for them, and the error column of the first sweep, if there is a sweep.

    Raises:
        ValueError: If one cannot be read, or a trial is in two.
    """
    parts, sweeps = [], []
    for path in paths:
        table, sweep, _ = read_results(path)
        # Made-up names of unnamed trials would clash between files.
        made_up = table["trial_id"].astype(str).str.fullmatch(r"row-\d{6}").all()
        parts.append(
            table.assign(trial_id=f"{source_name(path)}:" + table["trial_id"]) if made_up and len(paths) > 1 else table
        )
        sweeps.append(sweep)
    together = pd.concat(parts, ignore_index=True)
    together.attrs = {NOTES: tuple(dict.fromkeys(note for part in parts for note in part.attrs.get(NOTES, ())))}
    repeated = together.loc[together["trial_id"].duplicated(), "trial_id"]
    if len(repeated):
        where = [
            str(path) for path, part in zip(paths, parts, strict=True) if (part["trial_id"] == repeated.iloc[0]).any()
        ]
        raise ValueError(f"trial {repeated.iloc[0]} is in {' and in '.join(where)}; give each run once")
    first = sweeps[0]
    name = first.name if first is not None else Path(source_name(paths[0])).stem
    return check_runs(together), name, None if first is None else first.fit.error


def write_comparison(found: Comparison, folder: Path) -> list[Path]:
    """Write comparison.json, the tables and the figures; return the paths."""
    from scaling.compare.figures import draw_gains, draw_lifetimes, gains_table, lifetimes_table
    from scaling.figures import save_figure

    folder.mkdir(parents=True, exist_ok=True)
    paths = [write_json(found.to_dict(), folder / "comparison.json")]
    tables = {"comparison": found.table, "budgets": found.budgets_table, "break_even": found.break_even_table}
    for name, table in tables.items():
        path = folder / f"{name}.csv"
        table.to_csv(path, index=False)
        paths.append(path)
    figures = folder / "figures"
    paths += save_figure(draw_gains(found), gains_table(found), figures, "gains")
    if found.break_evens:
        paths += save_figure(draw_lifetimes(found), lifetimes_table(found), figures, "lifetime_cost")
    return paths


def log_comparison(
    found: Comparison, name: str, paths: Sequence[Path], uri: str, *, artifact_root: str | None = None
) -> str:
    """Write one MLflow run per technique into the experiment ``<name>-comparison``; return a problem, or nothing.

    Techniques are then rows of the MLflow UI and gains its columns.
    """
    from cluster.comparison_log import TechniqueRun
    from cluster.comparison_log import log_comparison as log_runs

    runs = [
        TechniqueRun(
            technique, found.baseline, run_params(found, technique), run_metrics(found, technique),
            "\n\n".join(found.sentences_of(technique)),
        )
        for technique in found.techniques
    ]  # fmt: skip
    description = f"Techniques compared with {found.baseline}: a run for each."
    return log_runs(
        uri, f"{name}{COMPARISON_SUFFIX}", runs, paths, artifact_root=artifact_root, description=description
    )


def run_params(found: Comparison, technique: str) -> dict[str, Any]:
    """What a technique's run is told apart by, and the verdict on each cost."""
    own = [one for one in found.gains if one.technique == technique]
    verdicts = {f"verdict_{one.cost}": one.verdict.name.lower() for one in own}
    verdicts |= {f"bend_{one.cost}": one.bending.name.lower() for one in own if one.gain is not None}
    paid = {one.technique: one.payback.name.lower() for one in found.break_evens}
    return {
        "technique": technique, "baseline": found.baseline, "error": found.setting.error,
        "level": found.setting.level, "charges": " ".join(found.charges.sentences) or "Every phase in full.",
        "payback": paid.get(technique), **verdicts,
    }  # fmt: skip


def run_metrics(found: Comparison, technique: str) -> Mapping[str, float]:
    """Gains, differences of exponents and break-even of one technique; what is not known is left out."""
    metrics: dict[str, float] = {}
    for one in found.gains:
        if one.technique != technique or one.gain is None:
            continue
        for stem, value in (("gain", one.gain), ("exponent_difference", one.bend)):
            if value is not None:
                metrics[f"{stem}_{one.cost}"] = value.value
                metrics[f"{stem}_{one.cost}_low"] = value.low
                metrics[f"{stem}_{one.cost}_high"] = value.high
    for paid in found.break_evens:
        if paid.technique == technique and paid.uses is not None:
            metrics |= {
                "break_even_uses": paid.uses,
                "break_even_uses_low": paid.low,
                "break_even_uses_high": paid.high,
            }
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def only_where(runs: pd.DataFrame, where: Mapping[str, str]) -> pd.DataFrame:
    """Keep the runs whose columns read as asked.

    Raises:
        ValueError: If there is no such column, or no such run.
    """
    for name, value in where.items():
        if name not in runs.columns:
            raise ValueError(f"the runs have no column {name!r} to choose by; they have {', '.join(runs.columns)}")
        texts = runs[name].astype(str)
        if not (texts == value).any():
            raise ValueError(f"no run has {name} {value!r}; they have {', '.join(sorted(set(texts))[:10])}")
        runs = runs[texts == value].reset_index(drop=True)
    return runs


def read_pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """Read ``KEY=VALUE``.

    Raises:
        ValueError: If a text is not of that form.
    """
    found = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not (sign and key.strip()):
            raise ValueError(f"{option} is {text!r}, but it is of the form KEY=VALUE, such as dataset=digits")
        found[key.strip()] = value.strip()
    return found


def read_spread(texts: Sequence[str]) -> dict[str, float]:
    """Read ``PHASE=USES``.

    Raises:
        ValueError: If a text is not of that form.
    """
    found: dict[str, float] = {}
    for text in texts:
        phase, _, uses = text.partition("=")
        try:
            found[phase.strip()] = float(uses)
        except ValueError:
            raise ValueError(f"--spread is {text!r}, but it is of the form PHASE=USES, such as search=10") from None
    return found


def _output_folder(first: RunsSource, name: str) -> Path:
    if isinstance(first, TrackedRuns):
        return Path(f"{name}{COMPARISON_SUFFIX}")
    return first / "comparison" if first.is_dir() else first.with_name(f"{first.stem}{COMPARISON_SUFFIX}")


def _own_store(path: RunsSource) -> str | None:
    """The place in MLflow that the runs come from, or the SQLite store that the sweep wrote to beside its results."""
    from experiments.destination import STORE_NAME

    if isinstance(path, TrackedRuns):
        return path.address
    store = path.absolute().parent / STORE_NAME
    return f"sqlite:///{store}" if path.is_dir() and store.exists() else None


def _own_artifacts(path: RunsSource) -> Path | None:
    from experiments.delivering import ARTIFACTS_NAME

    if isinstance(path, TrackedRuns):
        store = path.store_file
        return None if store is None else store.with_name(ARTIFACTS_NAME)
    return path.absolute().parent / ARTIFACTS_NAME
