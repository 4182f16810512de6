"""Oracle, expert, flexible and regularised learners of one linear task: how far each is from the best predictor.

The features are independent standard normal, so the squared distance of a least-squares estimate from the truth
is a ratio of chi-squared variables, and that of a ridge estimate follows from a random bidiagonal matrix. These are
drawn exactly, without a regression: thousands of simulations take no time. Only the Lasso needs its data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from scaling.lasso import lasso_path

Array = NDArray[np.float64]
Coefficients = Literal["equal", "normal"]
COEFFICIENTS: tuple[Coefficients, ...] = ("equal", "normal")


@dataclass(frozen=True)
class Task:
    """``y = X b + noise``: which features matter, how much, and how noisy the response is.

    The publication's noise, penalty and coefficients are not known; these are the options for them.

    Attributes:
        n_features: Candidate features.
        n_relevant: Features with a coefficient.
        noise: Standard deviation of the noise.
        coefficients: ``equal`` (each 1) or ``normal`` (drawn anew in each simulation).
    """

    n_features: int = 1000
    n_relevant: int = 10
    noise: float = 1.0
    coefficients: Coefficients = "equal"

    def __post_init__(self) -> None:
        if not 1 < self.n_relevant <= self.n_features:
            raise ValueError(
                f"n_relevant is {self.n_relevant}, but it lies between 2 and the {self.n_features} features there are"
            )
        if not (math.isfinite(self.noise) and self.noise > 0):
            raise ValueError(f"noise is {self.noise}, but it is a standard deviation above 0")
        if self.coefficients not in COEFFICIENTS:
            raise ValueError(f"coefficients is {self.coefficients!r}, but it is one of {', '.join(COEFFICIENTS)}")

    def draw_coefficients(self, n_simulations: int, generator: np.random.Generator) -> Array:
        """Coefficients of the relevant features, (n_simulations, n_relevant)."""
        if self.coefficients == "equal":
            return np.ones((n_simulations, self.n_relevant))
        return generator.standard_normal((n_simulations, self.n_relevant))


def least_squares_risk(n: int, p: int, noise: float) -> float:
    """Mean squared distance of least squares from the truth on n observations of p standard normal features.

    The mean of the inverse Wishart distribution: ``noise^2 p / (n - p - 1)``; infinite for n - p < 2.
    """
    return noise**2 * p / (n - p - 1) if n - p > 1 else math.inf


def mean_log10_least_squares(n: int, p: int) -> float:
    """Mean of log10 of the squared distance over the noise variance, n of at least p, in closed form."""
    assert n >= p
    return float(digamma(p / 2) - digamma((n - p + 1) / 2)) / math.log(10)


def oracle(task: Task, n: int, n_simulations: int, generator: np.random.Generator) -> Array:
    """Least squares on the right features: normalised squared error of prediction, (n_simulations,)."""
    b = task.draw_coefficients(n_simulations, generator)
    signal = (b**2).sum(axis=1)
    noise = np.full(n_simulations, task.noise**2)
    return _distance(n, task.n_relevant, noise, signal, generator) / signal


def expert(task: Task, n: int, n_simulations: int, generator: np.random.Generator) -> Array:
    """Least squares on all right features but one, and a wrong one: what was left out is noise, and stays so."""
    b = task.draw_coefficients(n_simulations, generator)
    signal, missed = (b**2).sum(axis=1), b[:, -1] ** 2
    distance = _distance(n, task.n_relevant, task.noise**2 + missed, signal - missed, generator)
    return (distance + missed) / signal


def flexible(task: Task, n: int, n_simulations: int, generator: np.random.Generator) -> Array:
    """Least squares on all features, the shortest solution where there are many."""
    b = task.draw_coefficients(n_simulations, generator)
    signal = (b**2).sum(axis=1)
    return _distance(n, task.n_features, np.full(n_simulations, task.noise**2), signal, generator) / signal


def ridge(task: Task, n: int, n_simulations: int, generator: np.random.Generator, multiples: Sequence[float]) -> Array:
    """Ridge regression on all features at multiples of the best penalty ``d noise^2 / |b|^2``.

    Returns:
        Normalised squared errors, (n_simulations, len(multiples)).

    Source:
        Dumitriu and Edelman 2002 for the bidiagonal form of a Gaussian matrix.
    """
    d, k = task.n_features, min(n, task.n_features)
    b = task.draw_coefficients(n_simulations, generator)
    signal = (b**2).sum(axis=1)
    diagonal = _chi(max(n, d) - np.arange(k), n_simulations, generator)
    above = _chi(k - 1 - np.arange(k - 1), n_simulations, generator)
    direction = generator.standard_normal((d, n_simulations))
    direction *= np.sqrt(signal) / np.sqrt((direction**2).sum(axis=0))
    inside = direction[:k]
    outside = (direction[k:] ** 2).sum(axis=0)
    errors = task.noise * generator.standard_normal((k, n_simulations))
    product, on, off = _normal_equations(diagonal, above, errors, wide=n < d)
    result = np.empty((n_simulations, len(multiples)))
    for place, multiple in enumerate(multiples):
        penalty = multiple * d * task.noise**2 / signal
        gap = _solve_tridiagonal(on + penalty, off, product - penalty * inside)
        result[:, place] = ((gap**2).sum(axis=0) + outside) / signal
    return result


def lasso(
    task: Task, n: int, n_simulations: int, generator: np.random.Generator, multiples: Sequence[float]
) -> tuple[Array, float]:
    """The Lasso on all features at multiples of ``noise sqrt(log d / n)``, in falling order.

    Returns:
        Normalised squared errors, (n_simulations, len(multiples)), and the mean number of homotopy steps to the last.
    """
    scale = task.noise * math.sqrt(math.log(task.n_features) / n)
    penalties = [multiple * scale for multiple in multiples]
    result, steps = np.empty((n_simulations, len(multiples))), 0
    for place, b in enumerate(task.draw_coefficients(n_simulations, generator)):
        features, response = _draw_data(task, n, b, generator)
        found, taken = lasso_path(features, response, n, penalties)
        found[:, : b.size] -= b
        result[place] = (found**2).sum(axis=1) / (b @ b)
        steps += int(taken[-1])
    return result, steps / n_simulations


def _draw_data(
    task: Task, n: int, b: Array, generator: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features (d, rows) and response; with more observations than features, rotated onto as many rows."""
    d = task.n_features
    rows = min(n, d)
    features = generator.standard_normal((d, rows), dtype=np.float32)
    if n > d:
        # X = QR: the Lasso sees R alone. Its diagonal is chi, below it 0 (Bartlett 1933).
        features = np.tril(features)
        np.fill_diagonal(features, np.sqrt(generator.chisquare(n - np.arange(d))))
    response = b.astype(np.float32) @ features[: b.size]
    response += np.float32(task.noise) * generator.standard_normal(rows, dtype=np.float32)
    return features, response


