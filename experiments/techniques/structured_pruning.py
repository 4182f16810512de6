"""Structured pruning: channels, hidden units and heads are taken out for real, so that FLOP and latency both fall."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from experiments.flops import training_flops_per_example
from experiments.spec import TrialSpec
from experiments.techniques.technique import Options, Technique, read_options
from experiments.techniques.two_phases import join_trainings, split_epochs, trainings_of
from experiments.techniques.units import find_units
from experiments.workbench import TrainedModel, Workbench

if TYPE_CHECKING:
    from experiments.data import DatasetInfo
    from experiments.workbench import Machine

# Families in which channels run through additions from block to block, so that a channel is cut from all at once.
CHANNELS = ("resnet", "convnext")
# Families whose channels themselves are normalised over.
NORMALISED = ("convnext", "mlp")
UNITS = ("vit", "mixer", "mlp")
# Batches whose gradients say how much the loss depends on a unit. Assumed: some hundred examples are enough.
TAYLOR_BATCHES = 8


class StructuredPruningOptions(Options):
    """How much is kept, and by what it is chosen."""

    keep: float = Field(0.5, gt=0, le=1, description="share of the channels or hidden units and heads that is kept")
    importance: Literal["magnitude", "taylor"] = Field(
        "magnitude", description="norm of a unit's weights, or how much the loss depends on it to first order"
    )
    finetune_share: float = Field(0.3, gt=0, lt=1, description="share of the epochs that fine-tuning takes")
    finetune_rate: float = Field(1.0, gt=0, le=10, description="peak rate of fine-tuning over the trial's")


def structured_pruning(workbench: Workbench) -> TrainedModel:
    """Train, take the least important units out of every layer, train what is left."""
    options = read_options(StructuredPruningOptions, workbench.spec)
    before, after = split_epochs(workbench.spec, options.finetune_share, options.finetune_rate)
    assert after is not None, "finetune_share is above 0"
    model = workbench.build_model()
    first = workbench.train(model, phase="train", spec=before).training
    if first.status != "finished":
        return TrainedModel(model, first)

    with workbench.ledger.phase("prune-finetune") as entry:
        if options.importance == "taylor":
            entry.flops += _take_gradients(model, workbench)
        prune(model, workbench, keep=options.keep, importance=options.importance)
        model.zero_grad()
    second = workbench.train(model, phase="prune-finetune", spec=after).training
    return TrainedModel(model, join_trainings(first, second, n_train=workbench.spec.n_train))


def prune(model: nn.Module, workbench: Workbench, *, keep: float, importance: str) -> None:
    """Take units out of a network of one of the five families, in place; of each layer at least one stays."""
    if workbench.spec.family in CHANNELS:
        _prune_channels(model, workbench, keep=keep, importance=importance)
        return
    for units in find_units(model):
        scores = units.taylor() if importance == "taylor" else units.norms()
        n_kept = max(1, round(keep * units.n))
        units.keep(scores.topk(n_kept).indices.sort().values)


def _prune_channels(model: nn.Module, workbench: Workbench, *, keep: float, importance: str) -> None:
    """Channels of every convolution, with whatever is added to or read from them (Fang et al. 2023, DepGraph)."""
    import torch_pruning

    image = torch.zeros(2, *workbench.dataset.info.shape, device=workbench.torch_device)
    by: Any = torch_pruning.importance
    pruner = torch_pruning.pruner.BasePruner(
        model,
        image,
        importance=by.GroupTaylorImportance() if importance == "taylor" else by.GroupMagnitudeImportance(p=2),
        pruning_ratio=1 - keep,
        ignored_layers=[model.head],
    )
    pruner.step()


def _take_gradients(model: nn.Module, workbench: Workbench) -> float:
    """Leave the mean loss' gradients over some batches in the model; returns what that took [FLOP]."""
    spec, info = workbench.spec, workbench.dataset.info
    batch_size = min(spec.batch_size, spec.n_train)
    n_batches = min(TAYLOR_BATCHES, math.ceil(spec.n_train / batch_size))
    per_example = training_flops_per_example(model, (batch_size, *info.shape), info.n_classes)
    model.eval()  # as deployed: batch norm by its running statistics
    model.zero_grad()
    for images, labels in workbench.train_images.stream(batch_size, n_batches):
        with torch.autocast(images.device.type, torch.bfloat16, enabled=spec.precision == "bf16"):
            loss = functional.cross_entropy(model(images), labels) / n_batches
        loss.backward()
    return n_batches * batch_size * per_example


def check(spec: TrialSpec, info: DatasetInfo, machine: Machine) -> None:
    """Refuse families whose channels are not known here, and layers of which one channel would stay.

    Raises:
        ValueError: With what would work.
    """
    del info, machine
    options = read_options(StructuredPruningOptions, spec)
    check_family(spec, "structured-pruning")
    if spec.family in NORMALISED and round(options.keep * spec.width) < 2:
        raise ValueError(
            f"structured-pruning with keep {options.keep:g} leaves {spec.family} of width {spec.width} one channel, "
            f"which its layer norm would turn into a constant; take a keep of at least {2 / spec.width:g}"
        )


def check_family(spec: TrialSpec, technique: str) -> None:
    """Refuse a family whose units are not known.

    Raises:
        ValueError: With the families that would do, and another technique.
    """
    if spec.family not in (*CHANNELS, *UNITS):
        raise ValueError(
            f"{technique} takes units out of {', '.join((*CHANNELS, *UNITS))}, and does not know those of "
            f"{spec.family}; take one of these families, or magnitude-pruning, which applies to every one"
        )


def check_kept(spec: TrialSpec) -> None:
    """Refuse to keep models: their layers are no longer those that their family builds.

    Raises:
        ValueError: With the reason.
    """
    del spec
    raise ValueError("units are taken out layer by layer, so that no width and depth build its model again")


def trainings(spec: TrialSpec, info: DatasetInfo) -> Sequence[TrialSpec]:
    """Both phases; the second is planned as if nothing had been cut."""
    del info
    options = read_options(StructuredPruningOptions, spec)
    return trainings_of(spec, options.finetune_share, options.finetune_rate)


STRUCTURED_PRUNING = Technique(
    run=structured_pruning,
    summary="channels, hidden units and heads taken out",
    options=StructuredPruningOptions,
    check=check,
    trainings=trainings,
    phases=("train", "prune-finetune"),
    check_kept=check_kept,
)
