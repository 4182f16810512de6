"""From a fitted law to the cost of an error target, with an interval, or the reason why there is no number."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.allocation import optimal_frontier
from scaling.bootstrap import Intervals, interval_bounds, named_values
from scaling.fit import finite
from scaling.prices import Rates

Array = NDArray[np.float64]
LN10 = math.log(10.0)
# An interval wider than this factor tells the order of magnitude, no more.
WIDE_DECADES = 3.0


class ProjectionStatus(Enum):
    """What a projection is worth. Only INFORMATIVE and WIDE carry a number."""

    INFORMATIVE = "the interval spans less than a factor of a thousand"
    WIDE = "the interval spans more than a factor of a thousand: orders of magnitude, not a forecast"
    UNINFORMATIVE = "the interval is wider than all the computation the fit has seen: no number"
    UNREACHABLE = "the fitted law never reaches this error"
    REFUSED = "the fit may not be quoted"


@dataclass(frozen=True, repr=False)
class Projection:
    """The cost at which a law reaches an error.

    Costs are log10 of the fit's unit, FLOP for FLOP columns, because a double does not hold the worst of them.

    Attributes:
        error: The target.
        law: Name of the law.
        status: What it is worth, `reason` the same with the numbers behind it.
        log10_cost: The estimate; NaN unless the status carries a number.
        low, high: Interval of log10 cost, infinite where the resampled laws never get there. NaN without one.
        decades_beyond: How far the estimate lies above the dearest run fitted.
        log10_dearest: log10 cost of that run.
    """

    error: float
    law: str
    status: ProjectionStatus
    reason: str
    log10_cost: float
    low: float
    high: float
    level: float
    decades_beyond: float
    log10_dearest: float

    @property
    def quoted(self) -> bool:
        """Whether there is a number."""
        return self.status in (ProjectionStatus.INFORMATIVE, ProjectionStatus.WIDE)

    def years(self, growth_per_year: float, log10_now: float | None = None) -> tuple[float, float, float]:
        """Years until this much computation is used, and their interval, at a growth that stays as it is.

        Args:
            growth_per_year: Factor by which the computation of the largest model grows each year.
            log10_now: log10 of that computation today; that of the dearest run fitted if None.

        Raises:
            ValueError: If the growth is not above 1.
        """
        if not (math.isfinite(growth_per_year) and growth_per_year > 1):
            raise ValueError(f"growth_per_year is {growth_per_year}, but it is a factor above 1, such as 10")
        pace = math.log10(growth_per_year)
        now = self.log10_dearest if log10_now is None else log10_now
        low, middle, high = (max(v - now, 0.0) / pace for v in (self.low, self.log10_cost, self.high))
        return middle, low, high

    def __repr__(self) -> str:
        cost = f"10^{self.log10_cost:.2f} [10^{self.low:.2f}, 10^{self.high:.2f}]" if self.quoted else "no number"
        return f"Error {self.error:g} by law {self.law!r}: {cost} ({self.status.name.lower()}: {self.reason})"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>"

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; an infinite end is null."""
        return {
            "error": self.error, "law": self.law, "status": self.status.name.lower(), "reason": self.reason,
            "log10_cost": finite(self.log10_cost), "low": finite(self.low), "high": finite(self.high),
            "level": self.level, "decades_beyond": finite(self.decades_beyond),
        }  # fmt: skip


def project(
    intervals: Intervals, errors: Sequence[float], *, flops_per_param_example: float | None = None
) -> list[Projection]:
    """Project a bootstrapped fit to error targets.

    Args:
        intervals: From `scaling.bootstrap`.
        errors: Targets, each in (0, 1) where errors are fractions, or any positive loss.
        flops_per_param_example: For a law in size and data, k in ``cost = k size data``; the cost is then that of
            the optimal split.

    Returns:
        One projection per target. Where the law is wrong beyond the data no interval knows of it: hence
        `decades_beyond`.

    Raises:
        ValueError: If a target is not positive, or the law has several inputs and no optimal split.
    """
    for error in errors:
        if not (math.isfinite(error) and error > 0):
            raise ValueError(f"the error target is {error}, but it is a number above 0, such as 0.05")
    fitted = intervals.fit
    if not fitted.converged or fitted.optimum is None:
        return [_empty(intervals, error, ProjectionStatus.REFUSED, fitted.reason) for error in errors]
    if not len(intervals.draws):
        reason = "there is no interval: too few clusters to resample"
        return [_empty(intervals, error, ProjectionStatus.REFUSED, reason) for error in errors]
    costs = _Costs(intervals, flops_per_param_example)
    return [_project_one(intervals, costs, error) for error in errors]


