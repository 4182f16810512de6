"""Gain of one technique on one cost: how many times more the baseline would have to spend for the same error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd

from scaling.compare.arms import FrontierPair, count_statuses, read_pair
from scaling.compare.joint import JointFit, fit_pair
from scaling.compare.needed import Needed, trials_needed
from scaling.compare.setting import Setting
from scaling.fit import finite
from scaling.interval import Interval
from scaling.laws.base import Array
from scaling.notebook import facts_html, paragraph_html

# Budgets at which the gain is read, as shares of the log range that both frontiers span.
BUDGET_SHARES = (0.1, 0.5, 0.9)


class Verdict(Enum):
    """What the interval of a gain says."""

    SHIFTS = "reaches the same error with less"
    COSTS_MORE = "needs more for the same error"
    EQUIVALENT = "makes no difference beyond the margin"
    CANNOT_TELL = "these runs cannot tell"
    REFUSED = "no number"


class Bending(Enum):
    """What the interval of the difference between both exponents says."""

    BENDS = "the exponents differ"
    STRAIGHT = "the exponents differ by less than the margin, if at all"
    CANNOT_TELL = "these runs cannot tell"
    NOT_KNOWN = "the arms have no exponents of their own"


@dataclass(frozen=True, repr=False)
class Estimate:
    """A number with its interval, and how many decades of cost it lies beyond the baseline's runs."""

    value: float
    low: float
    high: float
    at_cost: float | None = None
    decades_beyond: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "value": finite(self.value), "low": finite(self.low), "high": finite(self.high),
            "at_cost": finite(self.at_cost), "decades_beyond": finite(self.decades_beyond),
        }  # fmt: skip

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __repr__(self) -> str:
        where = "" if self.at_cost is None else f" at {self.at_cost:.3g}"
        far = f", {self.decades_beyond:.1f} decades beyond the runs" if self.decades_beyond > 0 else ""
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]{where}{far}"

    def _repr_html_(self) -> str:
        return paragraph_html(repr(self))


