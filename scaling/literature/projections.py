"""The study's own projections: its constants, its targets, its table, without an interval as it printed them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.literature.regression import FORMS, GIGA, regress_benchmark

Array = NDArray[np.float64]

# FLOP for one US dollar: a V100 at 14.13e12 FLOP/s for 0.74 USD an hour (Thompson et al. 2020).
FLOP_PER_USD = 68_740_540_540_540_600.0
# FLOP for one pound of CO2 (the same). It amounts to 0.145 lb for that hour of a V100.
FLOP_PER_POUND_CO2 = 349_756_347_991_684_000.0
# What the study compares with: a year of an average American (Strubell et al. 2019, arXiv:1906.02243), and
# New York City's month (a twelfth of 56.5 million tonnes).
AMERICAN_YEAR_POUNDS = 36_156.0
NEW_YORK_MONTH_TONNES = 56.5e6 / 12

# Error targets of the study's table: today's (2020), and two goals.
TARGETS: dict[str, tuple[float, float, float]] = {
    "ImageNet": (0.115, 0.05, 0.01),
    "MS COCO": (0.467, 0.30, 0.10),
    "SQuAD 1.1": (0.04621, 0.02, 0.01),
    "CoNLL 2003": (0.065, 0.02, 0.01),
    "WMT14 EN-FR": (0.544, 0.30, 0.10),
}
# Resamples whose slope is not above 0 never reach a target.
QUANTILES = (0.025, 0.16, 0.5, 0.84, 0.975)


@dataclass(frozen=True)
class TargetQuantiles:
    """Where pairs of (computation, error) drawn anew put a target.

    Attributes:
        quantiles: By probability, log10 GFLOP; infinite where that share of the draws never reaches it.
        never: Share of the draws whose line does not rise.
    """

    error: float
    quantiles: dict[float, float]
    never: float


def published_projections(table: pd.DataFrame) -> pd.DataFrame:
    """The study's table: computation, CO2 and money for each target, by both forms, in log10.

    Args:
        table: From `published_results`.

    Returns:
        One row per benchmark, target and form: ``log10_gflop``, ``log10_pounds_co2``, ``log10_usd`` and, which the
        study does not say, ``decades_beyond`` the data.

    Source:
        Thompson et al. 2020 (arXiv:2007.05558), table of projections.
    """
    rows = []
    for benchmark, targets in TARGETS.items():
        for error in targets:
            for form in FORMS:
                line = regress_benchmark(table, benchmark, form)
                gflop = float(line.log10_gflop(error))
                flop = gflop + np.log10(GIGA)
                rows.append({
                    "benchmark": benchmark,
                    "error": error,
                    "form": form,
                    "log10_gflop": gflop,
                    "log10_pounds_co2": flop - float(np.log10(FLOP_PER_POUND_CO2)),
                    "log10_usd": flop - float(np.log10(FLOP_PER_USD)),
                    "decades_beyond": max(flop - float(np.log10(line.cost_range[1])), 0.0),
                })  # fmt: skip
    return pd.DataFrame(rows)


def pairs_bootstrap(
    compute: Array, performance: Array, error: float, *, n_resamples: int = 10_000, seed: int = 0
) -> TargetQuantiles:
    """Draw the points of a polynomial regression anew and see where each line reaches a target.

    Args:
        compute: log10 of GFLOP, (n,).
        performance: log10 of 1/error, (n,).
        error: The target.
        n_resamples: Draws.
        seed: Of the draws.
    """
    generator = np.random.default_rng(seed)
    index = generator.integers(compute.size, size=(n_resamples, compute.size))
    x, y = compute[index], performance[index]
    centred = x - x.mean(axis=1, keepdims=True)
    spread = (centred**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(spread > 0, (centred * y).sum(axis=1) / spread, 0.0)
        reached = x.mean(axis=1) + (-np.log10(error) - y.mean(axis=1)) / slope
    values = np.where(slope > 0, reached, np.inf)
    quantiles = np.quantile(values, QUANTILES, method="higher")
    return TargetQuantiles(error, dict(zip(QUANTILES, quantiles.tolist(), strict=True)), float((slope <= 0).mean()))
