"""The exponential form: performance (1/error) grows by a constant per tenfold of compute."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scaling.laws.base import Array, Law, Parameter, number

LN10 = float(np.log(10.0))


class Exponential(Law):
    """``1/error = a + b log10(cost)``: compute grows exponentially with performance.

    Source:
        Thompson et al. 2020 (arXiv:2007.05558), the exponential alternative to the polynomial.
    """

    name = "exponential"
    roles = ("cost",)
    parameters = (
        Parameter("a", "performance (1/error) at a cost of 1", -np.inf, np.inf),
        Parameter("b", "performance gained per tenfold of cost", 0.0, np.inf),
    )

    def evaluate(self, theta: Array, x: Array) -> Array:
        performance = theta[:, :1] + theta[:, 1:2] * (x[0] / LN10)
        return -np.log(np.where(performance > 0, performance, np.nan))

    def evaluate_with_jacobian(self, theta: Array, x: Array) -> tuple[Array, Array]:
        decades = x[0] / LN10
        performance = theta[:, :1] + theta[:, 1:2] * decades
        performance = np.where(performance > 0, performance, np.nan)
        return -np.log(performance), np.stack([-1.0 / performance, -decades / performance], axis=1)

    def starts(self, x: Array, y: Array, weight: Array) -> Array:
        """The line through 1/error, and flatter ones, all positive on the points."""
        performance, decades = np.exp(-y), x[0] / LN10
        # Relative residuals count: weights of error squared, scaled so that tiny errors do not underflow.
        share = weight * np.exp(2.0 * (y - y.max()))
        mean_d, mean_p = np.average(decades, weights=share), np.average(performance, weights=share)
        spread = np.average((decades - mean_d) ** 2, weights=share)
        slope = np.average((decades - mean_d) * (performance - mean_p), weights=share) / max(spread, 1e-300)
        room = max(mean_d - decades.min(), 1e-300)
        slopes = np.clip(slope * np.array([0.0, 0.25, 0.5, 0.75, 1.0]), 0.0, 0.95 * mean_p / room)
        return np.stack([mean_p - slopes * mean_d, slopes], axis=1)

    def shift(self, theta: Array, by: Array) -> Array:
        moved = np.array(theta, dtype=np.float64)
        moved[..., 0] -= moved[..., 1] * by[0] / LN10
        return moved

    def compute_exponent(self, parameters: Mapping[str, float]) -> float | None:  # noqa: ARG002
        """None: here compute does not grow with any power of performance."""
        return None

    def inverse_log(self, theta: Array, log_error: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return (np.exp(-log_error) - theta[0]) / theta[1] * LN10

    def equation(self, parameters: Mapping[str, float]) -> str:
        return f"1/error = {number(parameters['a'])} + {number(parameters['b'])} log10(cost)"


EXPONENTIAL = Exponential()
