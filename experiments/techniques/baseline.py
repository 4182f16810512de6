"""Plain training: what every technique is compared with."""

from __future__ import annotations

from experiments.workbench import TrainedModel, Workbench


def baseline(workbench: Workbench) -> TrainedModel:
    """Train the model of the trial on its examples.

    Raises:
        ValueError: If options are given; plain training has none.
    """
    if workbench.spec.technique_options:
        options = ", ".join(workbench.spec.technique_options)
        raise ValueError(f"technique 'baseline' has no options, but was given {options}; remove them")
    return workbench.train(workbench.build_model(), phase="train")
