"""Every trial as data for the chart of the page: the reader turns the axes and asks the points."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scaling.columns import column, label
from scaling.points import cluster_labels
from scaling.report.markup import asset, text

if TYPE_CHECKING:
    from scaling.bootstrap import Intervals

COSTS = (
    "train_flops", "energy_joules", "inference_flops", "inference_seconds", "n_params", "model_bytes", "wall_seconds",
    "carbon_grams", "hardware_burden_flop", "peak_memory_bytes",
)  # fmt: skip
ERRORS = ("test_error", "shift_error", "validation_error", "test_loss")
# What a point says of its trial, beside its costs and errors.
SETTINGS = ("dataset", "family", "technique", "width", "depth", "n_train", "epochs", "learning_rate", "seed")
LAW_POINTS = 60


@dataclass(frozen=True)
class ReportChart:
    """The trials that are drawn, and the laws fitted to them.

    Attributes:
        runs: Runs table; trials without an error are not drawn.
        intervals: Fitted laws, each drawn on the axes it was fitted on; those that did not converge are named.
        cost, error: Columns that are shown first.
        links: Address of each trial's run in the tracking server, as far as it is known.
    """

    runs: pd.DataFrame
    intervals: Sequence[Intervals] = ()
    cost: str = "train_flops"
    error: str = "test_error"
    links: Mapping[str, str] = field(default_factory=dict)


def chart_content(chart: ReportChart) -> dict[str, Any]:
    """What the page's script reads: columns of values, in order of cost; unknown values are null."""
    finished = _drawn(chart.runs, chart.error)
    finished = finished.sort_values([chart.cost, chart.error, "trial_id"], kind="stable").reset_index(drop=True)
    costs, errors = axes_of(chart.runs, chart.cost, chart.error)
    techniques, technique = _techniques(finished)
    ids = finished["trial_id"].astype(str)
    return {
        "cost": chart.cost,
        "error": chart.error,
        "costs": costs,
        "errors": errors,
        "columns": {name: _describe(name) for name in [*costs, *errors]},
        "techniques": techniques,
        "trials": {
            "trial_id": ids.tolist(),
            "technique": technique,
            "cell": cluster_labels(finished, chart.cost).tolist() if len(finished) else [],
            "n_test": _values(finished, "n_test"),
            "link": [chart.links.get(trial_id) for trial_id in ids] if chart.links else None,
            "settings": {name: _values(finished, name) for name in SETTINGS if name in finished.columns},
            "values": {name: _values(finished, name) for name in [*costs, *errors]},
        },
        "laws": [_law(one) for one in chart.intervals],
    }


def axes_of(runs: pd.DataFrame, cost: str, error: str) -> tuple[list[str], list[str]]:
    """Costs and errors that the chart can be turned to, those asked for first."""
    finished = _drawn(runs, error)
    costs = [name for name in dict.fromkeys((cost, *COSTS)) if _is_axis(finished, name, cost)]
    return costs, [name for name in dict.fromkeys((error, *ERRORS)) if _is_axis(finished, name, error)]


def chart_markup(chart: ReportChart) -> str:
    """The chart's place on the page with its controls, its data and its script."""
    content = chart_content(chart)
    data = json.dumps(content, allow_nan=False, separators=(",", ":"), sort_keys=True)
    selects = _select("chart-cost", "Cost", content["costs"]) + _select("chart-error", "Error", content["errors"])
    return Template(asset("chart.html")).substitute(
        selects=selects,
        techniques=_toggles(content["techniques"]),
        last=max(len(content["trials"]["trial_id"]) - 1, 0),
        # A name in a stranger's table must not end the element that holds it.
        data=data.replace("<", "\\u003c"),
        script=asset("chart.js"),
    )


def _drawn(runs: pd.DataFrame, error: str) -> pd.DataFrame:
    return runs[(runs["status"] == "finished") & runs[error].notna()]


def _is_axis(finished: pd.DataFrame, name: str, asked: str) -> bool:
    if name not in finished.columns:
        return False
    if name == asked:
        return True
    values = pd.to_numeric(finished[name], errors="coerce")
    return bool((values > 0).any() and values[values > 0].nunique() > 1)


def _techniques(finished: pd.DataFrame) -> tuple[list[str], list[int]]:
    if "technique" not in finished.columns:
        return ["all trials"], [0] * len(finished)
    names = finished["technique"].fillna("unknown").astype(str)
    # The baseline first: it is what the others are held against.
    order = sorted(names.unique(), key=lambda name: (name != "baseline", name))
    places = {name: place for place, name in enumerate(order)}
    return order, [places[name] for name in names]


def _describe(name: str) -> dict[str, str]:
    try:
        known = column(name)
        return {"label": label(name), "unit": known.unit, "kind": known.kind}
    except ValueError:
        return {"label": label(name), "unit": "", "kind": "unknown"}


def _values(table: pd.DataFrame, name: str) -> list[Any] | None:
    if name not in table.columns:
        return None
    values = table[name].astype(object).where(table[name].notna(), None)
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def _law(intervals: Intervals) -> dict[str, Any]:
    found, exponent = intervals.fit, intervals.exponent
    curve: dict[str, Any] = {"x": [], "y": [], "low": [], "high": []}
    if found.converged:
        cost = np.geomspace(*found.cost_range, LAW_POINTS)
        curve |= {"x": cost.tolist(), "y": found.predict(cost).tolist()}
        if len(intervals.draws) and intervals.parameters:
            low, high = intervals.band(cost)
            if np.isfinite(low).all() and np.isfinite(high).all():
                curve |= {"low": low.tolist(), "high": high.tolist()}
    quoted = found.exponent is not None and exponent is not None
    return {
        "law": found.law,
        "cost": found.cost,
        "error": found.error,
        "reason": "" if found.converged else found.reason,
        "level": intervals.level,
        "exponent": found.exponent if quoted else None,
        "exponent_low": exponent.low if exponent is not None and quoted and np.isfinite(exponent.low) else None,
        "exponent_high": exponent.high if exponent is not None and quoted and np.isfinite(exponent.high) else None,
        **curve,
    }


def _select(identifier: str, words: str, names: Sequence[str]) -> str:
    options = "".join(f'<option value="{text(name)}">{text(label(name))}</option>' for name in names)
    return f'<label for="{identifier}">{words} <select id="{identifier}">{options}</select></label>'


def _toggles(techniques: Sequence[str]) -> str:
    if len(techniques) < 2:
        return ""
    boxes = "".join(
        f'<label><input type="checkbox" name="technique" value="{place}" checked>'
        f'<svg class="key" width="14" height="14" aria-hidden="true" data-place="{place}"></svg> {text(name)}</label>'
        for place, name in enumerate(techniques)
    )
    return (
        f'<fieldset id="chart-techniques"><legend>Techniques</legend>{boxes}'
        '<button type="button" id="chart-all">all</button><button type="button" id="chart-none">none</button>'
        "</fieldset>"
    )
