"""The verdict of a night: gain or loss on each cost, per technique; what is strict and what intervals judge.

FLOP and sizes are counted: a change of one part in a thousand is a change. Errors and losses vary with the seed: an
interval over seeds speaks. Seconds and joules vary with the machine: they are read as ratios to a reference kernel
that was timed in the same night, and only changes beyond a wide margin count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from scaling.compare.gain import Estimate, Verdict
from scaling.guard.finding import Finding, Kind
from scaling.guard.pairs import BASE, TONIGHT, Pairs, SeedGrid
from scaling.guard.ratio import LogGain, gain_at_equal_error, mean_gain
from scaling.laws.base import Array

STRICT_COSTS = ("train_flops_counted", "train_flops", "inference_flops", "n_params")
CLOCK_COSTS = ("wall_seconds", "inference_seconds", "energy_joules")
ERRORS = ("test_loss", "test_error")
# What is asked of the frontier besides the training FLOP, which alone can fail a night: the others add the noise
# of the clock to the same change of error, and their own ratio is judged anyway.
FRONTIER_COSTS = ("train_flops", "energy_joules", "wall_seconds")
# Results that must agree to the last bit before a night may say that nothing has changed.
RESULTS = ("test_loss", "test_error", "validation_loss", "validation_error", "shift_error")


@dataclass(frozen=True)
class NightSetting:
    """How a night is judged.

    Attributes:
        false_alarms: Share of nights without any change that may fail; it is spread over the findings that can fail one
            by chance. Below the 2% that a team bears, so that a count of simulated nights can show it.
        margin: Gains within ``1/(1 + margin)`` and ``1 + margin`` make no difference at equal error.
        strict_margin: The same for FLOP and sizes, which are counted.
        clock_margin: The same for seconds and joules; the machine's own doing lies within it.
    """

    false_alarms: float = 0.015
    margin: float = 0.05
    strict_margin: float = 0.001
    clock_margin: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.false_alarms < 0.5:
            raise ValueError(f"false_alarms is {self.false_alarms}, but it is a share of nights: above 0, below 0.5")
        for name in ("margin", "strict_margin", "clock_margin"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but it is above 0, such as 0.05")

    def level(self, chances: int) -> float:
        """Two-sided level of the intervals when so many findings can fail a night by chance.

        Only a loss fails one, so that a tail counts; shares that add up hold whatever the findings have in common.
        """
        return 1 - 2 * self.false_alarms / max(1, chances)


@dataclass(frozen=True)
class Night:
    """All findings of a night.

    Attributes:
        findings: Per technique and cost.
        setting: How they were judged.
        n_pairs: Trials compared.
        differing: Results that are not the same to the last bit; empty after a change that changed nothing.
        worse_endings: Trials that finished in the baseline and diverged tonight.
    """

    findings: tuple[Finding, ...]
    setting: NightSetting
    n_pairs: int
    differing: tuple[str, ...]
    worse_endings: tuple[str, ...] = field(default=())

    @property
    def regressions(self) -> tuple[str, ...]:
        """What fails the night, in words; empty if nothing does."""
        diverged = tuple(f"{trial} finished in the baseline and diverged tonight." for trial in self.worse_endings)
        return (*diverged, *(finding.sentence for finding in self.findings if finding.is_regression))

    @property
    def table(self) -> pd.DataFrame:
        """One row per technique and cost."""
        rows = [{**finding.to_dict(), **_flat(finding.gain)} for finding in self.findings]
        return pd.DataFrame(rows)

    def finding(self, cost: str, error: str = "", technique: str = "baseline") -> Finding:
        """One finding.

        Raises:
            ValueError: If there is none like it.
        """
        for one in self.findings:
            if (one.technique, one.cost, one.error) == (technique, cost, error):
                return one
        raise ValueError(f"{technique!r} was not judged on {cost!r} at equal {error or 'settings'}")

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "n_pairs": self.n_pairs, "identical": not self.differing, "differing": list(self.differing),
            "false_alarms": self.setting.false_alarms, "regressions": list(self.regressions),
            "findings": [finding.to_dict() for finding in self.findings],
        }  # fmt: skip


def judge_night(
    pairs: Pairs, setting: NightSetting | None = None, *, not_known: Mapping[str, str], clock_error: float = 0.0
) -> Night:
    """Judge tonight's trials against those of the baseline.

    Args:
        pairs: From `pair_trials`. Clock costs must be ratios to a reference kernel already.
        setting: How.
        not_known: Costs that cannot be compared tonight, each with the reason, such as seconds of another machine.
        clock_error: Standard error of the log of the clock costs' unit, which all seeds have in common.

    Raises:
        ValueError: If no trial finished on both sides, or nothing can be said of the training compute of a technique at
            equal error: a night that could not find a loss is no pass. Trials that diverged are a loss all the same.
    """
    setting = setting or NightSetting()
    worse = tuple(words for words, status in pairs.unfinished if status == "diverged")
    if pairs.table.empty:
        if not worse:
            raise ValueError("no trial finished both in the baseline and tonight, so there is nothing to compare")
        return Night((), setting, 0, (), worse)
    parts = {str(name): part for name, part in pairs.table.groupby("technique", sort=False)}
    costs = [cost for cost in (*STRICT_COSTS, *CLOCK_COSTS) if cost in not_known or _known(pairs.table, cost)]
    chances = len(parts) * (len(ERRORS) + sum(cost in CLOCK_COSTS and cost not in not_known for cost in costs))
    level = setting.level(chances)
    findings = [
        finding
        for name, part in parts.items()
        for finding in _findings(name, part, costs, level, setting, not_known, clock_error)
    ]  # fmt: skip
    if not worse:
        _check_judged(findings, list(parts))
    return Night(tuple(findings), setting, len(pairs.table), pairs.differing((*RESULTS, *STRICT_COSTS)), worse)


def _check_judged(findings: Sequence[Finding], techniques: Sequence[str]) -> None:
    """Refuse a night that could not have found a loss."""
    for technique in techniques:
        asked = [one for one in findings if one.technique == technique and one.error and one.gates]
        if all(one.gain is None for one in asked):
            reasons = "; ".join(dict.fromkeys(one.reason for one in asked)) or "its training FLOP are not known"
            raise ValueError(f"nothing can be said of the training compute of {technique!r} at equal error: {reasons}")


def _findings(
    technique: str,
    part: pd.DataFrame,
    costs: Sequence[str],
    level: float,
    setting: NightSetting,
    not_known: Mapping[str, str],
    clock_error: float,
) -> list[Finding]:
    """Costs at equal error first, then the costs of the same trials."""
    grid = SeedGrid(part)
    found = [
        _finding(technique, grid, cost, error, level, setting, not_known, clock_error)
        for error in ERRORS
        for cost in FRONTIER_COSTS
        if cost in costs
    ]
    return found + [_finding(technique, grid, cost, "", level, setting, not_known, clock_error) for cost in costs]


def _finding(
    technique: str,
    grid: SeedGrid,
    cost: str,
    error: str,
    level: float,
    setting: NightSetting,
    not_known: Mapping[str, str],
    clock_error: float,
) -> Finding:
    kind = Kind.FRONTIER if error else Kind.PRICE
    clock, strict = cost in CLOCK_COSTS, cost in STRICT_COSTS
    margin = setting.clock_margin if clock else setting.margin if error else setting.strict_margin
    gates = cost == "train_flops" if error else cost not in ("n_params", "train_flops")
    try:
        if cost in not_known:
            raise ValueError(not_known[cost])
        gain = _at_equal_error(grid, cost, error) if error else mean_gain(-_change(grid, cost).mean(axis=1))
    except ValueError as reason:
        return Finding(
            technique, cost, error, kind, gates, Verdict.REFUSED, None, level, margin, reason=str(reason)
        )  # fmt: skip
    if clock:
        gain = replace(gain, error=math.hypot(gain.error, clock_error))
    low, high = gain.bounds(level)
    verdict = classify(low, high, margin, sure_loss_counts=not (clock or (strict and not error)))
    estimate = Estimate(math.exp(gain.value), math.exp(low), math.exp(high))
    return Finding(
        technique, cost, error, kind, gates, verdict, estimate, level, margin, standard_error=gain.error
    )  # fmt: skip


def classify(low: float, high: float, margin: float, *, sure_loss_counts: bool) -> Verdict:
    """What the interval of a log gain says.

    All within the margin is no difference, even where chance is excluded: a loss of 1% that is sure fails no night by
    itself, and the drift over many nights sees it.

    Args:
        low, high: Of the log gain.
        margin: Within which there is no difference.
        sure_loss_counts: Whether a loss need only exclude 1 (at equal error), not the whole margin (clocks, counts).
    """
    reach = math.log1p(margin)
    if -reach <= low and high <= reach:
        return Verdict.EQUIVALENT
    beyond = 0.0 if sure_loss_counts else reach
    if high < -beyond:
        return Verdict.COSTS_MORE
    if low > beyond:
        return Verdict.SHIFTS
    return Verdict.CANNOT_TELL


def _at_equal_error(grid: SeedGrid, cost: str, error: str) -> LogGain:
    base, tonight = ((_log(grid, cost + side), log_error(grid, error, side)) for side in (BASE, TONIGHT))
    return gain_at_equal_error(base, tonight)


def _change(grid: SeedGrid, cost: str) -> Array:
    """Log cost of tonight less that of the baseline, (seeds, cells)."""
    return _log(grid, cost + TONIGHT) - _log(grid, cost + BASE)


def _log(grid: SeedGrid, name: str) -> Array:
    values = grid.column(name)
    if (values <= 0).any():
        raise ValueError(f"{name.removesuffix(BASE).removesuffix(TONIGHT)} is 0 in a trial, which has no ratio")
    return np.log(values)


def log_error(grid: SeedGrid, error: str, side: str) -> Array:
    """Log of a loss, or of a share of counted examples with half an example added: none wrong is not no error."""
    if error != "test_error":
        return _log(grid, error + side)
    n_test = grid.column(f"n_test{side}")
    return np.log((grid.column(error + side) * n_test + 0.5) / (n_test + 1))


def _known(table: pd.DataFrame, cost: str) -> bool:
    return all(cost + side in table.columns and table[cost + side].notna().any() for side in (BASE, TONIGHT))


def _flat(gain: Estimate | None) -> dict[str, float | None]:
    names = {"gain": "value", "gain_low": "low", "gain_high": "high"}
    return {name: None if gain is None else getattr(gain, attribute) for name, attribute in names.items()}
