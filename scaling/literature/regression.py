"""The published regressions: ordinary least squares of performance on the logarithm of computation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

Array = NDArray[np.float64]
Form = Literal["polynomial", "exponential"]
FORMS: tuple[Form, ...] = ("polynomial", "exponential")
Measure = Literal["burden", "per-pass", "per-pass-as-printed"]

# Columns behind each measure of computation.
MEASURES: Mapping[str, str] = {
    "burden": "hardware_burden_flop",
    "per-pass": "per_pass_flops",
    "per-pass-as-printed": "per_pass_flops_as_printed",
}
# The study regresses on GFLOP.
GIGA = 1e9
# Decimals to which the study rounds a slope before it takes the reciprocal.
PRINTED_DECIMALS = 2


@dataclass(frozen=True)
class LeastSquares:
    """Coefficients of a linear regression with an intercept, the intercept first.

    Attributes:
        coefficients: Shape (p,).
        standard_errors: Classical, with n - p degrees of freedom, (p,).
        r2: Share of the variance explained.
        sigma: Residual standard deviation.
        n: Points.
    """

    coefficients: Array
    standard_errors: Array
    r2: float
    sigma: float
    n: int

    @property
    def freedom(self) -> int:
        """Points beyond the coefficients."""
        return self.n - self.coefficients.size


@dataclass(frozen=True)
class Regression:
    """One of the study's regressions: performance on log10 of computation in GFLOP.

    Attributes:
        form: ``polynomial`` (log10 of 1/error) or ``exponential`` (1/error).
        intercept, slope: Coefficients, with their standard errors.
        r2: Share of variance explained.
        reverse_exponent: Exponent of the regression of computation on performance; polynomial only.
    """

    benchmark: str
    form: Form
    n: int
    intercept: float
    slope: float
    intercept_error: float
    slope_error: float
    r2: float
    reverse_exponent: float | None
    cost_range: tuple[float, float]

    @property
    def exponent(self) -> float | None:
        """k in "computation grows with performance^k"; None for the exponential form or a slope not above 0."""
        return 1.0 / self.slope if self.form == "polynomial" and self.slope > 0 else None

    @property
    def exponent_as_printed(self) -> float | None:
        """The reciprocal of the slope rounded to two decimals, as the study prints it; None where that is 0."""
        rounded = round(self.slope, PRINTED_DECIMALS)
        return 1.0 / rounded if self.form == "polynomial" and rounded > 0 else None

    @property
    def significant(self) -> bool:
        """Whether the slope differs from 0 at 5%."""
        return abs(self.slope) > self._student(0.95) * self.slope_error

    def exponent_interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Reciprocals of the ends of Student's interval of the slope, infinite where that holds 0."""
        if self.exponent is None:
            return None
        half = self._student(level) * self.slope_error
        low, high = self.slope - half, self.slope + half
        return 1.0 / high, 1.0 / low if low > 0 else math.inf

    def log10_gflop(self, error: ArrayLike) -> Array:
        """Logarithm of the computation at which the line reaches an error."""
        performance = 1.0 / np.asarray(error, dtype=np.float64)
        wanted = np.log10(performance) if self.form == "polynomial" else performance
        return (wanted - self.intercept) / self.slope

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        interval = self.exponent_interval()
        return {
            "benchmark": self.benchmark, "form": self.form, "n": self.n,
            "intercept": self.intercept, "intercept_error": self.intercept_error,
            "slope": self.slope, "slope_error": self.slope_error, "r2": self.r2, "significant": self.significant,
            "exponent": self.exponent, "exponent_as_printed": self.exponent_as_printed,
            "exponent_interval": None if interval is None else [v if math.isfinite(v) else None for v in interval],
            "reverse_exponent": self.reverse_exponent, "cost_range_flop": list(self.cost_range),
        }  # fmt: skip

    def _student(self, level: float) -> float:
        return float(stdtrit(self.n - 2, (1 + level) / 2))


