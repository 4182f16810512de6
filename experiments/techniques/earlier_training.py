"""Trainings that come before a trial's own and are shared by trials: teachers, pre-training, meta-training.

One that diverged is kept like any other, since it would diverge again. One that the trial's time limit
stopped is not kept, and the trial that spent it is charged for what it spent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from experiments.ledger import Phase
from experiments.spec import TrialSpec
from experiments.training import Training
from experiments.workbench import TrainedModel, Workbench

_STATUS, _REASON = "training status", "training reason"


class Stopped(Exception):
    """The trial's time limit ended a shared training; what was spent on it is not lost from the account."""

    def __init__(self, training: Training, spent: list[Phase]) -> None:
        super().__init__(training.reason)
        self.training, self.spent = training, spent


def train_earlier(
    workbench: Workbench, phase: str, what: Mapping[str, Any], make: Callable[[Workbench], TrainedModel]
) -> tuple[dict[str, Tensor], Training]:
    """Weights of a training that several trials share, and how it ended.

    Args:
        workbench: The data set, device and ledger; the cost is charged there in full.
        phase: Under which name.
        what: All that decides the weights beside data set, arithmetic and device.
        make: Trains at a workbench like this one with a ledger of its own.

    Returns:
        The weights, none if they were stopped, and the training with its status: only after a
        ``finished`` one are they of use.
    """

    def tensors(bench: Workbench) -> dict[str, Tensor]:
        trained = make(bench)
        if trained.training.status == "stopped":
            raise Stopped(trained.training, bench.ledger.phases)
        outcome = {_STATUS: _encoded(trained.training.status), _REASON: _encoded(trained.training.reason)}
        return {**trained.model.state_dict(), **outcome}

    try:
        found = workbench.prepare(phase, what, tensors)
    except Stopped as stopped:
        workbench.ledger.charge(phase, stopped.spent, elsewhere=False)
        return {}, _explained(stopped.training, phase)
    status, reason = _decoded(found.pop(_STATUS)), _decoded(found.pop(_REASON))
    return found, _explained(Training(status, reason, 0, 0), phase)


def training_key(spec: TrialSpec) -> dict[str, Any]:
    """What of a trial decides a plain training by its settings, as plain data."""
    return spec.model_dump(mode="json", exclude={"technique", "technique_options"})


def _explained(training: Training, phase: str) -> Training:
    reason = f"{phase}: {training.reason}" if training.reason else ""
    return dataclasses.replace(training, reason=reason)


def _encoded(text: str) -> Tensor:
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def _decoded(letters: Tensor) -> str:
    return bytes(letters.tolist()).decode()
