"""What leaves the program for papers and other programs: runs, frontier and laws, in one format or another."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.background import background_of
from experiments.findings import FRONTIER_COLUMNS
from experiments.results import OUT_REMEDY, output_folder, read_results, source_name
from scaling.export import check_writable, write_json, write_tables
from scaling.tracked import RunsSource

EXPORT_VERSION = 1


class Format(StrEnum):
    """How an export is written."""

    json = "json"
    csv = "csv"
    parquet = "parquet"
    latex = "latex"


def export_runs(path: RunsSource, form: Format, out: Path | None = None) -> list[Path]:
    """Write the runs, the frontier and the laws of a fitted results folder or table; return the files.

    Args:
        path: Results folder, runs table or experiment in MLflow, once fitted.
        form: One ``export.json``, or a file per table. LaTeX leaves the runs out: no paper prints them.
        out: Folder to write to; ``export`` in the folder of the fit if None.

    Raises:
        ValueError: If there are no runs, or they were not fitted yet.
    """
    runs, sweep, records = read_results(path)
    folder = output_folder(path, sweep)
    content = read_fits(folder, path)
    target = check_writable(out or folder / "export", OUT_REMEDY)
    if form is Format.json:
        background = background_of(path, sweep, records, title="", tracking_uri="")
        whole = {
            **content,
            "export_version": EXPORT_VERSION,
            "name": sweep.name if sweep else Path(source_name(path)).stem,
            "runs": json.loads(runs.to_json(orient="records", double_precision=15)),
            "provenance": dict(background.provenance),
        }
        return [write_json(whole, target / "export.json")]
    tables = {"frontier": frontier_table(content), "laws": laws_table(content)}
    if form is not Format.latex:
        tables["runs"] = runs
    return write_tables(tables, target, form.value)


def read_fits(folder: Path, path: RunsSource) -> dict[str, Any]:
    """Read fits.json.

    Raises:
        ValueError: If it is not there or no JSON.
    """
    file = folder / "fits.json"
    if not file.is_file():
        raise ValueError(f"{folder} holds no fits.json; run ninthpower fit {path} first")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error}); run ninthpower fit {path} again") from None
    return dict(content)


def frontier_table(content: dict[str, Any]) -> pd.DataFrame:
    """The frontier of a fits.json: the settings that vary, cost, error, spread and number of seeds."""
    front = pd.DataFrame(content["frontier"])
    last = [content["cost"], content["error"], "spread", "n_seeds"]
    inner = {"trial_ids", "cell", "tuning_cell", *last}
    varied = [name for name in front.columns if name not in inner and front[name].map(str).nunique() > 1]
    return front[[*(name for name in varied if name in FRONTIER_COLUMNS), *last]]


def laws_table(content: dict[str, Any]) -> pd.DataFrame:
    """One row per law: status, exponent and parameters with their intervals, or the reason where there are none."""
    rows = []
    for one in content["fits"]:
        found, interval = one["fit"], one["exponent"] or {}
        row = {
            "law": found["law"],
            "status": found["status"],
            "exponent": found["exponent"] if interval else None,
            "low": interval.get("low"),
            "high": interval.get("high"),
        }
        quoted = found["status"] == "converged"
        for name, value in found["parameters"].items():
            bounds = one["parameters"].get(name, {})
            row |= {name: value if quoted else None, f"{name}_low": bounds.get("low") if quoted else None,
                    f"{name}_high": bounds.get("high") if quoted else None}  # fmt: skip
        rows.append({**row, "reason": "" if quoted else found["reason"]})
    table = pd.DataFrame(rows)
    return table[[name for name in table.columns if name != "reason"] + ["reason"]]
