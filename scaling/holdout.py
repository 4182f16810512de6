"""Backtests: fit to the cheaper runs, predict the dearer ones, and compare with what was measured."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.bootstrap import Intervals, bootstrap_points
from scaling.fit import Fit, finite, fit_points, points_of
from scaling.laws import get_law
from scaling.laws.base import Law
from scaling.points import Points, frontier_points

# Laws that are compared unless others are named: all in one cost, with few enough parameters for a short table.
CANDIDATES = ("power", "saturating", "exponential", "m4", "bnsl1")
# Shares of the distinct budgets, from the cheapest, that are fitted in turn.
CUTS = (0.34, 0.4, 0.46, 0.52, 0.58, 0.64, 0.7, 0.76, 0.82, 0.88, 0.94)
BACKTEST_RESAMPLES = 100
# The choice looks this far beyond each cut, in shares of the log range fitted: farther points repeat the nearer ones.
CHOICE_REACH = 0.3
# A prediction wrong by more than a factor e is as bad as one wrong by e: one cut must not decide alone.
WORST_LOG_RATIO = 1.0
# Weight of a law in an average: the inverse fourth power of its error, so that twice the error leaves a sixteenth.
WEIGHT_POWER = 4.0
# Decades beyond the cut by which predictions are grouped.
DISTANCES = (0.0, 0.3, 0.6, 1.0, 1.5, 2.0, 3.0, np.inf)

_COLUMNS = [
    "law", "status", "fitted_up_to", "cost", "decades_beyond", "reach", "error", "predicted", "low", "high",
    "inside", "log_ratio",
]  # fmt: skip


@dataclass(frozen=True, repr=False)
class Backtest:
    """How well each law, fitted below a budget, predicted the runs above it.

    Attributes:
        table: One row per law, cut and later point: ``law``, ``status``, ``fitted_up_to``, ``cost``,
            ``decades_beyond`` the cut, ``reach`` (the same over the range fitted), ``error``, ``predicted``, the
            band ``low`` and ``high``, whether the error lay ``inside``, ``log_ratio`` of predicted to measured.
        scores: One row per law: ``score`` (by which the law is chosen), ``weight`` in an average, ``rmse_log`` over
            all predictions, share ``inside`` the band, ``n_cuts`` fitted.
        by_distance: The same by decades beyond the cut.
        best: The law with the least score; None if none could be fitted.
        level: Of the bands.
    """

    table: pd.DataFrame = field(compare=False)
    scores: pd.DataFrame = field(compare=False)
    by_distance: pd.DataFrame = field(compare=False)
    best: str | None
    level: float

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each law in an average of predictions."""
        return {str(law): float(w) for law, w in zip(self.scores["law"], self.scores["weight"], strict=True)}

    def to_dict(self) -> dict[str, Any]:
        """Scores and the choice, as JSON can hold it."""
        return {
            "best": self.best,
            "level": self.level,
            "scores": _records(self.scores),
            "by_distance": _records(self.by_distance),
        }

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
        laws: Laws to compare; `CANDIDATES` if None.
        cuts: Shares of the distinct budgets that are fitted in turn.
        n_resamples: Refits behind each prediction band; 0 for no bands.
        level: Of the prediction bands.
        seed: Of the resampling.

    Raises:
        ValueError: As `fit`, and if a cut does not lie between 0 and 1.
    """
    forms = [get_law(law) for law in (CANDIDATES if laws is None else laws)]
    if not forms:
        raise ValueError("laws is empty, but a backtest compares at least one")
    if not all(0 < cut < 1 for cut in cuts):
        raise ValueError(f"cuts are {tuple(cuts)}, but each lies between 0 and 1")
    task = _Task(cost, error, frontier, n_resamples, level, seed)
    rows: list[dict[str, Any]] = []
    for form in forms:
        everything = points_of(
            runs, form, cost=cost, error=error, frontier=frontier, columns=columns, cluster=cluster, all_cells=True
        )
        for limit in _limits(everything, cuts):
            rows += _predictions(form, everything, limit, task)
    return _summary(pd.DataFrame(rows, columns=_COLUMNS), [form.name for form in forms], level)


@dataclass(frozen=True)
class _Task:
    cost: str
    error: str
    frontier: bool
    n_resamples: int
    level: float
    seed: int


def _limits(points: Points, cuts: Sequence[float]) -> list[float]:
    budgets = np.unique(points.x[0])
    positions = {min(int(np.ceil(cut * budgets.size)) - 1, budgets.size - 2) for cut in cuts}
    return [float(budgets[position]) for position in sorted(positions) if position >= 1]


def _predictions(form: Law, everything: Points, limit: float, task: _Task) -> list[dict[str, Any]]:
    below = everything.take(everything.x[0] <= limit)
    later = frontier_points(everything) if task.frontier else everything
    later = later.take(later.x[0] > limit)
    fitted, intervals = _fit_below(form, below, task)
    if fitted.optimum is None or not later.n_points:
        return []
    inputs = tuple(np.exp(later.x))
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        log_predicted = np.log(fitted.predict(*inputs))
    low = high = np.full(later.n_points, np.nan)
    if intervals is not None and len(intervals.draws):
        low, high = intervals.prediction_band(*inputs)
    measured = np.exp(later.y)
    inside = [bool(a <= m <= b) if np.isfinite(a) else None for a, m, b in zip(low, measured, high, strict=True)]
    beyond = later.x[0] - limit
    span = max(limit - float(below.x[0].min()), 1e-300)
    n = later.n_points
    columns = (
        [form.name] * n, [fitted.status.name.lower()] * n, [float(np.exp(limit))] * n, inputs[0],
        beyond / np.log(10.0), beyond / span, measured, np.exp(np.minimum(log_predicted, 700.0)), low, high, inside,
        log_predicted - later.y,
    )  # fmt: skip
    return [dict(zip(_COLUMNS, values, strict=True)) for values in zip(*columns, strict=True)]


def _fit_below(form: Law, below: Points, task: _Task) -> tuple[Fit, Intervals | None]:
    settings: dict[str, Any] = {"cost": task.cost, "error": task.error, "frontier": task.frontier}
    if not task.n_resamples:
        return fit_points(form, frontier_points(below) if task.frontier else below, **settings), None
    intervals = bootstrap_points(
        form, below, n_resamples=task.n_resamples, level=task.level, seed=task.seed, **settings
    )
    return intervals.fit, intervals


def _summary(table: pd.DataFrame, laws: list[str], level: float) -> Backtest:
    scores = _scores(table, laws)
    ranked = scores.dropna(subset=["score"])
    best = None if ranked.empty else str(ranked["law"].iloc[0])
    return Backtest(table, scores, _by_distance(table), best, level)


def _scores(table: pd.DataFrame, laws: list[str]) -> pd.DataFrame:
    """Score the laws on the cuts at which all laws that were fitted at all were fitted."""
    cuts = {law: set(part["fitted_up_to"]) for law, part in table.groupby("law")}
    most = max((len(values) for values in cuts.values()), default=0)
    # A law that could be fitted at few cuts only is not compared: it would be judged on the easy ones.
    compared = [law for law in laws if len(cuts.get(law, ())) >= max(1, most / 2)]
    common = set.intersection(*(cuts[law] for law in compared)) if compared else set()
    rows = []
    for law in laws:
        part = table[table["law"] == law]
        ratio = part["log_ratio"].to_numpy(dtype=np.float64)
        usable = part["fitted_up_to"].isin(common).to_numpy() if law in compared else np.zeros(len(part), dtype=bool)
        inside = part["inside"].dropna()
        rows.append({
            "law": law,
            "score": _score(part[usable], ratio[usable]) if usable.any() else np.nan,
            "rmse_log": float(np.sqrt(np.mean(ratio**2))) if ratio.size and np.isfinite(ratio).all() else np.nan,
            "inside": float(inside.astype(float).mean()) if len(inside) else np.nan,
            "n_cuts": len(cuts.get(law, ())),
            "n_predictions": len(part),
        })  # fmt: skip
    scores = pd.DataFrame(rows)
    weight = (scores["score"] + 1e-6) ** -WEIGHT_POWER
    scores.insert(2, "weight", (weight / weight.sum()).fillna(0.0) if weight.notna().any() else 0.0)
    return scores.sort_values("score", kind="stable", na_position="last").reset_index(drop=True)


def _score(part: pd.DataFrame, ratio: NDArray[np.float64]) -> float:
    """Root mean square log error over the cuts, each cut by its nearer predictions."""
    squared = np.minimum(np.where(np.isfinite(ratio), np.abs(ratio), np.inf), WORST_LOG_RATIO) ** 2
    values = []
    for _, index in part.reset_index(drop=True).groupby("fitted_up_to").indices.items():
        reach = part["reach"].to_numpy()[index]
        near = reach <= max(CHOICE_REACH, float(reach.min()))
        values.append(float(squared[index][near].mean()))
    return float(np.sqrt(np.mean(values)))


def _by_distance(table: pd.DataFrame) -> pd.DataFrame:
    if table.empty:
        return pd.DataFrame(columns=["law", "decades_from", "decades_to", "rmse_log", "inside", "n_predictions"])
    group = np.clip(np.searchsorted(DISTANCES, table["decades_beyond"], side="left") - 1, 0, None)
    rows = []
    for (law, number), part in table.groupby(["law", group], sort=False):
        inside = part["inside"].dropna()
        rows.append({
            "law": law,
            "decades_from": DISTANCES[number],
            "decades_to": DISTANCES[number + 1],
            "rmse_log": float(np.sqrt(np.mean(part["log_ratio"].to_numpy(float) ** 2))),
            "inside": float(inside.astype(float).mean()) if len(inside) else np.nan,
            "n_predictions": len(part),
        })  # fmt: skip
    return pd.DataFrame(rows).sort_values(["law", "decades_from"], kind="stable").reset_index(drop=True)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): finite(value) if isinstance(value, float) else value for name, value in row.items()}
        for row in table.to_dict(orient="records")
    ]
