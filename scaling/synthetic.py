"""Runs drawn from a known law: the truth that tests, coverage tables and calibration share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from scaling.laws import get_law
from scaling.laws.base import Law
from scaling.points import ROLE_COLUMNS


def draw_runs(
    law: str | Law,
    parameters: Mapping[str, float],
    inputs: Mapping[str, ArrayLike],
    *,
    n_seeds: int = 3,
    seed_noise: float = 0.05,
    cell_noise: float = 0.0,
    n_test: int | None = None,
    error: str = "test_error",
    columns: Mapping[str, str] | None = None,
    seed: int | np.random.Generator = 0,
) -> pd.DataFrame:
    """Draw a runs table whose law, parameters and noise are known.

    Args:
        law: The truth.
        parameters: Of the truth, by name.
        inputs: Values of each role of the law, one per cell.
        n_seeds: Runs per cell.
        seed_noise: Standard deviation of the log error between runs of a cell.
        cell_noise: Standard deviation of the log error between cells, shared by a cell's runs.
        n_test: Test examples; errors are then counts of them. None leaves errors as they are.
        error: Column of the errors.
        columns: Column of each role where it is not the usual one.
        seed: Seed or generator of the noise.

    Raises:
        ValueError: If an input of the law is missing, a noise is negative, or there are no seeds.
    """
    form = get_law(law)
    missing = [role for role in form.roles if role not in inputs]
    if missing:
        raise ValueError(f"law {form.name!r} needs values for {', '.join(missing)}")
    if n_seeds < 1 or seed_noise < 0 or cell_noise < 0:
        raise ValueError(
            f"n_seeds is {n_seeds}, noises {seed_noise} and {cell_noise}; one seed at least, no noise below 0"
        )
    generator = np.random.default_rng(seed)
    values = np.broadcast_arrays(*(np.atleast_1d(np.asarray(inputs[role], dtype=float)) for role in form.roles))
    mean = np.log(form.predict(parameters, *values))
    n_cells = mean.size
    log_error = np.repeat(mean + cell_noise * generator.standard_normal(n_cells), n_seeds)
    errors = np.exp(log_error + seed_noise * generator.standard_normal(log_error.size))
    if n_test is not None:
        errors = generator.binomial(n_test, np.clip(errors, 0.0, 1.0)) / n_test
    names = [(columns or {}).get(role, ROLE_COLUMNS.get(role, role)) for role in form.roles]
    table = pd.DataFrame({name: np.repeat(column, n_seeds) for name, column in zip(names, values, strict=True)})
    table.insert(0, "trial_id", [f"synthetic-{i:06d}" for i in range(len(table))])
    table.insert(1, "cell", np.repeat([f"cell-{i:05d}" for i in range(n_cells)], n_seeds))
    table.insert(2, "seed", np.tile(np.arange(n_seeds), n_cells))
    table.insert(3, "status", "finished")
    if n_test is not None:
        table["n_test"] = n_test
    table[error] = errors
    return table