@dataclass(frozen=True, repr=False)
class Gain:
    """What a technique does to the frontier of one cost.

    Attributes:
        technique, baseline, cost, error: What is compared.
        level, margin, bend_margin: As in `Setting`.
        verdict: What the interval says.
        reason: Why there is no number; empty if there is one.
        law: Of both frontiers.
        gain: Compute-equivalent gain: above 1 the baseline needs more. Under an exponent common to both arms or, where
            the exponents differ by more than chance, at the middle of the runs, ``at_cost``.
        at_budgets: The gain at several costs of the technique, each arm with its own exponent.
        bend: Exponent alpha of the technique less that of the baseline, and `bend_reason` why it is not known.
        exponents: k = 1/alpha of the baseline and of the technique, where each has its own.
        crossing: Cost at which the frontiers cross, if they bend apart.
        needed: What would tell, where these runs cannot.
        statuses: How the technique's trials ended.
        pair: The frontiers and how they were matched; None where there are none.
        shift_fit, bend_fit: The fits; None where nothing was fitted.
    """

    technique: str
    baseline: str
    cost: str
    error: str
    level: float
    margin: float
    bend_margin: float
    verdict: Verdict
    reason: str = ""
    law: str = ""
    gain: Estimate | None = None
    at_budgets: tuple[Estimate, ...] = ()
    bend: Estimate | None = None
    bend_reason: str = ""
    exponents: tuple[float, float] | None = None
    crossing: Estimate | None = None
    needed: Needed | None = None
    statuses: Mapping[str, int] = field(default_factory=dict)
    pair: FrontierPair | None = field(default=None, compare=False)
    shift_fit: JointFit | None = field(default=None, compare=False)
    bend_fit: JointFit | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        lines = [self._title(), *(f"  {name}: {value}" for name, value in self._facts())]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return facts_html(self._title(), self._facts())

    def _title(self) -> str:
        return f"Gain of {self.technique} over {self.baseline} in {self.error} against {self.cost}"

    def _facts(self) -> list[tuple[str, str]]:
        if self.gain is None:
            return [("verdict", self.verdict.value), ("no number", self.reason)]
        facts = [
            ("verdict", self.verdict.value), ("gain", f"{self.gain!r} ({self.level:.0%})"), ("law", self.law),
            ("bend", self.bend_reason if self.bend is None else f"{self.bend!r} in the exponent"),
        ]  # fmt: skip
        return facts + [("gain", repr(one)) for one in self.at_budgets]

    @property
    def bends(self) -> bool:
        """Whether the exponents differ by more than chance."""
        return self.bend is not None and 0.0 not in self.bend

    @property
    def largest_negligible_bend(self) -> float:
        """The margin of the bend in units of the exponent alpha; 0 where the baseline's is not known."""
        return 0.0 if self.exponents is None else self.bend_margin / self.exponents[0]

    @property
    def bending(self) -> Bending:
        """Whether the technique bends the frontier: that it does not is said only where the interval rules it out."""
        if self.bend is None or self.exponents is None:
            return Bending.NOT_KNOWN
        if self.bends:
            return Bending.BENDS
        farthest = max(abs(self.bend.low), abs(self.bend.high))
        return Bending.STRAIGHT if farthest <= self.largest_negligible_bend else Bending.CANNOT_TELL

    def gain_interval(self, level: float) -> Interval:
        """Interval of the gain at any level.

        Raises:
            ValueError: If there is no gain.
        """
        head = self.bend_fit if self.bends else self.shift_fit
        if head is None or self.gain is None:
            raise ValueError(f"{self.technique} has no gain in {self.cost}: {self.reason}")
        found = head.log_gain_interval(head.centre, level)
        return Interval(math.exp(found.low), math.exp(found.high), level, found.method)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        pair = self.pair
        return {
            "technique": self.technique, "baseline": self.baseline, "cost": self.cost, "error": self.error,
            "status": self.verdict.name.lower(), "reason": self.reason, "law": self.law,
            "level": self.level, "margin": self.margin, "bend_margin": self.bend_margin,
            "gain": _dict(self.gain), "at_budgets": [_dict(one) for one in self.at_budgets],
            "bend": _dict(self.bend), "bend_reason": self.bend_reason, "bends": self.bends,
            "bend_status": self.bending.name.lower(),
            "exponents": None if self.exponents is None else [finite(value) for value in self.exponents],
            "crossing": _dict(self.crossing),
            "needed": None if self.needed is None else self.needed.to_dict(),
            "statuses": dict(self.statuses),
            "n_cells": None if pair is None else list(pair.n_cells),
            "n_cells_common": None if pair is None else pair.n_common,
            "n_cells_frontier": None if pair is None else list(pair.n_frontier),
            "cost_ranges": None if pair is None else [list(one) for one in pair.cost_range],
            "notes": [] if pair is None else list(pair.notes),
            "left_out": [] if pair is None else [list(one) for one in pair.left_out],
        }  # fmt: skip


def measure_gain(runs: pd.DataFrame, baseline: str, technique: str, cost: str, setting: Setting) -> Gain:
    """Compare two frontiers; what cannot be compared is a gain without a number and with a reason."""
    names: dict[str, Any] = {
        "technique": technique, "baseline": baseline, "cost": cost, "error": setting.error, "level": setting.level,
        "margin": setting.margin, "bend_margin": setting.bend_margin,
        "statuses": count_statuses(runs, technique),
    }  # fmt: skip
    try:
        pair = read_pair(runs, baseline, technique, cost=cost, error=setting.error, paired=setting.paired)
    except ValueError as error:
        return Gain(verdict=Verdict.REFUSED, reason=str(error), **names)
    shift = _fit(pair, setting, setting.law, cost, bends=False)
    law = shift.fit.law
    if not shift.usable:
        return Gain(verdict=Verdict.REFUSED, reason=shift.reason, law=law, pair=pair, shift_fit=shift, **names)
    bent = _fit(pair, setting, law, cost, bends=True)
    bend = _bend(bent, setting.level)
    used = bent if bent.usable else shift
    # A common exponent describes neither arm if they bend apart.
    head = bent if bend is not None and 0.0 not in bend else shift
    gain = _gain_at(head, head.centre, pair, setting.level)
    verdict = judge_gain(gain, setting.margin)
    needed = None
    if verdict is Verdict.CANNOT_TELL:
        needed = trials_needed(head, math.log(gain.low), math.log(gain.high), setting.level)
    budgets = [math.log(budget) for budget in setting.budgets] or _budgets(pair)
    return Gain(
        verdict=verdict, law=law, gain=gain,
        at_budgets=tuple(_gain_at(used, budget, pair, setting.level) for budget in budgets),
        bend=bend, bend_reason=bent.reason, exponents=_exponents(bent),
        crossing=_crossing(bent, pair, setting.level), needed=needed,
        pair=pair, shift_fit=shift, bend_fit=bent, **names,
    )  # fmt: skip


