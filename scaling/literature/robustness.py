"""What a published regression hangs on: single points, errors in computation, a floor, papers, the year."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from scaling.literature.regression import GIGA, MEASURES, least_squares, log_axes, regress, rows_of
from scaling.quantile import quantile_frontier

Array = NDArray[np.float64]
# Error floors the study's points are tried with, and shares of results below a frontier.
FLOORS = (0.0, 0.02, 0.05, 0.08, 0.1)
SHARES = (0.1, 0.25, 0.5)
# Standard deviation of log10 computation over that of log10 performance, both as errors of a point. Assumed:
# burdens are known to a factor of two or so, errors to a per cent.
ERROR_RATIOS = (0.0, 3.0, 10.0, 30.0, math.inf)
# With fewer points before the cut than this, a line has nothing to say.
LEAST_POINTS = 4


@dataclass(frozen=True)
class ClusteredSlope:
    """A slope with the standard error that holds if the results of one paper move together.

    Attributes:
        slope: Of log10 performance on log10 computation.
        classical_error: As if all results were independent.
        clustered_error: From sums over papers (CR1).
        exponent, low, high: 1/slope and its 95% interval with papers minus 1 degrees of freedom.
    """

    slope: float
    classical_error: float
    clustered_error: float
    n: int
    n_clusters: int
    exponent: float
    low: float
    high: float


@dataclass(frozen=True)
class YearBesideCompute:
    """Log performance on computation and year: progress by scale, and progress at the same computation.

    Attributes:
        r2_compute, r2_year, r2_both: Share of the variance each explains alone, and both.
        compute, year: Coefficients of log10 GFLOP and of a year in the regression on both, with standard errors.
    """

    r2_compute: float
    r2_year: float
    r2_both: float
    compute: float
    compute_error: float
    year: float
    year_error: float
    n: int

    @property
    def yearly_gain(self) -> float:
        """Factor by which error falls each year at the same computation."""
        return 10.0**self.year

    @property
    def exponent(self) -> float:
        """Exponent of computation with the year held; infinite if it explains nothing."""
        return 1.0 / self.compute if self.compute > 0 else math.inf

    def exponent_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Reciprocals of the ends of Student's interval of the coefficient, infinite where that holds 0."""
        half = float(stdtrit(self.n - 3, (1 + level) / 2)) * self.compute_error
        low, high = self.compute + half, self.compute - half
        return 1.0 / low if low > 0 else math.inf, 1.0 / high if high > 0 else math.inf


def leave_one_out(table: pd.DataFrame, benchmark: str, measure: str = "burden") -> pd.DataFrame:
    """The exponent without each result in turn: ``model``, ``year``, ``exponent`` (infinite for a falling line)."""
    rows = rows_of(table, benchmark, measure)
    compute, performance = log_axes(rows, measure)
    exponents = []
    for left_out in range(len(rows)):
        keep = np.arange(len(rows)) != left_out
        found = regress(compute[keep], performance[keep], "polynomial").exponent
        exponents.append(math.inf if found is None else found)
    return rows[["model", "year"]].assign(exponent=exponents)


def irreducible_errors(
    table: pd.DataFrame, benchmark: str, measure: str = "burden", floors: Sequence[float] = FLOORS
) -> pd.DataFrame:
    """The polynomial regression of ``1/(error - floor)``: ``floor``, ``r2``, ``exponent``.

    Floors at or above the least error of the benchmark are left out: it has been reached.
    """
    rows = rows_of(table, benchmark, measure)
    compute = log_axes(rows, measure)[0]
    error = rows["error"].to_numpy(np.float64)
    found = []
    for floor in floors:
        if floor < error.min():
            line = regress(compute, -np.log10(error - floor), "polynomial")
            found.append({"floor": floor, "r2": line.r2, "exponent": line.exponent or math.inf})
    return pd.DataFrame(found)


def errors_in_both(
    table: pd.DataFrame, benchmark: str, measure: str = "burden", ratios: Sequence[float] = ERROR_RATIOS
) -> pd.DataFrame:
    """Deming regression: the exponent if computation is uncertain too.

    Args:
        table, benchmark, measure: As for `regress_benchmark`.
        ratios: Error of a point's log computation over that of its log performance: 0 is the study's
            regression, infinity the reverse one, and the truth lies between.

    Returns:
        ``ratio`` and ``exponent``.

    Source:
        Deming 1943; Fuller 1987, section 1.3.
    """
    compute, performance = log_axes(rows_of(table, benchmark, measure), measure)
    rows = []
    for ratio in ratios:
        slope = deming_slope(compute, performance, ratio)
        rows.append({"ratio": ratio, "exponent": 1.0 / slope if slope > 0 else math.inf})
    return pd.DataFrame(rows)


