"""Calibration: how often intervals held a known truth, against how often they say they do."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from scaling.calibrate import Calibration
from scaling.figures.style import MARKERS, PALETTE, say_instead


def coverage_table(found: Calibration) -> pd.DataFrame:
    """One row per quantity and level: ``quantity``, ``level``, ``coverage``, ``low`` and ``high``.

    The ends are Wilson's 95% interval of the share over the sweeps that gave an interval.
    """
    n = found.n_sweeps - found.n_failed
    rows = []
    for _, row in found.table.iterrows():
        for level in found.levels:
            share = float(row[f"coverage_{round(100 * level)}"])
            low, high = _wilson(share, n)
            rows.append({"quantity": str(row["quantity"]), "level": level, "coverage": share, "low": low, "high": high})
    return pd.DataFrame(rows)


def plot_coverage(axes: Axes, found: Calibration) -> Axes:
    """Draw the share of synthetic sweeps whose interval held the truth against the level it claims.

    Args:
        axes: Where to draw.
        found: From `scaling.calibrate.calibrate`.
    """
    table = coverage_table(found)
    if table.empty or table["coverage"].isna().all():
        return say_instead(axes, "no synthetic sweep gave an interval")
    axes.plot([0, 1], [0, 1], color="#555555", lw=1, dashes=(4, 2), zorder=1)
    names = list(table["quantity"].unique())
    for place, name in enumerate(names):
        part = table[table["quantity"] == name]
        # Side by side, so that bars of one level do not hide each other.
        x = part["level"] + 0.008 * (place - (len(names) - 1) / 2)
        axes.errorbar(
            x, part["coverage"], yerr=[part["coverage"] - part["low"], part["high"] - part["coverage"]],
            fmt=MARKERS[place % len(MARKERS)], color=PALETTE[place % 7], ms=4.5, lw=1, label=name,
        )  # fmt: skip
    axes.set_xlim(max(0.0, min(found.levels) - 0.1), 1.02)
    axes.set_ylim(max(0.0, min(float(table["low"].min()), min(found.levels)) - 0.1), 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("level an interval claims")
    axes.set_ylabel(f"share of {found.n_sweeps - found.n_failed} sweeps whose interval held the truth")
    axes.legend(loc="lower right", fontsize=8)
    return axes


def _wilson(share: float, n: int) -> tuple[float, float]:
    if not n or np.isnan(share):
        return np.nan, np.nan
    z = 1.96
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return min(float(middle - half), share), max(float(middle + half), share)
