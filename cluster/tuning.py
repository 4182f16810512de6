"""Running many trials under Ray Tune so that none is lost and none that is finished is repeated.

The records on disk decide what is left to do; Tune's own state is thrown away. Ray is imported when a
sweep begins, not before.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.checkpoints import Checkpointing
from cluster.lock import hold_folder
from cluster.memory import allowed_fraction
from cluster.records import Record, final_ids, record_path
from cluster.requests import SweepListener, TrialRequest
from cluster.rounds import Limits, run_rounds
from cluster.session import Resources, Session

if TYPE_CHECKING:
    from cluster.trainable import DriverEar

__all__ = ["Outcome", "Resources", "SweepListener", "TrialRequest", "run_trials"]


@dataclass(frozen=True)
class Outcome:
    """What became of a sweep.

    Attributes:
        n_requested: Trials of the sweep.
        n_already_done: Those that had a final record when it began.
        statuses: Trials by status of the record that this call brought about.
        n_retries: Attempts that left no record.
        n_workers: Trials that could run side by side when it began.
        interrupted: Whether it was stopped, from the keyboard or by SIGTERM.
        wall_seconds: Time in `run_trials`; the start of a private Ray lies before it.
        startup_seconds: Part of it before the first trial began: Tune and the first worker start.
    """

    n_requested: int
    n_already_done: int
    statuses: Mapping[str, int]
    n_retries: int
    n_workers: int
    interrupted: bool
    wall_seconds: float
    startup_seconds: float

    @property
    def n_recorded(self) -> int:
        """Trials that have a record, failed ones included."""
        return self.n_already_done + sum(self.statuses.values())

    @property
    def n_failed(self) -> int:
        """Trials whose record of this call says that they failed."""
        return self.statuses.get("failed", 0)

    def sentence(self, command: str) -> str:
        """Say how far the sweep is, and which command goes on with it."""
        trials = "trial is" if self.n_requested == 1 else "trials are"
        parts = [f"{self.n_recorded - self.n_failed} of {self.n_requested} {trials} done"]
        if self.n_failed:
            parts.append(f"{self.n_failed} failed")
        if self.n_recorded - self.n_failed < self.n_requested:
            parts.append(f"`{command}` goes on with the rest")
        return ("stopped: " if self.interrupted else "") + "; ".join(parts)


def run_trials(
    requests: Sequence[TrialRequest],
    trial_function: Callable[[dict[str, Any]], Record],
    *,
    folder: Path,
    session: Session,
    prepare: Callable[[], object] | None = None,
    resources: Resources | None = None,
    listeners: Sequence[SweepListener] = (),
    max_retries: int = 2,
    max_concurrent: int | None = None,
    longest_seconds: float | None = None,
    wait_seconds: float = 0.0,
    checkpointing: Checkpointing | None = None,
    keeps_models: bool = False,
) -> Outcome:
    """Run every trial that has no final record in the folder yet, dearest first.

    A trial counts as finished when its record is durable on the driver's disk. An exception that
    escapes from the trial function, or a record that is not JSON, becomes a record of status `failed`;
    a worker that dies is replaced and its trial repeated. A trial that took too much memory is repeated
    once, alone; one that failed where `prepare` had failed is repeated once on other machines, if there
    are any. After Ctrl-C or SIGTERM the workers are ended and the call returns; trials that were running
    are lost.

    Args:
        requests: The trials; ids must differ.
        trial_function: Picklable; takes a payload and returns a record with ``trial_id``, ``status`` and
            ``row``. It seeds its own randomness: processes are reused.
        folder: Where the records lie.
        session: Connection to Ray.
        prepare: Picklable; called once in each worker before its first trial, so that imports and files
            that every trial needs are no part of the first one's time. What it raises, the trial will meet.
        resources: What a trial occupies; one core if not given.
        listeners: Told of every event.
        max_retries: Further attempts after a worker's death. Attempts that went with their machine do not count.
        max_concurrent: Trials that may run or wait for a place at once; as many as there are places
            now and on machines to come if not given, so that a cluster that can grow sees what it is to grow to.
        longest_seconds: A trial that has run so long is ended from outside, with a record of status `stopped`.
        wait_seconds: How long to wait for another driver that works on the folder.
        checkpointing: If given, `trial_function` takes a further argument ``checkpoints``, the trial's
            `TrialCheckpoints`: what it leaves there is given to the attempt that follows it.
        keeps_models: If so, `trial_function` takes a further argument ``keep_model``, a function that it may call once
            with its model as bytes: they are written before its record, see `cluster.models`.

    Raises:
        ValueError: If an id occurs twice or is unfit for a file name, a record in the folder is damaged,
            `max_retries` is negative, the part of the memory that may be used makes no sense, or no machine can
            hold a trial.
        FolderInUseError: If another driver holds the folder.
        OSError: If a record could not be written; the sweep ends at once.
        RuntimeError: If the first trials all had to be given up.
    """
    resources = resources or Resources()
    _check(requests, folder, max_retries)
    n_workers = session.n_workers_for(resources)
    begun = time.monotonic()
    with hold_folder(folder, wait_seconds=wait_seconds):
        done = final_ids(folder, (request.trial_id for request in requests))
        open_requests = sorted(
            (request for request in requests if request.trial_id not in done),
            key=lambda request: -request.expected_cost,
        )
        ear = None
        if open_requests:
            places = max(n_workers, session.n_workers_to_come(resources))
            limits = Limits(resources, n_workers, max_concurrent or places, max_retries, longest_seconds)
            ear = _run_open(
                open_requests, trial_function, prepare, folder.resolve(), listeners, limits, session, checkpointing,
                keeps_models,
            )  # fmt: skip
    if ear and ear.unkept:
        raise OSError(f"{ear.unkept}; finished trials are safe, make room and start again")
    if ear and ear.hopeless:
        raise RuntimeError(f"no worker could run a trial, the sweep was stopped; the last said: {ear.hopeless}")
    return Outcome(
        n_requested=len(requests),
        n_already_done=len(requests) - len(open_requests),
        statuses=Counter(ear.statuses.values()) if ear else {},
        n_retries=ear.n_retries if ear else 0,
        n_workers=n_workers,
        interrupted=bool(ear and ear.interrupted),
        wall_seconds=time.monotonic() - begun,
        startup_seconds=(ear.first_start or begun) - begun if ear else 0.0,
    )


def _check(requests: Sequence[TrialRequest], folder: Path, max_retries: int) -> None:
    if max_retries < 0:
        raise ValueError(f"max_retries is {max_retries}; give 0 or more")
    allowed_fraction()
    for trial_id, count in Counter(request.trial_id for request in requests).items():
        record_path(folder, trial_id)
        if count > 1:
            raise ValueError(f"the trial {trial_id} is requested {count} times; once is enough")
    for request in requests:
        try:
            json.dumps(dict(request.known), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"what is known of the trial {request.trial_id} is not JSON: {error}") from None


def _run_open(
    requests: Sequence[TrialRequest],
    trial_function: Callable[[dict[str, Any]], Record],
    prepare: Callable[[], object] | None,
    folder: Path,
    listeners: Sequence[SweepListener],
    limits: Limits,
    session: Session,
    checkpointing: Checkpointing | None,
    keeps_models: bool,
) -> DriverEar:
    """Give the trials to Tune and return what was heard of them."""
    import ray
    from ray import cloudpickle

    from cluster.keeper import start_keeper

    keeper = start_keeper(folder, checkpointing)

    # The keeper's process starts while Tune is imported here.
    from cluster.trainable import DriverEar

    ear = DriverEar(requests, folder, listeners, keeper, longest_seconds=limits.longest_seconds)
    sweep = {
        "requests": list(requests),
        "function": cloudpickle.dumps(trial_function),
        "prepare": cloudpickle.dumps(prepare),
        "keeper": keeper,
        "checkpointing": checkpointing,
        "keeps_models": keeps_models,
        "waiting": keeper.waiting.remote() if checkpointing else None,
        "memory_fraction": allowed_fraction(),
    }
    with _stoppable(ear):
        run_rounds(sweep, ear, limits, session)
    ray.kill(keeper)
    return ear


@contextmanager
def _stoppable(ear: DriverEar) -> Iterator[None]:
    """Turn the first Ctrl-C or SIGTERM into an orderly end; a second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: object) -> None:
        del frame
        ear.interrupted = True
        signal.signal(number, before[signal.Signals(number)])

    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
