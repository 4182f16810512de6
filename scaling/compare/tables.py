"""The rows of a comparison's tables."""

from __future__ import annotations

import math
from typing import Any

from scaling.compare.break_even import BreakEven
from scaling.compare.gain import Estimate, Gain, Verdict
from scaling.compare.sentence import break_even_text, interval_text
from scaling.fit import finite


def gain_row(gain: Gain) -> dict[str, Any]:
    """One technique on one cost."""
    value, bend, needed = gain.gain, gain.bend, gain.needed
    lost = sum(number for status, number in gain.statuses.items() if status != "finished")
    return {
        "technique": gain.technique, "cost": gain.cost, "status": gain.verdict.name.lower(),
        **_spread("gain", value), "bend": _of(bend, "value"), "bend_low": _of(bend, "low"),
        "bend_high": _of(bend, "high"), "bend_status": gain.bending.name.lower(), "law": gain.law or None,
        "decades_beyond": _of(value, "decades_beyond"),
        "trials_needed": None if needed is None else needed.n_trials,
        "trials_needed_at": None if needed is None else needed.cost,
        "n_cells_common": None if gain.pair is None else gain.pair.n_common,
        "n_trials": sum(gain.statuses.values()), "n_unfinished": lost, "reason": gain.reason or None,
    }  # fmt: skip


def budget_rows(gain: Gain) -> list[dict[str, Any]]:
    """One technique on one cost, at each of its budgets."""
    return [
        {
            "technique": gain.technique, "cost": gain.cost, "budget": finite(one.at_cost), **_spread("gain", one),
            "decades_beyond": finite(one.decades_beyond),
        }
        for one in gain.at_budgets
    ]  # fmt: skip


def break_even_row(found: BreakEven) -> dict[str, Any]:
    """When one technique pays."""
    known = found.payback.name in ("FROM", "UP_TO")
    return {
        "technique": found.technique, "status": found.payback.name.lower(),
        "uses": found.uses if known and found.uses is not None and math.isfinite(found.uses) else None,
        "uses_low": found.low if known else None,
        "uses_high": found.high if known and math.isfinite(found.high) else None,
        "at_error": found.at_error, "answer": break_even_text(found), "reason": found.reason or None,
    }  # fmt: skip


def _spread(name: str, value: Estimate | None) -> dict[str, float | None]:
    return {name: _of(value, "value"), f"{name}_low": _of(value, "low"), f"{name}_high": _of(value, "high")}


def _of(value: Estimate | None, name: str) -> float | None:
    return None if value is None else finite(getattr(value, name))


def gain_cell(gain: Gain | None) -> str | None:
    """A gain with its interval and the mark of its verdict, as it stands in the overview."""
    if gain is None or gain.gain is None:
        return None
    value = gain.gain
    mark = {Verdict.CANNOT_TELL: " ?", Verdict.EQUIVALENT: " ="}.get(gain.verdict, "")
    return f"{value.value:.3g} {interval_text(value)}{mark}"
