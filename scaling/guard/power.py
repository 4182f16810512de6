"""How often a night would fail: with nothing lost (false alarms) and with a known loss (power), by simulation.

The simulated nights are drawn from two real ones of the same sweep whose code differs in nothing that matters, such
as the order of sums. A seed is drawn with both its results, and which of them is the baseline's is tossed: what the
noise is, how it varies with the seed, and that cells share it, is as it was measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from scaling.compare.gain import Verdict
from scaling.guard.night import ERRORS, NightSetting, classify, log_error
from scaling.guard.pairs import BASE, TONIGHT, Pairs, SeedGrid
from scaling.guard.ratio import frontier_slopes, gain_at_equal_error
from scaling.laws.base import Array

COST = "train_flops"


@dataclass(frozen=True)
class Share:
    """A share of simulated nights with its 95% interval (Clopper and Pearson 1934: exact for counts)."""

    count: int
    draws: int

    @property
    def value(self) -> float:
        """The share itself."""
        return self.count / self.draws

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return 0.0 if self.count == 0 else float(beta.ppf(0.025, self.count, self.draws - self.count + 1))

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return 1.0 if self.count == self.draws else float(beta.ppf(0.975, self.count + 1, self.draws - self.count))


@dataclass(frozen=True)
class SeedNoise:
    """Two nights of the same sweep, by kind of error.

    Attributes:
        log_cost: Logarithm of the training FLOP, (seeds, cells).
        log_errors: By error: logarithms in one night and the other, each (seeds, cells).
        slopes: By error: alpha of the frontier, mean over all seeds.
    """

    log_cost: Array
    log_errors: dict[str, tuple[Array, Array]]
    slopes: dict[str, float]

    @property
    def n_seeds(self) -> int:
        """Seeds that were measured."""
        return int(self.log_cost.shape[0])

    def spread(self, error: str) -> float:
        """Standard deviation over seeds of the log gain that two nights of the same code differ by."""
        one, other = self.log_errors[error]
        return float((other - one).mean(axis=1).std(ddof=1)) / self.slopes[error]

    def seed_spread(self, error: str) -> float:
        """The same between two nights that share no seed."""
        return math.sqrt(2) * float(self.log_errors[error][0].mean(axis=1).std(ddof=1)) / self.slopes[error]


def measure_seed_noise(pairs: Pairs) -> SeedNoise:
    """Read the noise of two nights of one technique.

    Raises:
        ValueError: If a cell lacks a seed, a value is not known, or the error does not fall along the frontier.
    """
    grid = SeedGrid(pairs.table)
    log_cost = np.log(grid.column(COST + BASE))
    log_errors = {error: (log_error(grid, error, BASE), log_error(grid, error, TONIGHT)) for error in ERRORS}
    slopes = {error: float(frontier_slopes(log_cost, one)[0].mean()) for error, (one, _) in log_errors.items()}
    return SeedNoise(log_cost, log_errors, slopes)


def failing_nights(
    noise: SeedNoise,
    *,
    n_seeds: int,
    loss: float = 0.0,
    draws: int = 4000,
    seed: int = 0,
    setting: NightSetting | None = None,
    n_clocks: int = 0,
    same_seeds: bool = True,
) -> Share:
    """Count the simulated nights that fail for what they learnt; clocks are not simulated.

    Args:
        noise: From `measure_seed_noise`.
        n_seeds: Of a simulated night, on each side.
        loss: Share of a FLOP's worth that is lost tonight: 0.15 means that the baseline reaches tonight's error with
            0.85 of the compute.
        draws: Simulated nights.
        seed: Of the draws.
        setting: How nights are judged.
        n_clocks: Clock costs that share the false alarms with the errors, 3 on one device class; 0 on two.
        same_seeds: False draws tonight's seeds apart from the baseline's, as after a change of the random stream.

    Raises:
        ValueError: If the loss is not in [0, 1).
    """
    if not 0 <= loss < 1:
        raise ValueError(f"loss is {loss}, but it is a share of compute: at least 0 and below 1, such as 0.15")
    setting = setting or NightSetting()
    level = setting.level(len(ERRORS) + n_clocks)
    generator = np.random.default_rng(seed)
    failed = 0
    for _ in range(draws):
        chosen = generator.integers(0, noise.n_seeds, n_seeds)
        others = chosen if same_seeds else generator.integers(0, noise.n_seeds, n_seeds)
        swapped = generator.random((n_seeds, 1)) < 0.5
        failed += any(
            _fails(noise, error, chosen, others, swapped, -noise.slopes[error] * math.log1p(-loss), level, setting)
            for error in ERRORS
        )
    return Share(failed, draws)


def _fails(
    noise: SeedNoise,
    error: str,
    chosen: NDArray[np.intp],
    others: NDArray[np.intp],
    swapped: NDArray[np.bool_],
    rise: float,
    level: float,
    setting: NightSetting,
) -> bool:
    one, other = noise.log_errors[error]
    base = np.where(swapped, other[chosen], one[chosen])
    tonight = np.where(swapped, one[others], other[others]) + rise
    log_cost = noise.log_cost[chosen]
    try:
        gain = gain_at_equal_error((log_cost, base), (log_cost, tonight))
    except ValueError:  # no number is no failure: a night says so and passes
        return False
    return classify(*gain.bounds(level), setting.margin, sure_loss_counts=True) is Verdict.COSTS_MORE
