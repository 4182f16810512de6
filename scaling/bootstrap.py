"""Intervals by resampling whole clusters: all seeds of a cell together, the frontier chosen anew each time.

The draws are kept, so that any interval at any level can be read from one set of refits.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from scaling.estimate import Optimum
from scaling.fit import Fit, fit_points, input_label, points_of
from scaling.interval import METHODS, Interval, Method, interval_bounds
from scaling.laws import get_law
from scaling.laws.base import Array, Law
from scaling.points import Points, frontier_points
from scaling.resample import cluster_counts, front_counts, leave_one_out_counts, refit, sigma_of
from scaling.words import counted

# Residuals drawn for each resampled curve: enough that the band's edge is not the draw's own noise.
RESIDUALS_PER_CURVE = 8
# Share of refits that may fail before no interval is given.
MOST_FAILED = 0.1
# Clusters needed beyond the parameters: with fewer, all resamples are nearly alike and their spread says nothing.
SPARE_CLUSTERS = 2


@dataclass(frozen=True, repr=False)
class Intervals:
    """A fit with the intervals of its parameters, its exponent and its curve.

    Attributes:
        fit: The fit to all runs.
        n_resamples: Refits tried; `n_failed` of them found no optimum and are not in the intervals.
        level: Probability of the intervals.
        method: How they were read from the draws.
        parameters: Interval of each parameter, empty if nothing was fitted.
        exponent: Interval of k; None unless the fit converged and its law has such a number.
        draws: Coordinates of every successful refit, centred as ``fit.optimum.centre``.
        leave_one_out: The same with each cluster left out in turn.
    """

    fit: Fit
    n_resamples: int
    n_failed: int
    level: float
    method: Method
    seed: int
    parameters: Mapping[str, Interval]
    exponent: Interval | None
    draws: Array = field(compare=False)
    leave_one_out: Array = field(compare=False)

    def band(self, cost: ArrayLike, *other_inputs: ArrayLike, level: float | None = None) -> tuple[Array, Array]:
        """Bounds of the law's own curve at each cost, at the level of the intervals unless another is given."""
        curves, shape = self._curves((cost, *other_inputs))
        jackknife = self._evaluate(self.leave_one_out, (cost, *other_inputs))[0]
        estimate = np.log(self.fit.predict(cost, *other_inputs)).reshape(-1)
        level = self.level if level is None else level
        low, high = interval_bounds(curves, estimate, jackknife, level, self.method, self._freedom)
        return np.exp(low).reshape(shape), np.exp(high).reshape(shape)

    def prediction_band(
        self, cost: ArrayLike, *other_inputs: ArrayLike, level: float | None = None
    ) -> tuple[Array, Array]:
        """Bounds for one more run (or cell, on a frontier) at each cost: the law's uncertainty and the scatter."""
        curves, shape = self._curves((cost, *other_inputs))
        level = self.level if level is None else level
        scatter = self._residuals()
        generator = np.random.default_rng([self.seed, 1])
        picks = generator.integers(scatter.size, size=(RESIDUALS_PER_CURVE, *curves.shape))
        values = (curves[None] + scatter[picks]).reshape(-1, curves.shape[1])
        tail = (1 - level) / 2
        low, high = np.quantile(values, [tail, 1 - tail], axis=0)
        return np.exp(low).reshape(shape), np.exp(high).reshape(shape)

    def interval(self, name: str, *, level: float | None = None, method: Method | None = None) -> Interval:
        """Interval of a parameter or of ``exponent`` at any level by any method, from the draws at hand.

        Raises:
            ValueError: If there is no such parameter.
        """
        if not len(self.draws):
            raise ValueError(f"there is no interval: {self._why_none()}")
        if name not in self.parameters and name != "exponent":
            raise ValueError(f"there is no parameter {name!r}; there are {', '.join([*self.parameters, 'exponent'])}")
        optimum = self.fit.optimum
        assert optimum is not None
        values = named_values(self.fit.form, np.concatenate([optimum.theta[None], self.draws]), optimum)[name]
        jackknife = named_values(self.fit.form, self.leave_one_out, optimum)[name]
        level, method = self.level if level is None else level, self.method if method is None else method
        low, high = interval_bounds(values[1:, None], values[:1], jackknife[:, None], level, method, self._freedom)
        return Interval(float(low[0]), float(high[0]), level, method)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the draws, as JSON can hold it."""
        return {
            "fit": self.fit.to_dict(),
            "n_resamples": self.n_resamples,
            "n_failed": self.n_failed,
            "level": self.level,
            "method": self.method,
            "seed": self.seed,
            "parameters": {name: interval.to_dict() for name, interval in self.parameters.items()},
            "exponent": None if self.exponent is None else self.exponent.to_dict(),
            "reason": "" if len(self.draws) else self._why_none(),
        }

    def __repr__(self) -> str:
        lines = [repr(self.fit)]
        lines += [f"  {name}: {value}" for name, value in self._facts()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
            for name, value in self._facts()
        )
        return f"{self.fit._repr_html_()}<table>{rows}</table>"

    def _facts(self) -> list[tuple[str, str]]:
        share = f"{self.level:.0%}"
        facts = []
        if self.fit.converged:
            facts = [(f"{name} {share}", str(interval)) for name, interval in self.parameters.items()]
            if self.exponent is not None:
                facts.insert(0, (f"exponent k {share}", str(self.exponent)))
        if not len(self.draws):
            return [("resampling", f"no interval: {self._why_none()}")]
        failed = f"{self.n_failed} of {self.n_resamples} refits failed"
        return [*facts, ("resampling", f"{failed}; {counted(self.fit.n_cells, 'cluster')}; {self.method}")]

    def _why_none(self) -> str:
        if self.fit.optimum is None:
            return self.fit.reason
        if self.fit.n_cells < self.fit.form.n_parameters + SPARE_CLUSTERS:
            return (
                f"{counted(self.fit.n_cells, 'cluster')} for {counted(self.fit.form.n_parameters, 'parameter')} "
                "are too few to resample, "
                f"at least {self.fit.form.n_parameters + SPARE_CLUSTERS} are needed"
            )
        return f"none of {self.n_resamples} refits found an optimum"

    @property
    def _freedom(self) -> tuple[int, int]:
        return self.fit.n_cells, self.fit.form.n_parameters

    def _evaluate(self, theta: Array, inputs: tuple[ArrayLike, ...]) -> tuple[Array, tuple[int, ...]]:
        optimum = self.fit.optimum
        x, shape = self.fit.form._inputs(inputs)
        if optimum is None or not len(theta):
            return np.zeros((0, x.shape[1])), shape
        with np.errstate(all="ignore"):
            return self.fit.form.evaluate(theta, x - optimum.centre[:, None]), shape

    def _curves(self, inputs: tuple[ArrayLike, ...]) -> tuple[Array, tuple[int, ...]]:
        if not len(self.draws):
            raise ValueError(f"there is no band: {self._why_none()}")
        return self._evaluate(self.draws, inputs)

    def _residuals(self) -> Array:
        """Log residuals around the law, widened for the parameters that were fitted to them."""
        optimum, points = self.fit.optimum, self.fit.points
        assert optimum is not None
        residual = points.y - self.fit.form.evaluate(optimum.theta[None], optimum.problem.x)[0]
        freedom = max(points.n_points - self.fit.form.n_parameters, 1)
        return residual * math.sqrt(points.n_points / freedom)


def bootstrap(
    runs: pd.DataFrame,
    law: str | Law = "saturating",
    *,
    cost: str = "train_flops",
    error: str = "test_error",
    frontier: bool = False,
    columns: Mapping[str, str] | None = None,
    cluster: str | None = None,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    method: Method | None = None,
) -> Intervals:
    """Fit a law and resample the clusters for the intervals of all that follows from it.

    Args:
        runs, law, cost, error, frontier, columns, cluster: As for `fit`.
        n_resamples: Refits.
        level: Probability of the intervals, in (0, 1).
        seed: Of the resampling; the same seed gives the same intervals.
        method: ``percentile``, ``bca`` or ``basic``; by default what the coverage tests bear out.

    Raises:
        ValueError: As `fit`, and if the level, the number or the method is not allowed.
    """
    _check(n_resamples, level, seed, method)
    form = get_law(law)
    everything = points_of(
        runs,
        form,
        cost=cost,
        error=error,
        frontier=frontier,
        columns=columns,
        cluster=cluster,
        all_cells=True,
    )
    return bootstrap_points(
        form, everything, cost=input_label(form, cost, columns), error=error, frontier=frontier,
        n_resamples=n_resamples, level=level, seed=seed, method=method,
    )  # fmt: skip


def bootstrap_points(
    form: Law,
    everything: Points,
    *,
    cost: str,
    error: str,
    frontier: bool,
    n_resamples: int,
    level: float,
    seed: int,
    method: Method | None = None,
) -> Intervals:
    """As `bootstrap`, from points that are ready; with a frontier, from all averaged cells."""
    chosen = frontier_points(everything) if frontier else everything
    fitted = fit_points(form, chosen, cost=cost, error=error, frontier=frontier)
    method = "bca" if method is None else method
    empty = np.zeros((0, form.n_parameters))
    few = everything.n_clusters < form.n_parameters + SPARE_CLUSTERS
    if fitted.optimum is None or few:
        return Intervals(fitted, n_resamples, n_resamples, level, method, seed, {}, None, empty, empty)
    optimum = fitted.optimum
    assert optimum is not None
    counts = cluster_counts(everything, n_resamples, np.random.default_rng(seed))
    draws, n_failed = _refits(form, everything, optimum, counts, frontier)
    left = _refits(form, everything, optimum, leave_one_out_counts(everything), frontier)[0]
    result = Intervals(fitted, n_resamples, n_failed, level, method, seed, {}, None, draws, left)
    if not len(draws) or n_failed > MOST_FAILED * n_resamples:
        # What failed is not a random part: the survivors would agree with each other too well.
        return result
    return _with_intervals(result)


def _with_intervals(raw: Intervals) -> Intervals:
    form, optimum = raw.fit.form, raw.fit.optimum
    assert optimum is not None
    # All at once: whether there is an exponent to speak of depends on which of them have one.
    values = named_values(form, np.concatenate([optimum.theta[None], raw.draws, raw.leave_one_out]), optimum)
    end = 1 + len(raw.draws)
    intervals = {}
    for name, column in values.items():
        low, high = interval_bounds(
            column[1:end, None], column[:1], column[end:, None], raw.level, raw.method, raw._freedom
        )
        intervals[name] = Interval(float(low[0]), float(high[0]), raw.level, raw.method)
    exponent = intervals.pop("exponent", None)
    return Intervals(
        raw.fit, raw.n_resamples, raw.n_failed, raw.level, raw.method, raw.seed,
        intervals, exponent if raw.fit.exponent is not None else None, raw.draws, raw.leave_one_out,
    )  # fmt: skip


def named_values(form: Law, theta: Array, optimum: Optimum) -> dict[str, Array]:
    """Parameters (and the exponent, where the law has one) of many coordinate vectors."""
    natural = form.natural(form.shift(theta, optimum.centre))
    values = dict(zip(form.names, natural.T, strict=True))
    rows = [dict(zip(values, row, strict=True)) for row in natural.tolist()]
    exponents = [form.compute_exponent(row) for row in rows]
    if any(value is not None for value in exponents):
        # No exponent where error does not fall at all: no finite power of performance is enough.
        values["exponent"] = np.array([math.inf if value is None else value for value in exponents])
    return values


def _refits(
    form: Law, everything: Points, optimum: Optimum, counts: Iterable[Array], frontier: bool
) -> tuple[Array, int]:
    """Refits to batches of resamples, given as counts of clusters, and how many found no optimum."""
    draws, n_failed = [np.zeros((0, form.n_parameters))], 0
    sigma = sigma_of(form, everything, optimum)
    for batch in counts:
        points, scale = everything, sigma
        multiplicity = batch[:, everything.cluster]
        if frontier:
            multiplicity = front_counts(everything, multiplicity)
            used = np.flatnonzero(multiplicity.any(axis=0))
            points, multiplicity, scale = everything.take(used), multiplicity[:, used], sigma[used]
        theta, failed = refit(form, points, optimum, multiplicity, scale)
        draws.append(theta)
        n_failed += failed
    return np.concatenate(draws), n_failed


def _check(n_resamples: int, level: float, seed: int, method: str | None) -> None:
    if not (isinstance(n_resamples, int | np.integer) and n_resamples >= 20):
        raise ValueError(f"n_resamples is {n_resamples}, but it is a whole number from 20; 1000 is usual")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, but it lies between 0 and 1; 0.95 is usual")
    if not (isinstance(seed, int | np.integer) and seed >= 0):
        raise ValueError(f"seed is {seed}, but it is a whole number from 0")
    if method is not None and method not in METHODS:
        raise ValueError(f"method is {method!r}, but it is one of {', '.join(METHODS)}")
