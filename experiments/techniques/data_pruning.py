"""Data pruning: train on the examples from which most is learnt, by their error after a few short trainings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from experiments.data import DatasetInfo, nested_subset
from experiments.evaluation import EVALUATION_BATCH
from experiments.flops import inference_flops_per_example
from experiments.images import Images
from experiments.spec import TrialSpec
from experiments.techniques.earlier_training import Stopped, training_key
from experiments.techniques.technique import Earlier, Options, Technique, keep_as_built, read_options, shared_key
from experiments.training import Training
from experiments.workbench import TrainedModel, Workbench

if TYPE_CHECKING:
    from experiments.machine import Machine

# Seeds of the scoring networks lie far from those of trials.
SCORE_SEEDS_FROM = 1_000_003


class DataPruningOptions(Options):
    """How much is kept, which, and how it is scored."""

    keep: float = Field(0.5, gt=0, le=1, description="share of the examples that is kept")
    order: Literal["hard", "easy", "random"] = Field("hard", description="what is kept: most error, least, or any")
    balance: bool = Field(True, description="the same share of every class; otherwise over all classes together")
    score_seeds: int = Field(3, ge=1, le=20, description="short trainings whose errors are averaged")
    score_epochs: float = Field(3.0, gt=0, le=100, description="length of each of them")
    hold: Literal["epochs", "steps"] = Field("epochs", description="what stays the trial's when examples become fewer")


def prune_data(workbench: Workbench) -> TrainedModel:
    """Score the trial's examples, keep the most useful ones, and train on them."""
    spec, options = workbench.spec, read_options(DataPruningOptions, workbench.spec)
    labels = workbench.dataset.train.labels
    subset = nested_subset(labels, spec.n_train, spec.seed)
    if options.order == "random":
        scores = np.random.default_rng(spec.seed).random(len(subset))
    else:
        try:
            found = workbench.prepare("score", scores_key(spec, options), lambda bench: _score(bench, subset, options))
        except Stopped as stopped:
            workbench.ledger.charge("score", stopped.spent, elsewhere=False)
            return TrainedModel(workbench.build_model(), stopped.training)
        scores = found["scores"].cpu().numpy()
        if not np.isfinite(scores).all():
            training = Training("diverged", "score: the errors of a scoring network are not numbers", 0, 0)
            return TrainedModel(workbench.build_model(), training)
    ascending = scores if options.order == "easy" else -scores
    kept = kept_positions(ascending, labels[subset], options.keep, balance=options.balance)
    images = workbench.images("train", indices=subset[kept], augmentation=spec.augmentation)
    shorter = spec_of_kept(spec, len(kept), options)
    trained = workbench.train(workbench.build_model(), phase="train", images=images, spec=shorter)
    return dataclasses.replace(trained, extra={"kept_train": len(kept)})


def check(spec: TrialSpec, info: DatasetInfo, machine: Machine) -> None:
    """Refuse to keep a single example, of which batch norm has no statistics.

    Raises:
        ValueError: With what would do.
    """
    del machine
    options = read_options(DataPruningOptions, spec)
    n_kept = round(options.keep * spec.n_train)
    if max(n_kept, info.n_classes if options.balance else 1) < 2:
        raise ValueError(
            f"data-pruning with keep {options.keep:g} leaves {n_kept} of {spec.n_train} examples, and batches need 2; "
            f"take a keep of at least {2 / spec.n_train:g}, or balance: true, which keeps one of each class"
        )


def score_spec(spec: TrialSpec) -> TrialSpec:
    """A scoring network: the trial's, trained briefly; its last weights count."""
    options = read_options(DataPruningOptions, spec)
    plain = {"technique": "baseline", "technique_options": {}, "validation_passes": 1, "selection": "last"}
    return spec.model_copy(update={**plain, "epochs": options.score_epochs})


