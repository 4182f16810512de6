"""Meta-learning: weights from which new classes are learnt in a few steps, by Reptile or first-order MAML."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from experiments.data import DatasetInfo, describe_dataset
from experiments.flops import training_flops_per_example
from experiments.mup import parameter_groups
from experiments.spec import TrialSpec
from experiments.techniques.earlier_training import train_earlier, training_key
from experiments.techniques.heads import check_head, find_head, load_body
from experiments.techniques.source_data import check_source, source_workbench
from experiments.techniques.technique import Options, Technique, keep_as_built, read_options
from experiments.training import Training, make_optimizer
from experiments.workbench import Machine, TrainedModel, Workbench


class MetaLearningOptions(Options):
    """Tasks, the learning inside of each, and how the start is moved after it."""

    algorithm: Literal["reptile", "first-order-maml"] = Field("reptile", description="how the start is moved")
    source: str = Field("glyphs", description="data set that tasks are drawn from, resized to the trial's images")
    source_train: int = Field(2000, ge=2, description="its training examples")
    ways: int = Field(5, ge=2, le=100, description="classes of a task")
    shots: int = Field(10, ge=1, le=1000, description="examples of each class of a task")
    meta_steps: int = Field(200, ge=1, description="tasks")
    inner_steps: int = Field(5, ge=1, le=100, description="steps inside of a task, each on all its examples")
    meta_rate: float = Field(0.5, gt=0, le=1, description="how far the start moves, falling linearly to 0")


def check(spec: TrialSpec, info: DatasetInfo, machine: Machine) -> None:
    """Refuse a source that is not there or too small for its tasks, and models without a head.

    Raises:
        ValueError: With the reason.
    """
    options = read_options(MetaLearningOptions, spec)
    check_source(spec, machine, source=options.source, source_train=options.source_train)
    source = describe_dataset(options.source, data_folder=machine.data_folder)
    if options.ways > source.n_classes:
        raise ValueError(
            f"ways is {options.ways}, but {options.source} has {source.n_classes} classes; take 2 to {source.n_classes}"
        )
    wanted = _examples_per_class(options)
    if options.source_train < wanted * source.n_classes:
        raise ValueError(
            f"a task draws {wanted} examples of a class, but source_train is {options.source_train} in "
            f"{source.n_classes} classes; take at least {wanted * source.n_classes}, or fewer shots"
        )
    check_head(spec, info)


def source_spec(spec: TrialSpec) -> TrialSpec:
    """The trial's settings on the source; its length is given by the options alone."""
    options = read_options(MetaLearningOptions, spec)
    plain = {"technique": "baseline", "technique_options": {}, "selection": "last", "validation_passes": 1}
    return spec.model_copy(update={**plain, "dataset": options.source, "n_train": options.source_train, "epochs": 1})


def trainings(spec: TrialSpec, info: DatasetInfo) -> Sequence[TrialSpec]:
    """Plan the adaptation and as many examples as all tasks learn from."""
    del info
    options = read_options(MetaLearningOptions, spec)
    n_steps = options.inner_steps + (options.algorithm == "first-order-maml")
    size = {"n_train": options.ways * options.shots, "batch_size": options.ways * options.shots}
    return [spec, spec.model_copy(update={**size, "epochs": options.meta_steps * n_steps})]


def meta_learn(workbench: Workbench) -> TrainedModel:
    """Learn a start from tasks of the source, put a new head on, and adapt to the trial's examples."""
    options = read_options(MetaLearningOptions, workbench.spec)
    bench = source_workbench(workbench, source_spec(workbench.spec))
    # The head has as many outputs as a task has classes.
    info = dataclasses.replace(bench.dataset.info, n_classes=options.ways)
    bench = dataclasses.replace(bench, dataset=dataclasses.replace(bench.dataset, info=info))
    key = {**training_key(bench.spec), **options.model_dump(), "shape": list(info.shape)}
    weights, training = train_earlier(bench, "meta-train", key, lambda own: meta_train(own, options))
    model = workbench.build_model()
    if training.status != "finished":
        return TrainedModel(model, training)
    load_body(model, weights)
    return workbench.train(model, phase="adapt")


