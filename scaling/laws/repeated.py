"""Size and data when examples are seen more than once: epochs are not new examples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scaling.laws.additive import SIZE_AND_DATA, STEEPEST
from scaling.laws.base import Array, Law, Parameter, number

LEAST_EXPONENT = 1e-3
MOST_REPEATS = 1e4


class RepeatedData(Law):
    """``error = E + A size'^-alpha + B data'^-beta`` with what repetition and excess size are worth.

    ``data' = U (1 + R_data (1 - exp(-R / R_data)))`` for U distinct examples and R = epochs - 1 repeats; in the
    same way ``size'`` with R_size for the parameters beyond those that are optimal for U examples. Below one
    epoch, U is the part of the examples that was seen.

    Args:
        excess_size: Discount parameters beyond the optimum too; otherwise size counts in full.

    Source:
        Muennighoff et al. 2023 (arXiv:2305.16264), eq. 5 to 7 and appendix A.
    """

    roles = ("size", "data", "epochs")
    centred = (True, True, False)

    def __init__(self, *, excess_size: bool) -> None:
        self.excess_size = excess_size
        self.name = "repeated_data_and_size" if excess_size else "repeated_data"
        size = (Parameter("R_size", "excess parameters, in optima, that are worth 1/e", 1e-2, MOST_REPEATS, "log"),)
        self.parameters = (
            Parameter("E", "error that neither size nor data removes", 0.0, np.inf),
            Parameter("A", "reducible error at 1 parameter", 0.0, np.inf, "log"),
            Parameter("alpha", "exponent of size", LEAST_EXPONENT, STEEPEST),
            Parameter("B", "reducible error at 1 example", 0.0, np.inf, "log"),
            Parameter("beta", "exponent of data", LEAST_EXPONENT, STEEPEST),
            Parameter("R_data", "repeats after which one more is worth 1/e", 1e-2, MOST_REPEATS, "log"),
            *(size if excess_size else ()),
        )

    def evaluate(self, theta: Array, x: Array) -> Array:
        size, data = self._effective(theta, x)[:2]
        _, a, alpha, b, beta = (theta[:, j, None] for j in range(5))
        return np.log(theta[:, :1] + np.exp(a - alpha * size) + np.exp(b - beta * data))

    def evaluate_with_jacobian(self, theta: Array, x: Array) -> tuple[Array, Array]:
        size, data, data_by_repeats, size_by_optimum, size_by_excess, optimum = self._effective(theta, x)
        floor, a, alpha, b, beta = (theta[:, j, None] for j in range(5))
        by_size, by_data = np.exp(a - alpha * size), np.exp(b - beta * data)
        total = floor + by_size + by_data
        jacobian = np.empty((theta.shape[0], self.n_parameters, x.shape[1]))
        jacobian[:, 0] = 1.0
        jacobian[:, 1] = by_size
        jacobian[:, 2] = -size * by_size
        jacobian[:, 3] = by_data
        jacobian[:, 4] = -data * by_data
        jacobian[:, 5] = -beta * by_data * data_by_repeats
        if self.excess_size:
            through = -alpha * by_size * size_by_optimum
            seen = self._seen(x)
            jacobian[:, 1] += through / alpha
            jacobian[:, 2] += through * (1.0 / alpha - optimum) / alpha
            jacobian[:, 3] -= through / alpha
            jacobian[:, 4] += through * (seen - 1.0 / beta) / alpha
            jacobian[:, 6] = -alpha * by_size * size_by_excess
        return np.log(total), jacobian / total[:, None]

    def _effective(self, theta: Array, x: Array) -> tuple[Array, Array, Array, Array, Array, Array]:
        """Log effective size and data, and what they change with."""
        seen = self._seen(x)
        repeats = np.maximum(np.exp(x[2]) - 1.0, 0.0)
        worth, data_by_repeats, _ = _discount(repeats, np.exp(theta[:, 5, None]))
        data = seen + worth
        if not self.excess_size:
            size = np.broadcast_to(x[0], data.shape)
            return size, data, data_by_repeats, np.zeros_like(data), np.zeros_like(data), np.zeros_like(data)
        _, a, alpha, b, beta = (theta[:, j, None] for j in range(5))
        optimum = (np.log(alpha) + a - np.log(beta) - b + beta * seen) / alpha
        base = np.minimum(optimum, x[0])
        ratio = np.exp(x[0] - base)
        worth, size_by_excess, slope = _discount(ratio - 1.0, np.exp(theta[:, 6, None]))
        size_by_optimum = np.where(optimum < x[0], 1.0 - slope * ratio, 0.0)
        return base + worth, data, data_by_repeats, size_by_optimum, size_by_excess, optimum

    @staticmethod
    def _seen(x: Array) -> Array:
        return x[1] + np.minimum(x[2], 0.0)

    def starts(self, x: Array, y: Array, weight: Array) -> Array:
        """Three half-lives of repetition, each with the starts of the law in size and effective data."""
        seen, repeats = self._seen(x), np.maximum(np.exp(x[2]) - 1.0, 0.0)
        parts = []
        for half_life in (2.0, 10.0, 50.0):
            data = seen + _discount(repeats, np.array([[half_life]]))[0][0]
            inner = SIZE_AND_DATA.starts(np.stack([x[0], data]), y, weight)[::2]
            for excess in (5.0, 50.0) if self.excess_size else (5.0,):
                more = np.log([half_life, excess])[: self.n_parameters - 5]
                parts.append(np.hstack([inner, np.broadcast_to(more, (len(inner), len(more)))]))
        return np.concatenate(parts)

    def shift(self, theta: Array, by: Array) -> Array:
        if by[2] != 0:
            raise ValueError("epochs are a count of passes, not a quantity with a unit: they cannot be rescaled")
        moved = np.array(theta, dtype=np.float64)
        moved[..., 1] += moved[..., 2] * by[0]
        moved[..., 3] += moved[..., 4] * by[1]
        return moved

    def reduced(self) -> Mapping[str, float]:
        return {"E": 0.0}

    def shape_indices(self) -> list[int]:
        return [2, 4]

    def compute_exponent(self, parameters: Mapping[str, float]) -> float | None:
        """That of fresh data at the optimal allocation."""
        return SIZE_AND_DATA.compute_exponent(parameters)

    def equation(self, parameters: Mapping[str, float]) -> str:
        size = "size'" if self.excess_size else "size"
        text = (
            f"error = {number(parameters['E'])} + {number(parameters['A'])} {size}^-{number(parameters['alpha'])}"
            f" + {number(parameters['B'])} data'^-{number(parameters['beta'])}, R_data = {number(parameters['R_data'])}"
        )
        return text + (f", R_size = {number(parameters['R_size'])}" if self.excess_size else "")


def _discount(repeats: Array, half_life: Array) -> tuple[Array, Array, Array]:
    """Log of ``1 + R* (1 - exp(-R / R*))``, its derivative in log R* and in R."""
    ratio = repeats / half_life
    left = np.exp(-ratio)
    worth = 1.0 - half_life * np.expm1(-ratio)
    return np.log(worth), half_life * (-np.expm1(-ratio) - ratio * left) / worth, left / worth


REPEATED = tuple(RepeatedData(excess_size=flag) for flag in (False, True))
