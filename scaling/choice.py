"""The choice of a law by its backtest, the average of laws, and a band that includes the choice."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from scaling.bootstrap import Intervals, bootstrap
from scaling.fit import Fit, fit
from scaling.holdout import CANDIDATES, Backtest, backtest
from scaling.laws import get_law
from scaling.laws.base import Array, Law

# A law whose weight is below this changes no printed digit of an average, and is not resampled for its band.
LEAST_WEIGHT = 0.005


@dataclass(frozen=True, repr=False)
class Choice:
    """Laws fitted to the same runs, weighed by how well they predicted dearer runs from cheaper ones.

    Attributes:
        backtest: The evidence.
        fits: Every law fitted to all runs.
        best: Name of the law with the least score, None if nothing could be fitted.
        weights: Of each law in the average; they sum to 1.
    """

    backtest: Backtest
    fits: Mapping[str, Fit]
    best: str | None
    weights: Mapping[str, float]

    @property
    def fit(self) -> Fit:
        """The fit of the best law; of the first one asked for if none could be compared."""
        return self.fits[self.best] if self.best is not None else next(iter(self.fits.values()))

    def predict(self, *inputs: ArrayLike) -> Array:
        """Geometric mean of the laws' predictions by their weights.

        Raises:
            ValueError: If no law was compared.
        """
        if self.best is None:
            raise ValueError("no law could be compared on these runs, so there is no average; see backtest.scores")
        with np.errstate(divide="ignore", over="ignore", under="ignore"):
            parts = [
                weight * np.log(self.fits[name].predict(*inputs)) for name, weight in self.weights.items() if weight > 0
            ]
            return np.exp(np.asarray(sum(parts)))

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "best": self.best,
            "weights": dict(self.weights),
            "backtest": self.backtest.to_dict(),
            "fits": {name: value.to_dict() for name, value in self.fits.items()},
        }

    def __repr__(self) -> str:
        weights = ", ".join(f"{name} {weight:.2f}" for name, weight in self.weights.items() if weight >= 0.005)
        return f"Choice of law: {self.best} (weights: {weights})\n{self.fit!r}"

    def _repr_html_(self) -> str:
        return self.backtest._repr_html_() + self.fit._repr_html_()


@dataclass(frozen=True, repr=False)
class AverageIntervals:
    """Bands around the average of several laws: each law's own uncertainty, and that of which law it is."""

    choice: Choice
    members: Mapping[str, Intervals]
    level: float
    seed: int

    def __repr__(self) -> str:
        return f"Bands of {self.level:.0%} around the average of {', '.join(self.members)}\n{self.choice!r}"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self).splitlines()[0])}</p>{self.choice._repr_html_()}"

    def band(self, *inputs: ArrayLike, level: float | None = None, noise: bool = False) -> tuple[Array, Array]:
        """Bounds at each input from curves drawn from the laws in proportion to their weights.

        Args:
            inputs: As for `Choice.predict`.
            level: Probability, that of the intervals if None.
            noise: Include the scatter of one more run.
        """
        level = self.level if level is None else level
        values, weights = [], []
        generator = np.random.default_rng([self.seed, 2])
        shape = np.broadcast_shapes(*(np.shape(value) for value in inputs))
        for name, intervals in self.members.items():
            curves = intervals._curves(inputs)[0]
            if noise:
                scatter = intervals._residuals()
                curves = curves + scatter[generator.integers(scatter.size, size=curves.shape)]
            values.append(curves)
            weights.append(np.full(len(curves), self.choice.weights[name] / len(curves)))
        stacked, share = np.concatenate(values), np.concatenate(weights)
        tail = (1 - level) / 2
        ends = [_weighted_quantile(stacked, share, p) for p in (tail, 1 - tail)]
        low, high = (np.exp(end).reshape(shape) for end in ends)
        return low, high


def choose_law(
    runs: pd.DataFrame,
    laws: Sequence[str | Law] | None = None,
    *,
    cost: str = "train_flops",
    error: str = "test_error",
    frontier: bool = False,
    columns: Mapping[str, str] | None = None,
    cluster: str | None = None,
) -> Choice:
    """Choose the law that best predicts the dearer runs from the cheaper ones, with no option to set.

    Args:
        runs, cost, error, frontier, columns, cluster: As for `fit`.
        laws: Laws to choose from; `scaling.holdout.CANDIDATES` if None.

    Raises:
        ValueError: As `fit`.
    """
    names = list(CANDIDATES if laws is None else laws)
    settings: dict[str, Any] = {
        "cost": cost, "error": error, "frontier": frontier, "columns": columns, "cluster": cluster,
    }  # fmt: skip
    evidence = backtest(runs, names, n_resamples=0, **settings)
    fits = {get_law(law).name: fit(runs, law, **settings) for law in names}
    return Choice(evidence, fits, evidence.best, evidence.weights)


def bootstrap_choice(
    runs: pd.DataFrame, choice: Choice, *, n_resamples: int = 500, level: float = 0.95, seed: int = 0, **settings: Any
) -> AverageIntervals:
    """Resample every law of a choice that has weight, for bands that include which law it is.

    Args:
        runs: The runs the choice was made on.
        choice: From `choose_law`.
        n_resamples, level, seed: As for `bootstrap`.
        settings: Further arguments of `bootstrap` (`columns`, `cluster`).

    Raises:
        ValueError: As `bootstrap`, and if no law was compared.
    """
    if choice.best is None:
        raise ValueError("no law could be compared on these runs, so there is nothing to resample")
    members = {}
    for name, weight in choice.weights.items():
        fitted = choice.fits[name]
        if weight < LEAST_WEIGHT or fitted.optimum is None:
            continue
        members[name] = bootstrap(
            runs, fitted.form, cost=fitted.cost, error=fitted.error, frontier=fitted.frontier,
            n_resamples=n_resamples, level=level, seed=seed, **settings,
        )  # fmt: skip
    return AverageIntervals(choice, members, level, seed)


def _weighted_quantile(values: Array, weights: Array, probability: float) -> Array:
    """Quantile of each column of values (n, m) whose rows have weights (n,)."""
    order = np.argsort(values, axis=0)
    ordered = np.take_along_axis(values, order, axis=0)
    mass = np.cumsum(weights[order], axis=0)
    first = np.argmax(mass >= probability * mass[-1], axis=0)
    return ordered[first, np.arange(values.shape[1])]
