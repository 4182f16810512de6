"""Intervals from draws: expanded percentiles, bias-corrected and accelerated, reflected."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from scaling.fit import finite
from scaling.laws.base import Array
from scaling.notebook import paragraph_html

Method = Literal["percentile", "bca", "basic"]
METHODS: tuple[Method, ...] = ("percentile", "bca", "basic")


@dataclass(frozen=True, repr=False)
class Interval:
    """Bounds that hold the truth with the stated probability, if the law is the right one."""

    low: float
    high: float
    level: float
    method: str

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"[{self.low:.4g}, {self.high:.4g}]"

    def __repr__(self) -> str:
        return f"{self} at {self.level:.0%} ({self.method})"

    def _repr_html_(self) -> str:
        return paragraph_html(repr(self))

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; an infinite bound is null."""
        return {
            "low": finite(self.low),
            "high": finite(self.high),
            "level": self.level,
            "method": self.method,
        }


def interval_bounds(
    draws: Array, estimate: Array, jackknife: Array, level: float, method: Method, freedom: tuple[int, int]
) -> tuple[Array, Array]:
    """Lower and upper bounds at a level, one per column.

    Percentiles are expanded for small samples: residuals around a fitted law are too small by
    sqrt((n - p)/n), and the normal quantile stands where Student's should.

    Args:
        draws: Values of the refits, (n_draws, m).
        estimate: Values of the fit, (m,).
        jackknife: Values with each cluster left out, (n_clusters, m); without them BCa has no acceleration.
        level: In (0, 1).
        method: Percentile, BCa, or basic (reflected percentiles).
        freedom: Clusters and parameters.

    Source:
        Hesterberg 2015 (arXiv:1411.5279) sec. 5.3 for the expansion, Efron 1987 for BCa.
    """
    normal = expanded_normal(level, *freedom)
    ordered = np.sort(draws, axis=0)
    if method == "bca":
        ends = _bca_probabilities(draws, estimate, jackknife, normal)
    else:
        ends = (np.full(estimate.size, ndtr(-normal)), np.full(estimate.size, ndtr(normal)))
    low, high = _quantiles(ordered, ends[0]), _quantiles(ordered, ends[1])
    return (low, high) if method != "basic" else (2 * estimate - high, 2 * estimate - low)


def expanded_normal(level: float, n_clusters: int, n_parameters: int) -> float:
    """Normal quantile whose percentile interval has the stated level for this few clusters."""
    freedom = max(n_clusters - n_parameters, 1)
    return float(stdtrit(freedom, (1 + level) / 2)) * math.sqrt(n_clusters / freedom)


def _bca_probabilities(draws: Array, estimate: Array, jackknife: Array, normal: float) -> tuple[Array, Array]:
    n = len(draws)
    below = (draws < estimate).sum(axis=0) + 0.5 * (draws == estimate).sum(axis=0)
    shift = ndtri(np.clip(below / n, 0.5 / n, 1 - 0.5 / n))
    bend = _acceleration(jackknife)
    low, high = (ndtr(shift + (shift + z) / np.maximum(1 - bend * (shift + z), 0.1)) for z in (-normal, normal))
    return low, high


def _acceleration(jackknife: Array) -> Array:
    if len(jackknife) < 3:
        return np.zeros(jackknife.shape[1])
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        gap = jackknife.mean(axis=0) - jackknife
        value = (gap**3).sum(axis=0) / (6 * (gap**2).sum(axis=0) ** 1.5)
    return np.where(np.isfinite(value), value, 0.0)


def _quantiles(ordered: Array, probability: Array) -> Array:
    """One quantile per column of sorted draws, by linear interpolation that survives infinities."""
    position = np.clip(probability, 0, 1) * (len(ordered) - 1)
    below = np.floor(position).astype(np.intp)
    above = np.minimum(below + 1, len(ordered) - 1)
    columns = np.arange(ordered.shape[1])
    low, high = ordered[below, columns], ordered[above, columns]
    part = position - below
    with np.errstate(invalid="ignore"):
        return np.where(part == 0, low, np.where(low == high, low, low + part * (high - low)))
