"""The pieces of a sweep that Tune calls: the worker, the order of trials, the driver's ear.

Importing this module imports Ray Tune; `cluster.tuning` does so when a sweep begins.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle, tune
from ray.tune.schedulers import FIFOScheduler

from cluster.attempt import failed_record, prepare_worker, record_text
from cluster.records import Record, final_record, read_record, record_path, write_record
from cluster.requests import SweepListener, TrialRequest

# If the first trials are all given up, the fault lies with the workers, not with the trials.
HOPELESS_TRIALS = 3


class TrialActor(tune.Trainable):
    """One worker: takes trials one after the other, each a single step for Tune."""

    def setup(self, config: dict[str, Any], sweep: Mapping[str, Any] | None = None) -> None:
        """Receive the whole sweep once: requests, pickled function, keeper."""
        del config
        assert sweep is not None
        self._requests: Sequence[TrialRequest] = sweep["requests"]
        self._function_bytes: bytes = sweep["function"]
        self._keeper = sweep["keeper"]
        prepare_worker(sweep["prepare"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Agree to run another trial in this process; the step reads its index from the config."""
        del new_config
        return True

    def step(self) -> dict[str, Any]:
        """Run the trial and report it as done once its record is on disk."""
        request = self._requests[self.config["index"]]
        started = time.monotonic()
        # An earlier attempt may have died between its record and its report.
        if self.config.get("attempt", 1) > 1 and ray.get(self._keeper.has.remote(request.trial_id)):
            return {"done": True, "trial_wall_seconds": 0.0, "unkept": ""}
        text = record_text(request, self._function_bytes)
        wall_seconds = time.monotonic() - started
        unkept = ray.get(self._keeper.keep.remote(request.trial_id, text))
        return {"done": True, "trial_wall_seconds": wall_seconds, "unkept": unkept}


class InOrder(FIFOScheduler):
    """Start the waiting trial with the lowest index; Tune's own looks through all trials, ended ones too.

    Tune hands a worker that falls free to the chosen trial, and takes back the worker that was starting
    for it. Trials shorter than such a start would so keep a sweep on a single worker for ever. Where there
    is a place for every waiting trial, those whose worker is starting are therefore left to wait for it.
    """

    def __init__(self, *, place_for_all: bool) -> None:
        super().__init__()
        self._place_for_all = place_for_all
        self._starting: set[str] = set()

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Hear of a new trial, or of one whose worker died."""
        del tune_controller
        self._starting.discard(trial.trial_id)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the next trial, or None if none waits."""
        waiting = [trial for trial in tune_controller.get_live_trials() if trial.status == "PENDING"]
        fresh = [trial for trial in waiting if trial.trial_id not in self._starting]
        candidates = (fresh or waiting) if self._place_for_all else waiting
        chosen = min(candidates, key=lambda trial: trial.config["index"], default=None)
        if chosen is not None:
            self._starting.add(chosen.trial_id)
        return chosen


