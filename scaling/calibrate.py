"""What a design can tell: synthetic truth on the user's own cells, refitted, and how often the intervals hold it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.bootstrap import Intervals, bootstrap, named_values
from scaling.fit import Fit, fit
from scaling.interval import interval_bounds
from scaling.laws import get_law
from scaling.laws.base import Array, Law
from scaling.points import COUNTED_ON_TEST, ROLE_COLUMNS, test_sizes, usable_runs
from scaling.progress import Progress, silent
from scaling.words import counted

LEVELS = (0.5, 0.8, 0.95)
BEYOND = "error one decade beyond"


@dataclass(frozen=True, repr=False)
class Calibration:
    """How well a design determines each quantity of a law.

    Attributes:
        law: Name of the law that was the truth.
        table: One row per quantity: ``quantity``, ``truth``, ``bias`` (mean estimate minus truth), ``spread``
            (standard deviation of the estimates), ``width`` (median of the widest interval), and
            ``coverage_50`` etc., the share of sweeps whose interval held the truth.
        n_sweeps: Synthetic sweeps drawn.
        statuses: How many of their fits ended how; the intervals are checked whatever the status.
        n_failed: Sweeps with no interval at all; they are not in the coverage.
        seed_noise: Standard deviation of the log error between seeds; `cell_noise` between cells.
    """

    law: str
    table: pd.DataFrame = field(compare=False)
    n_sweeps: int
    n_failed: int
    statuses: Mapping[str, int]
    seed_noise: float
    cell_noise: float
    levels: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        rows = self.table.astype(object).where(self.table.notna(), None).to_dict(orient="records")
        return {
            "law": self.law,
            "n_sweeps": self.n_sweeps,
            "n_failed": self.n_failed,
            "statuses": dict(self.statuses),
            "seed_noise": self.seed_noise,
            "cell_noise": self.cell_noise,
            "quantities": rows,
        }

    def __repr__(self) -> str:
        statuses = ", ".join(f"{count} {name}" for name, count in self.statuses.items())
        return (
            f"Calibration of law {self.law!r}: {counted(self.n_sweeps, 'synthetic sweep')} ({statuses}; "
            f"{self.n_failed} failed), noise {self.seed_noise:.3g} between seeds, {self.cell_noise:.3g} between cells\n"
            f"{self.table.to_string(index=False, float_format=lambda value: f'{value:.4g}')}"
        )

    def _repr_html_(self) -> str:
        return self.table.to_html(index=False, float_format=lambda value: f"{value:.4g}")


def calibrate(
    runs: pd.DataFrame,
    law: str | Law = "saturating",
    *,
    parameters: Mapping[str, float] | None = None,
    cost: str = "train_flops",
    error: str = "test_error",
    frontier: bool = False,
    columns: Mapping[str, str] | None = None,
    cluster: str | None = None,
    seed_noise: float | None = None,
    cell_noise: float | None = None,
    n_sweeps: int = 200,
    n_resamples: int = 400,
    levels: Sequence[float] = LEVELS,
    seed: int = 0,
    progress: Progress = silent,
) -> Calibration:
    """Draw sweeps of known truth on a design, refit them, and count how often the intervals hold the truth.

    After a sweep, truth and noise are those of its own fit. Before one, the runs need no errors: give
    `parameters` and the noises. With a frontier, each cell keeps the mean error it was measured at, so
    that the cells off the frontier stay as far off it as they are.

    Args:
        runs: The design: one row per run, with the inputs of the law, seeds, and errors where there are any.
        law, cost, error, frontier, columns, cluster: As for `fit`.
        parameters: The truth; that of the fit to the runs if None.
        seed_noise: Standard deviation of the log error between seeds; from the runs if None.
        cell_noise: The same between cells; from the runs if None.
        n_sweeps: Synthetic sweeps.
        n_resamples: Refits behind each interval.
        levels: Of the intervals.
        seed: Of the draws.
        progress: Hears how many sweeps are done.

    Raises:
        ValueError: As `fit`; if the runs have no errors and no truth is given; if the law cannot be fitted.
    """
    if n_sweeps < 1:
        raise ValueError(f"n_sweeps is {n_sweeps}, but it is at least 1; 200 is usual")
    form = get_law(law)
    names = [{"cost": cost, **(columns or {})}.get(role, ROLE_COLUMNS.get(role, role)) for role in form.roles]
    settings: dict[str, Any] = {
        "cost": cost, "error": error, "frontier": frontier, "columns": columns, "cluster": cluster,
    }  # fmt: skip
    design = _design(runs, names, error, form, parameters, seed_noise, cell_noise, settings)
    generators = np.random.default_rng(seed).spawn(n_sweeps)
    found = []
    for number, generator in enumerate(generators):
        progress(number, n_sweeps)
        table = design.draw(generator)
        found.append(bootstrap(table, form, n_resamples=n_resamples, seed=number, level=max(levels), **settings))
    return _summarise(form, design, found, tuple(levels))


@dataclass(frozen=True)
class _Design:
    table: pd.DataFrame
    labels: NDArray[np.int64]
    log_mean: Array
    truth: Mapping[str, float]
    far: tuple[Array, ...]
    error: str
    seed_noise: float
    cell_noise: float

    def draw(self, generator: np.random.Generator) -> pd.DataFrame:
        """One synthetic sweep on the design's cells."""
        n_cells = int(self.labels.max()) + 1
        log_error = self.log_mean + self.cell_noise * generator.standard_normal(n_cells)[self.labels]
        log_error = log_error + self.seed_noise * generator.standard_normal(len(self.table))
        errors = np.exp(log_error)
        if self.error in COUNTED_ON_TEST:
            errors = np.minimum(errors, 1.0)
            n_test = test_sizes(self.table, self.error)
            if np.isfinite(n_test).all():
                errors = generator.binomial(n_test.astype(np.int64), errors) / n_test
        return self.table.assign(**{self.error: errors})


