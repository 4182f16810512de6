"""Backtests: fit to the cheaper runs, predict the dearer ones, and compare with what was measured."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from scaling.bootstrap import bootstrap_points
from scaling.fit import points_of
from scaling.laws import LAWS, get_law
from scaling.laws.base import Law
from scaling.points import Points, frontier_points

# Shares of the distinct budgets, from the cheapest, that are fitted in turn.
CUTS = (0.5, 0.6, 0.7, 0.8, 0.9)
BACKTEST_RESAMPLES = 200


@dataclass(frozen=True, repr=False)
class Backtest:
    """How well each law, fitted below a budget, predicted the runs above it.

    Attributes:
        table: One row per law, cut and later point: ``law``, ``status``, ``fitted_up_to``, ``cost``,
            ``decades_beyond``, ``error``, ``predicted``, ``low``, ``high``, ``inside``, ``log_ratio``.
        scores: One row per law: root mean square of ``log_ratio``, share inside the band, cuts fitted.
        best: The law with the least error of prediction; None if none could be fitted.
    """

    table: pd.DataFrame = field(compare=False)
    scores: pd.DataFrame = field(compare=False)
    best: str | None
    level: float

    def to_dict(self) -> dict[str, Any]:
        """Scores and the choice, as JSON can hold it."""
        rows = self.scores.astype(object).where(self.scores.notna(), None).to_dict(orient="records")
        return {"best": self.best, "level": self.level, "scores": rows}

    def __repr__(self) -> str:
        return f"Backtest, best law: {self.best}\n{self.scores.to_string(index=False)}"

    def _repr_html_(self) -> str:
        return f"<p>Best law: {html.escape(str(self.best))}</p>{self.scores.to_html(index=False)}"


def backtest(
    runs: pd.DataFrame,
    laws: Sequence[str | Law] | None = None,
    *,
    cost: str = "train_flops",
    error: str = "test_error",
    frontier: bool = False,
    columns: Mapping[str, str] | None = None,
    cluster: str | None = None,
    cuts: Sequence[float] = CUTS,
    n_resamples: int = BACKTEST_RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> Backtest:
    """Fit every law to the cheapest budgets, predict the rest, and score the predictions.

    Args:
        runs, cost, error, frontier, columns, cluster: As for `fit`.
        laws: Laws to compare; all laws in one cost if None.
        cuts: Shares of the distinct budgets that are fitted in turn.
        n_resamples: Refits behind each prediction band.
        level: Of the prediction bands.
        seed: Of the resampling.

    Raises:
        ValueError: As `fit`, and if a cut does not lie between 0 and 1.
    """
    forms = [get_law(law) for law in (one_cost_laws() if laws is None else laws)]
    if not all(0 < cut < 1 for cut in cuts):
        raise ValueError(f"cuts are {tuple(cuts)}, but each lies between 0 and 1")
    rows: list[dict[str, Any]] = []
    for form in forms:
        everything = points_of(
            runs,
            form,
            cost=cost,
            error=error,
            frontier=frontier,
            columns=columns,
            cluster=cluster,
            all_cells=True,
        )
        for limit in _limits(everything, cuts):
            rows += _predictions(form, everything, limit, cost, error, frontier, n_resamples, level, seed)
    table = pd.DataFrame(rows, columns=_COLUMNS)
    scores = _scores(table, [form.name for form in forms])
    ranked = scores.dropna(subset=["rmse_log"])
    return Backtest(table, scores, None if ranked.empty else str(ranked["law"].iloc[0]), level)


def one_cost_laws() -> tuple[str, ...]:
    """Names of the laws in a single cost."""
    return tuple(name for name, law in LAWS.items() if law.roles == ("cost",))


_COLUMNS = [
    "law", "status", "fitted_up_to", "cost", "decades_beyond", "error", "predicted", "low", "high", "inside",
    "log_ratio",
]  # fmt: skip


def _limits(points: Points, cuts: Sequence[float]) -> list[float]:
    budgets = np.unique(points.x[0])
    positions = {min(int(np.ceil(cut * budgets.size)) - 1, budgets.size - 2) for cut in cuts}
    return [float(budgets[position]) for position in sorted(positions) if position >= 0]


def _predictions(
    form: Law, everything: Points, limit: float, cost: str, error: str, frontier: bool,
    n_resamples: int, level: float, seed: int,
) -> list[dict[str, Any]]:  # fmt: skip
    below = everything.take(everything.x[0] <= limit)
    later = frontier_points(everything) if frontier else everything
    later = later.take(later.x[0] > limit)
    intervals = bootstrap_points(
        form,
        below,
        cost=cost,
        error=error,
        frontier=frontier,
        n_resamples=n_resamples,
        level=level,
        seed=seed,
    )
    if intervals.fit.optimum is None or not len(intervals.draws) or not later.n_points:
        return []
    inputs = tuple(np.exp(later.x))
    predicted, measured = intervals.fit.predict(*inputs), np.exp(later.y)
    low, high = intervals.prediction_band(*inputs)
    return [
        dict(zip(_COLUMNS, values, strict=True))
        for values in zip(
            [form.name] * later.n_points,
            [intervals.fit.status.name.lower()] * later.n_points,
            [float(np.exp(limit))] * later.n_points,
            inputs[0],
            (later.x[0] - limit) / np.log(10.0),
            measured,
            predicted,
            low,
            high,
            (low <= measured) & (measured <= high),
            np.log(predicted / measured),
            strict=True,
        )
    ]


def _scores(table: pd.DataFrame, laws: list[str]) -> pd.DataFrame:
    rows = []
    most = table.groupby("law")["fitted_up_to"].nunique().max() if len(table) else 0
    for law in laws:
        part = table[table["law"] == law]
        n_cuts = int(part["fitted_up_to"].nunique())
        finite = np.isfinite(part["log_ratio"].to_numpy(float)).all()
        # Each cut counts alike; a law that some cuts did not suffice for is not compared on the easier ones.
        complete = n_cuts == most and n_cuts > 0 and finite
        per_cut = (part["log_ratio"] ** 2).groupby(part["fitted_up_to"]).mean() if complete else None
        rows.append({
            "law": law,
            "rmse_log": float(np.sqrt(per_cut.mean())) if per_cut is not None else np.nan,
            "inside": float(part["inside"].mean()) if len(part) else np.nan,
            "n_cuts": n_cuts,
            "n_predictions": len(part),
            "decades_beyond": float(part["decades_beyond"].max()) if len(part) else np.nan,
        })  # fmt: skip
    return pd.DataFrame(rows).sort_values("rmse_log", kind="stable", na_position="last").reset_index(drop=True)
