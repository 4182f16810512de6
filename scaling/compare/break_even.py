"""From how many uses on a technique pays: the gain in the cost of a lifetime, against the number of uses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd

from scaling.compare.arms import FrontierPair, read_pair
from scaling.compare.costs import with_uses
from scaling.compare.joint import JointFit, fit_pair
from scaling.compare.setting import Setting
from scaling.fit import finite
from scaling.laws.base import Array
from scaling.notebook import frame_html, paragraph_html

# Numbers of uses tried: from where training is all of the cost to where inference is.
N_USES = 15
DECADES_BEYOND = 1.5
# Resamples behind each point of the curve: fewer than for a gain, as there are N_USES of them.
MOST_RESAMPLES = 400
# With fewer points there is no curve.
LEAST_KNOWN = 3
_COLUMN = "lifetime_of_uses"


class Payback(Enum):
    """When a technique costs less than the baseline for the same error."""

    FROM_FIRST = "pays from the first use"
    NEVER = "never pays"
    FROM = "pays from a number of uses on"
    UP_TO = "pays up to a number of uses"
    CANNOT_TELL = "these runs cannot tell"
    REFUSED = "no number"


@dataclass(frozen=True, repr=False)
class BreakEven:
    """Lifetime costs of a technique and of the baseline at equal error, against the number of uses.

    Attributes:
        payback: When it pays, as far as the intervals tell.
        uses: Number of uses at which both cost the same; None where the estimate has no such number.
        low, high: The uses at which the interval of the gain holds 1; 0 and infinity where it is open.
        at_error: Error at which the curves are drawn.
        curve: One row per number of uses: ``uses``, ``gain`` with ``gain_low`` and ``gain_high``, and the lifetime cost
            of the ``baseline`` and of the ``technique`` [FLOP] with bounds.
        reason: Why there is no answer, or none for some numbers of uses; empty if there is one for all.
    """

    technique: str
    baseline: str
    payback: Payback
    uses: float | None = None
    low: float = 0.0
    high: float = math.inf
    at_error: float | None = None
    curve: pd.DataFrame | None = None
    reason: str = ""

    def __repr__(self) -> str:
        uses = "" if self.uses is None else f": {self.uses:.3g} [{self.low:.3g}, {self.high:.3g}]"
        why = f" ({self.reason})" if self.reason else ""
        return f"BreakEven of {self.technique} against {self.baseline}: {self.payback.value}{uses}{why}"

    def _repr_html_(self) -> str:
        return paragraph_html(repr(self)) + ("" if self.curve is None else frame_html(self.curve))

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; an infinite bound is null."""
        curve = [] if self.curve is None else self.curve.to_dict(orient="records")
        return {
            "technique": self.technique, "baseline": self.baseline, "status": self.payback.name.lower(),
            "reason": self.reason, "uses": finite(self.uses), "low": finite(self.low), "high": finite(self.high),
            "at_error": finite(self.at_error),
            "curve": [{str(name): finite(value) for name, value in row.items()} for row in curve],
        }  # fmt: skip


@dataclass(frozen=True)
class Lifetimes:
    """Joint fits of both arms over the lifetime cost, one per number of uses.

    Attributes:
        fits: Numbers of uses with their fits, where these give a gain.
        at_error: Error in the middle of those that both frontiers of training reach.
        reason: Why some numbers of uses have no fit; empty if all have.
    """

    fits: tuple[tuple[float, JointFit], ...]
    at_error: float
    reason: str

    def curve(self, level: float) -> pd.DataFrame:
        """Gain and lifetime costs against the number of uses, see `BreakEven`, with bounds of a level."""
        return _curve(self.fits, self.at_error, level)


def break_even(charged: pd.DataFrame, baseline: str, technique: str, setting: Setting) -> BreakEven:
    """Find the number of uses from which a technique has paid for its training.

    The bounds are the numbers of uses at which a gain of 1 lies in its interval; they are as sure as those intervals
    and need no crossing in every resample.

    Args:
        charged: Runs with their costs, from `scaling.compare.costs.charge`.
        baseline: Name of the one arm, `technique` of the other.
        setting: Of the comparison.
    """
    names: dict[str, Any] = {"technique": technique, "baseline": baseline}
    try:
        found = fit_lifetimes(charged, baseline, technique, setting)
    except ValueError as refusal:
        return BreakEven(payback=Payback.REFUSED, reason=str(refusal), **names)
    curve = found.curve(setting.level)
    payback, uses, low, high = read_crossing(curve)
    return BreakEven(
        payback=payback, uses=uses, low=low, high=high, at_error=found.at_error, curve=curve, reason=found.reason,
        **names,
    )  # fmt: skip


