"""One attempt at one trial inside a worker: whatever happens in it, a record comes out."""

from __future__ import annotations

import json
import os
import random
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from cluster.checkpoints import TrialCheckpoints
from cluster.records import Record
from cluster.requests import TrialRequest


def record_text(
    request: TrialRequest,
    function_bytes: bytes,
    checkpoints: TrialCheckpoints | None = None,
    keep_model: Callable[[bytes], None] | None = None,
) -> str:
    """Run one trial and return its record as JSON; what escapes from it is a failed record.

    Not caught: the death of the process, and requests to leave it (`SystemExit`).

    Args:
        request: The trial.
        function_bytes: Its function, pickled.
        checkpoints: Handed to the function under that name; if not given, the function gets no such argument.
        keep_model: Likewise.
    """
    from ray import cloudpickle

    started_at = now()
    with _fresh_process_state():
        try:
            trial_function = cloudpickle.loads(function_bytes)
            given = {"checkpoints": checkpoints, "keep_model": keep_model}
            more = {name: value for name, value in given.items() if value is not None}
            record = trial_function(request.payload, **more)
            _check_record(record, request)
            return json.dumps(record, allow_nan=False)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            failed = failed_record(request, reason, started_at=started_at, trace=traceback.format_exc())
            return json.dumps({**failed, "out_of_memory": isinstance(error, MemoryError)})


def prepare_worker(prepare_bytes: bytes) -> str:
    """Do once what every trial of this process would otherwise wait for in its own time.

    Whatever cannot be prepared the first trial meets again, and there it becomes a record.

    Returns:
        An empty string, or what could not be prepared.
    """
    from ray import cloudpickle

    try:
        prepare = cloudpickle.loads(prepare_bytes)
        if prepare is not None:
            prepare()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def failed_record(
    request: TrialRequest, reason: str, *, started_at: str | None = None, trace: str = "", status: str = "failed"
) -> Record:
    """Build the record of a trial that left none itself, on what was known before it ran."""
    known = dict(request.known)
    row = {**known.pop("row", {}), "trial_id": request.trial_id, "status": status, "reason": reason}
    return {
        **known,
        "trial_id": request.trial_id,
        "status": status,
        "reason": reason,
        "row": row,
        "traceback": trace,
        "started_at": started_at or now(),
        "ended_at": now(),
    }


def now() -> str:
    """Time of day in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat()


def _check_record(record: Any, request: TrialRequest) -> None:
    if not isinstance(record, dict) or not {"trial_id", "status", "row"} <= record.keys():
        raise ValueError("a trial function returns a mapping with trial_id, status and row")
    if record["trial_id"] != request.trial_id:
        raise ValueError(f"the trial {request.trial_id} returned the record of {record['trial_id']!r}")


@contextmanager
def _fresh_process_state() -> Iterator[None]:
    """Undo between trials what a reused process would carry over: folder, environment, global seeds.

    The seeds are set to a constant, so that a trial that forgets to seed depends on no trial before it.
    """
    folder, environment = os.getcwd(), dict(os.environ)
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    try:
        yield
    finally:
        os.chdir(folder)
        if os.environ != environment:
            os.environ.clear()
            os.environ.update(environment)
