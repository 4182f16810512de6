"""The study of Figure 1: what each kind of model reaches with how many observations, and how much arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.fit import finite
from scaling.learners import Task, expert, flexible, lasso, oracle, ridge
from scaling.progress import Progress, silent

Array = NDArray[np.float64]

# Penalty of the regularised model in units of noise sqrt(log d / n). Not published; near this value the
# published 175 observations come out.
PENALTY = 2.0
# Multiples from which the tuned models take the best on average; ridge's are of its own best penalty.
LASSO_MULTIPLES = (1.0, 0.7)
RIDGE_MULTIPLES = (0.5, 1.0, 2.0)
# Observations of the oracle whose performance the others are to reach.
REFERENCE_OBSERVATIONS = 15
N_SIMULATIONS = 1000
OBSERVATIONS = (12, 15, 20, 30, 50, 100, 200, 400, 700, 1100, 1200, 1350, 1500, 1700, 2000, 3000, 5000, 10_000)
# Only the Lasso needs its data, so it is simulated where its curves bend.
LASSO_OBSERVATIONS = (30, 50, 65, 80, 100, 130, 165, 200, 300, 600)
PUBLISHED_OBSERVATIONS = {"oracle": 15, "flexible": 1500, "regularised": 175}
MODELS = ("oracle", "expert", "flexible", "regularised", "tuned lasso", "tuned ridge")


@dataclass(frozen=True)
class Study:
    """Mean performance of each model at each number of observations.

    Attributes:
        task: What was simulated.
        penalty: Multiple of ``noise sqrt(log d / n)`` of the regularised model.
        n_simulations: Per case.
        table: ``model``, ``n``, ``performance`` (mean of -log10 of the normalised squared error), its
            ``standard_error``, ``flops`` of one fit.
        reference: Performance of the oracle on `REFERENCE_OBSERVATIONS`.
        needed: Observations at which each model reaches it, by interpolation in log n; None if none did.
    """

    task: Task
    penalty: float
    n_simulations: int
    table: pd.DataFrame = field(compare=False)
    reference: float
    needed: dict[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "task": vars(self.task), "penalty": self.penalty, "n_simulations": self.n_simulations,
            "reference_observations": REFERENCE_OBSERVATIONS, "reference_performance": self.reference,
            "observations_needed": {name: None if v is None else finite(v) for name, v in self.needed.items()},
            "published_observations": PUBLISHED_OBSERVATIONS,
            "table": self.table.to_dict(orient="records"),
        }  # fmt: skip


def simulate(
    task: Task | None = None,
    *,
    penalty: float = PENALTY,
    n_simulations: int = N_SIMULATIONS,
    observations: Sequence[int] = OBSERVATIONS,
    lasso_observations: Sequence[int] = LASSO_OBSERVATIONS,
    seed: int = 0,
    progress: Progress = silent,
) -> Study:
    """Simulate the six models on one task.

    Args:
        task: The published one, with our guesses for what is not published, if None.
        penalty: Of the regularised model, see `PENALTY`.
        n_simulations: Per model and number of observations.
        observations: Numbers of observations of the least-squares and ridge models.
        lasso_observations: The same of the Lasso.
        seed: The same seed gives the same study.
        progress: Hears how many of the numbers of observations are done.

    Raises:
        ValueError: If the penalty is not above 0 or there are fewer than two simulations.
    """
    task = task or Task()
    if not (math.isfinite(penalty) and penalty > 0):
        raise ValueError(f"penalty is {penalty}, but it is a multiple above 0 of noise sqrt(log d / n); 2 is usual")
    if n_simulations < 2:
        raise ValueError(f"n_simulations is {n_simulations}, but a mean with an error needs at least 2; 1000 is usual")
    rows: list[dict[str, Any]] = []
    counts = sorted({*observations, REFERENCE_OBSERVATIONS})
    slow = sorted(set(lasso_observations))
    for done, n in enumerate(counts):
        progress(done, len(counts) + len(slow))
        rows += _least_squares_rows(task, n, n_simulations, seed)
        generator = np.random.default_rng([seed, 4, n])
        errors = ridge(task, n, n_simulations, generator, RIDGE_MULTIPLES)
        rows.append(_best("tuned ridge", n, errors, _solve_flops(n, task.n_features)))
    for done, n in enumerate(slow, len(counts)):
        progress(done, len(counts) + len(slow))
        rows += _lasso_rows(task, n, penalty, n_simulations, seed)
    table = pd.DataFrame(rows)
    order = {name: place for place, name in enumerate(MODELS)}
    table = table.sort_values(["model", "n"], key=lambda c: c.map(order) if c.name == "model" else c, ignore_index=True)
    known = (table["model"] == "oracle") & (table["n"] == REFERENCE_OBSERVATIONS)
    reference = float(table.loc[known, "performance"].iloc[0])
    needed = {name: observations_needed(table, name, reference) for name in MODELS}
    return Study(task, penalty, n_simulations, table, reference, needed)


def observations_needed(table: pd.DataFrame, model: str, performance: float) -> float | None:
    """Observations from which a model stays at or above a performance, linear in log n between those simulated.

    Returns:
        None if it never does; the smallest number simulated if it does from the start.
    """
    part = table[table["model"] == model].sort_values("n")
    n, values = part["n"].to_numpy(np.float64), part["performance"].to_numpy(np.float64)
    below = np.flatnonzero(values < performance)
    if not below.size:
        return float(n[0])
    last = int(below[-1])
    if last == n.size - 1:
        return None
    share = (performance - values[last]) / (values[last + 1] - values[last])
    return float(np.exp(np.log(n[last]) + share * np.log(n[last + 1] / n[last])))


def _least_squares_rows(task: Task, n: int, n_simulations: int, seed: int) -> list[dict[str, Any]]:
    rows = []
    learners = ((oracle, task.n_relevant), (expert, task.n_relevant), (flexible, task.n_features))
    for place, (learner, p) in enumerate(learners):
        errors = learner(task, n, n_simulations, np.random.default_rng([seed, place, n]))
        rows.append(_row(learner.__name__, n, errors, _solve_flops(n, p)))
    return rows


def _lasso_rows(task: Task, n: int, penalty: float, n_simulations: int, seed: int) -> list[dict[str, Any]]:
    multiples = sorted({penalty, *LASSO_MULTIPLES}, reverse=True)
    errors, steps = lasso(task, n, n_simulations, np.random.default_rng([seed, 3, n]), multiples)
    # A homotopy step multiplies all features with one vector, twice in all: 2 FLOP per multiply-add.
    flops = 4.0 * steps * n * task.n_features
    chosen = errors[:, multiples.index(penalty)]
    return [_row("regularised", n, chosen, flops), _best("tuned lasso", n, errors, flops)]


def _best(model: str, n: int, errors: Array, flops: float) -> dict[str, Any]:
    """The penalty that is best on average over the simulations: tuned to the task, not to one data set."""
    return _row(model, n, errors[:, int(np.log(errors).mean(axis=0).argmin())], flops)


def _row(model: str, n: int, errors: Array, flops: float) -> dict[str, Any]:
    performance = -np.log10(errors)
    spread = float(performance.std(ddof=1)) / math.sqrt(performance.size)
    return {
        "model": model, "n": n, "performance": float(performance.mean()), "standard_error": spread, "flops": flops,
    }  # fmt: skip


def _solve_flops(n: int, p: int) -> float:
    """Least squares through the smaller of the two Gram matrices, 2 FLOP per multiply-add."""
    small, large = min(n, p), max(n, p)
    return 2.0 * large * small**2 + 2.0 / 3.0 * small**3
