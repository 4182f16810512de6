"""Quantile frontiers: the power law below which a stated share of the cells lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import linprog
from scipy.sparse import csr_matrix, eye, hstack

from scaling.laws import POWER
from scaling.notebook import paragraph_html
from scaling.points import read_points
from scaling.words import counted


@dataclass(frozen=True, repr=False)
class QuantileFrontier:
    """``error = A cost^-alpha``, with a share `quantile` of the cells at or below it.

    Unlike the Pareto front it does not hang on the luckiest cell of each budget: with quantile 0.1 a tenth
    of the cells may lie below. `exponent` is None where the error does not fall.
    """

    quantile: float
    A: float
    alpha: float
    exponent: float | None
    n_cells: int
    left_out: tuple[tuple[str, str], ...]

    def predict(self, cost: float | np.ndarray) -> np.ndarray:
        """Error of the frontier at a cost."""
        return self.A * np.asarray(cost, dtype=np.float64) ** -self.alpha

    def __repr__(self) -> str:
        k = "no exponent, for the error does not fall" if self.exponent is None else f"k = {self.exponent:.4g}"
        out = f", {counted(len(self.left_out), 'run')} left out" if self.left_out else ""
        return (
            f"QuantileFrontier: {self.quantile:.0%} of {counted(self.n_cells, 'cell')} lie at or below "
            f"{self.A:.4g} cost^-{self.alpha:.4g}; {k}{out}"
        )

    def _repr_html_(self) -> str:
        return paragraph_html(repr(self))


def quantile_frontier(
    runs: pd.DataFrame, quantile: float = 0.1, *, cost: str = "train_flops", error: str = "test_error",
    columns: Mapping[str, str] | None = None,
) -> QuantileFrontier:  # fmt: skip
    """Quantile regression of log error on log cost over cell means, solved exactly as a linear program.

    Args:
        runs: The runs table.
        quantile: Share of cells below, in (0, 1).
        cost, error: Columns.
        columns: As for `fit`.

    Raises:
        ValueError: If the quantile is not in (0, 1), or fewer than three cells of distinct cost are left.

    Source:
        Koenker and Bassett 1978.
    """
    if not 0 < quantile < 1:
        raise ValueError(f"quantile is {quantile}, but it lies between 0 and 1; 0.1 for a frontier")
    where = {"cost": cost, **(columns or {})}
    points = read_points(runs, POWER, columns=where, error=error, average=True, cluster=None)
    if np.unique(points.x[0]).size < 3:
        raise ValueError("fewer than three cells of distinct cost are left; a quantile frontier needs more")
    centre = points.x[0].mean()
    level, slope = _quantile_line(points.x[0] - centre, points.y, quantile)
    alpha = -slope
    scale = float(np.exp(level + alpha * centre))
    exponent = 1.0 / alpha if alpha > 0 else None
    return QuantileFrontier(quantile, scale, alpha, exponent, points.n_points, points.left_out)


def _quantile_line(x: np.ndarray, y: np.ndarray, quantile: float) -> tuple[float, float]:
    """Level and slope that minimise the tilted absolute loss."""
    n = x.size
    design = hstack([csr_matrix(np.column_stack([np.ones(n), x])), eye(n), -eye(n)], format="csr")
    weights = np.r_[0.0, 0.0, np.full(n, quantile), np.full(n, 1 - quantile)]
    bounds = [(None, None)] * 2 + [(0, None)] * (2 * n)
    solution = linprog(weights, A_eq=design, b_eq=y, bounds=bounds, method="highs")
    assert solution.status == 0, solution.message
    return float(solution.x[0]), float(solution.x[1])
