"""How often the intervals hold the truth, over synthetic sweeps of realistic designs.

Usage: python benchmarks/coverage.py [--sweeps 1000] [--resamples 500] [--design NAME ...]
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from scaling.calibrate import Calibration, calibrate
from scaling.fit import fit
from scaling.synthetic import draw_runs

SURFACE = {"E": 0.02, "A": 5.0, "alpha": 0.3, "B": 20.0, "beta": 0.4}
COLUMNS = {"size": "n_params", "data": "n_train"}


# Laws in one cost, over budgets wide enough to show all their parts: (truth, decades of cost).
ONE_COST = {
    "power": ({"A": 30.0, "alpha": 0.2}, (9, 13)),
    "saturating": ({"E": 0.02, "A": 90.0, "alpha": 0.25}, (9, 13)),
    "m4": ({"E": 0.05, "A": 9000.0, "alpha": 0.4, "gamma": 0.5, "E0": 0.9}, (8, 14)),
    "bnsl1": ({"E": 0.05, "B": 3.0, "c0": 0.1, "c1": 0.4, "d1": 1e10, "f1": 0.5}, (8, 14)),
}
# Laws in several inputs: truth and the values of each input, crossed to 60 cells.
SEVERAL = {
    "width_depth_data": (
        {"E": 0.05, "A": 1.5, "alpha": 0.7, "G": 0.3, "gamma": 1.0, "B": 20.0, "beta": 0.5},
        {"width": np.geomspace(8, 512, 5), "depth": np.geomspace(2, 32, 3), "data": np.geomspace(1e2, 1e6, 4)},
    ),
    "rosenfeld": (
        {"E": 0.05, "A": 5.0, "alpha": 0.35, "B": 20.0, "beta": 0.45, "E0": 0.9},
        {"size": np.geomspace(1e3, 1e7, 10), "data": np.geomspace(1e2, 1e6, 6)},
    ),
    "repeated_data": (
        {"E": 0.05, "A": 5.0, "alpha": 0.3, "B": 20.0, "beta": 0.4, "R_data": 10.0},
        {"size": np.geomspace(1e3, 1e7, 4), "data": np.geomspace(1e2, 1e5, 5), "epochs": np.array([1.0, 8.0, 64.0])},
    ),
    "pruned": (
        {"E_max": 0.9, "p": 0.01, "gamma": 1.0},
        {"density": np.geomspace(0.003, 1, 15), "dense_error": np.array([0.05, 0.08, 0.12, 0.2])},
    ),
    "pruned_family": (
        {"E_max": 0.9, "p": 0.3, "gamma": 1.0, "phi": 0.7, "psi": 0.9},
        {
            "density": np.geomspace(0.003, 1, 15), "dense_error": np.array([0.1]),
            "depth": np.array([4.0, 16.0]), "width": np.array([8.0, 32.0]),
        },
    ),
}  # fmt: skip


def one_cost(law: str, cell_noise: float = 0.0, seed_noise: float = 0.05) -> tuple[pd.DataFrame, dict[str, Any]]:
    """60 budgets, 3 seeds each."""
    truth, (first, last) = ONE_COST[law]
    runs = draw_runs(law, truth, {"cost": np.logspace(first, last, 60)}, seed_noise=0.0, error="test_loss")
    return runs, {
        "law": law, "parameters": truth, "error": "test_loss", "seed_noise": seed_noise, "cell_noise": cell_noise,
    }  # fmt: skip


def several(law: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """60 cells of crossed inputs, 3 seeds each."""
    truth, axes = SEVERAL[law]
    crossed = np.meshgrid(*axes.values())
    inputs = {
        role: values.ravel() if role in ("density", "dense_error") else values.ravel().round()
        for role, values in zip(axes, crossed, strict=True)
    }
    runs = draw_runs(law, truth, inputs, seed_noise=0.0, error="test_loss")
    return runs, {"law": law, "parameters": truth, "error": "test_loss", "seed_noise": 0.05, "cell_noise": 0.0}


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
    "power": lambda: one_cost("power"),
    "saturating": lambda: one_cost("saturating"),
    "saturating, noise of cells": lambda: one_cost("saturating", cell_noise=0.03, seed_noise=0.04),
    "m4": lambda: one_cost("m4"),
    "bnsl1": lambda: one_cost("bnsl1"),
    "surface": surface,
    **{law: partial(several, law) for law in SEVERAL},
    "frontier of 60 cells": lambda: frontier(10, 6),
    "frontier of 300 cells": lambda: frontier(20, 15),
}


def row(design: str, result: Calibration) -> list[str]:
    """Lines of the table for one design."""
    lines = []
    quoted = 100 * result.statuses.get("converged", 0) / result.n_sweeps
    for _, part in result.table.iterrows():
        shares = " | ".join(f"{100 * part[f'coverage_{level * 100:g}']:.1f}" for level in result.levels)
        lines.append(
            f"| {design} | {part['quantity']} | {part['truth']:.4g} | {part['bias'] / part['spread']:+.2f} | {shares} "
            f"| {quoted:.0f} |"
        )
    return lines


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--design", nargs="*", default=list(DESIGNS))
    options = parser.parse_args()
    print("| design | quantity | truth | bias / spread | 50% | 80% | 95% | quoted |\n" + "|---" * 8 + "|")
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