def spec_of_kept(spec: TrialSpec, n_kept: int, options: DataPruningOptions) -> TrialSpec:
    """Settings of the training on what is kept: as many passes as the trial's, or as many steps."""
    epochs = spec.epochs * (spec.n_train / n_kept if options.hold == "steps" else 1)
    return spec.model_copy(update={"n_train": n_kept, "epochs": epochs})


def kept_positions(
    order: NDArray[np.floating], labels: NDArray[np.int64], keep: float, *, balance: bool
) -> NDArray[np.int64]:
    """Positions of the examples with the least values of `order`, ascending.

    Args:
        order: What decides, shape (n,); of equal ones the first is kept.
        labels: Classes, shape (n,).
        keep: Share to keep, in (0, 1]; rounded, and at least one example (of each class).
        balance: Whether every class keeps that share.
    """
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)] if balance else [np.arange(len(labels))]
    kept = [group[np.argsort(order[group], kind="stable")[: max(1, round(keep * len(group)))]] for group in groups]
    return np.sort(np.concatenate(kept))


def error_norms(model: nn.Module, images: Images, *, precision: str) -> Tensor:
    """Length of the error vector, softmax minus one-hot label, of every example (EL2N), shape (n,).

    Source:
        Paul et al. 2021 (arXiv:2107.07075), definition 2.2, on one network.
    """
    model.eval()
    norms = []
    with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        for pixels, labels in images.once(EVALUATION_BATCH):
            guess = model(pixels).float().softmax(1)
            norms.append((guess - functional.one_hot(labels, guess.shape[1])).norm(dim=1))
    return torch.cat(norms)


def _score(workbench: Workbench, subset: NDArray[np.int64], options: DataPruningOptions) -> dict[str, Tensor]:
    """Mean error norm over networks of different seeds; not a number where one of them diverged."""
    example_shape = workbench.dataset.info.shape
    total = torch.zeros(len(subset), dtype=torch.float64, device=workbench.torch_device)
    for number in range(options.score_seeds):
        seed = SCORE_SEEDS_FROM + workbench.spec.seed * 100 + number
        spec = score_spec(workbench.spec).model_copy(update={"seed": seed})
        bench = dataclasses.replace(workbench, spec=spec)
        images = bench.images("train", indices=subset, augmentation=spec.augmentation)
        trained = bench.train(bench.build_model(), phase="score", images=images)
        if trained.training.status == "stopped":
            raise Stopped(trained.training, bench.ledger.phases)
        if trained.training.status == "diverged":
            return {"scores": torch.full_like(total, torch.nan)}
        with bench.ledger.phase("score") as entry:
            total += error_norms(trained.model, images, precision=spec.precision).double()
            entry.flops += len(subset) * inference_flops_per_example(trained.model, example_shape)
    return {"scores": total / options.score_seeds}


def trainings(spec: TrialSpec) -> Sequence[TrialSpec]:
    """Plan the training on what is kept."""
    options = read_options(DataPruningOptions, spec)
    return [spec_of_kept(spec, max(1, round(options.keep * spec.n_train)), options)]


def earlier(spec: TrialSpec, info: DatasetInfo) -> Earlier | None:
    """Plan the scoring networks, their look at every example included; none where chance decides."""
    del info
    options = read_options(DataPruningOptions, spec)
    if options.order == "random":
        return None
    scored = score_spec(spec).model_copy(update={"epochs": options.score_epochs + 1 / 3})
    return Earlier(shared_key("score", scores_key(spec, options)), [scored] * options.score_seeds)


def scores_key(spec: TrialSpec, options: DataPruningOptions) -> dict[str, Any]:
    """All that decides the scores: the settings of the scoring networks and how many there are."""
    return {**training_key(score_spec(spec)), "score_seeds": options.score_seeds}


DATA_PRUNING = Technique(
    run=prune_data,
    summary="training on the examples with the most error after short trainings",
    options=DataPruningOptions,
    check=check,
    trainings=trainings,
    earlier=earlier,
    phases=("score", "train"),
    check_kept=keep_as_built,
)
