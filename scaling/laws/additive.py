"""Sums of power laws: the power law, with irreducible error, and in several resources at once."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from scaling.laws.base import Array, Law, Parameter, number

# Slopes tried as starts: with several inputs those that need the fewest steps to the optimum (measured), with one from
# barely falling to faster than any published learning curve.
SLOPES = (0.1, 0.2, 0.3, 0.5, 1.0)
FINE_SLOPES = (0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 2.0)
# No known learning curve is steeper; a fit that stops here has seen a cliff, not a power law.
STEEPEST = 20.0


class AdditivePowers(Law):
    """``error = E + sum over the inputs of scale * input^-exponent``, E optional.

    Source:
        Hestness et al. 2017 (arXiv:1712.00409) for one input; Hoffmann et al. 2022
        (arXiv:2203.15556) eq. 2 for size and data.
    """

    def __init__(
        self,
        name: str,
        roles: tuple[str, ...],
        scales: tuple[str, ...],
        exponents: tuple[str, ...],
        *,
        irreducible: bool,
    ) -> None:
        self.name = name
        self.roles = roles
        self.scales = scales
        self.exponents = exponents
        self.irreducible = irreducible
        parameters = [Parameter("E", "error that no amount of the inputs removes", 0.0, np.inf)]
        parameters = parameters if irreducible else []
        for role, scale, exponent in zip(roles, scales, exponents, strict=True):
            parameters.append(Parameter(scale, f"reducible error at 1 unit of {role}", 0.0, np.inf, "log"))
            parameters.append(Parameter(exponent, f"exponent of {role}", 0.0, STEEPEST))
        self.parameters = tuple(parameters)

    def evaluate(self, theta: Array, x: Array) -> Array:
        first = int(self.irreducible)
        if not self.irreducible and len(self.roles) == 1:
            return theta[:, :1] - theta[:, 1:2] * x[0]
        total = np.exp(theta[:, first, None] - theta[:, first + 1, None] * x[0])
        for j in range(1, len(self.roles)):
            total += np.exp(theta[:, first + 2 * j, None] - theta[:, first + 2 * j + 1, None] * x[j])
        if self.irreducible:
            total += theta[:, :1]
        return np.log(total)

    def evaluate_with_jacobian(self, theta: Array, x: Array) -> tuple[Array, Array]:
        first = int(self.irreducible)
        jacobian = np.empty((theta.shape[0], self.n_parameters, x.shape[1]))
        terms = jacobian[:, first::2]
        fallen = -x
        np.multiply(theta[:, first + 1 :: 2, None], fallen, out=terms)
        terms += theta[:, first::2, None]
        np.exp(terms, out=terms)
        total = terms.sum(axis=1)
        if self.irreducible:
            total += theta[:, :1]
        terms /= total[:, None]
        jacobian[:, :first] = 1.0 / total[:, None]
        np.multiply(terms, fallen, out=jacobian[:, first + 1 :: 2])
        return np.log(total), jacobian

    def starts(self, x: Array, y: Array, weight: Array) -> Array:
        """A grid of exponents; E and the scales follow from them by linear least squares."""
        slopes = FINE_SLOPES if len(self.roles) == 1 else SLOPES if len(self.roles) == 2 else SLOPES[:4]
        if not self.irreducible and len(self.roles) == 1:
            return self._straight_lines(x, y, weight)
        grid = np.array(list(itertools.product(slopes, repeat=len(self.roles))))
        columns = [np.exp(-grid[:, j, None] * x[j]) for j in range(len(self.roles))]
        if self.irreducible:
            columns.insert(0, np.ones((grid.shape[0], x.shape[1])))
        coefficients = nonnegative_coefficients(np.stack(columns, axis=1), y, weight)
        theta = np.empty((grid.shape[0], self.n_parameters))
        first = int(self.irreducible)
        theta[:, :first] = coefficients[:, :first]
        theta[:, first::2] = np.log(coefficients[:, first:])
        theta[:, first + 1 :: 2] = grid
        return theta

    def _straight_lines(self, x: Array, y: Array, weight: Array) -> Array:
        level = np.average(y, weights=weight)
        centre = np.average(x[0], weights=weight)
        slopes = np.array((0.0, *FINE_SLOPES))
        return np.stack([level + slopes * centre, slopes], axis=1)

    def shift(self, theta: Array, by: Array) -> Array:
        moved = np.array(theta, dtype=np.float64)
        first = int(self.irreducible)
        for j in range(len(self.roles)):
            moved[..., first + 2 * j] += moved[..., first + 2 * j + 1] * by[j]
        return moved

    def reduced(self) -> Mapping[str, float]:
        return {"E": 0.0} if self.irreducible else {}

    def compute_exponent(self, parameters: Mapping[str, float]) -> float | None:
        """1/alpha for one input; for size and data at the optimal allocation, 1/alpha + 1/beta."""
        values = [parameters[name] for name in self.exponents]
        if len(values) > 2 or min(values) <= 0:
            return None
        return float(sum(1.0 / value for value in values))

    def inverse_log(self, theta: Array, log_error: Array) -> Array:
        if len(self.roles) != 1:
            return super().inverse_log(theta, log_error)
        first = int(self.irreducible)
        floor = theta[0] if self.irreducible else 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            excess = np.exp(log_error) - floor
            reached = (theta[first] - np.log(np.maximum(excess, 0.0))) / theta[first + 1]
        return np.where(excess > 0, reached, np.inf)

    def equation(self, parameters: Mapping[str, float]) -> str:
        terms = [number(parameters["E"])] if self.irreducible else []
        for role, scale, exponent in zip(self.roles, self.scales, self.exponents, strict=True):
            terms.append(f"{number(parameters[scale])} {role}^-{number(parameters[exponent])}")
        return "error = " + " + ".join(terms)


def nonnegative_coefficients(columns: Array, y: Array, weight: Array) -> Array:
    """Coefficients of ``error = columns @ coefficients`` with small relative residuals, kept above 0.

    A negative coefficient is replaced by a small positive one: these are starts, not results.

    Args:
        columns: Shape (batch, n_coefficients, n_points).
        y: Log errors, shape (n_points,).
        weight: Shape (n_points,).
    """
    level = float(y.mean())
    relative = columns * np.exp(level - y)
    weighted = relative * weight
    normal = weighted @ np.swapaxes(relative, 1, 2)
    size = np.sqrt(np.einsum("bii->bi", normal)) + 1e-300
    scaled = normal / (size[:, :, None] * size[:, None, :])
    scaled += 1e-9 * np.eye(normal.shape[1])
    right = weighted.sum(axis=2) / size
    coefficients = np.linalg.solve(scaled, right[:, :, None])[:, :, 0] / size
    typical = 1.0 / np.maximum(np.mean(relative, axis=2), 1e-300)
    return np.maximum(coefficients, 1e-3 * typical) * np.exp(level)


POWER = AdditivePowers("power", ("cost",), ("A",), ("alpha",), irreducible=False)
SATURATING = AdditivePowers("saturating", ("cost",), ("A",), ("alpha",), irreducible=True)
SIZE_AND_DATA = AdditivePowers("size_and_data", ("size", "data"), ("A", "B"), ("alpha", "beta"), irreducible=True)
WIDTH_DEPTH_DATA = AdditivePowers(
    "width_depth_data",
    ("width", "depth", "data"),
    ("A", "G", "B"),
    ("alpha", "gamma", "beta"),
    irreducible=True,
)
