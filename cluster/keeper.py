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

    def lost(self, trial_id: str, reason: str, lost_seconds: float) -> None:
        """Remember an attempt that ended without a record."""
        self._retries.setdefault(trial_id, []).append({"reason": reason, "lost_seconds": lost_seconds})

    def keep(self, trial_id: str, text: str) -> str:
        """Write a record and return an empty string, or the reason why it could not be written."""
        retries = self._retries.pop(trial_id, [])
        record = {**json.loads(text), "attempts": len(retries) + 1, "retries": retries}
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
        """Say whether a final record of the trial is on disk."""
        return final_record(self._folder, trial_id) is not None


def start_keeper(folder: Path) -> Any:
    """Start the keeper on this machine; should it die, Ray starts it again and repeats what it was asked."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    keeper = ray.remote(RecordKeeper).options(
        num_cpus=0, scheduling_strategy=here, max_restarts=-1, max_task_retries=-1
    )
    return keeper.remote(str(folder))
