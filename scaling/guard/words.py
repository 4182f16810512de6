"""Findings of a night in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling.compare.gain import Verdict
from scaling.runs import label

if TYPE_CHECKING:
    from scaling.guard.night import Finding

_OWN_WORDS = {
    "train_flops_counted": "FLOP per training step, counted as it ran",
    "wall_seconds": "duration of a trial, in reference kernels",
    "inference_seconds": "latency per example, in reference kernels",
    "energy_joules": "energy of a trial, in reference kernels",
}


def quantity_words(finding: Finding) -> str:
    """What is compared, in words."""
    words = _OWN_WORDS.get(finding.cost, label(finding.cost))
    return f"{words}, for the same {label(finding.error)}" if finding.error else words


def finding_sentence(finding: Finding) -> str:
    """The finding as one sentence."""
    who = f"{finding.technique}: {quantity_words(finding)}"
    if finding.gain is None:
        return f"{who}: no number, as {finding.reason}."
    if finding.gain.low == finding.gain.value == finding.gain.high == 1.0:
        return f"{who} is exactly that of the baseline."
    # A gain of 0.8 is 25% more to spend.
    more, least, most = (100 * (1 / value - 1) for value in (finding.gain.value, finding.gain.high, finding.gain.low))
    change = f"{more:+.1f}% [{least:+.1f}%, {most:+.1f}%]"
    endings = {
        Verdict.COSTS_MORE: f"has become dearer by {change}",
        Verdict.SHIFTS: f"has become cheaper: {change}",
        Verdict.EQUIVALENT: f"shows no difference beyond {finding.margin:.1%}: {change}",
        Verdict.CANNOT_TELL: f"moved by {change}, from which nothing can be told",
    }
    return f"{who} {endings[finding.verdict]}."
