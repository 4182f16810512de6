"""Which models a sweep keeps, and what MLflow is told of them. Torch is not needed here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.logged_models import TrialModel
from cluster.mlflow_values import run_values
from cluster.models import model_path
from cluster.records import Record
from experiments.dataset_facts import read_facts
from experiments.results import read_sweep_records
from experiments.wording import part_of
from scaling.words import agree

if TYPE_CHECKING:
    from cluster.tracking import Tracker
    from experiments.sweep import SweepSpec

LOADER_MODULE = "experiments.kept_models"
# What the loader needs beside this program, which is in no registry.
LIBRARIES = ("torch", "torchvision", "timm", "numpy")
MODEL_PARAMS = ("dataset", "family", "technique", "width", "depth", "n_train", "epochs", "learning_rate", "seed")
MODEL_METRICS = (
    "test_error", "test_loss", "validation_error", "validation_loss", "shift_error", "n_params", "model_bytes",
    "train_flops", "inference_flops", "inference_seconds",
)  # fmt: skip


def best_of_each(records: Iterable[Record]) -> dict[tuple[str, str], Record]:
    """The best finished trial of each technique on each data set: least validation error, then loss, then id.

    The test error has no say: it would no longer be that of a model chosen without it.
    """
    best: dict[tuple[str, str], Record] = {}
    for record in records:
        if record["status"] == "finished":
            best[_group(record)] = min(best.get(_group(record), record), record, key=_rank)
    return best


class BestModels:
    """A listener of a sweep that deletes the models that are not, or no longer, the best of their kind."""

    def __init__(self, sweep: SweepSpec, folder: Path) -> None:
        """Begin with the trials that the folder has records of."""
        self._folder = folder
        self._best = best_of_each(read_sweep_records(sweep, folder))

    def started(self, trial_id: str) -> None:
        """Do nothing: a model is there with its record."""

    def retried(self, trial_id: str, reason: str) -> None:
        """Do nothing: a model is there with its record."""

    def finished(self, record: Record) -> None:
        """Delete the worse of two models."""
        if record["status"] != "finished":
            return
        best = self._best.setdefault(_group(record), record)
        if best is not record:
            better, worse = sorted((best, record), key=_rank)
            self._best[_group(record)] = better
            model_path(self._folder, worse["trial_id"]).unlink(missing_ok=True)


def log_kept_models(tracker: Tracker, sweep: SweepSpec, folder: Path) -> str:
    """Log the models that a sweep keeps to MLflow; return a problem in a sentence, or nothing.

    The trials' records must be delivered.
    """
    if sweep.tracking.models == "none":
        return ""
    finished = [record for record in read_sweep_records(sweep, folder) if record["status"] == "finished"]
    wanted = finished if sweep.tracking.models == "all" else list(best_of_each(finished).values())
    missing = [record["trial_id"] for record in wanted if not model_path(folder, record["trial_id"]).is_file()]
    kept = [record for record in wanted if model_path(folder, record["trial_id"]).is_file()]
    facts = read_facts(folder)
    problem = tracker.log_models(sweep.name, [_describe(record, sweep, folder, facts) for record in kept])
    if not problem and missing:
        return (
            f"{part_of(len(missing), len(wanted), 'model')} that tracking.models: {sweep.tracking.models} asks for "
            f"{agree(len(missing), 'is', 'are')} not in {folder} "
            f"({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}): their trials ended before it was "
            "asked for, or on another machine; delete their records to train them again"
        )
    return problem


def _describe(record: Record, sweep: SweepSpec, folder: Path, datasets: Mapping[str, Any]) -> TrialModel:
    row, values = record["row"], run_values(record)
    versions = record["environment"]["versions"]
    facts = datasets[row["dataset"]]
    return TrialModel(
        trial_id=record["trial_id"],
        name=values.name,
        file=model_path(folder, record["trial_id"]),
        loader_module=LOADER_MODULE,
        requirements=tuple(f"{name}=={versions[name].split('+')[0]}" for name in LIBRARIES),
        image_shape=tuple(facts["image_shape"]),
        n_classes=facts["n_classes"],
        params={**{name: row.get(name) for name in MODEL_PARAMS}, **record["spec"]["technique_options"]},
        metrics={name: row.get(name) for name in MODEL_METRICS},
        tags={"technique": row["technique"], "kept": sweep.tracking.models},
    )


def _group(record: Record) -> tuple[str, str]:
    return record["row"]["technique"], record["row"]["dataset"]


def _rank(record: Record) -> tuple[float, float, str]:
    row: Mapping[str, float] = record["row"]
    return row.get("validation_error", math.inf), row.get("validation_loss", math.inf), record["trial_id"]
