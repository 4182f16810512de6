"""Where the trained models of a sweep lie: beside the records, one file per trial, on the driver's machine.

A model is bytes here, made and read by the trial's own code.
"""

from __future__ import annotations

from pathlib import Path

from cluster.records import record_path

MODELS_FOLDER = "models"
MODEL_SUFFIX = ".pt"


def model_path(results_folder: Path, trial_id: str) -> Path:
    """Where the model of a trial lies.

    Raises:
        ValueError: If the id holds anything but letters, digits, dots, dashes and underscores.
    """
    path = record_path(results_folder / MODELS_FOLDER, trial_id)
    return path.with_name(f"{trial_id}{MODEL_SUFFIX}")
