"""Pruned networks: error as weights are removed, on top of the error of the dense network."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from scaling.laws.base import Array, Law, Parameter, number


class Pruned(Law):
    """``error = dense |(h - i p (E_max/dense)^(1/gamma)) / (h - i p)|^gamma`` with ``h = density depth^phi width^psi``.

    At high density the error is the dense network's, then it rises as a power of 1/h, and levels off at
    E_max. The dense error is an input, so that data and training enter through it.

    Args:
        family: Let depth and width enter with exponents of their own; otherwise h is the density.

    Source:
        Rosenfeld et al. 2021 (arXiv:2006.10621), eq. 1 and section 5.
    """

    def __init__(self, *, family: bool) -> None:
        self.family = family
        self.name = "pruned_family" if family else "pruned"
        self.roles = ("density", "dense_error", *(("depth", "width") if family else ()))
        self.centred = (True, False, *((True, True) if family else ()))
        more = (
            Parameter("phi", "exponent of depth", -5.0, 5.0),
            Parameter("psi", "exponent of width", -5.0, 5.0),
        )
        self.parameters = (
            Parameter("E_max", "error of a network pruned to nothing", 0.0, np.inf, "log"),
            Parameter("p", "where the error has levelled off", 0.0, np.inf, "log"),
            Parameter("gamma", "power with which error rises as weights go", 1e-3, 20.0, "log"),
            *(more if family else ()),
        )

    def bounds(self, x: Array, y: Array) -> tuple[Array, Array]:
        lower, upper = super().bounds(x, y)
        lower[0], upper[0] = y.max() - np.log(2.0), y.max() + np.log(100.0)
        lower[1], upper[1] = -60.0, 60.0
        return lower, upper

    def evaluate(self, theta: Array, x: Array) -> Array:
        left, height, gamma = self._parts(theta, x)
        return x[1] + 0.5 * gamma * (np.logaddexp(left, height) - np.logaddexp(left, 0.0))

    def evaluate_with_jacobian(self, theta: Array, x: Array) -> tuple[Array, Array]:
        left, height, gamma = self._parts(theta, x)
        upper, lower = np.logaddexp(left, height), np.logaddexp(left, 0.0)
        by_left = 0.5 * gamma * (np.exp(left - upper) - np.exp(left - lower))
        by_height = 0.5 * gamma * np.exp(height - upper)
        jacobian = np.empty((theta.shape[0], self.n_parameters, x.shape[1]))
        jacobian[:, 0] = by_height * 2.0 / gamma
        jacobian[:, 1] = -2.0 * by_left
        jacobian[:, 2] = 0.5 * gamma * (upper - lower) - by_height * height
        if self.family:
            jacobian[:, 3] = 2.0 * x[2] * by_left
            jacobian[:, 4] = 2.0 * x[3] * by_left
        return x[1] + 0.5 * gamma * (upper - lower), jacobian

    def _parts(self, theta: Array, x: Array) -> tuple[Array, Array, Array]:
        """Twice the log of h/p, twice the log of (E_max/dense)^(1/gamma), and gamma."""
        log_h = x[0] if not self.family else x[0] + theta[:, 3, None] * x[2] + theta[:, 4, None] * x[3]
        gamma = np.exp(theta[:, 2, None])
        return 2.0 * (log_h - theta[:, 1, None]), 2.0 * (theta[:, 0, None] - x[1]) / gamma, gamma

    def starts(self, x: Array, y: Array, weight: Array) -> Array:  # noqa: ARG002
        """A grid of heights, places and steepnesses."""
        places = np.quantile(x[0], (0.0, 0.1, 0.3)) - np.array([2.0, 0.5, 0.0])
        grid = itertools.product((y.max(), y.max() + 0.7), places, np.log([0.3, 1.0, 3.0]))
        rows = np.array(list(grid))
        if not self.family:
            return rows
        return np.concatenate([np.hstack([rows, np.full((len(rows), 2), power)]) for power in (0.0, 1.0)])

    def shift(self, theta: Array, by: Array) -> Array:
        if by[1] != 0:
            raise ValueError("the dense error is an error, not a quantity with a unit: it cannot be rescaled")
        moved = np.array(theta, dtype=np.float64)
        moved[..., 1] += by[0]
        if self.family:
            moved[..., 1] += moved[..., 3] * by[2] + moved[..., 4] * by[3]
        return moved

    def shape_indices(self) -> list[int]:
        return []

    def compute_exponent(self, parameters: Mapping[str, float]) -> float | None:  # noqa: ARG002
        """None: no cost enters."""
        return None

    def equation(self, parameters: Mapping[str, float]) -> str:
        h = "density"
        if self.family:
            h += f" depth^{number(parameters['phi'])} width^{number(parameters['psi'])}"
        top, p, gamma = (number(parameters[name]) for name in ("E_max", "p", "gamma"))
        return f"error = dense |(h - i {p} ({top}/dense)^(1/{gamma})) / (h - i {p})|^{gamma}, h = {h}"


PRUNED = tuple(Pruned(family=flag) for flag in (False, True))
