"""Trainings in two phases, of which the second goes on with what the first left: pruning, then fine-tuning."""

from __future__ import annotations

from typing import Any

from experiments.spec import TrialSpec
from experiments.training import Training


def split_epochs(spec: TrialSpec, finetune_share: float, finetune_rate: float) -> tuple[TrialSpec, TrialSpec | None]:
    """Settings of the two phases; together they take as many epochs as the trial has.

    Args:
        spec: The trial.
        finetune_share: Share of its epochs that the second phase takes; with 0 there is none.
        finetune_rate: Peak rate of the second phase over that of the first.
    """
    if finetune_share == 0:
        return spec, None
    first = spec.model_copy(update={"epochs": spec.epochs * (1 - finetune_share)})
    changes = {"epochs": spec.epochs * finetune_share, "learning_rate": spec.learning_rate * finetune_rate}
    return first, spec.model_copy(update=changes)


def trainings_of(spec: TrialSpec, finetune_share: float, finetune_rate: float) -> list[TrialSpec]:
    """The phases for the plan."""
    return [part for part in split_epochs(spec, finetune_share, finetune_rate) if part is not None]


def join_trainings(first: Training, second: Training, *, n_train: int) -> Training:
    """One training out of two: how the second ended, and both curves, the second's axes going on from the first's.

    Args:
        first: The earlier one, finished, so that its curve's last point is its last step.
        second: The later one.
        n_train: Examples of an epoch.
    """

    def later(point: dict[str, Any]) -> dict[str, Any]:
        return {
            **point,
            "step": point["step"] + first.n_steps,
            "epoch": point["epoch"] + first.n_examples / n_train,
            "train_flops": point["train_flops"] + first.curve[-1]["train_flops"],
        }

    return Training(
        status=second.status,
        reason=second.reason,
        n_steps=first.n_steps + second.n_steps,
        n_examples=first.n_examples + second.n_examples,
        curve=[*first.curve, *map(later, second.curve)],
        n_validation_passes=first.n_validation_passes + second.n_validation_passes,
    )
