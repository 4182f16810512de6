"""What a night found about one cost of one technique, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from scaling.columns import label
from scaling.compare.gain import Estimate, Verdict
from scaling.fit import finite

_OWN_WORDS = {
    "train_flops_counted": "FLOP per training step, counted as it ran",
    "wall_seconds": "duration of a trial, in reference kernels",
    "inference_seconds": "latency per example, in reference kernels",
    "energy_joules": "energy of a trial, in reference kernels",
}


class Kind(Enum):
    """What a finding compares."""

    FRONTIER = "cost at equal error"
    PRICE = "cost of the same trial"


@dataclass(frozen=True)
class Finding:
    """One cost of one technique tonight.

    Attributes:
        technique, cost: What is compared.
        error: Error that is held equal; empty where trials are compared as they are.
        kind: Cost at equal error, or cost of the same trial.
        gates: Whether a loss here fails the night.
        verdict: What the interval says.
        gain: Above 1 the baseline needs more; None where there is no number.
        level: Of the interval.
        margin: Beyond which a gain makes a difference.
        reason: Why there is no number.
    """

    technique: str
    cost: str
    error: str
    kind: Kind
    gates: bool
    verdict: Verdict
    gain: Estimate | None
    level: float
    margin: float
    reason: str = ""
    standard_error: float | None = None

    @property
    def is_regression(self) -> bool:
        """Whether this fails the night."""
        return self.gates and self.verdict is Verdict.COSTS_MORE

    @property
    def sentence(self) -> str:
        """The finding in words."""
        return finding_sentence(self)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "technique": self.technique, "cost": self.cost, "error": self.error or None,
            "kind": self.kind.name.lower(), "gates": self.gates, "status": self.verdict.name.lower(),
            "gain": None if self.gain is None else self.gain.to_dict(), "level": self.level, "margin": self.margin,
            "standard_error": finite(self.standard_error), "reason": self.reason or None, "sentence": self.sentence,
        }  # fmt: skip


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
