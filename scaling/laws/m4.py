"""M4: a power law between the error of guessing and an irreducible error."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scaling.laws.base import Array, Law, Parameter, number

NEWTON_STEPS = 60
NEWTON_TOLERANCE = 1e-11


class M4(Law):
    """``(error - E) = A cost^-alpha (E0 - error)^gamma``: error starts at E0 and ends at E.

    With gamma = 0 it is the saturating law. The error is the root of a monotone convex (or concave)
    function of its logit, on which Newton's method cannot fail.

    Args:
        guessing_error: E0 where it is known (1 - 1/n_classes); a parameter of the fit if None.

    Source:
        Alabdulmohsin, Neyshabur and Zhai 2022 (arXiv:2209.06640), eq. 5.
    """

    roles = ("cost",)

    def __init__(self, guessing_error: float | None = None) -> None:
        if guessing_error is not None and not guessing_error > 0:
            raise ValueError(f"guessing_error is {guessing_error}, but it is above 0; 0.9 for ten equal classes")
        self.guessing_error = guessing_error
        self.name = "m4" if guessing_error is None else f"m4({guessing_error:g})"
        free = (Parameter("E0", "error before anything is learnt", 0.0, np.inf, "log"),)
        self.parameters = (
            Parameter("E", "error that no cost removes", 0.0, np.inf),
            Parameter("A", "scale of the reducible error", 0.0, np.inf, "log"),
            Parameter("alpha", "exponent of cost", 0.0, 20.0),
            Parameter("gamma", "how long the error stays at that of guessing", 0.0, 10.0),
            *(free if guessing_error is None else ()),
        )

    def bounds(self, x: Array, y: Array) -> tuple[Array, Array]:
        lower, upper = super().bounds(x, y)
        # Where the curve sits along the log cost, in e-folds of the error's odds.
        lower[1], upper[1] = -200.0, 200.0
        upper[0] = np.exp(y.max())
        if self.guessing_error is None:
            lower[4], upper[4] = y.max() - np.log(2.0), y.max() + np.log(100.0)
        else:
            upper[0] = min(upper[0], self.guessing_error * 0.999)
        return lower, upper

    def natural(self, theta: Array) -> Array:
        """The solver's second coordinate is ``log A - (1 - gamma) log(E0 - E)``: it hardly moves with the ends."""
        moved = np.array(theta, dtype=np.float64)
        top = np.exp(theta[:, 4]) if self.guessing_error is None else self.guessing_error
        moved[:, 1] += (1.0 - theta[:, 3]) * np.log(np.maximum(top - theta[:, 0], 1e-300))
        return super().natural(moved)

    def to_coordinates(self, parameters: Mapping[str, float]) -> Array:
        theta = super().to_coordinates(parameters)
        gap = parameters.get("E0", self.guessing_error or 0.0) - parameters["E"]
        if not gap > 0:
            raise ValueError(f"E is {parameters['E']}, but it lies below E0, the error of guessing")
        theta[1] -= (1.0 - parameters["gamma"]) * np.log(gap)
        return theta

    def natural_jacobian(self, parameters: Mapping[str, float]) -> Array:
        gamma, gap = parameters["gamma"], parameters.get("E0", self.guessing_error or 0.0) - parameters["E"]
        result = super().natural_jacobian(parameters)
        result[1, 0] = (1.0 - gamma) / gap
        result[1, 3] = np.log(gap)
        if self.guessing_error is None:
            result[1, 4] = -(1.0 - gamma) / gap
        return result

    def evaluate(self, theta: Array, x: Array) -> Array:
        floor, gap, _, parts = self._solve(theta, x)
        return np.log(floor + gap * parts.share)

    def evaluate_with_jacobian(self, theta: Array, x: Array) -> tuple[Array, Array]:
        floor, gap, gamma, parts = self._solve(theta, x)
        error = floor + gap * parts.share
        slope = np.maximum(parts.rest + gamma * parts.share, 1e-12)
        per_target = gap * parts.share * parts.rest / slope
        jacobian = np.empty((theta.shape[0], self.n_parameters, x.shape[1]))
        jacobian[:, 0] = parts.rest
        jacobian[:, 1] = per_target
        jacobian[:, 2] = -x[0] * per_target
        jacobian[:, 3] = -parts.softplus * per_target
        if self.guessing_error is None:
            jacobian[:, 4] = (floor + gap) * parts.share
        jacobian /= error[:, None]
        return np.log(error), jacobian

    def _solve(self, theta: Array, x: Array) -> tuple[Array, Array, Array, _Logistic]:
        """Floor, height, bend, and ``(error - E) / (E0 - E)`` on the logistic scale."""
        floor, place, alpha, gamma = (theta[:, j, None] for j in range(4))
        top = np.exp(theta[:, 4, None]) if self.guessing_error is None else self.guessing_error
        gap = top - floor
        gap = np.where(gap > 0, gap, np.nan)
        target = place - alpha * x[0]
        # log(s) - gamma log(1 - s) = target, in z = logit(s): convex or concave in z, so Newton's method goes one way.
        logit = np.where(target < 0, target, target / np.maximum(gamma, 1e-3))
        logit = np.clip(logit, -500.0, 500.0)
        for _ in range(NEWTON_STEPS):
            parts = _logistic(logit)
            slope = np.maximum(parts.rest + gamma * parts.share, 1e-12)
            change = (logit + (gamma - 1.0) * parts.softplus - target) / slope
            logit = np.clip(logit - change, -500.0, 500.0)
            if not np.abs(change).max(initial=0.0) > NEWTON_TOLERANCE:
                break
        return floor, gap, gamma, _logistic(logit)

    def starts(self, x: Array, y: Array, weight: Array) -> Array:
        """A grid of ends and bends; A and alpha follow by a straight line."""
        error = np.exp(y)
        tops = (1.03, 1.3, 3.0) if self.guessing_error is None else (1.0,)
        rows = []
        for low, high, gamma in itertools.product((0.0, 0.5, 0.9), tops, (0.1, 0.5, 1.5, 3.0)):
            floor = low * error.min()
            top = high * error.max() if self.guessing_error is None else self.guessing_error
            inside = (error > floor) & (error < top)
            if inside.sum() < 2:
                continue
            share = (error[inside] - floor) / (top - floor)
            place, alpha = _line(x[0][inside], np.log(share) - gamma * np.log1p(-share), weight[inside])
            rows.append([floor, place, alpha, gamma, np.log(top)][: self.n_parameters])
        if not rows:
            return np.array([[0.0, 0.0, 0.1, 0.1, float(y.max() + 0.1)][: self.n_parameters]])
        return np.array(rows)

    def shift(self, theta: Array, by: Array) -> Array:
        moved = np.array(theta, dtype=np.float64)
        moved[..., 1] += moved[..., 2] * by[0]
        return moved

    def reduced(self) -> Mapping[str, float]:
        return {"E": 0.0, "gamma": 0.0}

    def inverse_log(self, theta: Array, log_error: Array) -> Array:
        floor, place, alpha, gamma = theta[:4]
        top = np.exp(theta[4]) if self.guessing_error is None else self.guessing_error
        error = np.exp(log_error)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.clip((error - floor) / (top - floor), 0.0, 1.0)
            reached = (place - np.log(share) + gamma * np.log1p(-share)) / alpha
        return np.where(error <= floor, np.inf, np.where(error >= top, -np.inf, reached))

    def equation(self, parameters: Mapping[str, float]) -> str:
        top = parameters.get("E0", self.guessing_error or 0.0)
        return (
            f"error - {number(parameters['E'])} = {number(parameters['A'])} cost^-{number(parameters['alpha'])} "
            f"({number(top)} - error)^{number(parameters['gamma'])}"
        )


def _line(x: Array, y: Array, weight: Array) -> tuple[float, float]:
    """Level at 0 and (falling) slope of a weighted straight line."""
    mean_x, mean_y = np.average(x, weights=weight), np.average(y, weights=weight)
    spread = max(float(np.average((x - mean_x) ** 2, weights=weight)), 1e-300)
    slope = max(-float(np.average((x - mean_x) * (y - mean_y), weights=weight)) / spread, 1e-3)
    return float(mean_y + slope * mean_x), slope


@dataclass(frozen=True)
class _Logistic:
    """``1 / (1 + exp(-z))``, one minus it, and ``log(1 + exp(z))``."""

    share: Array
    rest: Array
    softplus: Array


def _logistic(z: Array) -> _Logistic:
    small = np.exp(-np.abs(z))
    high = 1.0 / (1.0 + small)
    low = small * high
    positive = z >= 0
    softplus = np.maximum(z, 0.0) + np.log1p(small)
    return _Logistic(np.where(positive, high, low), np.where(positive, low, high), softplus)


def m4(guessing_error: float | None = None) -> M4:
    """The law M4, with the error of guessing fixed where it is known."""
    return M4(guessing_error)


M4_FREE = M4()
