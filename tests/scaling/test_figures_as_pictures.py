"""Figures as pictures: twelve, 120 and 5,000 trials, one technique and twelve, energy missing, a law refused.

Every figure was looked at before it was kept in figures_expected/. After a change that is meant, make them anew and
look at what changed:

    python tests/scaling/test_figures_as_pictures.py [FOLDER [DPI]]

With a folder they are drawn there instead, at 200 dots per inch: for eyes, not for the comparison.
"""

import itertools
import sys
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images

from scaling import backtest, bootstrap, figures, pareto_front
from scaling.calibrate import Calibration
from scaling.compare import Setting, compare
from scaling.compare.figures import draw_gains, draw_lifetimes
from scaling.holdout import Backtest

matplotlib.use("Agg")

EXPECTED = Path(__file__).parent / "figures_expected"
DPI = 50
# Root mean square of the difference in grey levels. Nothing changed is 0; two colours exchanged, dashes or a unit gone,
# another reason of a refusal gave 6 to 13.
TOLERANCE = 2.0
# Hinting is what builds of FreeType do differently: it moved whole axes (4 to 38).
UNHINTED = {"text.hinting": "none"}
K = 6.0
TECHNIQUES = (
    "baseline", "architecture-search", "complexity-penalty", "data-pruning", "distillation", "expert-features",
    "low-precision", "magnitude-pruning", "meta-learning", "quantization", "structured-pruning", "transfer",
)  # fmt: skip


def wave(number, period):
    """Numbers between -1 and 1 that look random and are the same with every release of numpy."""
    return np.sin(number * 12.9898 + period * 78.233)


