"""How often the intervals hold the truth, over synthetic sweeps of realistic designs.

Usage: python benchmarks/coverage.py [--sweeps 1000] [--resamples 500] [--design NAME ...]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import pandas as pd

from scaling.calibrate import Calibration, calibrate
from scaling.fit import fit
from scaling.synthetic import draw_runs

SURFACE = {"E": 0.02, "A": 5.0, "alpha": 0.3, "B": 20.0, "beta": 0.4}
COLUMNS = {"size": "n_params", "data": "n_train"}


def line(cell_noise: float = 0.0, seed_noise: float = 0.05) -> tuple[pd.DataFrame, dict[str, Any]]:
    """60 budgets over four decades, 3 seeds each."""
    truth = {"E": 0.02, "A": 90.0, "alpha": 0.25}
    runs = draw_runs("saturating", truth, {"cost": np.geomspace(1e9, 1e13, 60)}, seed_noise=0.0)
    return runs, {
        "law": "saturating", "parameters": truth, "seed_noise": seed_noise, "cell_noise": cell_noise,
    }  # fmt: skip


def power() -> tuple[pd.DataFrame, dict[str, Any]]:
    """The same budgets under a plain power law."""
    truth = {"A": 30.0, "alpha": 0.2}
    runs = draw_runs("power", truth, {"cost": np.geomspace(1e9, 1e13, 60)}, seed_noise=0.0)
    return runs, {"law": "power", "parameters": truth, "seed_noise": 0.05, "cell_noise": 0.0}


def grid(n_sizes: int, n_data: int) -> pd.DataFrame:
    """Sizes over four decades by examples over four decades, 3 seeds, without noise."""
    sizes, data = np.meshgrid(np.geomspace(1e3, 1e7, n_sizes), np.geomspace(1e2, 1e6, n_data))
    inputs = {"size": sizes.ravel().round(), "data": data.ravel().round()}
    runs = draw_runs("size_and_data", SURFACE, inputs, seed_noise=0.0, error="test_loss")
    return runs.assign(train_flops=6.0 * runs["n_params"] * runs["n_train"])


def surface() -> tuple[pd.DataFrame, dict[str, Any]]:
    """A grid of 10 sizes by 6 amounts of data under E + A/N^alpha + B/D^beta."""
    return grid(10, 6), {
        "law": "size_and_data", "parameters": SURFACE, "error": "test_loss", "columns": COLUMNS,
        "seed_noise": 0.05, "cell_noise": 0.0,
    }  # fmt: skip


def frontier(n_sizes: int, n_data: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The frontier of a grid; the truth is the law fitted to the frontier of the grid without noise."""
    runs = grid(n_sizes, n_data)
    truth = dict(fit(runs, "saturating", error="test_loss", frontier=True).parameters)
    return runs, {
        "law": "saturating", "parameters": truth, "error": "test_loss", "frontier": True,
        "seed_noise": 0.05, "cell_noise": 0.0,
    }  # fmt: skip


DESIGNS = {
    "power": power,
    "saturating": line,
    "saturating, noise of cells": lambda: line(cell_noise=0.03, seed_noise=0.04),
    "surface": surface,
    "frontier of 60 cells": lambda: frontier(10, 6),
    "frontier of 300 cells": lambda: frontier(20, 15),
}


def row(design: str, result: Calibration) -> list[str]:
    """Lines of the table for one design."""
    lines = []
    for _, part in result.table.iterrows():
        shares = " | ".join(f"{100 * part[f'coverage_{level * 100:g}']:.1f}" for level in result.levels)
        lines.append(
            f"| {design} | {part['quantity']} | {part['truth']:.4g} | {part['bias'] / part['spread']:+.2f} | {shares} |"
        )
    return lines


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--design", nargs="*", default=list(DESIGNS))
    options = parser.parse_args()
    print("| design | quantity | truth | bias / spread | 50% | 80% | 95% |\n|---|---|---|---|---|---|---|")
    for name in options.design:
        begin = time.perf_counter()
        runs, settings = DESIGNS[name]()
        result = calibrate(runs, n_sweeps=options.sweeps, n_resamples=options.resamples, **settings)
        print("\n".join(row(name, result)), flush=True)
        print(
            f"<!-- {name}: {dict(result.statuses)}, {result.n_failed} failed, {time.perf_counter() - begin:.0f} s -->"
        )


if __name__ == "__main__":
    main()
