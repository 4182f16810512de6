"""Trials that leave no record yet because they should be tried once more under better conditions."""

from __future__ import annotations

from enum import Enum
from typing import Any

from cluster.records import Record


class Postponed(Enum):
    """What a trial waits for."""

    ELSEWHERE = "a machine on which the sweep's data and models can be prepared"
    ALONE = "the end of all other trials, so that it has the memory to itself"


def postponement(record: Record, unfit: str) -> tuple[Postponed | None, str]:
    """Say for what a trial that failed should wait, and why; None if its record stands.

    Args:
        record: What the trial came to.
        unfit: What could not be prepared in its worker; empty if all could.
    """
    if record["status"] != "failed":
        return None, ""
    if record.get("out_of_memory"):
        return Postponed.ALONE, "it ran out of memory beside other trials"
    if unfit:
        return Postponed.ELSEWHERE, f"its machine could not be prepared ({unfit[:300]})"
    return None, ""


class WorkerOutOfMemoryError(Exception):
    """A worker gave way, or the kernel ended it, because its machine's memory ran short."""


def ran_out_of_memory(error: Any) -> bool:
    """Whether a worker was ended to save its machine."""
    import ray

    if isinstance(error, WorkerOutOfMemoryError):
        return True
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return True
    # Every message on a worker's death guesses at memory; these words stand where Ray itself has ended it.
    said_by_ray = ("running low on memory", "OOM kill reason")
    return isinstance(error, ray.exceptions.RayActorError) and any(words in str(error) for words in said_by_ray)
