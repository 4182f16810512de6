"""Figure 1 simulated, or a sweep's exponents beside theory's: what `ninthpower theory` answers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from experiments.answer import Answer
from scaling import bootstrap
from scaling.figure_one import PUBLISHED_OBSERVATIONS, REFERENCE_OBSERVATIONS, Study, simulate
from scaling.learners import Task, least_squares_risk
from scaling.progress import Progress, silent
from scaling.theory import (
    PUBLISHED_COMPUTE_EXPONENT,
    SIZE_AND_DATA_WITHOUT_E,
    THEORY_COMPUTE_EXPONENT,
    THEORY_DATA_EXPONENT,
    MeasuredExponents,
    law_named,
    measured_exponents,
)
from scaling.tracked import RunsSource

SURFACES = ("size_and_data", SIZE_AND_DATA_WITHOUT_E.name)
N_RESAMPLES = 1000


def answer_figure_one(
    task: Task, *, penalty: float, n_simulations: int, seed: int, progress: Progress = silent
) -> tuple[Answer, Study]:
    """Simulate Figure 1 and say how many observations each model needs.

    Raises:
        ValueError: As `scaling.figure_one.simulate`.
    """
    study = simulate(task, penalty=penalty, n_simulations=n_simulations, seed=seed, progress=progress)
    rows = []
    for name, needed in study.needed.items():
        # The published numbers are of the published task alone.
        as_published = (task.n_features, task.n_relevant) == (Task.n_features, Task.n_relevant)
        published = PUBLISHED_OBSERVATIONS.get(name) if as_published else None
        part = study.table[study.table["model"] == name]
        near = part.iloc[(part["n"] - (needed or math.inf)).abs().argmin()] if needed else None
        rows.append({
            "model": name,
            "observations needed": "never" if needed is None else f"{needed:.0f}",
            "published": "–" if published is None else f"{published:,}",
            "FLOP of a fit near there": math.nan if near is None else float(near["flops"]),
        })  # fmt: skip
    d, n = task.n_features, round(1.5 * task.n_features)
    sentences = (
        "Performance is -log10 of the squared distance from the best predictor over that predictor's variance; the "
        f"reference is the oracle on {REFERENCE_OBSERVATIONS} observations: {study.reference:.3f}.",
        f"{n_simulations} simulations a case, {task.n_features} features of which {task.n_relevant} matter, "
        f"coefficients {task.coefficients}, noise {task.noise:g}, penalty {penalty:g} noise sqrt(log d / n). The "
        "publication's noise, penalty and coefficients are not known.",
        f"Closed form of least squares at n/p = 1.5 ({n} on {d}): mean squared distance "
        f"{least_squares_risk(n, d, task.noise):.4g}.",
    )
    title = f"observations to reach the oracle's performance on {REFERENCE_OBSERVATIONS}"
    return Answer({title: pd.DataFrame(rows)}, sentences, study.to_dict()), study


def answer_sweep(
    path: RunsSource, *, laws: Sequence[str] = SURFACES, error: str | None = None, progress: Progress = silent
) -> Answer:
    """Exponents of computation of a sweep from its exponents of size and data, by each law.

    Raises:
        ValueError: If the runs lack a column, or a law has no exponents of size and data.
    """
    from experiments.results import read_results
    from experiments.sweep import FitSpec

    runs, sweep, _ = read_results(path)
    error = error or (sweep.fit if sweep else FitSpec()).error
    tables, sentences, content = {}, [], {}
    for done, law in enumerate(laws):
        progress(done, len(laws))
        found = measured_exponents(bootstrap(runs, law_named(law), error=error, n_resamples=N_RESAMPLES))
        content[law] = found.to_dict()
        if found.exponents is None:
            sentences.append(f"No exponent may be quoted for law {law}: {found.reason}.")
        else:
            tables[f"{path}: law {law}"] = _exponent_table(found)
    return Answer(tables, tuple(sentences), content)


def _exponent_table(found: MeasuredExponents) -> pd.DataFrame:
    meaning = {
        "data": ("data alone, 1/beta", THEORY_DATA_EXPONENT, math.nan),
        "balanced": (
            "computation at the optimal split, 1/alpha + 1/beta", THEORY_COMPUTE_EXPONENT, PUBLISHED_COMPUTE_EXPONENT,
        ),
        "proportional": (
            "computation, size proportional to data, 2/min(alpha, beta)", THEORY_COMPUTE_EXPONENT,
            PUBLISHED_COMPUTE_EXPONENT,
        ),
    }  # fmt: skip
    rows = []
    for name, value in vars(found.exponents).items():
        words, theory, published = meaning[name]
        interval = found.intervals.get(name)
        low, high = (math.nan, math.nan) if interval is None else (interval.low, interval.high)
        rows.append({
            "exponent of": words, "value": value, "low": low, "high": high, "theory": theory, "published": published,
        })  # fmt: skip
    return pd.DataFrame(rows)
