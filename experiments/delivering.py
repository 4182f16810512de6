"""What MLflow is told of a sweep: its trials, its fits, its report, the models that it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.dataset_facts import read_facts
from experiments.destination import first_destination
from experiments.keeping import log_kept_models
from experiments.results import FITS_FILE, SWEEP_FILE, TRIALS_FOLDER, Analysis, read_results
from experiments.sweep import SweepSpec
from scaling.words import agree, counted

if TYPE_CHECKING:
    from cluster.tracking import Tracker

ARTIFACTS_NAME = "mlartifacts"


def open_tracker(sweep: SweepSpec, results_folder: Path, tracking_uri: str | None) -> Tracker:
    """Name where the sweep's runs go: what is told here or in the sweep file, else the SQLite file in the folder."""
    from cluster.tracking import Tracker
    from experiments.mlflow_view import VIEW_TAG, ready_view, technique_colours

    folder = results_folder.absolute() / sweep.name
    destination = first_destination(sweep, folder, tracking_uri)
    return Tracker.open(
        destination.uri,
        sweep.experiment,
        folder=folder,
        artifact_root=(folder.parent / ARTIFACTS_NAME).as_uri() if destination.is_beside else None,
        description=sweep.description,
        tags={"sweep": sweep.name, VIEW_TAG: ready_view(sweep.fit.error)},
        datasets=read_facts(folder),
        colours=technique_colours(trial.technique for trial in sweep.trials()),
    )


def deliver(tracker: Tracker, sweep: SweepSpec, folder: Path, analysis: Analysis) -> str:
    """Deliver the records MLflow lacks, the run of the sweep itself and its models; return a problem, or nothing."""
    return deliver_runs(tracker, sweep, folder, analysis) or log_kept_models(tracker, sweep, folder)


def deliver_runs(tracker: Tracker, sweep: SweepSpec, folder: Path, analysis: Analysis) -> str:
    """Deliver the records MLflow lacks and the run of the sweep itself; return why not, or nothing."""
    report = tracker.deliver_missing(read_results(folder)[2])
    if report.n_missing:
        return (
            f"{counted(report.n_missing, 'trial')} {agree(report.n_missing, 'is', 'are')} not in MLflow yet "
            f"({report.problem}); safe in {folder / TRIALS_FOLDER}, and ninthpower sync delivers what is missing"
        )
    metrics: dict[str, float] = {"best_error": float(analysis.front[analysis.settings.error].min())}
    for intervals in analysis.fits:
        if intervals.fit.exponent is not None and intervals.exponent is not None:
            law = intervals.fit.law
            metrics[f"exponent/{law}"] = intervals.fit.exponent
            metrics[f"exponent_low/{law}"] = intervals.exponent.low
            metrics[f"exponent_high/{law}"] = intervals.exponent.high
    return tracker.log_sweep_run(
        sweep.name,
        sweep.model_dump(mode="json", exclude={"grid", "points", "description"}),
        metrics,
        [folder / FITS_FILE, analysis.report, folder / "runs.csv", folder / "figures", folder / SWEEP_FILE],
        "\n\n".join([sweep.description, *analysis.sentences]),
    )