def _design(
    runs: pd.DataFrame,
    names: list[str],
    error: str,
    form: Law,
    parameters: Mapping[str, float] | None,
    seed_noise: float | None,
    cell_noise: float | None,
    settings: dict[str, Any],
) -> _Design:
    measured = error in runs.columns and runs[error].notna().any()
    if not measured and (parameters is None or seed_noise is None):
        raise ValueError(f"the runs have no {error}: give parameters and seed_noise, the truth to draw from")
    table = runs if measured else runs.assign(**{error: 0.5})
    fitted = fit(table, form, **settings) if measured else None
    if parameters is None:
        assert fitted is not None
        if fitted.optimum is None:
            raise ValueError(f"law {form.name!r} was not fitted, so there is no truth to draw from: {fitted.reason}")
        parameters = fitted.parameters
    table, labels, _ = usable_runs(table, names, error, settings["cluster"])
    labels = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    inputs = [table[name].to_numpy(dtype=np.float64) for name in names]
    log_mean = np.log(form.predict(parameters, *inputs))
    noises = (seed_noise, cell_noise)
    if fitted is not None:
        noises = _noises(fitted, noises, average=settings["frontier"])
        if settings["frontier"]:
            total = np.bincount(labels, weights=table[error].to_numpy(dtype=np.float64)) / np.bincount(labels)
            log_mean = np.log(np.maximum(total, 1e-300))[labels]
    first, second = (0.0 if noise is None else float(noise) for noise in noises)
    far = tuple(_one_decade_beyond(role, values) for role, values in zip(form.roles, inputs, strict=True))
    return _Design(table, labels, log_mean, parameters, far, error, first, second)


def _one_decade_beyond(role: str, values: Array) -> Array:
    """Where the error is predicted: tenfold of what is spent, a tenth of the density, all else as it was."""
    if role == "density":
        return np.array([values.min() / 10.0])
    if role == "dense_error":
        return np.array([np.median(values)])
    return np.array([values.max() if role == "epochs" else 10.0 * values.max()])


def _noises(
    fitted: Fit, given: tuple[float | None, float | None], *, average: bool
) -> tuple[float | None, float | None]:
    """Noise between seeds and between cells as the runs show it, where it is not given."""
    points = fitted.points
    within = points.seed_variance if np.isfinite(points.seed_variance) else 0.0
    if within == 0.0 and average:
        within = fitted.sigma**2
    between = 0.0 if average else max(fitted.sigma**2 - within, 0.0)
    seed_noise = float(np.sqrt(within)) if given[0] is None else given[0]
    return seed_noise, float(np.sqrt(between)) if given[1] is None else given[1]


def _summarise(form: Law, design: _Design, found: list[Intervals], levels: tuple[float, ...]) -> Calibration:
    truth = dict(design.truth)
    exponent = form.compute_exponent(design.truth)
    if exponent is not None:
        truth["exponent"] = exponent
    truth[BEYOND] = float(form.predict(design.truth, *design.far)[0])
    usable = [intervals for intervals in found if len(intervals.draws)]
    estimates: dict[str, list[float]] = {name: [] for name in truth}
    held: dict[tuple[str, float], list[bool]] = {}
    widths: dict[str, list[float]] = {name: [] for name in truth}
    for intervals in usable:
        for name, (estimate, draws, jackknife) in _values(form, intervals, design.far).items():
            estimates[name].append(estimate)
            for level in levels:
                low, high = interval_bounds(
                    draws[:, None], np.array([estimate]), jackknife[:, None], level, intervals.method,
                    (intervals.fit.n_cells, form.n_parameters),
                )  # fmt: skip
                held.setdefault((name, level), []).append(bool(low[0] <= truth[name] <= high[0]))
                if level == max(levels):
                    widths[name].append(float(high[0] - low[0]))
    rows = [
        {
            "quantity": name,
            "truth": value,
            "bias": float(np.mean(estimates[name])) - value if usable else np.nan,
            "spread": float(np.std(estimates[name], ddof=1)) if len(usable) > 1 else np.nan,
            "width": float(np.median(widths[name])) if usable else np.nan,
            **{
                f"coverage_{level * 100:g}": float(np.mean(held[name, level])) if usable else np.nan for level in levels
            },
        }
        for name, value in truth.items()
    ]
    statuses = Counter(intervals.fit.status.name.lower() for intervals in found)
    return Calibration(
        form.name, pd.DataFrame(rows), len(found), len(found) - len(usable), dict(sorted(statuses.items())),
        design.seed_noise, design.cell_noise, levels,
    )  # fmt: skip


def _values(form: Law, intervals: Intervals, far: tuple[Array, ...]) -> dict[str, tuple[float, Array, Array]]:
    """Estimate, draws and leave-one-out values of every quantity of one sweep."""
    optimum = intervals.fit.optimum
    assert optimum is not None
    parts = [optimum.theta[None], intervals.draws, intervals.leave_one_out]
    columns = [named_values(form, part, optimum) for part in parts]
    curves = [np.exp(intervals._evaluate(part, far)[0][:, 0]) for part in parts]
    result = {
        name: (float(columns[0][name][0]), columns[1][name], columns[2].get(name, np.zeros(0))) for name in columns[0]
    }
    result[BEYOND] = (float(curves[0][0]), curves[1], curves[2])
    return result
