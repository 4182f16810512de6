"""What the commands do: plan, run, fit and serve."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console

from cluster.records import final_ids
from experiments.background import background_of
from experiments.dataset_facts import dataset_facts, read_facts, save_facts
from experiments.keeping import BestModels, log_kept_models
from experiments.results import (
    OUT_REMEDY,
    SWEEP_FILE,
    TRIALS_FOLDER,
    Analysis,
    analyse,
    fitted_settings,
    output_folder,
    read_results,
    save_sweep,
    source_name,
)
from experiments.run_links import experiment_links
from experiments.sweep import FitSpec, SweepSpec
from experiments.terminal import working
from scaling.export import check_writable
from scaling.progress import Progress, silent
from scaling.runs import label
from scaling.tracked import RunsSource, TrackedRuns

if TYPE_CHECKING:
    from cluster.checkpoints import Checkpointing
    from cluster.session import Resources
    from cluster.tracking import Tracker
    from cluster.tuning import Outcome, SweepListener, TrialRequest
    from experiments.plan import PlanLine, PlannedTrial
    from experiments.workbench import Machine

STORE_NAME = "mlflow.db"
ARTIFACTS_NAME = "mlartifacts"


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep would cost on this machine."""

    name: str
    lines: tuple[PlanLine, ...]
    workers: int
    device: str
    calibration_seconds: float
    currency: str
    trials: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON can hold it."""
        return asdict(self)


@dataclass(frozen=True)
class FinishedSweep:
    """A sweep that came to its end, or to its user's."""

    outcome: Outcome
    analysis: Analysis
    folder: Path
    tracking_server: str | None


@dataclass(frozen=True)
class FittedRuns:
    """An analysis and where it lies."""

    analysis: Analysis
    folder: Path


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
    from experiments.device import processor_name
    from experiments.plan import calibrate, check_memory, check_sweep, plan_trials, summarise

    machine = machine_for(sweep, data_folder)
    check_sweep(sweep, machine)
    check_memory(sweep.trials(), machine, memory_gib=sweep.resources.memory_gib)
    began = time.perf_counter()
    calibration = calibrate(sweep.trials(), machine, progress)
    seconds = time.perf_counter() - began
    done = final_ids(results_folder / sweep.name / TRIALS_FOLDER, (trial.trial_id for trial in sweep.trials()))
    planned = plan_trials(sweep, machine, done=done, calibration=calibration)
    side_by_side = workers or max(1, int((os.cpu_count() or 1) / max(sweep.resources.cpus, 1)))
    lines = summarise(planned, sweep, workers=side_by_side, watts=calibration.watts)
    trials = [
        {"trial_id": trial.spec.trial_id, "done": trial.done, "flops": trial.flops, "seconds": trial.seconds,
         "n_params": trial.cost.n_params, "spec": trial.spec.model_dump(mode="json")}
        for trial in planned
    ]  # fmt: skip
    return SweepPlan(
        sweep.name, tuple(lines), side_by_side, processor_name(), seconds, sweep.energy.currency, tuple(trials)
    )


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
    from cluster.mlflow_store import without_password
    from experiments.plan import check_memory, check_sweep
    from experiments.workbench import open_dataset

    folder = (results_folder / sweep.name).absolute()
    machine = machine_for(sweep, data_folder)
    check_sweep(sweep, machine)
    if address is None:
        check_memory(sweep.trials(), machine)
    names = dict.fromkeys(trial.dataset for trial in sweep.trials())
    facts = [dataset_facts(name, open_dataset(name, machine.data_folder, machine.cache_folder)) for name in names]
    save_sweep(sweep, folder)
    save_facts(facts, folder)
    tracker = open_tracker(sweep, results_folder, tracking_uri)
    with tracker, _mirrored(sweep, folder / TRIALS_FOLDER, storage_uri, console) as mirrors:
        outcome = run_trials_of(
            sweep, machine, folder=folder, workers=workers, address=address, console=console, quiet=quiet,
            listeners=[tracker, *mirrors], wait_seconds=wait_seconds, storage_uri=storage_uri,
        )  # fmt: skip
    waiting: AbstractContextManager[Progress] = nullcontext(silent) if quiet else working("fitting and drawing")
    with waiting as progress:
        analysis = fit_runs(folder, tracking_uri=tracking_uri, progress=progress).analysis
    problem = deliver(tracker, sweep, folder, analysis)
    if problem:
        console.print(problem)
    uri = tracking_uri or sweep.tracking.uri
    return FinishedSweep(outcome, analysis, folder, without_password(uri) if uri else None)


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
        console.print(f"{len(planned) - len(waiting)} of {len(planned)} trials are finished already")
    progress = SweepProgress(
        {trial.spec.trial_id: trial.seconds for trial in waiting},
        {trial.spec.trial_id: trial.flops for trial in waiting},
        console=console,
        quiet=quiet or not waiting,
    )
    if not waiting:  # a refit needs no Ray
        return Outcome(len(planned), len(planned), {}, 0, 0, False, 0.0, 0.0)
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
    from experiments.syncing import exchange

    storage = open_storage(storage_uri, sweep.name)
    if storage is None:
        yield []
        return
    n_fetched, _ = exchange(sweep, records_folder, storage)
    if n_fetched:
        console.print(f"{n_fetched} finished trials came from {storage.uri}")
    with Mirror(storage) as mirror:
        yield [mirror]
    if mirror.n_missing:
        console.print(
            f"{mirror.n_missing} trials are not in {storage.uri} ({mirror.problem}); ninthpower sync writes them"
        )


