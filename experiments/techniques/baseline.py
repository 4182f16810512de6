"""Plain training: what every technique is compared with."""

from __future__ import annotations

from experiments.techniques.technique import Technique, keep_as_built
from experiments.workbench import TrainedModel, Workbench


def baseline(workbench: Workbench) -> TrainedModel:
    """Train the model of the trial on its examples."""
    return workbench.train(workbench.build_model(), phase="train")


BASELINE = Technique(run=baseline, summary="plain training", data_parallel=True, check_kept=keep_as_built)
