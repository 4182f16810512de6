"""What is asked of a sweep's driver, and what it tells: the words that its parts share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cluster.records import Record


@dataclass(frozen=True)
class TrialRequest:
    """A trial to run.

    Attributes:
        trial_id: Its identity: what decides that it is done.
        payload: Handed to the trial function; JSON-able and opaque here.
        expected_cost: In any unit; the dearest trial starts first, so that none is left over alone.
        known: Parts of the record that are known before the trial runs (``sweep``, ``spec``, ``row``).
            The record of a trial that dies is built on them.
    """

    trial_id: str
    payload: dict[str, Any]
    expected_cost: float = 0.0
    known: Mapping[str, Any] = field(default_factory=dict)


class SweepListener(Protocol):
    """Hears of trials, in the driver, between two decisions of Tune: answers must be quick."""

    def started(self, trial_id: str) -> None:
        """A worker has begun the trial."""

    def finished(self, record: Record) -> None:
        """The trial's record is on disk."""

    def retried(self, trial_id: str, reason: str) -> None:
        """The trial's worker died and the trial waits for another."""