def _distance(n: int, p: int, noise_variance: Array, signal: Array, generator: np.random.Generator) -> Array:
    """Squared distance of least squares from the truth; the shortest solution where n is below p.

    The estimate is multivariate t around the truth (n at least p); below, a random subspace of n directions is
    seen and the rest of the truth is missed.
    """
    size = signal.size
    ratio = generator.chisquare(min(n, p), size) / generator.chisquare(abs(n - p) + 1, size)
    missed = signal * generator.beta((p - n) / 2, n / 2, size) if n < p else 0.0
    return noise_variance * ratio + missed


def _chi(freedom: NDArray[np.int64], n_simulations: int, generator: np.random.Generator) -> Array:
    return np.sqrt(generator.chisquare(freedom[:, None], (freedom.size, n_simulations)))


def _normal_equations(diagonal: Array, above: Array, errors: Array, *, wide: bool) -> tuple[Array, Array, Array]:
    """The bidiagonal B times the errors, and the diagonals of B'B (n of at least d) or BB' (wide)."""
    on, product = diagonal**2, diagonal * errors
    if wide:
        on[:-1] += above**2
        product[:-1] += above * errors[1:]
        return product, on, above * diagonal[1:]
    on[1:] += above**2
    product[1:] += above * errors[:-1]
    return product, on, above * diagonal[:-1]


def _solve_tridiagonal(on: Array, off: Array, right: Array) -> Array:
    """Solve symmetric positive definite tridiagonal systems, one per column."""
    k = len(on)
    factor, solution = np.empty_like(off), np.empty_like(right)
    pivot = on[0]
    solution[0] = right[0] / pivot
    for i in range(1, k):
        factor[i - 1] = off[i - 1] / pivot
        pivot = on[i] - off[i - 1] * factor[i - 1]
        solution[i] = (right[i] - off[i - 1] * solution[i - 1]) / pivot
    for i in range(k - 2, -1, -1):
        solution[i] -= factor[i] * solution[i + 1]
    return solution