def _longest_seconds(sweep: SweepSpec) -> float | None:
    """When a trial is ended from outside: well after the limit at which it ends itself, if it still can."""
    limit = sweep.execution.time_limit_seconds
    return None if limit is None else 1.5 * limit + 60


def open_tracker(sweep: SweepSpec, results_folder: Path, tracking_uri: str | None) -> Tracker:
    """Name where the sweep's runs go: what the command line or the sweep file says, else a SQLite file."""
    from cluster.tracking import Tracker
    from experiments.mlflow_view import VIEW_TAG, ready_view, technique_colours

    results = results_folder.absolute()
    uri = tracking_uri or sweep.tracking.uri
    return Tracker.open(
        uri or f"sqlite:///{results / STORE_NAME}",
        sweep.experiment,
        folder=results / sweep.name,
        artifact_root=None if uri else (results / ARTIFACTS_NAME).as_uri(),
        description=sweep.description,
        tags={"sweep": sweep.name, VIEW_TAG: ready_view(sweep.fit.error)},
        datasets=read_facts(results / sweep.name),
        colours=technique_colours(trial.technique for trial in sweep.trials()),
    )


def deliver(tracker: Tracker, sweep: SweepSpec, folder: Path, analysis: Analysis) -> str:
    """Deliver the records MLflow lacks and the run of the sweep itself; return a problem, or nothing."""
    report = tracker.deliver_missing(read_results(folder)[2])
    if report.n_missing:
        return (
            f"{report.n_missing} trials are not in MLflow yet ({report.problem}); they are safe in "
            f"{folder / TRIALS_FOLDER}, and ninthpower sync delivers them"
        )
    metrics: dict[str, float] = {"best_error": float(analysis.front[analysis.settings.error].min())}
    for intervals in analysis.fits:
        if intervals.fit.exponent is not None and intervals.exponent is not None:
            law = intervals.fit.law
            metrics[f"exponent/{law}"] = intervals.fit.exponent
            metrics[f"exponent_low/{law}"] = intervals.exponent.low
            metrics[f"exponent_high/{law}"] = intervals.exponent.high
    problem = tracker.log_sweep_run(
        sweep.name,
        sweep.model_dump(mode="json", exclude={"grid", "points", "description"}),
        metrics,
        [folder / "fits.json", analysis.report, folder / "runs.csv", folder / "figures", folder / SWEEP_FILE],
        "\n\n".join([sweep.description, *analysis.sentences]),
    )
    return problem or log_kept_models(tracker, sweep, folder)


def _request(trial: PlannedTrial, sweep_name: str) -> TrialRequest:
    from cluster.tuning import TrialRequest
    from experiments.trial import identity

    spec = trial.spec.model_dump(mode="json")
    known = {"sweep": sweep_name, "spec": spec, "row": identity(trial.spec, sweep_name, "failed", "")}
    return TrialRequest(trial.spec.trial_id, {"spec": spec}, expected_cost=trial.seconds, known=known)


