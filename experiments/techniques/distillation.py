"""Distillation: a student learns from the logits, and if wanted the features, of a wider teacher."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from experiments.data import DatasetInfo
from experiments.flops import COUNTING_BATCH, count_flops
from experiments.models import check_buildable, model_arguments
from experiments.spec import TrialSpec
from experiments.techniques.earlier_training import train_earlier, training_key
from experiments.techniques.heads import check_head, find_head
from experiments.techniques.technique import Options, Technique, keep_as_built, read_options
from experiments.workbench import Machine, TrainedModel, Workbench


class DistillationOptions(Options):
    """Which teacher, and how much of its word counts."""

    teacher_scale: float = Field(4.0, ge=1, le=64, description="teacher's width over the student's")
    teacher_width: int = Field(0, ge=0, description="teacher's width; 0: by teacher_scale")
    teacher_depth: int = Field(0, ge=0, description="teacher's depth; 0: the student's")
    temperature: float = Field(4.0, gt=0, le=20, description="both distributions are softened by it")
    alpha: float = Field(0.7, ge=0, le=1, description="share of the teacher's word; the rest is the labels'")
    feature_weight: float = Field(0.0, ge=0, le=100, description="weight of the loss on the last features; 0: none")


def teacher_spec(spec: TrialSpec) -> TrialSpec:
    """The teacher: the same settings, examples and seed at another width."""
    options = read_options(DistillationOptions, spec)
    width = options.teacher_width or round(spec.width * options.teacher_scale)
    size = {"width": width, "depth": options.teacher_depth or spec.depth}
    return spec.model_copy(update={**size, "technique": "baseline", "technique_options": {}})


def check(spec: TrialSpec, info: DatasetInfo, machine: Machine) -> None:
    """Refuse a teacher that cannot be built, one no wider than the student, and models without a head.

    Raises:
        ValueError: With the reason.
    """
    del machine
    teacher = teacher_spec(spec)
    if teacher.width < spec.width:
        raise ValueError(
            f"the teacher's width is {teacher.width} and the student's {spec.width}; "
            "take a teacher_width of at least that, or a teacher_scale"
        )
    try:
        check_buildable(teacher.family, **model_arguments(info, width=teacher.width, depth=teacher.depth))
    except ValueError as error:
        raise ValueError(f"the teacher of width {teacher.width} cannot be built: {error}") from None
    if read_options(DistillationOptions, spec).feature_weight:
        check_head(spec, info)


def trainings(spec: TrialSpec, info: DatasetInfo) -> Sequence[TrialSpec]:
    """Plan the student and its teacher, whose passes while the student learns are about a third of its training."""
    del info
    return [spec, teacher_spec(spec).model_copy(update={"epochs": spec.epochs * 4 / 3})]


def distil(workbench: Workbench) -> TrainedModel:
    """Train a teacher, then the trial's model on its word and the labels.

    The teacher's passes while the student learns are part of the phase ``train``.
    """
    options = read_options(DistillationOptions, workbench.spec)
    bench = dataclasses.replace(workbench, spec=teacher_spec(workbench.spec))
    weights, training = train_earlier(
        bench, "teacher", training_key(bench.spec), lambda own: own.train(own.build_model(), phase="train")
    )
    student = workbench.build_model()
    if training.status != "finished":
        return TrainedModel(student, training)
    teacher = bench.build_model()
    teacher.load_state_dict(weights)
    # The order of a fresh model's own draws is the baseline's: the student starts from the same weights.
    loss = DistillationLoss(student, teacher.eval().requires_grad_(False), workbench, options)
    try:
        return workbench.train(
            student,
            phase="train",
            loss_function=loss,
            more_groups=loss.parameter_groups(),
            flops_per_example=loss.flops_per_example(),
        )
    finally:
        loss.close()


class DistillationLoss:
    """The loss of a student beside its teacher; holds the projection between their features.

    Source:
        Hinton et al. 2015 (arXiv:1503.02531), section 2; Romero et al. 2015 (arXiv:1412.6550), eq. 3, here on
        the last features, each normalised over its units.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, workbench: Workbench, options: DistillationOptions
    ) -> None:
        self.student, self.teacher, self.workbench, self.options = student, teacher, workbench, options
        self.label_smoothing = workbench.spec.label_smoothing
        self.features: dict[str, Tensor] = {}
        self.projection: nn.Linear | None = None
        self.hooks = []
        if options.feature_weight:
            heads = {"student": find_head(student), "teacher": find_head(teacher)}
            self.hooks = [head.register_forward_pre_hook(self._keeper(name)) for name, head in heads.items()]
            sizes = [head.in_features for head in heads.values()]
            self.projection = nn.Linear(sizes[0], sizes[1], bias=False, device=workbench.torch_device)
            generator = torch.Generator().manual_seed(workbench.spec.seed)
            drawn = torch.randn(sizes[1], sizes[0], generator=generator) * sizes[0] ** -0.5
            with torch.no_grad():
                self.projection.weight.copy_(drawn)

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Loss of one batch [nat]."""
        logits = model(images).float()
        with torch.no_grad():
            word = self.teacher(images).float()
        return self._loss(logits, word, labels)

    def parameter_groups(self) -> list[dict[str, object]]:
        """The projection for the optimiser, its rate by muP as of a hidden layer; it is discarded afterwards."""
        if self.projection is None:
            return []
        spec = self.workbench.spec
        scale = spec.base_width / spec.width if spec.optimizer == "adamw" else 1.0
        rate = spec.learning_rate * scale
        return [{"params": [self.projection.weight], "lr": rate, "weight_decay": 0.0, "lr_scale": scale}]

    def flops_per_example(self) -> float:
        """One step of the student, the teacher's pass and the projection, on the real graph [FLOP]."""
        info = self.workbench.dataset.info
        device = self.workbench.torch_device
        images = torch.zeros(COUNTING_BATCH, *info.shape, device=device)
        labels = torch.arange(COUNTING_BATCH, device=device) % info.n_classes

        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            with torch.no_grad():
                word = self.teacher(images)
            return self._loss(logits, word, labels)

        flops = count_flops(self.student.train(), images, labels, loss=loss)
        if self.projection is not None:
            self.projection.weight.grad = None
        return flops.total / COUNTING_BATCH

    def close(self) -> None:
        """Take the hooks off the models again."""
        for hook in self.hooks:
            hook.remove()

    def _loss(self, logits: Tensor, word: Tensor, labels: Tensor) -> Tensor:
        temperature, alpha = self.options.temperature, self.options.alpha
        truth = functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        hint = functional.kl_div(
            functional.log_softmax(logits / temperature, 1),
            functional.log_softmax(word / temperature, 1),
            reduction="batchmean",
            log_target=True,
        )
        loss = alpha * temperature**2 * hint + (1 - alpha) * truth
        if self.projection is None:
            return loss
        ours, theirs = self.projection(self.features["student"]), self.features["teacher"]
        ours, theirs = (functional.layer_norm(side.float(), side.shape[1:]) for side in (ours, theirs))
        return loss + self.options.feature_weight * functional.mse_loss(ours, theirs)

    def _keeper(self, name: str):  # type: ignore[no-untyped-def]
        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self.features[name] = inputs[0]

        return keep


DISTILLATION = Technique(
    run=distil,
    summary="learning from the logits of a wider teacher",
    options=DistillationOptions,
    check=check,
    trainings=trainings,
    phases=("teacher", "train"),
    check_kept=keep_as_built,
)
