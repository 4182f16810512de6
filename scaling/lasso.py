"""The Lasso's whole path by homotopy: exact at every penalty, one feature entering or leaving at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# Steps per feature after which a path is given up: features that keep coming and going.
STEPS_PER_ROW = 8


def lasso_path(
    features: NDArray[np.floating], response: NDArray[np.floating], n: int, penalties: Sequence[float]
) -> tuple[Array, NDArray[np.int64]]:
    """Minimise ``|y - X b|^2 / (2 n) + penalty |b|_1`` at falling penalties.

    Args:
        features: X transposed, (d, rows): each feature contiguous.
        response: y, (rows,).
        n: Observations the loss is divided by; the number of rows unless these were rotated together.
        penalties: In falling order, each above 0.

    Returns:
        Coefficients, (len(penalties), d), and the homotopy steps taken to reach each penalty.

    Raises:
        ValueError: If the penalties do not fall or are not above 0.

    Source:
        Osborne, Presnell and Turlach 2000; Efron et al. 2004.
    """
    wanted = list(penalties)
    if not wanted or min(wanted) <= 0 or any(a <= b for a, b in pairwise(wanted)):
        raise ValueError(f"penalties are {wanted}, but they fall and stay above 0")
    d = features.shape[0]
    result, steps = np.zeros((len(wanted), d)), np.zeros(len(wanted), dtype=np.int64)
    correlation = np.asarray(features @ response, dtype=np.float64) / n
    level = float(np.abs(correlation).max())
    active = [int(np.abs(correlation).argmax())]
    signs = [math.copysign(1.0, correlation[active[0]])]
    values = np.zeros(1)
    place = count = 0
    barred = -1
    while place < len(wanted):
        if wanted[place] >= level:
            result[place, active], steps[place] = values, count
            place += 1
            continue
        chosen = features[active]
        gram = np.asarray(chosen @ chosen.T, dtype=np.float64) / n
        direction = np.linalg.solve(gram, np.array(signs))
        slope = np.asarray(features @ (direction.astype(features.dtype) @ chosen), dtype=np.float64) / n
        join, entering = _next_to_enter(correlation, slope, level, active, barred, len(active) < features.shape[1])
        drop, leaving = _next_to_leave(values, direction)
        length = min(join, drop, level - wanted[place])
        values = values + length * direction
        correlation -= length * slope
        level -= length
        count += 1
        barred = -1
        if level <= wanted[place] * (1 + 1e-12):
            level = wanted[place]
        elif drop <= join:
            barred = active[leaving]
            del active[leaving], signs[leaving]
            values = np.delete(values, leaving)
        else:
            active.append(entering)
            signs.append(math.copysign(1.0, correlation[entering]))
            values = np.append(values, 0.0)
        if count > STEPS_PER_ROW * features.shape[1] + len(wanted):
            raise RuntimeError(f"the Lasso's path has not ended after {count} steps; ask for larger penalties")
    return result, steps


def _next_to_enter(
    correlation: Array, slope: Array, level: float, active: list[int], barred: int, room: bool
) -> tuple[float, int]:
    """How far the penalty falls until a feature's correlation meets it, and which."""
    if not room:
        return math.inf, -1
    with np.errstate(divide="ignore", invalid="ignore"):
        rising = (level - correlation) / (1.0 - slope)
        falling = (level + correlation) / (1.0 + slope)
    lengths = np.minimum(np.where(rising > 0, rising, np.inf), np.where(falling > 0, falling, np.inf))
    lengths[active] = np.inf
    if barred >= 0:
        # It has just left: its correlation is the penalty itself, up to rounding.
        lengths[barred] = np.inf
    first = int(lengths.argmin())
    return float(lengths[first]), first


def _next_to_leave(values: Array, direction: Array) -> tuple[float, int]:
    """How far the penalty falls until a coefficient reaches 0, and which."""
    with np.errstate(divide="ignore", invalid="ignore"):
        lengths = np.where(values * direction < 0, -values / direction, np.inf)
    first = int(lengths.argmin())
    return float(lengths[first]), first
