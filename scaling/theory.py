"""How computation must grow with performance, from how error falls with size and with data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling.bootstrap import Interval, Intervals, interval_bounds, named_values
from scaling.fit import finite
from scaling.laws import get_law
from scaling.laws.additive import AdditivePowers
from scaling.laws.base import Law
from scaling.notebook import facts_html, paragraph_html

# Data must grow with the square of performance where error falls as one over the root of the examples, and
# computation with the fourth power where the model grows with the data (Thompson et al. 2020).
THEORY_DATA_EXPONENT = 2.0
THEORY_COMPUTE_EXPONENT = 4.0
# What the study read off ImageNet results, as published.
PUBLISHED_COMPUTE_EXPONENT = 9.0
# The surface without an irreducible error, for runs that show none.
SIZE_AND_DATA_WITHOUT_E = AdditivePowers(
    "size_and_data_without_E", ("size", "data"), ("A", "B"), ("alpha", "beta"), irreducible=False
)


@dataclass(frozen=True)
class ComputeExponents:
    """Exponents k of computation in performance, from ``error = a N^-alpha + b D^-beta`` and ``cost ~ N D``.

    Attributes:
        data: ``1/beta``, of the data alone (theory: 2).
        balanced: ``1/alpha + 1/beta``: each term is lowered in step. It is what the optimal allocation
            reaches, and size proportional to data too if ``alpha = beta``.
        proportional: ``2 / min(alpha, beta)``: size strictly proportional to data, where for small errors the
            slower term alone is left. Never below `balanced`.
    """

    data: float
    balanced: float
    proportional: float

    def _repr_html_(self) -> str:
        return paragraph_html(repr(self))


@dataclass(frozen=True, repr=False)
class MeasuredExponents:
    """The same measured on a sweep, with intervals; None with a reason where the fit may not be quoted."""

    exponents: ComputeExponents | None
    intervals: dict[str, Interval]
    reason: str

    def __repr__(self) -> str:
        return "\n".join(["MeasuredExponents", *(f"  {name}: {value}" for name, value in self._facts())])

    def _repr_html_(self) -> str:
        return facts_html("Exponents k of computation in performance", self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        if self.exponents is None:
            return [("no number", self.reason)]
        return [(name, f"{value:.4g} {self.intervals.get(name, '')}") for name, value in vars(self.exponents).items()]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        values = {} if self.exponents is None else vars(self.exponents)
        return {
            "reason": self.reason,
            "theory": THEORY_COMPUTE_EXPONENT,
            "published": PUBLISHED_COMPUTE_EXPONENT,
            "exponents": {name: finite(value) for name, value in values.items()},
            "intervals": {name: interval.to_dict() for name, interval in self.intervals.items()},
        }


def law_named(name: str) -> Law:
    """Look a law up, the surface without an irreducible error (``size_and_data_without_E``) included.

    Raises:
        ValueError: If there is none of that name.
    """
    return SIZE_AND_DATA_WITHOUT_E if name == SIZE_AND_DATA_WITHOUT_E.name else get_law(name)


def compute_exponents(alpha: float, beta: float) -> ComputeExponents:
    """Turn the exponents of size and data into those of computation.

    ``alpha = beta = 1/2`` gives 2 for data and 4 for computation, the theory's k^2 and k^4.

    Raises:
        ValueError: If one is not positive and finite.

    Source:
        Thompson et al. 2020 (arXiv:2007.05558) for k^2 and k^4; Hoffmann et al. 2022 (arXiv:2203.15556) for the
        optimal allocation.
    """
    for name, value in (("alpha", alpha), ("beta", beta)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}, but an exponent by which error falls is positive and finite")
    return ComputeExponents(1.0 / beta, 1.0 / alpha + 1.0 / beta, 2.0 / min(alpha, beta))


def measured_exponents(intervals: Intervals) -> MeasuredExponents:
    """Exponents of computation of a bootstrapped surface in size and data (``size_and_data``, ``rosenfeld``).

    Raises:
        ValueError: If the law has no exponents of size and data.
    """
    fitted = intervals.fit
    if fitted.form.roles != ("size", "data") or not {"alpha", "beta"} <= set(fitted.form.names):
        raise ValueError(f"law {fitted.law!r} has no exponents of size and data; fit size_and_data")
    if not fitted.converged or fitted.optimum is None:
        return MeasuredExponents(None, {}, fitted.reason)
    exponents = compute_exponents(fitted.parameters["alpha"], fitted.parameters["beta"])
    if not len(intervals.draws):
        return MeasuredExponents(exponents, {}, "no interval: too few clusters to resample")
    draws, left = (
        named_values(fitted.form, part, fitted.optimum) for part in (intervals.draws, intervals.leave_one_out)
    )
    freedom = (fitted.n_cells, fitted.form.n_parameters)
    found = {}
    for name, estimate in vars(exponents).items():
        low, high = interval_bounds(
            _exponents(name, draws)[:, None], np.array([estimate]), _exponents(name, left)[:, None],
            intervals.level, intervals.method, freedom,
        )  # fmt: skip
        found[name] = Interval(float(low[0]), float(high[0]), intervals.level, intervals.method)
    return MeasuredExponents(exponents, found, fitted.reason)


def _exponents(name: str, values: dict[str, np.ndarray]) -> np.ndarray:
    with np.errstate(divide="ignore"):
        for_size, for_data = 1.0 / values["alpha"], 1.0 / values["beta"]
    if name == "data":
        return for_data
    return for_size + for_data if name == "balanced" else 2.0 * np.maximum(for_size, for_data)
