"""Fit a law to runs: a value with a status, never a bare number.

``fit(runs, law="saturating")`` reads the points, minimises from many starts, and judges whether
the data determine the answer. Only a converged fit has an exponent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from scaling.estimate import Optimum, minimise
from scaling.laws import get_law
from scaling.laws.base import Array, Law
from scaling.notebook import facts_html
from scaling.points import ROLE_COLUMNS, Points, frontier_points, read_points
from scaling.status import FitStatus
from scaling.verdict import judge
from scaling.words import counted


@dataclass(frozen=True, repr=False)
class Fit:
    """A law with its numbers, how they were reached, and whether they may be quoted.

    Attributes:
        law: Name of the law.
        parameters: Estimates by name, inputs in their own units; empty if nothing was fitted. Quote
            them only if `converged`.
        status: How the fit ended.
        reason: The same in one sentence with the numbers that led to it.
        objective: Huber loss at the optimum, in units where 0.5 is one standard deviation.
        gradient_norm: Size of the gradient as Newton's step in standard errors: how far the optimum still is.
        condition_number: Of the information on the free parameters; large means that some can be
            traded for others.
        n_starts_agreeing: Starts that ended at the same objective, out of `n_starts`.
        cost_range: Smallest and largest first input of the points fitted.
        n_runs: Runs behind the fit; `n_cells` cells; `n_points` points the solver saw.
        trial_ids: The runs that were read.
        left_out: Runs that did not enter, each with the reason.
        notes: What in the table may not mean what it was taken for, such as repeats without seeds.
        sigma: Typical standard deviation of the log error around the law.
        exponent: k in "compute grows with performance^k"; None unless converged.
        equation: The law with its numbers, or why there are none.
    """

    law: str
    parameters: Mapping[str, float]
    status: FitStatus
    reason: str
    objective: float
    gradient_norm: float
    condition_number: float
    n_starts_agreeing: int
    n_starts: int
    cost_range: tuple[float, float]
    n_runs: int
    n_cells: int
    n_points: int
    trial_ids: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    sigma: float
    exponent: float | None
    equation: str
    cost: str
    error: str
    frontier: bool
    form: Law = field(compare=False)
    points: Points = field(compare=False)
    optimum: Optimum | None = field(compare=False)

    @property
    def converged(self) -> bool:
        """Whether the numbers may be quoted."""
        return self.status is FitStatus.CONVERGED

    def predict(self, *inputs: ArrayLike) -> Array:
        """Error the fitted curve gives at these inputs (cost; or size and data; in the law's order).

        A fit that did not converge still has its curve, if it was computed at all; its status stays with it.

        Raises:
            ValueError: If there is no curve, or an input is not positive and finite.
        """
        optimum = self._curve()
        x, shape = self.form._inputs(inputs)
        with np.errstate(over="ignore", under="ignore"):
            log_error = self.form.evaluate(optimum.theta[None], x - optimum.centre[:, None])[0]
            return np.exp(log_error).reshape(shape)

    def inverse(self, error: ArrayLike) -> Array:
        """Cost at which the fitted curve reaches an error; infinite where it never does.

        Raises:
            ValueError: If there is no curve, the law has several inputs, or an error is not positive.
        """
        optimum = self._curve()
        wanted = np.asarray(error, dtype=np.float64)
        if len(self.form.roles) != 1:
            raise ValueError(f"law {self.law!r} has several inputs; use the optimal allocation instead of an inverse")
        if not np.all(wanted > 0):
            raise ValueError(f"the wanted error is {wanted.min()}, but it is above 0")
        with np.errstate(over="ignore", under="ignore"):
            return np.exp(self.form.inverse_log(optimum.theta, np.log(wanted)) + optimum.centre[0])

    def decades_beyond(self, cost: ArrayLike) -> Array:
        """How far a cost lies above the data, in decades; 0 within them."""
        return np.maximum(np.log10(np.asarray(cost, dtype=np.float64) / self.cost_range[1]), 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the points, as JSON can hold it: the same for the same runs."""
        return {
            "law": self.law,
            "cost": self.cost,
            "error": self.error,
            "frontier": self.frontier,
            "status": self.status.name.lower(),
            "reason": self.reason,
            "equation": self.equation,
            "parameters": {name: finite(value) for name, value in self.parameters.items()},
            "exponent": finite(self.exponent),
            "sigma": finite(self.sigma),
            "objective": finite(self.objective),
            "gradient_norm": finite(self.gradient_norm),
            "condition_number": finite(self.condition_number),
            "n_starts": self.n_starts,
            "n_starts_agreeing": self.n_starts_agreeing,
            "cost_range": [finite(value) for value in self.cost_range],
            "n_runs": self.n_runs,
            "n_cells": self.n_cells,
            "n_points": self.n_points,
            "trial_ids": list(self.trial_ids),
            "left_out": [list(pair) for pair in self.left_out],
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        lines = [f"Fit of law {self.law!r} to {self.error} against {self.cost}"]
        lines += [f"  {name}: {value}" for name, value in self._facts()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return facts_html(f"Law {self.law} of {self.error} against {self.cost}", self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        facts = [("status", f"{self.status.name.lower()}: {self.reason}")]
        if self.converged:
            facts.append(("law", self.equation))
        if self.exponent is not None:
            facts.append(("exponent k", f"{self.exponent:.4g} (compute grows with performance^k)"))
        low, high = self.cost_range
        data = f"{counted(self.n_runs, 'run')} in {counted(self.n_cells, 'cell')}"
        facts.append(("data", f"{data}, {self.cost} {low:.3g} to {high:.3g}"))
        if self.optimum is not None:
            facts.append(("scatter", f"{self.sigma:.3g} in log error around the law"))
            facts.append(("starts", f"{self.n_starts_agreeing} of {self.n_starts} agree"))
        if self.left_out:
            trial, reason = self.left_out[0]
            facts.append(("left out", f"{counted(len(self.left_out), 'run')}, first: {trial}, {reason}"))
        return facts + [("note", note) for note in self.notes]

    def _curve(self) -> Optimum:
        if self.optimum is None:
            raise ValueError(f"law {self.law!r} was not fitted, so it predicts nothing: {self.reason}")
        return self.optimum


def fit(
    runs: pd.DataFrame,
    law: str | Law = "saturating",
    *,
    cost: str = "train_flops",
    error: str = "test_error",
    frontier: bool = False,
    columns: Mapping[str, str] | None = None,
    cluster: str | None = None,
) -> Fit:
    """Fit a law to a runs table.

    Args:
        runs: The runs table, or any table with the columns that are read.
        law: A name in `scaling.laws.LAWS`, or a law.
        cost: Column of the cost of a law in one input.
        error: Column of the error (or loss).
        frontier: Average the seeds of each cell and fit only the cells that none beats.
        columns: Column of each other input of the law (``size``, ``data``, ...) where it is not the usual one.
        cluster: Column whose equal values move together (``budget`` of an isoFLOP design); the cell if None.

    Raises:
        ValueError: If the table lacks a column or holds a value out of range, or a frontier is asked for
            of a law in several inputs.
    """
    form = get_law(law)
    points = points_of(runs, form, cost=cost, error=error, frontier=frontier, columns=columns, cluster=cluster)
    return fit_points(form, points, cost=input_label(form, cost, columns), error=error, frontier=frontier)


def input_label(form: Law, cost: str, columns: Mapping[str, str] | None) -> str:
    """Name the columns a law was fitted against."""
    where = {"cost": cost, **(columns or {})}
    return ", ".join(where.get(role, ROLE_COLUMNS.get(role, role)) for role in form.roles)


def points_of(
    runs: pd.DataFrame,
    form: Law,
    *,
    cost: str,
    error: str,
    frontier: bool,
    columns: Mapping[str, str] | None,
    cluster: str | None,
    all_cells: bool = False,
) -> Points:
    """Read the points a fit sees; with `all_cells` those a frontier would be chosen from."""
    if frontier and len(form.roles) != 1:
        raise ValueError(f"law {form.name!r} has the inputs {', '.join(form.roles)}: a frontier needs a single cost")
    where = {"cost": cost, **(columns or {})}
    points = read_points(runs, form, columns=where, error=error, average=frontier, cluster=cluster)
    return frontier_points(points) if frontier and not all_cells else points


def fit_points(form: Law, points: Points, *, cost: str, error: str, frontier: bool) -> Fit:
    """Fit a law to points that are ready."""
    needed = form.n_parameters + 1
    n_distinct = _count_distinct(points.x)
    optimum: Optimum | None = None
    if n_distinct < needed:
        status = FitStatus.TOO_FEW_RUNS
        reason = (
            f"{counted(n_distinct, 'distinct budget')}, and law {form.name!r} has {form.n_parameters} parameters: "
            f"at least {needed} are needed, one more than it could meet exactly"
        )
    else:
        with np.errstate(all="ignore"):
            optimum = minimise(form, points)
            status, reason = judge(form, points, optimum)
        if not np.isfinite(optimum.objective):
            optimum = None
    parameters = {} if optimum is None else form.to_parameters(form.shift(optimum.theta, optimum.centre))
    beyond = [name for name, value in parameters.items() if not math.isfinite(value)]
    if status is FitStatus.CONVERGED and beyond:
        status = FitStatus.NOT_CONVERGED
        reason = f"{beyond[0]} is beyond floating-point numbers in this unit; give {cost} in a larger unit"
    quoted = status is FitStatus.CONVERGED
    first = np.exp(points.x[0]) if points.n_points else np.array([math.nan])
    return Fit(
        law=form.name,
        parameters=parameters,
        status=status,
        reason=reason,
        objective=math.nan if optimum is None else optimum.objective,
        gradient_norm=math.nan if optimum is None else optimum.gradient_norm,
        condition_number=math.nan if optimum is None else optimum.condition_number,
        n_starts_agreeing=0 if optimum is None else optimum.n_agreeing,
        n_starts=0 if optimum is None else optimum.n_starts,
        cost_range=(float(first.min()), float(first.max())),
        n_runs=int(points.n_seeds.sum()),
        n_cells=points.n_clusters,
        n_points=points.n_points,
        trial_ids=points.trial_ids,
        left_out=points.left_out,
        notes=points.notes,
        sigma=math.nan if optimum is None else float(np.median(optimum.problem.sigma)),
        exponent=form.compute_exponent(parameters) if quoted else None,
        equation=form.equation(parameters) if quoted else f"no equation: {reason}",
        cost=cost,
        error=error,
        frontier=frontier,
        form=form,
        points=points,
        optimum=optimum,
    )


def _count_distinct(x: Array) -> int:
    """How many distinct inputs there are; numpy's own way along an axis takes ten times longer."""
    ordered = x[:, np.lexsort(x)]
    return int((ordered[:, 1:] != ordered[:, :-1]).any(axis=0).sum()) + min(x.shape[1], 1)


def finite(value: float | None) -> float | None:
    """A number JSON can hold, or None."""
    return value if value is not None and math.isfinite(value) else None
