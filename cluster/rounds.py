"""The rounds of a sweep under Ray Tune: all trials, those that try other machines, those that need the memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.postponed import Postponed
from cluster.session import Resources, Session, private_folder

if TYPE_CHECKING:
    from cluster.trainable import DriverEar

# Tune without loggers, working-directory changes, screen output or checkpoints of its own state.
TUNE_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}


@dataclass(frozen=True)
class Limits:
    """What holds for all trials of a round.

    Attributes:
        resources: What one trial occupies.
        n_workers: Trials that fit on the machines that are alive.
        max_concurrent: Trials that may run or wait for a place.
        max_retries: Further attempts after a worker's death.
        longest_seconds: When a trial is ended from outside; None for never.
        unfit_nodes: Machines to stay away from, by Ray's ids.
    """

    resources: Resources
    n_workers: int
    max_concurrent: int
    max_retries: int
    longest_seconds: float | None = None
    unfit_nodes: frozenset[str] = frozenset()


def run_rounds(sweep: dict[str, Any], ear: DriverEar, limits: Limits, session: Session) -> None:
    """Run all trials; then those that are to try other machines; then, one by one, those that need the memory.

    Args:
        sweep: What every worker is given.
        ear: Hears of all rounds.
        limits: Of the first round.
        session: The machines.
    """
    # Tune's files hold pickles, so they lie where nobody else can write.
    with private_folder() as scratch, _environment(TUNE_ENVIRONMENT), _quiet_tune():
        _run_rounds(sweep, ear, limits, scratch, session)


def _run_rounds(sweep: dict[str, Any], ear: DriverEar, limits: Limits, scratch: Path, session: Session) -> None:
    import ray

    several = len(session.nodes) > 1 or session.to_come
    ear.may_postpone = frozenset(Postponed) if several else frozenset({Postponed.ALONE})
    _tuner(sweep, list(range(len(sweep["requests"]))), ear, limits, scratch / "all").fit()
    sweep = {**sweep, "waiting": None}  # which trials have left a checkpoint by then is not known here
    for until in (Postponed.ELSEWHERE, Postponed.ALONE):
        indices = sorted(ear.postponed[until])
        if not indices or ear.ended:
            continue
        ear.postponed[until].clear()
        ear.may_postpone -= {until}
        ray.get(sweep["keeper"].reopen.remote())
        if until is Postponed.ELSEWHERE:
            unfit_nodes = frozenset(ear.unfit_nodes)
            if session.n_workers_beside(unfit_nodes, limits.resources):
                limits = replace(limits, unfit_nodes=unfit_nodes)
        else:
            limits = replace(limits, max_concurrent=1, max_retries=0)
        _tuner(sweep, indices, ear, limits, scratch / until.name.lower()).fit()


def _tuner(sweep: dict[str, Any], indices: list[int], ear: DriverEar, limits: Limits, scratch: Path) -> Any:
    from ray import tune

    from cluster.trainable import InOrder, NoProgress, StopEarly, TrialActor

    sweep = {**sweep, "may_postpone": ear.may_postpone}
    trainable = tune.with_resources(tune.with_parameters(TrialActor, sweep=sweep), _bundle(limits))
    return tune.Tuner(
        trainable,
        param_space={"index": tune.grid_search(indices)},
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            max_concurrent_trials=limits.max_concurrent,
            scheduler=InOrder(place_for_all=limits.max_concurrent <= limits.n_workers),
            trial_name_creator=_short_name,
            trial_dirname_creator=_short_name,
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(scratch),
            verbose=0,
            callbacks=[ear, NoProgress()],
            stop=StopEarly(ear),
            # A class's last state would be saved by default; there is none worth saving.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=limits.max_retries),
        ),
    )


def _bundle(limits: Limits) -> Any:
    from ray import tune

    demand = [limits.resources.demand()]
    if not limits.unfit_nodes:
        return tune.PlacementGroupFactory(demand)
    others = {"ray.io/node-id": f"!in({','.join(sorted(limits.unfit_nodes))})"}
    return tune.PlacementGroupFactory(demand, bundle_label_selector=[others])


def _short_name(trial: Any) -> str:
    return str(trial.trial_id)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _quiet_tune() -> Iterator[None]:
    """Silence Tune's log: each of its errors is a record's status here."""
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
