"""Unstructured pruning: the weights of least magnitude, over the whole network, are set to 0 and held there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.spec import TrialSpec
from experiments.techniques.masks import Masks, SparseAccount, note_of_lost_layers, sparse_bytes
from experiments.techniques.technique import Options, Technique, keep_as_built, read_options
from experiments.techniques.two_phases import join_trainings, split_epochs, trainings_of
from experiments.training import Training
from experiments.workbench import TrainedModel, Workbench

if TYPE_CHECKING:
    from torch import nn

    from experiments.data import DatasetInfo
    from experiments.machine import Machine

# How often the density is lowered on its gradual way. Zhu and Gupta prune every 100 to 1000 steps of
# trainings of 10,000 and more, and find that it matters little.
GRADUAL_PRUNINGS = 32


class MagnitudePruningOptions(Options):
    """What is kept, and when the rest goes."""

    density: float = Field(0.2, gt=0, le=1, description="share of the prunable weights that is kept")
    pruning: Literal["gradual", "one-shot"] = Field(
        "gradual", description="step by step while training, or all at once after it"
    )
    begin: float = Field(0.1, ge=0, lt=1, description="share of phase train after which gradual pruning begins")
    end: float = Field(0.8, gt=0, le=1, description="share of phase train after which the density is reached")
    finetune_share: float = Field(0.3, ge=0, lt=1, description="share of the epochs that fine-tuning takes")
    finetune_rate: float = Field(1.0, gt=0, le=10, description="peak rate of fine-tuning over the trial's")


def gradual_density(progress: float, density: float) -> float:
    """Share of the weights kept at a point of the way from all of them to `density`.

    Args:
        progress: Share of the way that is done, in [0, 1].
        density: Share at its end.

    Source:
        Zhu and Gupta 2017 (arXiv:1710.01878), eq. 1, with sparsity 1 - density from 0.
    """
    return density + (1 - density) * (1 - progress) ** 3


def magnitude_pruning(workbench: Workbench) -> TrainedModel:
    """Train while weights are cut away, or before; then train what is left."""
    options = read_options(MagnitudePruningOptions, workbench.spec)
    before, after = split_epochs(workbench.spec, options.finetune_share, options.finetune_rate)
    model = workbench.build_model()
    masks, account = Masks(model), SparseAccount(workbench, model)

    if options.pruning == "gradual":
        # The best validation pass would be one at which more weights were kept.
        before = before.model_copy(update={"selection": "last"})
        hold = _lower(options, masks, account)
    else:
        hold = _hold(masks, account)
    parts = (masks, account)
    first = workbench.train(model, phase="train", spec=before, after_step=hold, parts=parts).training
    account.enter("train")
    if first.status != "finished":
        return _deployed(model, first, masks, account)

    masks.keep_largest(options.density)
    masks.apply()
    if after is None:
        return _deployed(model, first, masks, account)
    hold = _hold(masks, account)
    second = workbench.train(model, phase="prune-finetune", spec=after, after_step=hold, parts=parts).training
    account.enter("prune-finetune")
    joined = join_trainings(first, second, n_train=workbench.spec.n_train)
    return _deployed(model, joined, masks, account)


def _lower(options: MagnitudePruningOptions, masks: Masks, account: SparseAccount) -> Callable[[int, int], None]:
    def after_step(step: int, n_steps: int) -> None:
        account.add_step(masks.densities)
        done = (step / n_steps - options.begin) / (options.end - options.begin)
        stages = int(min(1.0, max(0.0, done)) * GRADUAL_PRUNINGS)
        masks.keep_largest(gradual_density(stages / GRADUAL_PRUNINGS, options.density))
        masks.apply()

    return after_step


def _hold(masks: Masks, account: SparseAccount) -> Callable[[int, int], None]:
    def after_step(step: int, n_steps: int) -> None:
        del step, n_steps
        account.add_step(masks.densities)
        masks.apply()

    return after_step


def _deployed(model: nn.Module, training: Training, masks: Masks, account: SparseAccount) -> TrainedModel:
    return TrainedModel(
        model,
        training,
        sparse=True,
        model_bytes=sparse_bytes(model),
        sparse_inference_flops=account.inference_flops(masks.densities),
        note=note_of_lost_layers(masks.densities),
    )


def check(spec: TrialSpec, info: DatasetInfo, machine: Machine) -> None:
    """Refuse a way without length, and a choice of weights that would undo the pruning.

    Raises:
        ValueError: With the values and what would do.
    """
    del info, machine
    options = read_options(MagnitudePruningOptions, spec)
    if options.pruning == "gradual" and options.begin >= options.end:
        raise ValueError(f"magnitude-pruning begins at {options.begin:g} and ends at {options.end:g}; begin before end")
    if options.pruning == "gradual" and options.finetune_share == 0 and spec.selection == "best":
        raise ValueError(
            "magnitude-pruning with finetune_share 0 cannot take selection 'best': the best pass may be one before "
            "the density was reached; take selection 'last' or a finetune_share above 0"
        )


def trainings(spec: TrialSpec) -> Sequence[TrialSpec]:
    """Both phases."""
    options = read_options(MagnitudePruningOptions, spec)
    return trainings_of(spec, options.finetune_share, options.finetune_rate)


MAGNITUDE_PRUNING = Technique(
    run=magnitude_pruning,
    summary="weights of least magnitude set to 0, over the whole network",
    options=MagnitudePruningOptions,
    check=check,
    trainings=trainings,
    phases=("train", "prune-finetune"),
    check_kept=keep_as_built,
    data_parallel=True,
)