def judge_gain(gain: Estimate, margin: float) -> Verdict:
    """Say what an interval of a gain says.

    A gain that is surely not 1 and surely within the margin is called equivalent: the margin is what matters.
    """
    if 1 / (1 + margin) <= gain.low and gain.high <= 1 + margin:
        return Verdict.EQUIVALENT
    if gain.low > 1:
        return Verdict.SHIFTS
    return Verdict.COSTS_MORE if gain.high < 1 else Verdict.CANNOT_TELL


def _fit(pair: FrontierPair, setting: Setting, law: str, cost: str, *, bends: bool) -> JointFit:
    return fit_pair(
        pair.points, law=law, bends=bends, cost=cost, error=setting.error, n_resamples=setting.n_resamples,
        seed=setting.seed,
    )  # fmt: skip


def _budgets(pair: FrontierPair) -> list[float]:
    """Log costs spread over what both arms spent; over what the technique spent, where they have nothing in common."""
    (low, high), own = np.log(pair.cost_range).T.tolist(), np.log(pair.cost_range[1])
    first, last = max(low), min(high)
    if not first < last:
        first, last = own
    return [float(first + share * (last - first)) for share in BUDGET_SHARES]


def _gain_at(fit: JointFit, log_cost: float, pair: FrontierPair, level: float) -> Estimate:
    value, interval = fit.log_gain(log_cost), fit.log_gain_interval(log_cost, level)
    # What the baseline would need, beyond the dearest cell of its frontier.
    beyond = (log_cost + value - math.log(pair.cost_range[0][1])) / math.log(10.0)
    return Estimate(_exp(value), _exp(interval.low), _exp(interval.high), _exp(log_cost), max(0.0, beyond))


def _bend(fit: JointFit, level: float) -> Estimate | None:
    if not fit.usable:
        return None
    interval = fit.parameter_interval("bend", level)
    return Estimate(fit.parameter("bend"), interval.low, interval.high)


def _exponents(fit: JointFit) -> tuple[float, float] | None:
    if not fit.usable:
        return None
    alpha, bend = fit.parameter("alpha"), fit.parameter("bend")
    return (_inverse(alpha), _inverse(alpha + bend))


def _inverse(alpha: float) -> float:
    return 1 / alpha if alpha > 0 else math.inf


def _crossing(fit: JointFit, pair: FrontierPair, level: float) -> Estimate | None:
    """Where the frontiers cross; only where it is sure that they bend apart, else any cost might be it."""
    bend = _bend(fit, level)
    if bend is None or 0.0 in bend:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        values = [_crossing_of(fit, theta) for theta in (fit.optimum.theta[None], fit.draws, fit.leave_one_out)]
    interval = fit.interval(*values, level=level)
    cost = float(values[0][0])
    last, first = max(high for _, high in pair.cost_range), min(low for low, _ in pair.cost_range)
    outside = max(cost - math.log(last), math.log(first) - cost, 0.0) / math.log(10.0)
    return Estimate(_exp(cost), _exp(interval.low), _exp(interval.high), None, outside)


def _crossing_of(fit: JointFit, theta: Array) -> Array:
    alpha, gain, bend = (fit.law.parameter(theta, name) for name in ("alpha", "log_gain", "bend"))
    return np.asarray(fit.centre - alpha * gain / bend)


def _exp(value: float) -> float:
    return math.exp(min(max(value, -700.0), 700.0))


def _dict(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else estimate.to_dict()
