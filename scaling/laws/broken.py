"""Power laws whose exponent changes smoothly at one to three breaks."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from scaling.laws.base import Array, Law, Parameter, number

# Quantiles of the log costs at which breaks are tried as starts, and their widths in e-folds of cost.
BREAK_QUANTILES = (0.15, 0.35, 0.5, 0.65, 0.85)
BREAK_WIDTHS = (0.3, 1.5)
FLOORS = (0.0, 0.6, 0.95)
MOST_STARTS = 60


class BrokenPower(Law):
    """``error = E + B cost^-c0 prod_i (1 + (cost/d_i)^(1/f_i))^(-c_i f_i)``.

    The slope is c0 at first and grows by c_i around the cost d_i, over about f_i e-folds.

    Source:
        Caballero et al. 2023 (arXiv:2210.14891), eq. 1.
    """

    roles = ("cost",)

    def __init__(self, n_breaks: int) -> None:
        self.n_breaks = n_breaks
        self.name = f"bnsl{n_breaks}"
        parameters = [
            Parameter("E", "error that no cost removes", 0.0, np.inf),
            Parameter("B", "scale of the reducible error", 0.0, np.inf, "log"),
            Parameter("c0", "slope before the first break", -5.0, 20.0),
        ]
        for i in range(1, n_breaks + 1):
            parameters += [
                Parameter(f"c{i}", f"slope added by break {i}", -20.0, 20.0),
                Parameter(f"d{i}", f"cost of break {i}", 0.0, np.inf, "log"),
                Parameter(f"f{i}", f"width of break {i} in e-folds of cost", 0.01, 20.0, "log"),
            ]
        self.parameters = tuple(parameters)

    def bounds(self, x: Array, y: Array) -> tuple[Array, Array]:
        lower, upper = super().bounds(x, y)
        low, high = x[0].min(), x[0].max()
        lower[1], upper[1] = -500.0, 500.0
        lower[4::3], upper[4::3] = low, high
        lower[5::3] = np.log(max(0.02 * (high - low), 1e-3))
        upper[5::3] = np.log(max(high - low, 1e-2))
        return lower, upper

    def evaluate(self, theta: Array, x: Array) -> Array:
        power = theta[:, 1:2] - theta[:, 2:3] * x[0]
        for i in range(self.n_breaks):
            slope, place, width = self._break(theta, i)
            power = power - slope * width * np.logaddexp(0.0, (x[0] - place) / width)
        return np.log(theta[:, :1] + np.exp(power))

    def evaluate_with_jacobian(self, theta: Array, x: Array) -> tuple[Array, Array]:
        jacobian = np.empty((theta.shape[0], self.n_parameters, x.shape[1]))
        power = theta[:, 1:2] - theta[:, 2:3] * x[0]
        for i in range(self.n_breaks):
            slope, place, width = self._break(theta, i)
            past = (x[0] - place) / width
            bend = np.logaddexp(0.0, past)
            beyond = np.exp(past - bend)
            power = power - slope * width * bend
            jacobian[:, 3 + 3 * i] = -width * bend
            jacobian[:, 4 + 3 * i] = slope * beyond
            jacobian[:, 5 + 3 * i] = -slope * width * (bend - past * beyond)
        reducible = np.exp(power)
        error = theta[:, :1] + reducible
        jacobian[:, 1] = 1.0
        jacobian[:, 2] = -x[0]
        jacobian[:, 1:] *= (reducible / error)[:, None]
        jacobian[:, 0] = 1.0 / error
        return np.log(error), jacobian

    def starts(self, x: Array, y: Array, weight: Array) -> Array:
        """Breaks at quantiles of cost with two widths and three floors; slopes by linear least squares."""
        quantiles = BREAK_QUANTILES if self.n_breaks == 1 else BREAK_QUANTILES[::2] if self.n_breaks == 2 else None
        places = (
            itertools.combinations(np.quantile(x[0], quantiles), self.n_breaks)
            if quantiles is not None
            else [tuple(np.quantile(x[0], (0.2, 0.5, 0.8))), tuple(np.quantile(x[0], (0.1, 0.4, 0.7)))]
        )
        rows = [
            self._start(x[0], y, weight, np.array(place), width, floor * float(np.exp(y.min())))
            for place, width, floor in itertools.product(list(places), BREAK_WIDTHS, FLOORS)
        ]
        return np.array(rows[:MOST_STARTS])

    def _start(self, x: Array, y: Array, weight: Array, places: Array, width: float, floor: float) -> Array:
        bends = [-width * np.logaddexp(0.0, (x - place) / width) for place in places]
        columns = np.stack([np.ones_like(x), -x, *bends])
        target = np.log(np.maximum(np.exp(y) - floor, 1e-12 * np.exp(y)))
        root = np.sqrt(weight)
        ridge = 1e-4 * np.sqrt(weight.sum()) * np.eye(len(columns))
        ridge[0, 0] = 0.0
        matrix = np.concatenate([(columns * root).T, ridge])
        solution = np.linalg.lstsq(matrix, np.r_[target * root, np.zeros(len(columns))], rcond=None)[0]
        theta = np.empty(self.n_parameters)
        theta[:3] = floor, solution[0], solution[1]
        theta[3::3], theta[4::3], theta[5::3] = solution[2:], places, np.log(width)
        return theta

    def shift(self, theta: Array, by: Array) -> Array:
        moved = np.array(theta, dtype=np.float64)
        moved[..., 1] += moved[..., 2] * by[0]
        moved[..., 4::3] += by[0]
        return moved

    def reduced(self) -> Mapping[str, float]:
        return {"E": 0.0}

    def shape_indices(self) -> list[int]:
        """The changes of slope; the first slope may well be 0."""
        return list(range(3, self.n_parameters, 3))

    def compute_exponent(self, parameters: Mapping[str, float]) -> float | None:
        """One over the last slope: that of the largest budgets."""
        last = parameters["c0"] + sum(parameters[f"c{i}"] for i in range(1, self.n_breaks + 1))
        return 1.0 / last if last > 0 else None

    def equation(self, parameters: Mapping[str, float]) -> str:
        text = f"error = {number(parameters['E'])} + {number(parameters['B'])} cost^-{number(parameters['c0'])}"
        for i in range(1, self.n_breaks + 1):
            c, d, f = (parameters[f"{letter}{i}"] for letter in "cdf")
            text += f" (1 + (cost/{number(d)})^{number(1 / f)})^-{number(c * f)}"
        return text

    def _break(self, theta: Array, i: int) -> tuple[Array, Array, Array]:
        return theta[:, 3 + 3 * i, None], theta[:, 4 + 3 * i, None], np.exp(theta[:, 5 + 3 * i, None])


BROKEN = tuple(BrokenPower(n_breaks) for n_breaks in (1, 2, 3))