def fit_lifetimes(charged: pd.DataFrame, baseline: str, technique: str, setting: Setting) -> Lifetimes:
    """Find and fit the frontiers of ``training + uses x inference`` anew for each number of uses.

    Another number of uses makes another size the best one.

    Args:
        charged: Runs with their costs, from `scaling.compare.costs.charge`.
        baseline: Name of the one arm, `technique` of the other.
        setting: Of the comparison; its level plays no part.

    Raises:
        ValueError: If the runs give no curve, with the reason.
    """
    arms = charged[charged["technique"].isin([baseline, technique])]
    ratio = _training_per_use(arms, setting.error)
    if ratio is None:
        raise ValueError("training or inference FLOP are not known; give the table train_flops and inference_flops")
    if technique == baseline:
        raise ValueError("a technique against itself has no break-even")
    limits = np.log(ratio)
    grid = np.exp(np.linspace(limits[0], limits[1], N_USES))
    pairs = [_pair(arms, baseline, technique, uses, setting) for uses in grid]
    n_resamples = min(setting.n_resamples, MOST_RESAMPLES)
    fits = [
        fit_pair(
            pair.points, law=setting.law, bends=False, cost=_COLUMN, error=setting.error, n_resamples=n_resamples,
            seed=setting.seed,
        )
        for pair in pairs
    ]  # fmt: skip
    kept = tuple((float(uses), fit) for uses, fit in zip(grid, fits, strict=True) if fit.usable)
    refusals = [fit.reason for fit in fits if not fit.usable]
    if len(kept) < LEAST_KNOWN:
        raise ValueError(f"the frontiers give no gain: {refusals[0]}")
    return Lifetimes(kept, _common_error(pairs[0]), refusals[0] if refusals else "")


def read_crossing(curve: pd.DataFrame) -> tuple[Payback, float | None, float, float]:
    """When it pays, the number of uses at which it begins or ends to, and the bounds of that number."""
    uses = curve["uses"].to_numpy(dtype=np.float64)
    estimate, low, high = (np.log(curve[name].to_numpy(dtype=np.float64)) for name in ("gain", "gain_low", "gain_high"))
    first, last = (_surely(low[end], high[end]) for end in (0, -1))
    if first == last:
        payback = {1: Payback.FROM_FIRST, -1: Payback.NEVER, 0: Payback.CANNOT_TELL}[first]
        return payback, None, 0.0, math.inf
    rising = last > first
    sign = 1.0 if rising else -1.0
    # The side that bounds from below is the one that can reach 1 first.
    early, late = (high, low) if rising else (low, high)
    value = _first_root(uses, sign * estimate)
    begins, ends = _first_root(uses, sign * early), _first_root(uses, sign * late)
    return Payback.FROM if rising else Payback.UP_TO, value, begins, ends


def _surely(low: float, high: float) -> int:
    return int(low > 0) - int(high < 0)


def _first_root(uses: Array, rising: Array) -> float:
    """Number of uses from which a rising curve is above 0: 0 if it always is, infinite if it never is."""
    above = np.flatnonzero(rising > 0)
    if not above.size:
        return math.inf
    place = int(above[0])
    if place == 0:
        return 0.0
    part = -rising[place - 1] / (rising[place] - rising[place - 1])
    return float(np.exp(np.log(uses[place - 1]) + part * np.log(uses[place] / uses[place - 1])))


def _training_per_use(arms: pd.DataFrame, error: str) -> tuple[float, float] | None:
    """Uses at which inference is next to nothing of any run's cost, and next to all of it."""
    usable = arms[(arms["status"] == "finished") & arms[error].notna()]
    ratio = (usable["train_flops"] / usable["inference_flops"]).to_numpy(dtype=np.float64)
    ratio = ratio[np.isfinite(ratio) & (ratio > 0)]
    if not ratio.size:
        return None
    reach = 10.0**DECADES_BEYOND
    return float(ratio.min() / reach), float(ratio.max() * reach)


def _pair(arms: pd.DataFrame, baseline: str, technique: str, uses: float, setting: Setting) -> FrontierPair:
    table = arms.assign(**{_COLUMN: with_uses(arms, uses)})
    return read_pair(table, baseline, technique, cost=_COLUMN, error=setting.error, paired=setting.paired)


def _common_error(pair: FrontierPair) -> float:
    """Middle of the errors that both frontiers of training reach."""
    arms = [pair.points.y[pair.points.x[1] == arm] for arm in (0.0, 1.0)]
    low, high = max(arm.min() for arm in arms), min(arm.max() for arm in arms)
    return float(np.exp((low + high) / 2))


def _curve(kept: Sequence[tuple[float, JointFit]], error: float, level: float) -> pd.DataFrame:
    rows = []
    for uses, fit in kept:
        gain = fit.log_gain_interval(fit.centre, level)
        row = {
            "uses": uses, "gain": math.exp(fit.log_gain(fit.centre)), "gain_low": math.exp(gain.low),
            "gain_high": math.exp(gain.high),
        }  # fmt: skip
        for arm, name in enumerate(("baseline", "technique")):
            value, interval = fit.log_cost_of(math.log(error), arm, level)
            row |= {name: _exp(value), f"{name}_low": _exp(interval.low), f"{name}_high": _exp(interval.high)}
        rows.append(row)
    return pd.DataFrame(rows)


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
