"""Transfer: pre-training on another data set, then fine-tuning on the trial's few examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from experiments.data import DatasetInfo
from experiments.spec import TrialSpec
from experiments.techniques.earlier_training import train_earlier, training_key
from experiments.techniques.heads import HEAD_PREFIX, check_head, load_body
from experiments.techniques.source_data import check_source, source_workbench
from experiments.techniques.technique import Options, Technique, keep_as_built, read_options
from experiments.workbench import Machine, TrainedModel, Workbench


class TransferOptions(Options):
    """Where it learns first, for how long, and what it may still change afterwards."""

    source: str = Field("glyphs", description="data set of the pre-training; its images are resized to the trial's")
    source_train: int = Field(2000, ge=2, description="its training examples")
    pretrain_epochs: float = Field(5.0, gt=0, le=1000, description="passes over them")
    freeze: Literal["none", "body"] = Field("none", description="body: only the new head learns from the trial's")
    finetune_rate: float = Field(1.0, gt=0, le=10, description="learning rate of fine-tuning over the trial's")


def pretrain_spec(spec: TrialSpec) -> TrialSpec:
    """The pre-training: the trial's settings on the source."""
    options = read_options(TransferOptions, spec)
    plain = {"technique": "baseline", "technique_options": {}, "selection": "last", "validation_passes": 1}
    where = {"dataset": options.source, "n_train": options.source_train, "epochs": options.pretrain_epochs}
    return spec.model_copy(update={**plain, **where})


def check(spec: TrialSpec, info: DatasetInfo, machine: Machine) -> None:
    """Refuse a source that is not there and models without a head.

    Raises:
        ValueError: With the reason.
    """
    options = read_options(TransferOptions, spec)
    check_source(spec, machine, source=options.source, source_train=options.source_train)
    check_head(spec, info)


def trainings(spec: TrialSpec, info: DatasetInfo) -> Sequence[TrialSpec]:
    """Plan the fine-tuning and a training as long as the pre-training on images of the same shape."""
    del info
    return [spec, pretrain_spec(spec).model_copy(update={"dataset": spec.dataset})]


def transfer(workbench: Workbench) -> TrainedModel:
    """Pre-train on the source, put a new head on, and train on the trial's examples."""
    options, spec = read_options(TransferOptions, workbench.spec), workbench.spec
    bench = source_workbench(workbench, pretrain_spec(spec))
    key = {**training_key(bench.spec), "shape": list(workbench.dataset.info.shape)}
    weights, training = train_earlier(
        bench, "pretrain", key, lambda own: own.train(own.build_model(), phase="pretrain")
    )
    model = workbench.build_model()
    if training.status != "finished":
        return TrainedModel(model, training)
    load_body(model, weights)
    body = [value for name, value in model.named_parameters() if not name.startswith(HEAD_PREFIX)]
    for parameter in body:
        parameter.requires_grad_(options.freeze == "none")
    rate = spec.learning_rate * options.finetune_rate
    trained = workbench.train(model, phase="train", spec=spec.model_copy(update={"learning_rate": rate}))
    # The frozen weights are part of the deployed model and count as its parameters.
    for parameter in body:
        parameter.requires_grad_(True)
    return trained


TRANSFER = Technique(
    run=transfer,
    summary="pre-training on another data set, then fine-tuning",
    options=TransferOptions,
    check=check,
    trainings=trainings,
    phases=("pretrain", "train"),
    check_kept=keep_as_built,
)
