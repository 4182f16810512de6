"""The keeper of records: an actor on the driver's machine, so that no disk need be shared.

Importing this module does not import Ray; its process starts the faster for it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cluster.checkpoints import GROUP, CheckpointFolder, Checkpointing, Spent
from cluster.models import model_path
from cluster.records import FINAL_STATUSES, Record, final_record, record_path, write_atomically, write_record

# A pause of the disk (full for a moment, a network share that stalls) should not cost a trial.
WRITE_PAUSES_SECONDS = (0.5, 1.5)
# What of a lost attempt stands in the row, and under which name in the phase `lost` of the ledger.
LOST_COLUMNS = {"lost_seconds": "wall_seconds", "lost_flops": "flops", "lost_joules": "energy_joules"}


class RecordKeeper:
    """Makes records and checkpoints durable for workers that may have no disk in common with the driver."""

    def __init__(self, folder: str, checkpointing: Checkpointing | None = None) -> None:
        self._folder = Path(folder)
        self._checkpoints = CheckpointFolder(self._folder, checkpointing)
        self._settled: set[str] = set()
        self._last_words: dict[str, str] = {}

    def lost(self, trial_id: str, reason: str, wall_seconds: float) -> Record:
        """Remember an attempt that ended without a record, and return what was lost with it."""
        return self._checkpoints.end_attempt(trial_id, reason, wall_seconds)

    def waiting(self) -> set[str]:
        """Ids of the trials that have a checkpoint."""
        return self._checkpoints.waiting()

    def load_checkpoint(self, trial_id: str) -> bytes | None:
        """The last checkpoint of a trial; None if there is none."""
        return self._checkpoints.load(trial_id)

    def save_checkpoint(self, trial_id: str, content: bytes, spent: Spent) -> None:
        """Keep a checkpoint in place of the one before."""
        self._checkpoints.save(trial_id, content, spent)

    def report_progress(self, trial_id: str, spent: Spent) -> None:
        """Note what a trial's present attempt has spent by now."""
        self._checkpoints.report(trial_id, spent)

    def discard_checkpoint(self, trial_id: str, spent: Spent) -> None:
        """Drop a checkpoint that is of no use, in which so much was spent."""
        self._checkpoints.discard(trial_id, spent)

    def say_last(self, trial_id: str, sentence: str) -> None:
        """Take down why a worker is about to end itself in a trial."""
        self._last_words[trial_id] = sentence

    def last_words(self, trial_id: str) -> str:
        """Hand out, once, what the last worker of a trial said; empty if it said nothing."""
        return self._last_words.pop(trial_id, "")

    def settle(self, trial_id: str, text: str = "") -> str:
        """Take no more of a trial from workers, until `reopen`.

        Args:
            trial_id: The trial.
            text: The record that stands for it, unless it has a final one; empty for none yet.

        Returns:
            What `keep` returns.
        """
        unkept = self.keep(trial_id, text) if text and not self.has(trial_id) else ""
        self._settled.add(trial_id)
        return unkept

    def reopen(self) -> None:
        """Take records of all trials again."""
        self._settled.clear()

    def keep(self, trial_id: str, text: str, model: bytes | None = None) -> str:
        """Write a record and return an empty string, or the reason why it could not be written.

        A trial's model is written before its record, so that where there is a record there is the model too.
        """
        if trial_id in self._settled:
            return ""
        record = with_retries(json.loads(text), self._checkpoints.retries(trial_id))
        for pause_seconds in (*WRITE_PAUSES_SECONDS, None):
            try:
                if model is not None:
                    write_atomically(model_path(self._folder.parent, trial_id), model)
                write_record(self._folder, record)
                break
            except OSError as error:
                if pause_seconds is None:
                    return f"{record_path(self._folder, trial_id)} could not be written: {error}"
                time.sleep(pause_seconds)
        if record.get("status") in FINAL_STATUSES:
            self._checkpoints.remove(trial_id)
        else:  # the next start tries it again, from its checkpoint if it has one
            self._checkpoints.forget_progress(trial_id)
        return ""

    def has(self, trial_id: str) -> bool:
        """Say whether a final record of the trial is on disk, or none is wanted from a worker."""
        return trial_id in self._settled or final_record(self._folder, trial_id) is not None


def with_retries(record: Record, retries: list[Record]) -> Record:
    """Add to a record what its lost attempts were and took, under the phase `lost`.

    The seconds are those of the wall clock since the last checkpoint. FLOP and joules are those that the attempt
    had spent at its last word; where one attempt left none they are unknown, and left out.
    """
    record = {**record, "attempts": len(retries) + 1, "retries": retries}
    if retries:
        sums = {name: _known_sum(retry.get(name) for retry in retries) for name in LOST_COLUMNS}
        lost = {name: value for name, value in sums.items() if value is not None}
        phase = {"phase": "lost", **{LOST_COLUMNS[name]: value for name, value in lost.items()}}
        record["phases"] = [*record.get("phases", ()), phase]
        record["row"] = {**record["row"], **lost}
    return record


def _known_sum(values: Iterable[float | None]) -> float | None:
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def start_keeper(folder: Path, checkpointing: Checkpointing | None = None) -> Any:
    """Start the keeper on this machine; should it die, Ray starts it again and repeats what it was asked."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    remote: Any = ray.remote  # its types do not know of groups
    keeper = remote(concurrency_groups={GROUP: 1})(RecordKeeper).options(
        num_cpus=0, scheduling_strategy=here, max_restarts=-1, max_task_retries=-1
    )
    return keeper.remote(str(folder), checkpointing)
