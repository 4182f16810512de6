"""IsoFLOP minima: the best size at each budget, by a parabola, with what is wrong with that beside it."""

from __future__ import annotations

import html
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from scaling.allocation import optimal_allocation
from scaling.fit import Fit, fit
from scaling.points import usable_runs

LEAST_SIZES = 4


@dataclass(frozen=True, repr=False)
class IsoFlop:
    """Best sizes per budget and how they grow.

    Attributes:
        minima: One row per budget: ``budget``, ``n_params`` and ``error`` at the parabola's minimum, ``n_sizes``,
            ``decades`` of size covered, ``curvature``, and ``usable`` with a ``reason`` where it is not.
        size_exponent: a in ``best size ~ budget^a`` from the usable minima; None from fewer than two.
        surface_size_exponent: The same from the surface fitted to the same runs; None if it did not converge.
        expected_bias: What the parabola would report on noise-free runs of that surface at the same sizes and
            budgets, minus the surface's own exponent: the method's error, apart from noise.
        surface: The fit of the surface.
    """

    minima: pd.DataFrame = field(compare=False)
    size_exponent: float | None
    surface_size_exponent: float | None
    expected_bias: float | None
    surface: Fit

    def __repr__(self) -> str:
        return (
            f"IsoFlop: best size ~ budget^{_text(self.size_exponent)} by parabolas, "
            f"^{_text(self.surface_size_exponent)} by the surface; the parabolas' own bias is about "
            f"{_text(self.expected_bias)}\n{self.minima.to_string(index=False)}"
        )

    def _repr_html_(self) -> str:
        heading = html.escape(repr(self).splitlines()[0])
        return f"<p>{heading}</p>{self.minima.to_html(index=False, float_format=lambda value: f'{value:.4g}')}"


def isoflop_minima(
    runs: pd.DataFrame, *, budget: str = "budget", size: str = "n_params", data: str = "n_train",
    error: str = "test_loss",
) -> IsoFlop:  # fmt: skip
    """Fit a parabola in log size to each budget's runs, and the surface to all of them.

    Args:
        runs: Runs of an isoFLOP design.
        budget: Column that is equal within each isoFLOP curve.
        size, data: Columns of the model size and the number of examples.
        error: Column of the error or loss.

    Raises:
        ValueError: If a column is missing or out of range.

    Source:
        Hoffmann et al. 2022 (arXiv:2203.15556), approach 2. Its bias: the curves are not parabolas unless
        alpha = beta, and the estimate then depends on how far and how centred the sizes were; the surface
        fitted to the same runs has no such bias (Open-Athena, vpnls).
    """
    table, _, _ = usable_runs(runs, [budget, size, data], error)
    minima = _minima(table, budget, size, error)
    surface = fit(runs, "size_and_data", error=error, columns={"size": size, "data": data}, cluster=budget)
    exponent = _growth(minima)
    surface_exponent = bias = None
    if surface.converged:
        alpha, beta = surface.parameters["alpha"], surface.parameters["beta"]
        surface_exponent = beta / (alpha + beta)
        ideal = table.assign(**{error: surface.predict(table[size].to_numpy(float), table[data].to_numpy(float))})
        noise_free = _growth(_minima(ideal, budget, size, error))
        bias = None if noise_free is None else noise_free - surface_exponent
    return IsoFlop(minima, exponent, surface_exponent, bias, surface)


def _minima(table: pd.DataFrame, budget: str, size: str, error: str) -> pd.DataFrame:
    rows = []
    for value, part in table.groupby(budget, sort=True):
        means = part.groupby(size)[error].mean()
        logs = np.log(means.index.to_numpy(dtype=np.float64))
        row = {"budget": float(value), "n_sizes": logs.size, "decades": float(np.ptp(logs) / np.log(10.0))}
        rows.append(row | _minimum(logs, means.to_numpy(dtype=np.float64)))
    return pd.DataFrame(rows)


def _minimum(log_size: np.ndarray, error: np.ndarray) -> dict[str, object]:
    """Minimum of a parabola in log size, or the reason why there is none."""
    nothing = {"n_params": np.nan, "error": np.nan, "curvature": np.nan, "usable": False}
    if log_size.size < LEAST_SIZES:
        return nothing | {"reason": f"{log_size.size} sizes, at least {LEAST_SIZES} are needed"}
    centre = log_size.mean()
    square, slope, level = np.polyfit(log_size - centre, error, 2)
    if not square > 0:
        return nothing | {"curvature": float(square), "reason": "the curve does not bend upwards"}
    place = -slope / (2 * square)
    row: dict[str, object] = {
        "n_params": float(np.exp(centre + place)),
        "error": float(level - slope**2 / (4 * square)),
        "curvature": float(square),
        "usable": True,
        "reason": "",
    }
    if not log_size.min() <= centre + place <= log_size.max():
        row |= {"usable": False, "reason": "the minimum lies outside the sizes tried"}
    return row


def _growth(minima: pd.DataFrame) -> float | None:
    usable = minima[minima["usable"].astype(bool)]
    if len(usable) < 2:
        return None
    x, y = np.log(usable["budget"].to_numpy(float)), np.log(usable["n_params"].to_numpy(float))
    return float(np.polyfit(x - x.mean(), y, 1)[0])


def best_size(surface: Fit, flops: float, *, flops_per_param_example: float) -> float:
    """Size the surface itself calls best at a budget.

    Raises:
        ValueError: If the surface did not converge, or a number is not positive.
    """
    if not surface.converged:
        raise ValueError(f"the surface did not converge, so it has no optimum: {surface.reason}")
    return float(optimal_allocation(surface.parameters, flops, flops_per_param_example=flops_per_param_example)[0])


def _text(value: float | None) -> str:
    return "(none)" if value is None else f"{value:.3f}"