def meta_train(workbench: Workbench, options: MetaLearningOptions) -> TrainedModel:
    """Move a start towards where tasks lead from it.

    Every task begins with a head of zeros, as the adaptation will, so that the start is one of the body. The
    optimiser inside a task is the trial's at its constant peak rates, begun anew for each task.

    Source:
        Nichol et al. 2018 (arXiv:1803.02999), algorithm 1 with one task per step; for first-order MAML
        section 2, the gradient after the inner steps on other examples of the task, taken at the same rates.
    """
    model = workbench.build_model().train()
    device = workbench.torch_device
    per_example = training_flops_per_example(model, (2, *workbench.dataset.info.shape), options.ways)
    train = workbench.dataset.train
    pixels, _ = next(workbench.images("train").once(len(train)))
    chance = np.random.default_rng(workbench.spec.seed)
    limit = workbench.machine.time_limit_seconds
    deadline = math.inf if limit is None else workbench.began + limit
    training = Training("finished", "", 0, 0)
    with workbench.ledger.phase("meta-train") as entry:
        for task in range(options.meta_steps):
            chosen, labels = draw_task(train.labels, options, chance)
            images, targets = pixels[torch.from_numpy(chosen).to(device)], torch.from_numpy(labels).to(device)
            loss = _learn_task(model, images, targets, workbench, options, 1 - task / options.meta_steps)
            training.n_steps = task + 1
            n_steps = options.inner_steps + (options.algorithm == "first-order-maml")
            training.n_examples += n_steps * options.ways * options.shots
            if not math.isfinite(loss):
                training.status, training.reason = "diverged", f"loss {loss} in task {task + 1} of {options.meta_steps}"
                break
            if time.perf_counter() > deadline:
                training.status = "stopped"
                training.reason = f"time limit reached at task {task + 1} of {options.meta_steps}"
                break
        entry.flops += training.n_examples * per_example
    return TrainedModel(model, training)


def draw_task(
    labels: NDArray[np.int64], options: MetaLearningOptions, chance: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw classes in random order and examples of each; first all first shots, then, for MAML, the others.

    Classes with too few examples for a task are passed over.

    Returns:
        Places of the examples and their classes in the task, 0 to ways - 1.

    Raises:
        ValueError: If fewer classes than `ways` have enough examples.
    """
    count = _examples_per_class(options)
    present, sizes = np.unique(labels, return_counts=True)
    if (sizes >= count).sum() < options.ways:
        raise ValueError(
            f"only {(sizes >= count).sum()} classes of {options.source} have the {count} examples of a task, but "
            f"ways is {options.ways}; take fewer ways or shots"
        )
    classes = chance.choice(present[sizes >= count], options.ways, replace=False)
    drawn = np.stack([chance.choice(np.flatnonzero(labels == one), count, replace=False) for one in classes])
    numbers = np.repeat(np.arange(options.ways)[:, None], count, axis=1)
    halves = np.split(np.arange(count), count // options.shots)
    order = [(drawn[:, half].reshape(-1), numbers[:, half].reshape(-1)) for half in halves]
    return np.concatenate([places for places, _ in order]), np.concatenate([ways for _, ways in order])


def _examples_per_class(options: MetaLearningOptions) -> int:
    return options.shots * (2 if options.algorithm == "first-order-maml" else 1)


def _learn_task(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    workbench: Workbench,
    options: MetaLearningOptions,
    remaining: float,
) -> float:
    """Learn one task from the start in `model` and move the start; the loss that was last seen [nat]."""
    spec = workbench.spec
    with torch.no_grad():
        for parameter in find_head(model).parameters():
            parameter.zero_()
    start = [parameter.detach().clone() for parameter in model.parameters()]
    groups = parameter_groups(
        model,
        workbench.base_model(),
        optimizer=spec.optimizer,
        learning_rate=spec.learning_rate,
        weight_decay=spec.weight_decay,
    )
    optimizer = make_optimizer(spec, groups)
    n_inner = options.ways * options.shots
    rate = options.meta_rate * remaining
    value = torch.zeros(())
    for _ in range(options.inner_steps):
        value = _backward(model, images[:n_inner], labels[:n_inner], optimizer, spec.precision)
        optimizer.step()
    if options.algorithm == "reptile":
        with torch.no_grad():
            for parameter, first in zip(model.parameters(), start, strict=True):
                parameter.lerp_(first, 1 - rate)
        return float(value)
    value = _backward(model, images[n_inner:], labels[n_inner:], optimizer, spec.precision)
    with torch.no_grad():
        for parameter, first in zip(model.parameters(), start, strict=True):
            parameter.copy_(first)
    for group in optimizer.param_groups:
        group["lr"] *= rate
    optimizer.state.clear()
    optimizer.step()
    return float(value)


def _backward(
    model: nn.Module, images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer, precision: str
) -> Tensor:
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        loss = functional.cross_entropy(model(images), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


META_LEARNING = Technique(
    run=meta_learn,
    summary="a start learnt from tasks of other classes, then adaptation",
    options=MetaLearningOptions,
    check=check,
    trainings=trainings,
    phases=("meta-train", "adapt"),
    check_kept=keep_as_built,
)