def deming_slope(x: Array, y: Array, ratio: float) -> float:
    """Slope of y on x where the error of x is `ratio` times that of y."""
    xx, yy, xy = float(np.var(x)), float(np.var(y)), float(np.mean((x - x.mean()) * (y - y.mean())))
    if ratio == 0:
        return xy / xx
    if math.isinf(ratio):
        return yy / xy
    part = yy - xx / ratio**2
    return (part + math.sqrt(part**2 + 4 * xy**2 / ratio**2)) / (2 * xy)


def quantile_exponents(
    table: pd.DataFrame, benchmark: str, measure: str = "burden", shares: Sequence[float] = SHARES
) -> pd.DataFrame:
    """Exponents of the frontiers below which a share of the results lies: ``share``, ``exponent``."""
    rows = rows_of(table, benchmark, measure)
    # As a table of runs whose rows are their own cells.
    points = pd.DataFrame({"cost": rows[MEASURES[measure]] / GIGA, "error": rows["error"]})
    points["cell"] = [str(number) for number in range(len(points))]
    found = [(share, quantile_frontier(points, share, cost="cost", error="error").exponent) for share in shares]
    return pd.DataFrame([{"share": share, "exponent": math.inf if k is None else k} for share, k in found])


def clustered_slope(table: pd.DataFrame, benchmark: str, measure: str = "per-pass") -> ClusteredSlope:
    """The polynomial slope with standard errors clustered by paper.

    Raises:
        ValueError: If there are fewer than three papers.

    Source:
        Liang and Zeger 1986; the small-sample factor is G/(G-1) (n-1)/(n-p).
    """
    rows = rows_of(table, benchmark, measure)
    codes, papers = pd.factorize(rows["work"])
    if len(papers) < 3:
        raise ValueError(f"{len(papers)} papers are too few to cluster by; at least 3 are needed")
    compute, performance = log_axes(rows, measure)
    found = least_squares(compute[:, None], performance)
    design = np.column_stack([np.ones(compute.size), compute])
    residual = performance - design @ found.coefficients
    sums = np.array([np.bincount(codes, weights=column * residual) for column in design.T])
    bread = np.linalg.inv(design.T @ design)
    g, n, p = len(papers), found.n, 2
    covariance = bread @ (sums @ sums.T) @ bread * (g / (g - 1) * (n - 1) / (n - p))
    slope, error = float(found.coefficients[1]), math.sqrt(covariance[1, 1])
    half = float(stdtrit(g - 1, 0.975)) * error
    low, high = 1.0 / (slope + half), 1.0 / (slope - half) if slope > half else math.inf
    return ClusteredSlope(slope, float(found.standard_errors[1]), error, n, g, 1.0 / slope, low, high)


def year_beside_compute(table: pd.DataFrame, benchmark: str, measure: str = "burden") -> YearBesideCompute:
    """Regress log performance on computation, on the year, and on both."""
    rows = rows_of(table, benchmark, measure)
    compute, performance = log_axes(rows, measure)
    year = rows["year"].to_numpy(np.float64)
    year = year - year.mean()
    both = least_squares(np.column_stack([compute, year]), performance)
    return YearBesideCompute(
        least_squares(compute[:, None], performance).r2, least_squares(year[:, None], performance).r2, both.r2,
        float(both.coefficients[1]), float(both.standard_errors[1]),
        float(both.coefficients[2]), float(both.standard_errors[2]), both.n,
    )  # fmt: skip


def backtest_by_year(table: pd.DataFrame, benchmark: str, measure: str = "burden") -> pd.DataFrame:
    """Fit to the results before each year and predict the later ones.

    Returns:
        One row per year and form: ``before``, ``n_fitted``, ``n_predicted``, ``form`` (``compute``, ``year``, or
        ``none``: the mean of what was known), ``log10_error``: root mean square error of log10 performance.
    """
    rows = rows_of(table, benchmark, measure)
    compute, performance = log_axes(rows, measure)
    year = rows["year"].to_numpy(np.float64)
    found = []
    for cut in sorted(set(year))[1:]:
        known = year < cut
        if known.sum() < LEAST_POINTS:
            continue
        for form, predictor in (("compute", compute), ("year", year - year.min()), ("none", None)):
            if predictor is not None and np.ptp(predictor[known]) == 0:
                continue
            predicted = _predict(predictor, performance, known)
            error = float(np.sqrt(np.mean((predicted - performance[~known]) ** 2)))
            found.append({
                "before": int(cut), "n_fitted": int(known.sum()), "n_predicted": int((~known).sum()), "form": form,
                "log10_error": error,
            })  # fmt: skip
    return pd.DataFrame(found, columns=["before", "n_fitted", "n_predicted", "form", "log10_error"])


def _predict(predictor: Array | None, performance: Array, known: NDArray[np.bool_]) -> Array:
    if predictor is None:
        return np.full(int((~known).sum()), performance[known].mean())
    intercept, slope = least_squares(predictor[known][:, None], performance[known]).coefficients
    return np.asarray(intercept + slope * predictor[~known], dtype=np.float64)
