"""How computation in published models grew: faster chips, more chips, longer runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from scaling.literature.regression import GIGA, least_squares, rows_of


@dataclass(frozen=True)
class ComputeSplit:
    """The growth of computation between two results, as a product of three factors.

    Attributes:
        total: Ratio of the hardware burdens.
        faster_chips, more_chips, longer_runs: Ratios of the rates, the numbers of devices, and the hours.
    """

    earlier: str
    later: str
    years: int
    total: float
    faster_chips: float
    more_chips: float
    longer_runs: float


@dataclass(frozen=True)
class Growth:
    """Growth of a quantity per year: the factor, its 95% interval, and the points behind it."""

    what: str
    factor_per_year: float
    low: float
    high: float
    n: int
    first_year: int
    last_year: int


@dataclass(frozen=True)
class Statement:
    """What the articles about the study say, to stand beside what the points show."""

    text: str
    source: str


STATEMENTS: tuple[Statement, ...] = (
    Statement("from 2012 to 2019 the computation of leading models grew about 10 times a year", "Thompson et al. 2020"),
    Statement("GPUs at first brought 5 to 15 times the speed of CPUs, about 35 times by 2012", "Thompson et al. 2020"),
    Statement("computers became about 50,000 times faster over the decades before", "Thompson et al. 2020"),
)


def split_growth(table: pd.DataFrame, earlier: str, later: str, *, benchmark: str = "ImageNet") -> ComputeSplit:
    """Split the growth between two results whose devices, hours and rate are known.

    AlexNet to NASNet-A: 1,095 times the computation, 6.02 times of it faster hardware (both cut off, not
    rounded, in the study).

    Raises:
        ValueError: If a model is not there once, or its hardware is not known.
    """
    first, second = (_known(table, benchmark, name) for name in (earlier, later))
    ratio = {
        name: float(second[name] / first[name])
        for name in ("hardware_burden_flop", "device_flops_per_second", "devices", "hours")
    }
    years = int(second["year"] - first["year"])
    return ComputeSplit(
        str(first["model"]), str(second["model"]), years, ratio["hardware_burden_flop"],
        ratio["device_flops_per_second"], ratio["devices"], ratio["hours"],
    )  # fmt: skip


def compute_growth(table: pd.DataFrame, benchmark: str) -> Growth:
    """Growth per year of the hardware burden of published results: the slope of its logarithm on the year.

    Raises:
        ValueError: If there are fewer than three results, or all of one year.
    """
    rows = rows_of(table, benchmark, "burden")
    burden = np.log10(rows["hardware_burden_flop"].to_numpy(np.float64) / GIGA)
    return _growth(f"computation of {benchmark} results", rows["year"].to_numpy(np.float64), burden)


def hardware_growth(years: ArrayLike, flops_per_second: ArrayLike) -> Growth:
    """Growth per year of the rate of devices of the same precision."""
    rates = np.log10(np.asarray(flops_per_second, dtype=np.float64))
    return _growth("rate of one device", np.asarray(years, dtype=np.float64), rates)


def _growth(what: str, years: np.ndarray, logs: np.ndarray) -> Growth:
    found = least_squares((years - years.mean())[:, None], logs)
    slope = float(found.coefficients[1])
    half = float(stdtrit(found.freedom, 0.975)) * float(found.standard_errors[1])
    low, middle, high = (10.0**value for value in (slope - half, slope, slope + half))
    return Growth(what, middle, low, high, found.n, int(years.min()), int(years.max()))


def _known(table: pd.DataFrame, benchmark: str, name: str) -> pd.Series:
    there = table[(table["benchmark"] == benchmark) & table["hardware_burden_flop"].notna()]
    match = there[there["model"].str.lower().str.startswith(name.lower())]
    if len(match) != 1:
        raise ValueError(
            f"{len(match)} results of {benchmark} begin with {name!r}; name one of {', '.join(there['model'])}"
        )
    row = match.iloc[0]
    if any(math.isnan(row[column]) for column in ("devices", "hours", "device_flops_per_second")):
        raise ValueError(f"the hardware behind {row['model']!r} is not known: devices, hours or rate is empty")
    return row
