"""A complexity penalty: trained so that weights or whole units vanish, then shrunk to what survived."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field

from experiments.models import check_buildable, model_arguments
from experiments.spec import TrialSpec
from experiments.techniques.masks import (
    Masks,
    SparseAccount,
    note_of_lost_layers,
    prunable_weights,
    sparse_bytes,
)
from experiments.techniques.structured_pruning import check_family
from experiments.techniques.technique import Options, Technique, read_options
from experiments.techniques.two_phases import join_trainings, split_epochs, trainings_of
from experiments.techniques.units import Units, find_units
from experiments.training import rate_factor
from experiments.workbench import TrainedModel, Workbench

if TYPE_CHECKING:
    from torch import Tensor, nn

    from experiments.data import DatasetInfo
    from experiments.machine import Machine


class ComplexityPenaltyOptions(Options):
    """What is penalised, how strongly, and how large the network is at first."""

    penalty: Literal["l1", "group-lasso"] = Field("l1", description="on single weights, or on hidden units and heads")
    strength: float = Field(
        # Measured: 1 leaves networks that work under both penalties; 2 and 3 do not always.
        1.0,
        ge=0,
        allow_inf_nan=False,
        description="length of a shrinking step over the learning rate, in weights' or units' first size",
    )
    oversize: float = Field(1.0, ge=1, le=64, description="width of the network trained, over the trial's")
    finetune_share: float = Field(0.2, ge=0, lt=1, description="share of the epochs without penalty, after shrinking")
    finetune_rate: float = Field(1.0, gt=0, le=10, description="peak rate of the shrunk network's over the trial's")


def complexity_penalty(workbench: Workbench) -> TrainedModel:
    """Train under the penalty, cut what it brought to 0, train the rest without it."""
    options = read_options(ComplexityPenaltyOptions, workbench.spec)
    before, after = split_epochs(workbench.spec, options.finetune_share, options.finetune_rate)
    # The best validation pass would be one before the penalty had done its work.
    before = before.model_copy(update={"selection": "last"})
    model = workbench.build_model(width=oversized(workbench.spec))
    step = penalise_weights if options.penalty == "l1" else penalise_units
    first = workbench.train(model, phase="train", spec=before, after_step=step(model, before, options.strength))
    if first.training.status != "finished":
        return first
    shrink = _shrink_to_weights if options.penalty == "l1" else _shrink_to_units
    return shrink(workbench, first, after)


def penalise_weights(model: nn.Module, spec: TrialSpec, strength: float) -> Callable[[int, int], None]:
    """Proximal steps of an L1 penalty: every weight moves towards 0 by a length, and stays there if it arrives.

    The length is rate x strength x fan_in ** -0.5, which is what a weight starts with, so that one strength means
    the same in every layer and at every width. Applied apart from the optimiser's step, as AdamW does with its
    decay, so that the moments do not see it.

    Args:
        model: All prunable weights are penalised.
        spec: Its rate and schedule.
        strength: Length over the rate, in first sizes.

    Source:
        Parikh and Boyd 2014, Proximal Algorithms, section 6.5.2 (soft thresholding).
    """
    weights = list(prunable_weights(model).values())
    sizes = [math.prod(weight.shape[1:]) ** -0.5 for weight in weights]

    @torch.no_grad()
    def after_step(step: int, n_steps: int) -> None:
        length = strength * spec.learning_rate * rate_factor(step, n_steps, spec)
        for weight, size in zip(weights, sizes, strict=True):
            weight.copy_(torch.nn.functional.softshrink(weight, length * size))

    return after_step


def penalise_units(model: nn.Module, spec: TrialSpec, strength: float) -> Callable[[int, int], None]:
    """Proximal steps of a group lasso: every unit's weights shorten together by a length.

    The length is rate x strength x the median norm with which the units of that layer started.

    Args:
        model: All its units are penalised.
        spec: Its rate and schedule.
        strength: Length over the rate, in first sizes.

    Source:
        Yuan and Lin 2006; Parikh and Boyd 2014, Proximal Algorithms, section 6.5.4 (block soft thresholding).
    """
    layers = find_units(model)
    sizes = [units.norms().median() for units in layers]

    def after_step(step: int, n_steps: int) -> None:
        length = strength * spec.learning_rate * rate_factor(step, n_steps, spec)
        for units, size in zip(layers, sizes, strict=True):
            units.shrink(length * size)

    return after_step


def _shrink_to_weights(workbench: Workbench, first: TrainedModel, after: TrialSpec | None) -> TrainedModel:
    """Hold the zeros, and train what is left."""
    model, training = first.model, first.training
    masks, account = Masks(model), SparseAccount(workbench, model)
    masks.keep_nonzero()

    def hold(step: int, n_steps: int) -> None:
        del step, n_steps
        account.add_step(masks.densities)
        masks.apply()

    if after is not None:
        parts = (masks, account)
        second = workbench.train(model, phase="shrink", spec=after, after_step=hold, parts=parts).training
        account.enter("shrink")
        training = join_trainings(training, second, n_train=workbench.spec.n_train)
    return TrainedModel(
        model,
        training,
        sparse=True,
        model_bytes=sparse_bytes(model),
        sparse_inference_flops=account.inference_flops(masks.densities),
        extra={"found_density": masks.n_kept / masks.n_weights},
        note=note_of_lost_layers(masks.densities),
        architecture={"width": oversized(workbench.spec)},
    )


def _shrink_to_units(workbench: Workbench, first: TrainedModel, after: TrialSpec | None) -> TrainedModel:
    """Take out the units that vanished, and train what is left. Where all of a layer did, its first one stays."""
    model, training = first.model, first.training
    layers = find_units(model)
    survived = [units.norms().nonzero().flatten() for units in layers]
    kept = [one if len(one) else one.new_zeros(1) for one in survived]
    for units, places in zip(layers, kept, strict=True):
        units.keep(places)
    if after is not None:
        second = workbench.train(model, phase="shrink", spec=after).training
        training = join_trainings(training, second, n_train=workbench.spec.n_train)
    found = {"found_keep": sum(map(len, kept)) / sum(units.n for units in layers)}
    note = _note_of_lost_units(layers, survived, workbench.spec.family)
    return TrainedModel(model, training, extra=found, note=note)


def _note_of_lost_units(layers: Sequence[Units], survived: Sequence[Tensor], family: str) -> str:
    """Say which layers have nothing left to pass on; empty where all have."""
    lost = [units.name for units, one in zip(layers, survived, strict=True) if not len(one)]
    single = [units.name for units, one in zip(layers, survived, strict=True) if len(one) == 1]
    if lost:
        return f"no unit is left in {', '.join(lost)}: one whose weights were 0 stands for it"
    if single and family == "mlp":
        return f"one unit is left in {', '.join(single)}, of which the layer norm makes a constant: the network guesses"
    return ""


def oversized(spec: TrialSpec) -> int:
    """Width of the network that is trained at first."""
    return round(spec.width * read_options(ComplexityPenaltyOptions, spec).oversize)


def check(spec: TrialSpec, info: DatasetInfo, machine: Machine) -> None:
    """Refuse a network too large to be built, a choice of weights that undoes the penalty, and units not known.

    Raises:
        ValueError: With what would do.
    """
    del machine
    options = read_options(ComplexityPenaltyOptions, spec)
    if options.penalty == "group-lasso":
        check_family(spec, "complexity-penalty with group-lasso")
    if options.finetune_share == 0 and spec.selection == "best":
        raise ValueError(
            "complexity-penalty with finetune_share 0 cannot take selection 'best': the best pass may be one before "
            "the penalty had done its work; take selection 'last' or a finetune_share above 0"
        )
    try:
        check_buildable(spec.family, **model_arguments(info, width=oversized(spec), depth=spec.depth))
    except ValueError as error:
        raise ValueError(f"complexity-penalty has oversize {options.oversize:g}, but {error}") from None


def check_kept(spec: TrialSpec) -> None:
    """Refuse to keep models whose units were taken out.

    Raises:
        ValueError: With the reason.
    """
    if read_options(ComplexityPenaltyOptions, spec).penalty == "group-lasso":
        raise ValueError("group-lasso takes units out, so that no width and depth build its model again")


def trainings(spec: TrialSpec) -> Sequence[TrialSpec]:
    """Both phases at the first network's width; the second is planned as if nothing had been cut."""
    options = read_options(ComplexityPenaltyOptions, spec)
    wide = spec.model_copy(update={"width": oversized(spec)})
    return trainings_of(wide, options.finetune_share, options.finetune_rate)


COMPLEXITY_PENALTY = Technique(
    run=complexity_penalty,
    summary="trained under an L1 or group-lasso penalty, shrunk to what survived",
    options=ComplexityPenaltyOptions,
    check=check,
    trainings=trainings,
    phases=("train", "shrink"),
    check_kept=check_kept,
    data_parallel=True,
)
