"""The pieces of a sweep that Tune calls: the worker, the order of trials, the driver's ear.

Importing this module imports Ray Tune; `cluster.tuning` does so when a sweep begins.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle, tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler

from cluster.attempt import failed_record, prepare_worker, record_text
from cluster.checkpoints import Checkpointing, SentCheckpoints
from cluster.evictions import tell_evictions_as_deaths
from cluster.forgetting import Forgetter
from cluster.keeper import with_retries
from cluster.memory import MemoryGuard, kernel_kills
from cluster.postponed import Postponed, WorkerOutOfMemoryError, postponement, ran_out_of_memory
from cluster.records import Record, final_record, read_record, record_path, write_record
from cluster.requests import SweepListener, TrialRequest

# If the first trials are all given up, the fault lies with the workers, not with the trials.
HOPELESS_TRIALS = 3
LOST_MACHINE = "its machine was lost"
# A trial that loses more machines than this may be what ends them.
FORGIVEN_MACHINES = 5
# A worker that ends itself for want of memory cannot wait longer to be heard.
LAST_WORD_SECONDS = 2.0


class TrialActor(tune.Trainable):
    """One worker: takes trials one after the other, each a single step for Tune."""

    def setup(self, config: dict[str, Any], sweep: Mapping[str, Any] | None = None) -> None:
        """Receive the whole sweep once: requests, pickled function, keeper."""
        del config
        assert sweep is not None
        self._requests: Sequence[TrialRequest] = sweep["requests"]
        self._function_bytes: bytes = sweep["function"]
        self._keeper = sweep["keeper"]
        self._may_postpone: frozenset[Postponed] = sweep["may_postpone"]
        self._checkpointing: Checkpointing | None = sweep.get("checkpointing")
        self._keeps_models: bool = sweep.get("keeps_models", False)
        waiting = sweep.get("waiting")
        self._waiting: set[str] | None = None if waiting is None else ray.get(waiting)
        self._unfit = prepare_worker(sweep["prepare"])
        self._guard = MemoryGuard(self._end_for_memory, fraction=sweep["memory_fraction"])
        self._guard.start()

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
        checkpoints = self._checkpoints_of(request)
        models: list[bytes] = []
        self._guard.trial_id = request.trial_id
        text = record_text(request, self._function_bytes, checkpoints, models.append if self._keeps_models else None)
        self._guard.trial_id = None
        if checkpoints is not None:
            checkpoints.settle()
        wall_seconds = time.monotonic() - started
        until, reason = postponement(json.loads(text), self._unfit)
        if until in self._may_postpone:
            node_id = ray.get_runtime_context().get_node_id()
            return {"done": True, "postponed": until.value, "reason": reason, "node_id": node_id}
        unkept = ray.get(self._keeper.keep.remote(request.trial_id, text, *models))
        return {"done": True, "trial_wall_seconds": wall_seconds, "unkept": unkept}

    def _end_for_memory(self, trial_id: str, sentence: str) -> None:
        try:
            ray.get(self._keeper.say_last.remote(trial_id, sentence), timeout=LAST_WORD_SECONDS)
        finally:
            os._exit(1)

    def _checkpoints_of(self, request: TrialRequest) -> SentCheckpoints | None:
        if self._checkpointing is None:
            return None
        is_first = self.config.get("attempt", 1) == 1 and self._waiting is not None
        may_be_there = not is_first or request.trial_id in (self._waiting or ())
        return SentCheckpoints(
            self._keeper,
            request.trial_id,
            every_seconds=self._checkpointing.every_seconds,
            may_be_there=may_be_there,
        )


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
        self._forgetter = Forgetter()

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Hear of a new trial, or of one whose worker died."""
        tell_evictions_as_deaths(tune_controller)
        self._starting.discard(trial.trial_id)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Let a trial go that has its record."""
        del result
        self._starting.discard(trial.trial_id)
        self._forgetter.note(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Let a trial go whose worker died, unless it gets another."""
        self._forgetter.note(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the next trial, or None if none waits."""
        self._forgetter.forget()
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
        *,
        longest_seconds: float | None = None,
    ) -> None:
        self._requests = requests
        self._folder = folder
        self._listeners = listeners
        self._keeper = keeper
        self._longest_seconds = longest_seconds
        self.may_postpone: frozenset[Postponed] = frozenset()
        self.postponed: dict[Postponed, set[int]] = {until: set() for until in Postponed}
        self.unfit_nodes: set[str] = set()
        self._started: dict[str, float] = {}
        self._retries: dict[str, list[Record]] = {}
        self._workers: dict[str, Any] = {}
        self._overdue: set[str] = set()
        self._kernel_kills = kernel_kills()
        self.statuses: dict[str, str] = {}
        self.first_start: float | None = None
        self.interrupted = False
        self.unkept = ""
        self.hopeless = ""
        self._n_given_up = 0

    @property
    def ended(self) -> bool:
        """Whether the sweep was stopped or cannot go on."""
        return bool(self.interrupted or self.unkept or self.hopeless)

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
        trial_id, result = self._request(trial).trial_id, trial.last_result or {}
        self.unkept = self.unkept or result.get("unkept", "")
        if result.get("postponed"):
            until = Postponed(result["postponed"])
            if until is Postponed.ELSEWHERE:
                self.unfit_nodes.add(result["node_id"])
            self._lose_attempt(trial, result["reason"])
            self.postponed[until].add(trial.config["index"])
        elif not self.unkept and trial.config["index"] not in self._all_postponed():
            self._finished(read_record(record_path(self._folder, trial_id)))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Count an attempt that left no record and is repeated; where there is one, the next worker only says so."""
        del iteration, trials, info
        trial_id, error = self._request(trial).trial_id, self._last_error(trial)
        trial.config["attempt"] = trial.config.get("attempt", 1) + 1
        if trial_id in self._overdue or final_record(self._folder, trial_id) is not None:
            return
        self._lose_attempt(trial, _reason(error))
        if self._is_forgiven(trial, error):
            trial.run_metadata.num_failures -= 1
        if self._postpone_for_memory(trial, error):
            self.unkept = self.unkept or ray.get(self._keeper.settle.remote(trial_id))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Write the failed record of a trial whose last attempt left none either."""
        del iteration, trials, info
        request, error = self._request(trial), self._last_error(trial)
        kept = final_record(self._folder, request.trial_id)
        if kept is not None:
            self._finished(kept)
            return
        reason = _reason(error)
        self._lose_attempt(trial, reason, tell=False)
        if self._postpone_for_memory(trial, error):
            return
        retries = self._retries[request.trial_id]
        attempts = f"{len(retries)} attempt" + "s" * (len(retries) > 1)
        record = with_retries(failed_record(request, f"given up after {attempts}: {reason}"), retries)
        record |= {"attempts": len(retries), "out_of_memory": ran_out_of_memory(error)}
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

    def end_overdue(self) -> None:
        """End the trials that run longer than any may, each with a record that says so."""
        if self._longest_seconds is None:
            return
        for trial_id, started in list(self._started.items()):
            if time.monotonic() - started > self._longest_seconds and trial_id in self._workers:
                request = next(request for request in self._requests if request.trial_id == trial_id)
                reason = f"it was ended from outside after {self._longest_seconds:g} s, the longest a trial may take"
                text = json.dumps(failed_record(request, reason, status="stopped"))
                self.unkept = self.unkept or ray.get(self._keeper.settle.remote(trial_id, text))
                self._overdue.add(trial_id)
                ray.kill(self._workers.pop(trial_id))

    def _last_error(self, trial: Any) -> Any:
        """What ended an attempt; for want of memory if its worker or the kernel said so."""
        error = _last_error(trial)
        if not isinstance(error, ray.exceptions.RayActorError):
            return error
        said = ray.get(self._keeper.last_words.remote(self._request(trial).trial_id))
        before, self._kernel_kills = self._kernel_kills, kernel_kills()
        if not said and self._kernel_kills > before and len(ray.nodes()) == 1:
            said = "out of memory: the kernel ended its worker"
        return WorkerOutOfMemoryError(said) if said else error

    def _all_postponed(self) -> set[int]:
        return set().union(*self.postponed.values())

    def _postpone_for_memory(self, trial: Any, error: Any) -> bool:
        """Leave a trial that took too much memory until nothing else runs, unless it had that chance."""
        postpone = ran_out_of_memory(error) and Postponed.ALONE in self.may_postpone
        if postpone:
            self.postponed[Postponed.ALONE].add(trial.config["index"])
        return postpone

    def _is_forgiven(self, trial: Any, error: Any) -> bool:
        """Whether an attempt counts towards the retries of its trial: not if its machine went, within limits.

        Tune itself does not count machines that were announced to go.
        """
        n_lost = sum(retry["reason"].startswith(LOST_MACHINE) for retry in self._retries[self._request(trial).trial_id])
        return _machine_is_gone(error) and not error.preempted and n_lost <= FORGIVEN_MACHINES

    def _finished(self, record: Record) -> None:
        self.statuses[record["trial_id"]] = record["status"]
        self._started.pop(record["trial_id"], None)
        self._workers.pop(record["trial_id"], None)
        for listener in self._listeners:
            listener.finished(record)

    def _lose_attempt(self, trial: Any, reason: str, *, tell: bool = True) -> None:
        """Count an attempt without a record; what the keeper hears of it will stand in the record."""
        trial_id = self._request(trial).trial_id
        self._workers.pop(trial_id, None)
        wall_seconds = time.monotonic() - self._started.pop(trial_id, time.monotonic())
        lost = ray.get(self._keeper.lost.remote(trial_id, reason, wall_seconds))
        self._retries.setdefault(trial_id, []).append(lost)
        for listener in self._listeners if tell else ():
            listener.retried(trial_id, reason)

    def _request(self, trial: Any) -> TrialRequest:
        return self._requests[trial.config["index"]]


class NoProgress(TrialProgressCallback):
    """Stand in for Tune's own progress on the screen, which remembers every trial even where it prints nothing."""

    def log_result(self, trial: Any, result: dict[str, Any], error: bool = False) -> None:
        """Print nothing and remember nothing."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Remember nothing."""


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
        self._ear.end_overdue()
        if self._ear.ended:
            self._ear.end_workers()
        return self._ear.ended


def _last_error(trial: Any) -> Any:
    # Tune's own getters look in the storage, where it copies these files only at the end.
    for name, load in (("pickled_error_file", cloudpickle.loads), ("error_file", bytes.decode)):
        path = getattr(trial, name, None)
        if path and Path(path).exists():
            return load(Path(path).read_bytes())
    return "no message"


def _machine_is_gone(error: Any) -> bool:
    """Whether a whole machine went, or the connection to it: that is how it looks before Ray declares it dead."""
    if isinstance(error, ray.exceptions.ActorUnavailableError):
        return True
    return isinstance(error, ray.exceptions.RayActorError) and "its node has died" in str(error)


def _reason(error: Any) -> str:
    """Say in one line why an attempt left no record."""
    if isinstance(error, WorkerOutOfMemoryError):
        return str(error)
    if ran_out_of_memory(error):
        return "out of memory: Ray ended its worker"
    if _machine_is_gone(error):
        return f"{LOST_MACHINE}, as announced" if error.preempted else f"{LOST_MACHINE}, or the connection to it"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, ray.exceptions.RayActorError):
        details = [line for line in lines if line.startswith(("The actor died", "The actor is dead"))]
        return f"its worker died ({(details or lines or [''])[-1][:300]})"
    return (lines or ["no message"])[-1][:300]
