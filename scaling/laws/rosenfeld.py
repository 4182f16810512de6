"""Size and data with the transition from guessing, and its one-cost form."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scaling.laws.additive import SIZE_AND_DATA, AdditivePowers
from scaling.laws.base import Array, Law, Parameter, number


class FromGuessing(Law):
    """``error = e / sqrt(1 + (e / E0)^2)`` with ``e = E + A size^-alpha + B data^-beta``.

    It is the paper's ``E0 |e / (e - i eta)|`` with e measured in units of eta / E0: only the ratio
    of e and eta enters there, and so E here is an error.

    Args:
        guessing_error: E0 where it is known (1 - 1/n_classes); a parameter of the fit if None.

    Source:
        Rosenfeld et al. 2020 (arXiv:1909.12673), eq. 5.
    """

    def __init__(self, inner: AdditivePowers, name: str, guessing_error: float | None = None) -> None:
        if guessing_error is not None and not guessing_error > 0:
            raise ValueError(f"guessing_error is {guessing_error}, but it is above 0; 0.9 for ten equal classes")
        self.inner = inner
        self.guessing_error = guessing_error
        self.name = name if guessing_error is None else f"{name}({guessing_error:g})"
        self.roles = inner.roles
        free = (Parameter("E0", "error before anything is learnt", 0.0, np.inf),)
        self.parameters = (*inner.parameters, *(free if guessing_error is None else ()))

    def bounds(self, x: Array, y: Array) -> tuple[Array, Array]:
        lower, upper = (np.empty(self.n_parameters) for _ in range(2))
        n_inner = self.inner.n_parameters
        lower[:n_inner], upper[:n_inner] = self.inner.bounds(x, y)
        # Errors at the plateau say little about e itself, which may be far above E0.
        upper[0] *= 10.0
        if self.guessing_error is None:
            lower[n_inner], upper[n_inner] = np.exp(y.max()) * 0.5, np.exp(y.max()) * 100.0
        return lower, upper

    def evaluate(self, theta: Array, x: Array) -> Array:
        log_e = self.inner.evaluate(theta, x)
        return log_e - 0.5 * np.logaddexp(0.0, 2.0 * (log_e - self._log_top(theta)))

    def evaluate_with_jacobian(self, theta: Array, x: Array) -> tuple[Array, Array]:
        n_inner = self.inner.n_parameters
        log_e, inner = self.inner.evaluate_with_jacobian(theta[:, :n_inner], x)
        log_top = self._log_top(theta)
        excess = np.logaddexp(0.0, 2.0 * (log_e - log_top))
        keep = np.exp(-excess)
        jacobian = np.empty((theta.shape[0], self.n_parameters, x.shape[1]))
        jacobian[:, :n_inner] = inner * keep[:, None]
        if self.guessing_error is None:
            jacobian[:, n_inner] = (1.0 - keep) / theta[:, n_inner, None]
        return log_e - 0.5 * excess, jacobian

    def _log_top(self, theta: Array) -> Array:
        if self.guessing_error is not None:
            return np.full((theta.shape[0], 1), np.log(self.guessing_error))
        return np.log(theta[:, self.inner.n_parameters, None])

    def starts(self, x: Array, y: Array, weight: Array) -> Array:
        """Undo the transition for some heights of the plateau, then the starts of the sum of powers."""
        highest = float(np.exp(y.max()))
        tops = [highest * 1.05, highest * 2.0] if self.guessing_error is None else [self.guessing_error]
        parts = []
        for top in tops:
            share = np.minimum(np.exp(y) / top, 0.99)
            inner = self.inner.starts(x, np.log(top * share / np.sqrt(1 - share**2)), weight)
            column = np.full((len(inner), 1), top)
            parts.append(np.hstack([inner, column]) if self.guessing_error is None else inner)
        return np.concatenate(parts)

    def shift(self, theta: Array, by: Array) -> Array:
        moved = np.array(theta, dtype=np.float64)
        n_inner = self.inner.n_parameters
        moved[..., :n_inner] = self.inner.shift(moved[..., :n_inner], by)
        return moved

    def reduced(self) -> Mapping[str, float]:
        return self.inner.reduced()

    def compute_exponent(self, parameters: Mapping[str, float]) -> float | None:
        """That of the sum of powers: at small errors the plateau is out of sight."""
        return self.inner.compute_exponent(parameters)

    def equation(self, parameters: Mapping[str, float]) -> str:
        top = parameters.get("E0", self.guessing_error or 0.0)
        return self.inner.equation(parameters).replace("error", "e") + (
            f", error = e / sqrt(1 + (e / {number(top)})^2)"
        )


def rosenfeld(guessing_error: float | None = None) -> FromGuessing:
    """The law of Rosenfeld et al. 2020, with the error of guessing fixed where it is known."""
    return FromGuessing(SIZE_AND_DATA, "rosenfeld", guessing_error)


ROSENFELD = rosenfeld()
