"""The comparison of techniques as parts of the report: what `ninthpower compare` left in the results folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.background import Parts
from scaling.columns import label
from scaling.compare.comparison import COMPARISON_VERSION
from scaling.report import ReportFigure, ReportTable, ReportText

FOLDER = "comparison"
COLUMNS = (
    "technique", "cost", "gain", "gain_low", "gain_high", "bend", "bend_low", "bend_high", "bend_status", "status",
    "reason",
)  # fmt: skip
PICTURES = (
    ("gains", "Gains of the techniques", "What the baseline needs for the same error, over what the technique needs: "
     "right of 1 the technique is cheaper. Bars: intervals from resampling the same cells in both."),
    ("lifetime_cost", "Cost over a lifetime", "Training and uses together, at equal error. Each number of uses has "
     "frontiers and a bar (interval) of its own; where too few resamples found an optimum there is none, the line "
     "broken. Where the lines cross, the technique begins, or ceases, to pay."),
)  # fmt: skip


def comparison_parts(folder: Path, runs: pd.DataFrame) -> tuple[Parts, str]:
    """Read the comparison of a results folder.

    Args:
        folder: Results folder.
        runs: Its runs now: a comparison of other runs is not shown.

    Returns:
        The parts of the page, and a sentence for what the page does not say where there are none to show.
    """
    n_techniques = runs["technique"].nunique() if "technique" in runs.columns else 1
    file = folder / FOLDER / "comparison.json"
    if not file.is_file():
        hint = "The techniques are not compared here: run ninthpower compare on this folder, then ninthpower report."
        return (), hint if n_techniques > 1 else ""
    content = json.loads(file.read_text(encoding="utf-8"))
    if content.get("version") != COMPARISON_VERSION or not _same_runs(content["statuses"], runs):
        again = "run ninthpower compare again, then ninthpower report"
        return (), f"The comparison of techniques is of other runs or an earlier version: {again}."
    return _parts(folder / FOLDER, content), ""


def _parts(folder: Path, content: Mapping[str, Any]) -> Parts:
    title = f"Techniques against {content['baseline']}"
    pictures: list[ReportText | ReportFigure | ReportTable] = [
        ReportFigure(heading, caption, folder / "figures" / f"{name}.svg")
        for name, heading, caption in PICTURES
        if (folder / "figures" / f"{name}.svg").is_file()
    ]
    table = pd.read_csv(folder / "comparison.csv")
    shown = table[[name for name in COLUMNS if name in table.columns and table[name].notna().any()]]
    shown = shown.assign(cost=[label(str(name)) for name in shown["cost"]])
    caption = " ".join([f"Intervals hold {content['level']:.0%}.", *content["notes"]])
    words = ReportText(title, tuple(content["sentences"]))
    return [*pictures[:1], words, *pictures[1:], ReportTable("Gains", caption, shown)]


def _same_runs(statuses: Mapping[str, Mapping[str, int]], runs: pd.DataFrame) -> bool:
    """Whether as many trials ended the same way as when they were compared."""
    if "technique" not in runs.columns:
        return False
    now: Counter[str] = Counter(runs["status"])
    then: Counter[str] = Counter()
    for counts in statuses.values():
        then.update(counts)
    return all(now[name] == then[name] for name in {*now, *then})
