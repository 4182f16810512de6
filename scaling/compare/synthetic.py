"""Runs of a baseline and a technique whose gain is known: the truth that tests and coverage tables share."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling.laws.base import Array

# FLOP per weight and example of a dense layer, forward and backward.
FLOPS_PER_WEIGHT = 6.0


@dataclass(frozen=True)
class Arms:
    """A baseline and a technique on one grid of widths, depths and examples.

    The reducible error of the baseline is ``scale (C/reference)^-alpha``, and more by the factor
    ``exp(bowl (log(n_params / best))^2)`` where the size is not the best one for the compute C. The technique's is the
    same at ``gain C``, bent by an exponent that differs by `bend`.

    Attributes:
        gain: Compute-equivalent gain at the reference cost, and everywhere if `bend` is 0.
        bend: Exponent of the technique less that of the baseline.
        irreducible: E of both arms.
        dearer: Cost of the technique's training over the baseline's for the same cell.
        lighter: Inference cost of the baseline over the technique's for the same cell.
        best_size: Best size of the technique over the baseline's at equal compute.
        seed_noise: Standard deviation of log error between the seeds of a cell.
        uneven: Standard deviation, over the cells of the grid, of the log of their `seed_noise`; a cell is as noisy in
            both arms.
        cell_noise: Standard deviation of log error between cells, shared by the seeds.
    """

    gain: float = 1.5
    bend: float = 0.0
    alpha: float = 0.2
    scale: float = 0.08
    irreducible: float = 0.0
    reference: float = 4e8
    bowl: float = 0.03
    dearer: float = 1.0
    lighter: float = 1.0
    best_size: float = 1.0
    seed_noise: float = 0.05
    uneven: float = 0.0
    cell_noise: float = 0.0
    widths: tuple[int, ...] = (8, 16, 32, 64, 128)
    depths: tuple[int, ...] = (1, 2, 4)
    n_trains: tuple[int, ...] = (100, 400, 1600, 6400, 25600, 102400)
    n_seeds: int = 3

    def frontier(self, cost: Array, *, technique: bool) -> Array:
        """Least error at a training cost [FLOP], without noise and at the best size."""
        log_cost = np.log(np.asarray(cost, dtype=np.float64) / self.reference)
        fall = self.alpha * log_cost
        if technique:
            fall = fall + self.alpha * np.log(self.gain) + self.bend * log_cost
        return self.irreducible + self.scale * np.exp(-fall)

    def true_gain(self, cost: Array) -> Array:
        """Gain at a training cost: what the baseline needs for the technique's error, over the cost."""
        log_cost = np.log(np.asarray(cost, dtype=np.float64) / self.reference)
        return self.gain * np.exp(self.bend / self.alpha * log_cost)


def draw_arms(arms: Arms, *, technique: str = "technique", seed: int | np.random.Generator = 0) -> pd.DataFrame:
    """Draw the runs table of both arms.

    Raises:
        ValueError: If a noise or a factor is out of range.
    """
    if (
        min(arms.gain, arms.dearer, arms.lighter, arms.best_size) <= 0
        or min(arms.seed_noise, arms.uneven, arms.cell_noise) < 0
    ):
        raise ValueError("gain, dearer, lighter and best_size are above 0, and no noise is below 0")
    generator = np.random.default_rng(seed)
    grid = np.array(list(itertools.product(arms.widths, arms.depths, arms.n_trains)), dtype=np.float64)
    noise = np.full(len(grid), arms.seed_noise)
    if arms.uneven:
        noise = noise * np.exp(arms.uneven * generator.standard_normal(len(grid)))
    return pd.concat(
        [_arm(arms, grid, noise, generator, "baseline", is_technique=False),
         _arm(arms, grid, noise, generator, technique, is_technique=True)],
        ignore_index=True,
    )  # fmt: skip


def _arm(
    arms: Arms, grid: Array, noise: Array, generator: np.random.Generator, name: str, *, is_technique: bool
) -> pd.DataFrame:
    width, depth, n_train = grid.T
    n_params = 12.0 * width**2 * depth
    cost = FLOPS_PER_WEIGHT * n_params * n_train * (arms.dearer if is_technique else 1.0)
    best = np.sqrt(8.0 * cost / FLOPS_PER_WEIGHT) * (arms.best_size if is_technique else 1.0)
    reducible = arms.frontier(cost, technique=is_technique) - arms.irreducible
    error = arms.irreducible + reducible * np.exp(arms.bowl * np.log(n_params / best) ** 2)
    log_error = np.log(error) + arms.cell_noise * generator.standard_normal(error.size)
    log_error = np.repeat(log_error, arms.n_seeds)
    errors = np.exp(log_error + np.repeat(noise, arms.n_seeds) * generator.standard_normal(log_error.size))
    cells = [f"{name}-w{w:g}-d{d:g}-n{n:g}" for w, d, n in grid]
    seeds = np.tile(np.arange(arms.n_seeds), len(grid))
    columns = {
        "width": width, "depth": depth, "n_train": n_train, "n_params": n_params, "train_flops": cost,
        "inference_flops": 2.0 * n_params / (arms.lighter if is_technique else 1.0),
    }  # fmt: skip
    frame = pd.DataFrame({key: np.repeat(values, arms.n_seeds) for key, values in columns.items()})
    frame.insert(0, "cell", np.repeat(cells, arms.n_seeds))
    frame.insert(0, "trial_id", [f"{cell}-s{seed}" for cell, seed in zip(frame["cell"], seeds, strict=True)])
    return frame.assign(technique=name, seed=seeds, status="finished", test_error=errors)