def table(n_trials, n_techniques=1, energy="some"):
    """A runs table as a sweep leaves it: a grid of width and examples, the same for every technique."""
    n_seeds = 3 if n_trials >= 12 * n_techniques else 1
    n_cells = max(1, round(n_trials / n_techniques / n_seeds))
    n_widths = max(1, int(np.sqrt(n_cells)))
    widths = np.geomspace(4, 256, n_widths).round() if n_widths > 1 else np.array([16.0])
    n_trains = np.geomspace(64, 65536, -(-n_cells // n_widths)).round()
    cells = list(itertools.product(widths, n_trains))[:n_cells]
    rows = pd.DataFrame(
        [
            (place, name, width, n_train, seed)
            for place, name in enumerate(TECHNIQUES[:n_techniques])
            for width, n_train in cells
            for seed in range(n_seeds)
        ],
        columns=["place", "technique", "width", "n_train", "seed"],
    ).iloc[:n_trials]
    number = np.arange(len(rows))
    size = 50 * rows["width"] ** 2
    flops = K * size * rows["n_train"] * (1 + 0.4 * rows["place"])
    error = 0.02 + 2.5 * size**-0.3 + 3 * rows["n_train"] ** -0.4
    known = wave(number, 2) > {"all": -2, "some": -0.3, "none": 2}[energy]
    return pd.DataFrame({
        "trial_id": [f"trial-{one:05d}" for one in number],
        "cell": rows["technique"] + "-" + rows["width"].astype(str) + "-" + rows["n_train"].astype(str),
        "dataset": "digits", "family": "resnet", "technique": rows["technique"], "seed": rows["seed"],
        "status": "finished", "width": rows["width"], "depth": 1, "n_train": rows["n_train"], "n_params": size,
        "n_test": 1000, "train_flops": flops, "inference_flops": 2 * size / (1 + rows["place"] % 4),
        "test_error": np.minimum(error * np.exp(0.06 * wave(number, 1) - 0.06 * (rows["place"] % 5)), 0.9),
        "energy_joules": np.where(known, flops / 3e8 * np.exp(0.3 * wave(number, 3)), np.nan),
        "energy_source": np.where(~known, "unknown", np.where(wave(number, 4) > 0, "measured", "estimated")),
        "utilisation": 0.3 * size / (size + 1e4),
    })  # fmt: skip


def curves(runs):
    """Ten measurements along the training of every trial."""
    steps = np.arange(1, 11) / 10
    number = np.arange(len(runs))[:, None]
    error = runs["test_error"].to_numpy()[:, None] * steps**-0.6 * np.exp(0.05 * wave(number + 10 * steps, 5))
    return pd.DataFrame({
        "trial_id": np.repeat(runs["trial_id"].to_numpy(), 10),
        "train_flops": (runs["train_flops"].to_numpy()[:, None] * steps).ravel(),
        "validation_error": np.minimum(error, 0.9).ravel(),
    })  # fmt: skip


def one(draw, *arguments, inches=(7.2, 4.6), **keywords):
    """A figure of one axes at the size it has in a report."""
    with rc_context(figures.style()):
        figure = Figure(figsize=inches)
        draw(figure.add_subplot(), *arguments, **keywords)
    return figure


def fitted(runs, law):
    """A law on the frontier; few resamples, as only the picture counts."""
    return bootstrap(runs, law=law, frontier=True, n_resamples=100)


def cost(n_trials, n_techniques, laws=("power", "saturating")):
    """Error against cost."""
    runs = table(n_trials, n_techniques)
    return one(figures.plot_error_against_cost, runs, pareto_front(runs), [fitted(runs, law) for law in laws])


def without(draw, column):
    """A column by whose values trials are coloured, unknown for some."""
    runs = table(120)
    runs[column] = runs[column].astype(float).where(wave(np.arange(120), 9) < 0.5)
    return one(draw, runs, *([pareto_front(runs), []] if column == "n_params" else []))


def surface(n_trials, draw):
    """IsoFLOP curves or the best split; refused where the trials are few."""
    runs = table(n_trials)
    found = bootstrap(runs, law="size_and_data", n_resamples=50)
    spent = runs["train_flops"]
    if draw == "isoflop":
        budgets = np.geomspace(*np.quantile(spent, [0.15, 0.85]), 5)
        return one(figures.plot_isoflop, found, budgets, flops_per_param_example=K, runs=runs)
    grid = np.geomspace(spent.min(), spent.max(), 40)
    return one(figures.plot_allocation, found, grid, flops_per_param_example=K)


def held_back(n_trials, n_techniques):
    """A backtest of three laws."""
    runs = table(n_trials, n_techniques)
    found = backtest(runs, ["power", "saturating", "exponential"], frontier=True, n_resamples=50)
    return one(figures.plot_backtest, found, inches=(5.6, 5.0))


def held_back_of_twelve(noise):
    """Four laws on twelve cells of one seed: with much noise their bands are enormous and one leaves the picture."""
    number = np.arange(12)
    cost = np.geomspace(1e7, 1e10, 12)
    runs = pd.DataFrame({"train_flops": cost, "test_error": 0.03 + 90 * cost**-0.33 * np.exp(noise * wave(number, 1))})
    found = backtest(runs, ["power", "saturating", "exponential", "m4"], frontier=True, n_resamples=50)
    return one(figures.plot_backtest, found, inches=(5.6, 5.0))


def far_off():
    """Two laws right, one wrong by orders of magnitude both ways, and one that predicts nothing at some runs."""
    measured = np.geomspace(0.2, 0.04, 6)
    rows = [
        {"law": law, "fitted_up_to": 1e9, "error": error, "predicted": error * factor, "low": error * factor / wide,
         "high": min(error * factor * wide, 1.0)}
        for law, factors, wide in (
            ("power", [1.05] * 6, 1.1), ("saturating", [0.9] * 6, 30.0), ("m4", [1e-6, 1, 40, 9, 1e-3, 1e-12], 1e3),
            ("exponential", [1.2, 1.3, 1.5, 1.8, np.nan, np.nan], 1.3),
        )
        for error, factor in zip(measured, factors, strict=True)
    ]  # fmt: skip
    laws = ["power", "saturating", "exponential", "m4"]
    scores = pd.DataFrame({"law": laws, "rmse_log": [0.05, 0.1, np.nan, 12.0], "inside": [1.0, 1.0, 0.5, 0.3]})
    found = Backtest(pd.DataFrame(rows), scores, pd.DataFrame(), "power", 0.95)
    return one(figures.plot_backtest, found, inches=(5.6, 5.0))


@cache
def compared(n_trials):
    """Eleven techniques against the baseline."""
    costs = ["train_flops", "energy_joules"]
    return compare(table(n_trials, 12), costs=costs, setting=Setting(n_resamples=20, law="power"))


def coverage():
    """Three quantities at three levels, as a calibration finds them."""
    numbers = {"quantity": ["k", "alpha", "E"], "coverage_50": [0.47, 0.52, 0.6]}
    numbers |= {"coverage_80": [0.78, 0.81, 0.9], "coverage_95": [0.93, 0.94, 0.99]}
    found = Calibration("saturating", pd.DataFrame(numbers), 210, 10, {"converged": 200}, 0.05, 0.0, (0.5, 0.8, 0.95))
    return one(figures.plot_coverage, found, inches=(5.6, 5.0))


PICTURES = {
    "cost-12-trials": lambda: cost(12, 1),
    "cost-120-trials": lambda: cost(120, 1),
    "cost-5000-trials": lambda: cost(5000, 1),
    "cost-120-trials-12-techniques": lambda: cost(120, 12),
    "cost-some-sizes-unknown": lambda: without(figures.plot_error_against_cost, "n_params"),
    "techniques-120-trials": lambda: one(figures.plot_technique_frontiers, table(120, 12)),
    "techniques-5000-trials": lambda: one(figures.plot_technique_frontiers, table(5000, 12)),
    "techniques-unknown": lambda: one(figures.plot_technique_frontiers, table(12).assign(technique=None)),
    "heat-12-trials": lambda: one(figures.plot_heat_map, table(12)),
    "heat-one-field": lambda: one(figures.plot_heat_map, table(12, 12)),
    "heat-120-trials": lambda: one(figures.plot_heat_map, table(120)),
    "heat-5000-trials-12-techniques": lambda: one(figures.plot_heat_map, table(5000, 12)),
    "slices-120-trials": lambda: one(figures.plot_slices, table(120)),
    "slices-5000-trials": lambda: one(figures.plot_slices, table(5000)),
    "curves-12-trials": lambda: one(figures.plot_training_curves, curves(table(12))),
    "curves-5000-trials": lambda: one(figures.plot_training_curves, curves(table(5000, 12))),
    "curves-none": lambda: one(figures.plot_training_curves, pd.DataFrame()),
    "energy-all": lambda: one(figures.plot_energy, table(120, energy="all")),
    "energy-some-12-trials": lambda: one(figures.plot_energy, table(12, 12)),
    "energy-some-5000-trials": lambda: one(figures.plot_energy, table(5000, 12)),
    "energy-some-utilisation-unknown": lambda: without(figures.plot_energy, "utilisation"),
    "energy-none": lambda: one(figures.plot_energy, table(120, energy="none")),
    "fan-120-trials": lambda: one(figures.plot_fan, fitted(table(120), "power")),
    "fan-refused": lambda: one(figures.plot_fan, fitted(table(12), "saturating")),
    "backtest-120-trials": lambda: held_back(120, 12),
    "backtest-12-trials": lambda: held_back(12, 1),
    "backtest-12-cells": lambda: held_back_of_twelve(0.05),
    "backtest-12-noisy-cells": lambda: held_back_of_twelve(0.4),
    "backtest-far-off": far_off,
    "isoflop-5000-trials": lambda: surface(5000, "isoflop"),
    "isoflop-refused": lambda: surface(12, "isoflop"),
    "split-5000-trials": lambda: surface(5000, "split"),
    "split-refused": lambda: surface(120, "split"),
    "coverage": coverage,
    "gains-12-techniques": lambda: draw_gains(compared(1200)),
    "gains-refused": lambda: draw_gains(compared(12)),
    "lifetimes-12-techniques": lambda: draw_lifetimes(compared(1200)),
    "lifetimes-refused": lambda: draw_lifetimes(compared(12)),
}  # fmt: skip


def save(figure, path, dpi=DPI):
    """Write the picture."""
    with rc_context({**figures.style(), **UNHINTED}):
        figure.savefig(path, dpi=dpi, metadata={"Software": None})
    return path


@pytest.mark.parametrize("name", PICTURES)
def test_a_figure_is_the_picture_that_was_looked_at(name, tmp_path):
    """Up to what another version of the font renderer changes; the difference is left beside a picture that differs."""
    drawn = save(PICTURES[name](), tmp_path / f"{name}.png")

    assert compare_images(str(EXPECTED / f"{name}.png"), str(drawn), tol=TOLERANCE) is None


def test_no_picture_is_kept_that_nothing_draws():
    """And together they stay small."""
    kept = {path.stem for path in EXPECTED.glob("*.png")}

    assert kept == set(PICTURES)
    assert sum(path.stat().st_size for path in EXPECTED.glob("*.png")) < 1e6


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else EXPECTED
    folder.mkdir(parents=True, exist_ok=True)
    for title, make in PICTURES.items():
        print(save(make(), folder / f"{title}.png", DPI if folder == EXPECTED else int((sys.argv + ["200"] * 3)[2])))