class DriverEar(tune.Callback):
    """Hears in the driver how trials fare, tells the listeners, and records those that were given up."""

    def __init__(
        self,
        requests: Sequence[TrialRequest],
        folder: Path,
        listeners: Sequence[SweepListener],
        keeper: Any,
    ) -> None:
        self._requests = requests
        self._folder = folder
        self._listeners = listeners
        self._keeper = keeper
        self._started: dict[str, float] = {}
        self._retries: dict[str, list[Record]] = {}
        self._workers: dict[str, Any] = {}
        self.statuses: dict[str, str] = {}
        self.first_start: float | None = None
        self.interrupted = False
        self.unkept = ""
        self.hopeless = ""
        self._n_given_up = 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave the listeners out: Tune pickles its callbacks for a restore that is never asked for."""
        return {**self.__dict__, "_listeners": ()}

    @property
    def n_retries(self) -> int:
        """Attempts that left no record."""
        return sum(len(retries) for retries in self._retries.values())

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note the time and pass the news on."""
        del iteration, trials, info
        trial_id = self._request(trial).trial_id
        self._started[trial_id] = time.monotonic()
        self.first_start = self.first_start or time.monotonic()
        self._workers[trial_id] = trial.temporary_state.ray_actor
        for listener in self._listeners:
            listener.started(trial_id)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Read the record back from disk: what listeners are told is what is durable."""
        del iteration, trials, info
        trial_id = self._request(trial).trial_id
        self.unkept = self.unkept or (trial.last_result or {}).get("unkept", "")
        if not self.unkept:
            self._finished(read_record(record_path(self._folder, trial_id)))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Count an attempt that left no record and is repeated."""
        del iteration, trials, info
        trial_id = self._request(trial).trial_id
        retry = self._lost_attempt(trial)
        self._keeper.lost.remote(trial_id, retry["reason"], retry["lost_seconds"])
        trial.config["attempt"] = len(self._retries[trial_id]) + 1
        for listener in self._listeners:
            listener.retried(trial_id, retry["reason"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Write the failed record of a trial whose last attempt left none either."""
        del iteration, trials, info
        request = self._request(trial)
        reason = self._lost_attempt(trial)["reason"]
        kept = final_record(self._folder, request.trial_id)
        if kept is not None:
            self._finished(kept)
            return
        retries = self._retries[request.trial_id]
        attempts = f"{len(retries)} attempt" + "s" * (len(retries) > 1)
        record = failed_record(request, f"given up after {attempts}: {reason}")
        record.update(attempts=len(retries), retries=retries)
        try:
            write_record(self._folder, record)
        except OSError as error:
            self.unkept = f"{record_path(self._folder, request.trial_id)} could not be written: {error}"
            return
        self._finished(record)
        self._n_given_up += 1
        if self._n_given_up == len(self.statuses) == HOPELESS_TRIALS:
            self.hopeless = reason

    def end_workers(self) -> None:
        """End the workers that are in a trial: Tune would wait ten seconds for each to end by itself."""
        for worker in self._workers.values():
            ray.kill(worker)
        self._workers.clear()

    def _finished(self, record: Record) -> None:
        self.statuses[record["trial_id"]] = record["status"]
        self._started.pop(record["trial_id"], None)
        self._workers.pop(record["trial_id"], None)
        for listener in self._listeners:
            listener.finished(record)

    def _lost_attempt(self, trial: Any) -> Record:
        trial_id = self._request(trial).trial_id
        self._workers.pop(trial_id, None)
        lost_seconds = time.monotonic() - self._started.pop(trial_id, time.monotonic())
        retry = {"reason": _reason(trial), "lost_seconds": lost_seconds}
        self._retries.setdefault(trial_id, []).append(retry)
        return retry

    def _request(self, trial: Any) -> TrialRequest:
        return self._requests[trial.config["index"]]


class StopEarly(tune.Stopper):
    """End a sweep that its user has stopped, or that cannot succeed."""

    def __init__(self, ear: DriverEar) -> None:
        self._ear = ear

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Leave the end of single trials to themselves."""
        del trial_id, result
        return False

    def stop_all(self) -> bool:
        """Say whether to end, and see to it that this is quick."""
        stop = bool(self._ear.interrupted or self._ear.unkept or self._ear.hopeless)
        if stop:
            self._ear.end_workers()
        return stop


def _last_error(trial: Any) -> Any:
    # Tune's own getters look in the storage, where it copies these files only at the end.
    for name, load in (("pickled_error_file", cloudpickle.loads), ("error_file", bytes.decode)):
        path = getattr(trial, name, None)
        if path and Path(path).exists():
            return load(Path(path).read_bytes())
    return "no message"


def _reason(trial: Any) -> str:
    """Say in one line why an attempt left no record."""
    error = _last_error(trial)
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return "its worker was ended because the machine ran out of memory"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, ray.exceptions.RayActorError):
        details = [line for line in lines if line.startswith(("The actor died", "The actor is dead"))]
        return f"its worker died ({(details or lines or [''])[-1][:300]})"
    return (lines or ["no message"])[-1][:300]
