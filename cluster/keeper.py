"""The keeper of records: an actor on the driver's machine, so that no disk need be shared.

Importing this module does not import Ray; its process starts the faster for it.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from cluster.records import Record, final_record, record_path, write_record

# A pause of the disk (full for a moment, a network share that stalls) should not cost a trial.
WRITE_PAUSES_SECONDS = (0.5, 1.5)


class RecordKeeper:
    """Makes records durable for workers that may have no disk in common with the driver."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._retries: dict[str, list[Record]] = {}
        self._settled: set[str] = set()

    def lost(self, trial_id: str, reason: str, lost_seconds: float) -> None:
        """Remember an attempt that ended without a record."""
        self._retries.setdefault(trial_id, []).append({"reason": reason, "lost_seconds": lost_seconds})

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

    def keep(self, trial_id: str, text: str) -> str:
        """Write a record and return an empty string, or the reason why it could not be written."""
        if trial_id in self._settled:
            return ""
        record = with_retries(json.loads(text), self._retries.pop(trial_id, []))
        for pause_seconds in (*WRITE_PAUSES_SECONDS, None):
            try:
                write_record(self._folder, record)
                return ""
            except OSError as error:
                if pause_seconds is None:
                    return f"{record_path(self._folder, trial_id)} could not be written: {error}"
                time.sleep(pause_seconds)
        raise AssertionError("unreachable")

    def has(self, trial_id: str) -> bool:
        """Say whether a final record of the trial is on disk, or none is wanted from a worker."""
        return trial_id in self._settled or final_record(self._folder, trial_id) is not None


def with_retries(record: Record, retries: list[Record]) -> Record:
    """Add to a record what its lost attempts were and took, under the phase `lost`.

    The seconds are those of the wall clock; how many FLOP and joules went with a worker that died nobody knows.
    """
    record = {**record, "attempts": len(retries) + 1, "retries": retries}
    if retries:
        lost_seconds = sum(retry["lost_seconds"] for retry in retries)
        record["phases"] = [*record.get("phases", ()), {"phase": "lost", "wall_seconds": lost_seconds}]
        record["row"] = {**record["row"], "lost_seconds": lost_seconds}
    return record


def start_keeper(folder: Path) -> Any:
    """Start the keeper on this machine; should it die, Ray starts it again and repeats what it was asked."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    keeper = ray.remote(RecordKeeper).options(
        num_cpus=0, scheduling_strategy=here, max_restarts=-1, max_task_retries=-1
    )
    return keeper.remote(str(folder))