def least_squares(columns: Array, values: Array) -> LeastSquares:
    """Ordinary least squares of values (n,) on columns (n, m) and an intercept.

    Raises:
        ValueError: If there are not more points than coefficients, or the columns say the same thing.
    """
    design = np.column_stack([np.ones(values.size), columns])
    n, p = design.shape
    if n <= p:
        raise ValueError(f"{n} results are too few for a regression with {p} coefficients; at least {p + 1} are needed")
    if np.linalg.matrix_rank(design) < p:
        raise ValueError("the results do not differ enough in computation (and year) for a regression")
    inverse = np.linalg.inv(design.T @ design)
    coefficients = np.asarray(np.linalg.lstsq(design, values, rcond=None)[0], dtype=np.float64)
    residual = values - design @ coefficients
    squares = float(residual @ residual)
    spread = float(((values - values.mean()) ** 2).sum())
    variance = squares / (n - p)
    errors = np.asarray(np.sqrt(variance * np.diag(inverse)), dtype=np.float64)
    return LeastSquares(coefficients, errors, 1 - squares / spread if spread > 0 else math.nan, math.sqrt(variance), n)


def log_axes(table: pd.DataFrame, measure: str = "burden") -> tuple[Array, Array]:
    """log10 of computation in GFLOP and log10 of performance, of the rows that have both."""
    column = MEASURES[measure]
    rows = table[table[column].notna()]
    compute = np.log10(rows[column].to_numpy(np.float64) / GIGA)
    return compute, -np.log10(rows["error"].to_numpy(np.float64))


def regress(compute: Array, performance: Array, form: Form, benchmark: str = "") -> Regression:
    """Regress performance on computation in one of the study's forms.

    Args:
        compute: log10 of GFLOP, (n,).
        performance: log10 of 1/error, (n,).
        form: ``polynomial`` or ``exponential``.
        benchmark: Name to carry along.

    Raises:
        ValueError: If the form is unknown or there are fewer than three distinct results.
    """
    if form not in FORMS:
        raise ValueError(f"form is {form!r}, but it is one of {', '.join(FORMS)}")
    values = performance if form == "polynomial" else 10.0**performance
    found = least_squares(compute[:, None], values)
    intercept, slope = found.coefficients
    reverse = None
    if form == "polynomial" and slope > 0 and np.ptp(performance) > 0:
        reverse = float(least_squares(performance[:, None], compute).coefficients[1])
    ends = (float(10.0 ** compute.min() * GIGA), float(10.0 ** compute.max() * GIGA))
    return Regression(
        benchmark, form, found.n, float(intercept), float(slope), float(found.standard_errors[0]),
        float(found.standard_errors[1]), found.r2, reverse, ends,
    )  # fmt: skip


def regress_benchmark(
    table: pd.DataFrame, benchmark: str, form: Form = "polynomial", *, measure: Measure = "burden"
) -> Regression:
    """One of the study's regressions, from a table of published results.

    Args:
        table: From `published_results` or `read_published`.
        benchmark: A benchmark in it.
        form: ``polynomial`` or ``exponential``.
        measure: ``burden``, ``per-pass`` in one unit, or ``per-pass-as-printed`` with the study's mixed units.

    Raises:
        ValueError: If the benchmark or the measure is unknown, or too few rows have it.
    """
    return regress(*log_axes(rows_of(table, benchmark, measure), measure), form, benchmark)


def rows_of(table: pd.DataFrame, benchmark: str, measure: str) -> pd.DataFrame:
    """Rows of a benchmark that have a measure of computation.

    Raises:
        ValueError: If there is none; what there is, is named.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure is {measure!r}, but it is one of {', '.join(MEASURES)}")
    rows = table[(table["benchmark"] == benchmark) & table[MEASURES[measure]].notna()]
    if rows.empty:
        there = ", ".join(benchmarks(table, measure)) or "none"
        raise ValueError(f"no result of {benchmark!r} has the measure {measure!r}; benchmarks that have it: {there}")
    return rows.reset_index(drop=True)


def benchmarks(table: pd.DataFrame, measure: str) -> list[str]:
    """Benchmarks with at least one row of a measure, in the order of the table."""
    return list(dict.fromkeys(table.loc[table[MEASURES[measure]].notna(), "benchmark"]))