def projection_costs(projection: Projection, rates: Rates) -> pd.DataFrame:
    """What a projection costs in device-hours, energy, CO2 and money: log10, with the interval's ends.

    Args:
        projection: In FLOP.
        rates: Cost of one FLOP.

    Returns:
        One row per quantity: ``quantity``, ``unit``, ``log10``, ``low``, ``high``; NaN where nothing is quoted.
    """
    per_flop = (
        ("computation", "FLOP", 1.0),
        ("device time", "device-hours", rates.device_hours),
        ("energy", "kWh", rates.kwh),
        ("carbon", "g CO2", rates.grams_co2),
        ("money", "USD", rates.usd),
    )
    values = projection.log10_cost if projection.quoted else math.nan
    rows = []
    for quantity, unit, rate in per_flop:
        shift = math.nan if rate is None else math.log10(rate)
        ends = (values + shift, projection.low + shift, projection.high + shift)
        rows.append(dict(zip(("quantity", "unit", "log10", "low", "high"), (quantity, unit, *ends), strict=True)))
    return pd.DataFrame(rows)


class _Costs:
    """log10 cost of an error by the fit, by each refit and by each fit without one cluster."""

    def __init__(self, intervals: Intervals, flops_per_param_example: float | None) -> None:
        fitted, self.k = intervals.fit, flops_per_param_example
        assert fitted.optimum is not None
        self.form, self.optimum = fitted.form, fitted.optimum
        self.several = len(self.form.roles) != 1
        top = intervals.fit.cost_range
        self.log10_range = (math.log10(top[0]), math.log10(top[1]))
        if self.several:
            allowed = self.form.roles == ("size", "data") and {"A", "alpha", "B", "beta"} == {*self.form.names} - {"E"}
            if not allowed:
                roles = ", ".join(self.form.roles)
                raise ValueError(f"law {self.form.name!r} depends on {roles}; a projection needs a law in one cost")
            if flops_per_param_example is None:
                raise ValueError(
                    f"law {self.form.name!r} is in size and data; give flops_per_param_example (6 for a dense layer "
                    "used once per example) for the cost of the optimal split"
                )
            product = fitted.points.x[0] + fitted.points.x[1] + math.log(flops_per_param_example)
            self.log10_range = (float(product.min() / LN10), float(product.max() / LN10))

    def log10_cost(self, theta: Array, error: float) -> Array:
        """One value per row of coordinates; infinite where the law never gets there."""
        if self.several:
            return self._along_the_optimum(theta, error)
        wanted = np.array([math.log(error)])
        with np.errstate(all="ignore"):
            rows = [float(self.form.inverse_log(row, wanted)[0]) + self.optimum.centre[0] for row in theta]
        values = np.array(rows) / LN10
        return np.where(np.isnan(values), np.inf, values)

    def _along_the_optimum(self, theta: Array, error: float) -> Array:
        assert self.k is not None
        named = named_values(self.form, theta, self.optimum)
        values = []
        for row in zip(*(named[name] for name in self.form.names), strict=True):
            parameters = dict(zip(self.form.names, map(float, row), strict=True))
            excess = error - parameters.get("E", 0.0)
            if excess <= 0 or min(parameters["alpha"], parameters["beta"]) <= 0:
                values.append(math.inf)
                continue
            frontier = optimal_frontier(parameters, flops_per_param_example=self.k)
            values.append(math.log10(frontier["A"] / excess) / frontier["alpha"])
        return np.array(values)


def _project_one(intervals: Intervals, costs: _Costs, error: float) -> Projection:
    fitted = intervals.fit
    assert fitted.optimum is not None
    estimate = costs.log10_cost(fitted.optimum.theta[None], error)
    if not np.isfinite(estimate[0]):
        reason = f"law {fitted.law!r} levels off above an error of {error:g}: {fitted.equation}"
        return _empty(intervals, error, ProjectionStatus.UNREACHABLE, reason)
    draws = costs.log10_cost(intervals.draws, error)[:, None]
    jackknife = costs.log10_cost(intervals.leave_one_out, error)[:, None]
    freedom = (fitted.n_cells, fitted.form.n_parameters)
    low, high = interval_bounds(draws, estimate, jackknife, intervals.level, intervals.method, freedom)
    bounds = (float(low[0]), float(high[0]))
    beyond = max(float(estimate[0]) - costs.log10_range[1], 0.0)
    status, reason = _worth(bounds, costs.log10_range, beyond)
    value = float(estimate[0]) if status is not ProjectionStatus.UNINFORMATIVE else math.nan
    return Projection(error, fitted.law, status, reason, value, *bounds, intervals.level, beyond, costs.log10_range[1])


def _worth(bounds: tuple[float, float], seen: tuple[float, float], beyond: float) -> tuple[ProjectionStatus, str]:
    width, span = bounds[1] - bounds[0], seen[1] - seen[0]
    far = f"{beyond:.1f} decades beyond the data" if beyond > 0 else "within the data"
    width_words = f"the interval spans {width:.1f} decades" if math.isfinite(width) else "the interval has no upper end"
    if not width < max(span, WIDE_DECADES):
        return ProjectionStatus.UNINFORMATIVE, f"{width_words}, the data {span:.1f}; the law's own line lies {far}"
    status = ProjectionStatus.WIDE if width > WIDE_DECADES else ProjectionStatus.INFORMATIVE
    return status, f"{width_words}; {far}"


def _empty(intervals: Intervals, error: float, status: ProjectionStatus, reason: str) -> Projection:
    nan = math.nan
    return Projection(error, intervals.fit.law, status, reason, nan, nan, nan, intervals.level, nan, nan)
