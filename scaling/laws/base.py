"""What every law has: parameters with bounds, a prediction, its gradient, an inverse, an equation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# Inverse search: 10^+-LOG10_REACH in cost around 1 is more than any quantity of computing, time or money.
LOG10_REACH = 300.0


@dataclass(frozen=True)
class Parameter:
    """One parameter of a law, in the units of its equation.

    The solver sees the logarithm of a ``log`` parameter, and any other as it is.
    """

    name: str
    meaning: str
    lower: float
    upper: float
    transform: Literal["identity", "log"] = "identity"


class Law(ABC):
    """How error depends on one or several inputs, e.g. ``error = E + A cost^-alpha``.

    The solver works on *coordinates*: one vector per problem, positive scales as logarithms, the
    inputs as natural logarithms. People see *parameters*: a mapping from name to number, with
    the inputs in their own units. Subclasses are final.
    """

    name: str
    roles: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    # Inputs whose unit is a convention; the others (epochs, an error) are not shifted to their mean.
    centred: tuple[bool, ...] = ()

    @abstractmethod
    def evaluate(self, theta: Array, x: Array) -> Array:
        """Logarithm of the predicted error.

        Args:
            theta: Coordinates, shape (batch, n_parameters).
            x: Natural logarithms of the inputs, shape (n_inputs, n_points).

        Returns:
            Shape (batch, n_points); NaN where the law has no value.
        """

    @abstractmethod
    def evaluate_with_jacobian(self, theta: Array, x: Array) -> tuple[Array, Array]:
        """Logarithm of the error and its derivatives, (batch, n_points) and (batch, n_parameters, n_points)."""

    @abstractmethod
    def starts(self, x: Array, y: Array, weight: Array) -> Array:
        """Propose coordinates to start from, shape (n_starts, n_parameters), for log errors `y`."""

    @abstractmethod
    def shift(self, theta: Array, by: Array) -> Array:
        """Coordinates that give at ``x + by`` what `theta` gave at ``x``: a change of the inputs' units."""

    @abstractmethod
    def equation(self, parameters: Mapping[str, float]) -> str:
        """Write the law with its numbers."""

    def bounds(self, x: Array, y: Array) -> tuple[Array, Array]:  # noqa: ARG002
        """Lowest and highest coordinates the solver may reach on these points."""
        lower = np.array([_coordinate(p.lower, p) for p in self.parameters])
        upper = np.array([_coordinate(p.upper, p) for p in self.parameters])
        # A scale is what the law gives at the centre of the points: beyond these it is no scale of theirs.
        for index, parameter in enumerate(self.parameters):
            if parameter.transform == "log" and parameter.upper == np.inf:
                lower[index], upper[index] = y.min() - 40.0, y.max() + 40.0
            elif parameter.name == "E":
                upper[index] = np.exp(y.max())
        return lower, upper

    def reduced(self) -> Mapping[str, float]:
        """Coordinates that, held at the given values, leave a simpler law to test against."""
        return {}

    def shape_indices(self) -> list[int]:
        """Coordinates without which the law says nothing: its exponents."""
        names = ("alpha", "beta", "gamma", "b")
        return [index for index, name in enumerate(self.names) if name in names]

    def compute_exponent(self, parameters: Mapping[str, float]) -> float | None:
        """k in "compute grows with performance^k" for small errors, or None if the law has no such number."""
        return 1.0 / parameters["alpha"] if "alpha" in parameters and parameters["alpha"] > 0 else None

    def centre(self, x: Array) -> Array:
        """Where the solver puts the origin of each log input: the mean, or 0 where a shift has no meaning."""
        mean = x.mean(axis=1)
        return np.where(self.centred, mean, 0.0) if self.centred else mean

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in the order of the coordinates."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def n_parameters(self) -> int:
        """How many numbers the data have to determine."""
        return len(self.parameters)

    def natural(self, theta: Array) -> Array:
        """Coordinates (batch, n_parameters) in the units of the equation, inputs uncentred."""
        logs = [parameter.transform == "log" for parameter in self.parameters]
        with np.errstate(over="ignore", under="ignore"):
            return np.where(logs, np.exp(np.where(logs, theta, 0.0)), theta)

    def to_parameters(self, theta: Array) -> dict[str, float]:
        """Name the coordinates (one vector, inputs uncentred) in the units of the equation."""
        return dict(zip(self.names, self.natural(theta[None])[0].tolist(), strict=True))

    def to_coordinates(self, parameters: Mapping[str, float]) -> Array:
        """Turn named parameters into the solver's coordinates.

        Raises:
            ValueError: If a name is missing or unknown, or a value lies outside its bounds.
        """
        missing, unknown = set(self.names) - set(parameters), set(parameters) - set(self.names)
        if missing or unknown:
            raise ValueError(
                f"law {self.name!r} has the parameters {', '.join(self.names)}; "
                f"missing: {', '.join(sorted(missing)) or 'none'}, unknown: {', '.join(sorted(unknown)) or 'none'}"
            )
        for parameter in self.parameters:
            value = parameters[parameter.name]
            if not (parameter.lower <= value <= parameter.upper and np.isfinite(value)):
                raise ValueError(
                    f"{parameter.name} is {value}, but in law {self.name!r} it lies in "
                    f"[{parameter.lower:g}, {parameter.upper:g}]"
                )
        return np.array([_coordinate(parameters[p.name], p) for p in self.parameters])

    def predict(self, parameters: Mapping[str, float], *inputs: ArrayLike) -> Array:
        """Error the law gives at these inputs.

        Args:
            parameters: By name, in the units of the equation.
            inputs: One array or scalar per role of the law, positive, in their own units.

        Raises:
            ValueError: If the number of inputs is wrong or one is not positive and finite.
        """
        x, shape = self._inputs(inputs)
        log_error = self.evaluate(self.to_coordinates(parameters)[None], x)[0]
        return np.exp(log_error).reshape(shape)

    def gradient(self, parameters: Mapping[str, float], *inputs: ArrayLike) -> dict[str, Array]:
        """Derivative of the predicted error in each parameter, inputs as in `predict`."""
        x, shape = self._inputs(inputs)
        theta = self.to_coordinates(parameters)
        log_error, jacobian = self.evaluate_with_jacobian(theta[None], x)
        error = np.exp(log_error[0])
        natural = error * (self.natural_jacobian(parameters).T @ jacobian[0])
        return {name: row.reshape(shape) for name, row in zip(self.names, natural, strict=True)}

    def natural_jacobian(self, parameters: Mapping[str, float]) -> Array:
        """Derivative of the coordinates (rows) in the parameters (columns)."""
        return np.diag([1.0 / parameters[p.name] if p.transform == "log" else 1.0 for p in self.parameters])

    def inverse(self, parameters: Mapping[str, float], error: ArrayLike) -> Array:
        """Cost at which the law reaches an error; infinite below its least error, 0 above its greatest.

        Raises:
            ValueError: If the law has several inputs, or an error is not positive.
        """
        if len(self.roles) != 1:
            raise ValueError(
                f"law {self.name!r} depends on {', '.join(self.roles)}: many points reach the same error; "
                "use the optimal allocation"
            )
        wanted = np.asarray(error, dtype=np.float64)
        if not np.all(wanted > 0):
            raise ValueError(f"the wanted error is {wanted.min()}, but it is above 0")
        theta = self.to_coordinates(parameters)
        return np.exp(self.inverse_log(theta, np.log(wanted)))

    def inverse_log(self, theta: Array, log_error: Array) -> Array:
        """Logarithm of the cost of log errors, by bisection; `theta` is one vector."""
        wanted = np.asarray(log_error, dtype=np.float64)
        low = np.full(wanted.size, -LOG10_REACH * np.log(10.0))
        high = -low
        target = wanted.reshape(-1)
        for _ in range(80):
            middle = (low + high) / 2
            above = self.evaluate(theta[None], middle[None])[0] > target
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        ends = self.evaluate(theta[None], np.array([[-LOG10_REACH, LOG10_REACH]]) * np.log(10.0))[0]
        result = np.where(target <= ends[1], np.inf, np.where(target > ends[0], -np.inf, (low + high) / 2))
        return result.reshape(wanted.shape)

    def _inputs(self, inputs: tuple[ArrayLike, ...]) -> tuple[Array, tuple[int, ...]]:
        if len(inputs) != len(self.roles):
            raise ValueError(
                f"law {self.name!r} takes {len(self.roles)} inputs ({', '.join(self.roles)}), not {len(inputs)}"
            )
        arrays = np.broadcast_arrays(*(np.asarray(values, dtype=np.float64) for values in inputs))
        for role, values in zip(self.roles, arrays, strict=True):
            if not np.all((values > 0) & np.isfinite(values)):
                raise ValueError(f"{role} holds a value that is not positive and finite; laws are in its logarithm")
        return np.log(np.array([values.reshape(-1) for values in arrays])), arrays[0].shape


def number(value: float) -> str:
    """Four significant digits for an equation."""
    return f"{value:.4g}"


def _coordinate(value: float, parameter: Parameter) -> float:
    if parameter.transform == "identity":
        return float(value)
    return float(np.log(value)) if value > 0 else -np.inf
