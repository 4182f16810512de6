"""The laws of a sweep on its other costs and errors: what the chart shows when its axes are switched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from experiments.sweep import FitSpec
from scaling import bootstrap
from scaling.bootstrap import Intervals
from scaling.fit import finite
from scaling.report.chart import axes_of

# Enough for an interval on the side; the axes that were asked for have the sweep's own number.
MOST_RESAMPLES = 400


def other_axes(runs: pd.DataFrame, settings: FitSpec) -> list[tuple[str, str]]:
    """Cost and error of every other pair of axes: every other cost, and every other error on the same cost."""
    costs, errors = axes_of(runs, settings.cost, settings.error)
    return [(cost, settings.error) for cost in costs[1:]] + [(settings.cost, error) for error in errors[1:]]


def fit_other_axes(
    runs: pd.DataFrame, settings: FitSpec, told: Callable[[], object] = lambda: None
) -> tuple[Intervals, ...]:
    """Fit the same laws to the frontier of every other cost, and of every other error on the same cost.

    Args:
        runs: Runs table, chosen on validation.
        settings: What was asked for; its own pair of axes is left out.
        told: Called after each pair of axes.
    """
    found = []
    for cost, error in other_axes(runs, settings):
        for law in settings.laws:
            found.append(bootstrap(
                runs, law=law, cost=cost, error=error, frontier=True, level=settings.level, seed=0,
                n_resamples=min(settings.resamples, MOST_RESAMPLES),
            ))  # fmt: skip
        told()
    return tuple(found)


def other_axes_content(others: Sequence[Intervals]) -> list[dict[str, Any]]:
    """Their part of fits.json: the numbers, without the lists of runs."""
    return [
        {
            "law": one.fit.law,
            "cost": one.fit.cost,
            "error": one.fit.error,
            "status": one.fit.status.name.lower(),
            "reason": one.fit.reason,
            "equation": one.fit.equation,
            "parameters": {name: finite(value) for name, value in one.fit.parameters.items()},
            "value": finite(one.fit.exponent),
            "exponent": None if one.exponent is None else one.exponent.to_dict(),
            "n_resamples": one.n_resamples,
            "n_failed": one.n_failed,
        }
        for one in others
    ]


def other_axes_view(others: Sequence[Intervals]) -> pd.DataFrame:
    """One row per pair of axes and law: the exponent with its interval, or why there is none."""
    return pd.DataFrame(
        {
            "cost": one.fit.cost,
            "error": one.fit.error,
            "law": one.fit.law,
            "exponent k": one.fit.exponent if one.exponent else None,
            "low": one.exponent.low if one.exponent else None,
            "high": one.exponent.high if one.exponent else None,
            "equation or reason": one.fit.equation if one.fit.converged else one.fit.reason,
        }
        for one in others
    )
