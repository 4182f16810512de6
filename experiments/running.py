"""A sweep as a whole: planned, and run to its fit, report and MLflow."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cluster.lock import hold_folder
from cluster.records import final_ids
from experiments.dataset_facts import dataset_facts, save_facts
from experiments.delivering import deliver_runs, open_tracker
from experiments.destination import Destination, first_destination, remember_destination
from experiments.fitting import fit_runs
from experiments.keeping import BestModels, log_kept_models
from experiments.results import TRIALS_FOLDER, Analysis, read_sweep_records, save_sweep
from experiments.sweep import SweepSpec
from experiments.syncing import exchange
from experiments.terminal import working
from experiments.wording import part_of
from scaling.progress import Progress, silent
from scaling.words import agree, counted

if TYPE_CHECKING:
    from cluster.checkpoints import Checkpointing
    from cluster.session import Resources
    from cluster.tuning import Outcome, SweepListener, TrialRequest
    from experiments.machine import Machine
    from experiments.plan import PlanLine, PlannedTrial


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep would cost on this machine.

    Attributes:
        name: Of the sweep.
        lines: Totals, per technique and in all.
        workers: Trials side by side.
        device: Where steps were measured.
        elsewhere: Whether trials are given GPUs and no step could be measured on one.
        calibration_seconds: How long steps were measured [s].
        currency: Of the money.
        overhead_seconds: About what Ray's start, the fits and the report take beside the trials [s].
        trials: Each trial as plain data.
    """

    name: str
    lines: tuple[PlanLine, ...]
    workers: int
    device: str
    elsewhere: bool
    calibration_seconds: float
    currency: str
    overhead_seconds: float
    trials: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON can hold it."""
        return asdict(self)


@dataclass(frozen=True)
class FinishedSweep:
    """A sweep that came to its end, or to its user's.

    Attributes:
        outcome: What became of its trials.
        analysis: What they found; None where the sweep was stopped before one had finished.
        folder: Results folder.
        destination: Where its runs go.
        undelivered: Why trials or report are not there, in a sentence; empty if they are.
    """

    outcome: Outcome
    analysis: Analysis | None
    folder: Path
    destination: Destination
    undelivered: str = ""


def plan_sweep(
    sweep: SweepSpec,
    *,
    results_folder: Path,
    data_folder: Path | None,
    workers: int | None,
    progress: Progress = silent,
) -> SweepPlan:
    """Say what a sweep would cost, from a few seconds of measured steps.

    Raises:
        ValueError: If a trial of the sweep cannot run, or needs more memory than this machine has.
    """
    from experiments.device import here
    from experiments.plan import SWEEP_OVERHEAD_SECONDS, check_memory, check_sweep, plan_trials, summarise
    from experiments.step_costs import calibrate

    machine = worker_machine(sweep, machine_for(sweep, data_folder))
    check_sweep(sweep, machine)
    kind, device = here(machine.device)
    elsewhere = machine.device == "cuda" and kind != "cuda"
    if not elsewhere:  # of the memory of another machine nothing is known
        check_memory(sweep.trials(), machine, memory_gib=sweep.resources.memory_gib)
    began = time.perf_counter()
    calibration = calibrate(sweep.trials(), machine, progress)
    seconds = time.perf_counter() - began
    done = final_ids(results_folder / sweep.name / TRIALS_FOLDER, (trial.trial_id for trial in sweep.trials()))
    planned = plan_trials(sweep, machine, done=done, calibration=calibration)
    side_by_side = workers or max(1, int((os.cpu_count() or 1) / max(sweep.resources.cpus, 1)))
    lines = summarise(planned, sweep, workers=side_by_side, watts=calibration.watts)
    trials = [
        {"trial_id": trial.spec.trial_id, "done": trial.done, "flops": trial.flops, "flops_here": trial.flops_here,
         "seconds": trial.seconds, "n_params": trial.cost.n_params, "spec": trial.spec.model_dump(mode="json")}
        for trial in planned
    ]  # fmt: skip
    return SweepPlan(
        sweep.name, tuple(lines), side_by_side, device, elsewhere, seconds, sweep.energy.currency,
        SWEEP_OVERHEAD_SECONDS, tuple(trials),
    )  # fmt: skip


def run_sweep(
    sweep: SweepSpec,
    *,
    results_folder: Path,
    data_folder: Path | None,
    workers: int | None,
    address: str | None,
    tracking_uri: str | None,
    console: Console,
    quiet: bool,
    storage_uri: str | None = None,
    wait_seconds: float = 0.0,
) -> FinishedSweep:
    """Run what is not finished yet, fit and report all of it, and deliver both to MLflow.

    A tracking server that is down is said in one sentence and costs nothing: the next run delivers.

    Raises:
        ValueError: If a trial of the sweep cannot run, or no machine can hold one.
        FolderInUseError: If the sweep is already running and does not end within `wait_seconds`.
        OSError: If the storage does not answer at the start.
    """
    from experiments.plan import check_memory, check_sweep
    from experiments.workbench import open_dataset

    folder = (results_folder / sweep.name).absolute()
    machine = machine_for(sweep, data_folder)
    check_sweep(sweep, worker_machine(sweep, machine))
    if address is None:
        check_memory(sweep.trials(), machine)
    # Another driver on the folder is met here and not only once Ray is up, nor its sweep file overwritten.
    with hold_folder(folder / TRIALS_FOLDER, wait_seconds=wait_seconds):
        pass
    names = dict.fromkeys(trial.dataset for trial in sweep.trials())
    facts = [dataset_facts(name, open_dataset(name, machine.data_folder, machine.cache_folder)) for name in names]
    save_sweep(sweep, folder)
    save_facts(facts, folder)
    destination = first_destination(sweep, folder, tracking_uri)
    tracker = open_tracker(sweep, results_folder, tracking_uri)
    remember_destination(folder, tracking_uri)
    with tracker, _mirrored(sweep, folder / TRIALS_FOLDER, storage_uri, console) as mirrors:
        outcome = run_trials_of(
            sweep, machine, folder=folder, workers=workers, address=address, console=console, quiet=quiet,
            listeners=[tracker, *mirrors], wait_seconds=wait_seconds, storage_uri=storage_uri,
        )  # fmt: skip
    if outcome.interrupted and not _has_finished_trial(sweep, folder):
        return FinishedSweep(outcome, None, folder, destination)
    waiting: AbstractContextManager[Progress] = nullcontext(silent) if quiet else working("fitting and drawing")
    with waiting as progress:
        analysis = fit_runs(folder, tracking_uri=destination.uri, progress=progress).analysis
    undelivered = deliver_runs(tracker, sweep, folder, analysis)
    problem = undelivered or log_kept_models(tracker, sweep, folder)
    if problem:
        console.print(problem)
    return FinishedSweep(outcome, analysis, folder, destination, undelivered)


def _has_finished_trial(sweep: SweepSpec, folder: Path) -> bool:
    return any(record["status"] == "finished" for record in read_sweep_records(sweep, folder))


def run_trials_of(
    sweep: SweepSpec,
    machine: Machine,
    *,
    folder: Path,
    workers: int | None,
    address: str | None,
    console: Console,
    quiet: bool,
    listeners: Sequence[SweepListener] = (),
    wait_seconds: float = 0.0,
    storage_uri: str | None = None,
) -> Outcome:
    """Run the trials of a checked sweep that have no record in its folder yet, with progress."""
    from cluster.session import connect
    from cluster.tuning import Outcome, run_trials
    from experiments.plan import plan_trials
    from experiments.progress import SweepProgress
    from experiments.trial import prepare_worker, run_payload

    records_folder = folder / TRIALS_FOLDER
    done = final_ids(records_folder, (trial.trial_id for trial in sweep.trials()))
    planned = plan_trials(sweep, machine, done=done)
    waiting = [trial for trial in planned if not trial.done]
    if len(waiting) < len(planned) and not quiet:
        n_done = len(planned) - len(waiting)
        console.print(f"{part_of(n_done, len(planned), 'trial')} {agree(n_done, 'is', 'are')} finished already")
    progress = SweepProgress(
        {trial.spec.trial_id: trial.seconds for trial in waiting},
        {trial.spec.trial_id: trial.flops for trial in waiting},
        console=console,
        quiet=quiet or not waiting,
    )
    if not waiting:  # a refit needs no Ray
        return Outcome(len(planned), len(planned), {}, 0, 0, False, 0.0, 0.0)
    machine = worker_machine(sweep, machine)
    with connect(address, cpus=None if address else workers) as session, progress:
        return run_trials(
            [_request(trial, sweep.name) for trial in planned],
            functools.partial(run_payload, machine=machine, sweep=sweep.name),
            folder=records_folder,
            session=session,
            prepare=functools.partial(prepare_worker, sweep, machine),
            resources=_resources(sweep),
            listeners=[progress, *listeners, *_keeping(sweep, folder)],
            max_concurrent=workers if address else None,
            longest_seconds=_longest_seconds(sweep),
            wait_seconds=wait_seconds,
            checkpointing=_checkpointing(sweep, storage_uri),
            keeps_models=sweep.tracking.models != "none",
        )


def worker_machine(sweep: SweepSpec, machine: Machine) -> Machine:
    """Where workers train: a trial that is given a GPU uses it, or fails where torch cannot, as with an old driver.

    Left to itself it would train on processors, at the GPU's price.
    """
    return replace(machine, device="cuda") if sweep.resources.gpus and machine.device == "auto" else machine


def _keeping(sweep: SweepSpec, folder: Path) -> list[SweepListener]:
    return [BestModels(sweep, folder)] if sweep.tracking.models == "best" else []


def _checkpointing(sweep: SweepSpec, storage_uri: str | None) -> Checkpointing | None:
    from cluster.checkpoints import Checkpointing

    seconds = sweep.execution.checkpoint_seconds
    return None if seconds is None else Checkpointing(seconds, storage_uri, sweep.name)


@contextmanager
def _mirrored(
    sweep: SweepSpec, records_folder: Path, storage_uri: str | None, console: Console
) -> Iterator[list[SweepListener]]:
    """Begin with what the storage has of a sweep, and copy there what is finished."""
    from cluster.storage import Mirror, open_storage

    storage = open_storage(storage_uri, sweep.name)
    if storage is None:
        yield []
        return
    n_fetched, _ = exchange(sweep, records_folder, storage)
    if n_fetched:
        console.print(f"{counted(n_fetched, 'finished trial')} came from {storage.uri}")
    with Mirror(storage) as mirror:
        yield [mirror]
    if mirror.n_missing:
        console.print(
            f"{counted(mirror.n_missing, 'trial')} {agree(mirror.n_missing, 'is', 'are')} not in {storage.uri} "
            f"({mirror.problem}); ninthpower sync writes what is missing"
        )


def _longest_seconds(sweep: SweepSpec) -> float | None:
    """When a trial is ended from outside: well after the limit at which it ends itself, if it still can."""
    limit = sweep.execution.time_limit_seconds
    return None if limit is None else 1.5 * limit + 60


def _request(trial: PlannedTrial, sweep_name: str) -> TrialRequest:
    from cluster.tuning import TrialRequest
    from experiments.trial import identity

    spec = trial.spec.model_dump(mode="json")
    known = {"sweep": sweep_name, "spec": spec, "row": identity(trial.spec, sweep_name, "failed", "")}
    return TrialRequest(trial.spec.trial_id, {"spec": spec}, expected_cost=trial.seconds, known=known)


def _resources(sweep: SweepSpec) -> Resources:
    from cluster.session import Resources

    return Resources(**sweep.resources.model_dump())


def machine_for(sweep: SweepSpec, data_folder: Path | None) -> Machine:
    """Where the sweep's trials run, from its resources and execution settings."""
    from experiments.energy import carbon_intensity
    from experiments.machine import Machine

    if sweep.energy.region is not None:
        carbon_intensity(sweep.energy.region)
    return Machine(
        device=sweep.execution.device,
        threads=max(1, int(sweep.resources.cpus)),
        data_parallel=sweep.execution.data_parallel,
        data_folder=data_folder.absolute() if data_folder else None,
        region=sweep.energy.region,
        compile=sweep.execution.compile,
        channels_last=sweep.execution.channels_last,
        time_limit_seconds=sweep.execution.time_limit_seconds,
    )
