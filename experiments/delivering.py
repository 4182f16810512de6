"""What MLflow is told of a sweep: its trials, its fits, its report, the models that it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.dataset_facts import read_facts
from experiments.keeping import log_kept_models
from experiments.results import SWEEP_FILE, TRIALS_FOLDER, Analysis, read_results
from experiments.sweep import SweepSpec

if TYPE_CHECKING:
    from cluster.tracking import Tracker

STORE_NAME = "mlflow.db"
ARTIFACTS_NAME = "mlartifacts"


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