def _resources(sweep: SweepSpec) -> Resources:
    from cluster.session import Resources

    return Resources(**sweep.resources.model_dump())


def fit_runs(
    path: RunsSource,
    *,
    cost: str | None = None,
    error: str | None = None,
    laws: Sequence[str] | None = None,
    out: Path | None = None,
    tracking_uri: str | None = None,
    as_before: bool = False,
    progress: Progress = silent,
) -> FittedRuns:
    """Fit and report a results folder, a table of runs, or an experiment in MLflow.

    Args:
        path: What to read.
        cost, error, laws: What to relate; by default what the sweep says, else train_flops, test_error and two laws.
        out: Folder to write to; by default see `experiments.results.output_folder`.
        tracking_uri: Where the sweep's runs are delivered to, for the links to them.
        as_before: Let what was fitted last in the folder take the place of what the sweep says.
        progress: Hears how far it has come.

    Raises:
        ValueError: If there is nothing to read, a column is missing, a law is unknown, or the folder cannot be
            written to.
    """
    runs, sweep, records = read_results(path)
    folder = check_writable(out or output_folder(path, sweep), OUT_REMEDY)
    settings = sweep.fit if sweep else FitSpec()
    if as_before:
        settings = fitted_settings((folder, output_folder(path, sweep)), settings)
    asked = {"cost": cost, "error": error, "laws": tuple(laws) if laws else None}
    settings = settings.model_copy(update={name: value for name, value in asked.items() if value is not None})
    title = f"{sweep.name if sweep else source_name(path)}: {label(settings.error)} against {label(settings.cost)}"
    uri = tracking_uri or (sweep.tracking.uri if sweep else None) or _store_beside(path)
    background = background_of(path, sweep, records, title=title, tracking_uri=uri)
    return FittedRuns(analyse(runs, settings, folder, background=background, progress=progress), folder)


def _store_beside(path: RunsSource) -> str:
    return path.address if isinstance(path, TrackedRuns) else f"sqlite:///{path.absolute().parent / STORE_NAME}"


def select_runs(
    path: RunsSource, *, status: str | None = None, sort: str = "train_flops", columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Read, filter and sort runs for people.

    Raises:
        ValueError: If a column is not in the table, or no run has the status.
    """
    from experiments.findings import trials_view
    from scaling.runs import STATUSES

    table, sweep, _ = read_results(path)
    for name in (sort, *(columns or ())):
        if name not in table.columns:
            raise ValueError(f"the runs have no column {name!r}; they have {', '.join(map(str, table.columns))}")
    if status is not None:
        if status not in STATUSES:
            raise ValueError(f"status is {status!r}; it is one of {', '.join(STATUSES)}")
        table = table[table["status"] == status]
    table = table.sort_values(sort, kind="stable")
    if columns:
        return table[list(columns)]
    view = trials_view(table, sweep.fit if sweep else FitSpec())
    # What is the same in every row only takes room; who asks for it by name gets it.
    kept = [name for name in view.columns if len(view) == 1 or name == "status" or view[name].nunique(dropna=False) > 1]
    return view[kept]


def serve_ui(results_folder: Path, port: int) -> None:
    """Run the MLflow UI on loopback until it is interrupted.

    Raises:
        ValueError: If there is no store yet.
    """
    store = results_folder.absolute() / STORE_NAME
    if not store.exists():
        raise ValueError(f"there is no MLflow store {store}; run ninthpower sweep first, or give --results")
    for name, address in experiment_links(store, port).items():
        print(f"{name}  {address}")
    print(f"MLflow on http://127.0.0.1:{port} in some ten seconds (end it with Ctrl-C)", flush=True)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{store}",
        "--artifacts-destination", str(store.with_name(ARTIFACTS_NAME)), "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    os.execv(sys.executable, command)


def machine_for(sweep: SweepSpec, data_folder: Path | None) -> Machine:
    """Where the sweep's trials run, from its resources and execution settings."""
    from experiments.energy import carbon_intensity
    from experiments.workbench import Machine

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
