"""Expert knowledge: features that were chosen and not learnt, and a linear model on them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from experiments.evaluation import EVALUATION_BATCH, evaluate
from experiments.flops import inference_flops_per_example, training_flops_per_example
from experiments.images import Images, Shuffle
from experiments.models import count_parameters
from experiments.techniques.fixed_features import OrientedGradients, Scattering, Standardise
from experiments.techniques.technique import Options, Technique, read_options
from experiments.training import Training, count_steps, train
from experiments.workbench import TrainedModel, Workbench

if TYPE_CHECKING:
    from experiments.data import DatasetInfo
    from experiments.machine import Machine
    from experiments.spec import TrialSpec

FEATURES: dict[str, type[OrientedGradients | Scattering]] = {
    "oriented-gradients": OrientedGradients,
    "scattering": Scattering,
}


class ExpertOptions(Options):
    """Which features."""

    features: Literal["oriented-gradients", "scattering"] = Field(
        "oriented-gradients", description="histograms of oriented gradients, or a scattering transform"
    )


class Features:
    """The features of some examples, computed once, in batches like those of the images.

    Args:
        values: Shape (n, n_features), on the device.
        labels: Shape (n,), on the device.
        n_classes: Number of classes.
        seed: Of the shuffling.
    """

    def __init__(self, values: Tensor, labels: Tensor, *, n_classes: int, seed: int) -> None:
        self.device, self.n_classes = values.device, n_classes
        self._values, self._labels = values, labels
        self._shuffle = Shuffle(len(labels), seed)

    def __len__(self) -> int:
        return len(self._labels)

    def stream(self, batch_size: int, n_batches: int, *, n_done: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield full batches from one permutation of the examples after another, but for the first `n_done`."""
        for places in self._shuffle.batches(batch_size, n_batches, n_done=n_done):
            chosen = places.to(self.device)
            yield self._values[chosen], self._labels[chosen]

    def once(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every example once, in order; the last batch may be short."""
        yield from zip(self._values.split(batch_size), self._labels.split(batch_size), strict=True)

    def state_dict(self) -> dict[str, Any]:
        """Of the order as the latest stream began."""
        return self._shuffle.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next stream, less what was done of it, go on as the one that the state was taken of."""
        self._shuffle.load_state_dict(state)


class InFullPrecision(nn.Module):
    """A module outside of autocast: what the linear model learnt from was computed in fp32, whatever its precision.

    Args:
        inner: The module.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        """The inner module's outputs."""
        with torch.autocast(images.device.type, enabled=False):
            outputs: Tensor = self.inner(images)
        return outputs


def expert_features(workbench: Workbench) -> TrainedModel:
    """Compute the features of every example once, and train a linear model on them by the trial's settings."""
    spec, info = workbench.spec, workbench.dataset.info
    options = read_options(ExpertOptions, spec)
    extractor = _extractor(options, info).to(workbench.torch_device).eval()
    per_image = inference_flops_per_example(_countable(extractor), info.shape)
    with workbench.ledger.phase("features") as entry:
        values, labels = _compute(extractor, workbench.train_images)
        standardise = Standardise(values)
        entry.flops += len(values) * per_image
    learning = Features(standardise(values), labels, n_classes=info.n_classes, seed=spec.seed)
    values, labels = _compute(extractor, workbench.validation_images)
    validation = Features(standardise(values), labels, n_classes=info.n_classes, seed=spec.seed)
    linear = nn.Linear(extractor.n_features, info.n_classes, device=workbench.torch_device)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    training = _train(workbench, linear, learning, validation, per_image)
    deployed = nn.Sequential(InFullPrecision(extractor), standardise, linear)
    return TrainedModel(deployed, training, n_params=count_parameters(linear))


def _train(
    workbench: Workbench, linear: nn.Linear, learning: Features, validation: Features, per_image: float
) -> Training:
    spec = workbench.spec
    per_example = training_flops_per_example(linear, (spec.batch_size, linear.in_features), linear.out_features)
    groups = [
        {"params": [linear.weight], "lr": spec.learning_rate, "weight_decay": spec.weight_decay},
        {"params": [linear.bias], "lr": spec.learning_rate, "weight_decay": 0.0},
    ]
    limit = workbench.machine.time_limit_seconds
    with workbench.ledger.phase("train") as entry:
        training = train(
            linear,
            learning,
            spec,
            parameter_groups=groups,
            validate=lambda model: evaluate(model, validation, precision=spec.precision),
            deadline=math.inf if limit is None else workbench.began + limit,
            flops_per_example=per_example,
            continuation=workbench.continuation("train", per_example),
        )
        entry.flops += training.n_examples * per_example
    if training.best_weights is not None:
        linear.load_state_dict(training.best_weights)
        looks = training.n_validation_passes * inference_flops_per_example(linear, (linear.in_features,))
        with workbench.ledger.phase("validate") as entry:
            entry.flops += len(validation) * (per_image + looks)
    return training


def _compute(extractor: nn.Module, images: Images) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        batches = [(extractor(pixels), labels) for pixels, labels in images.once(EVALUATION_BATCH)]
    return torch.cat([values for values, _ in batches]), torch.cat([labels for _, labels in batches])


def _countable(extractor: nn.Module) -> nn.Module:
    """The extractor beside a parameter, from which the counter reads device and kind of number."""
    device = next(extractor.buffers()).device
    return nn.Sequential(extractor, nn.PReLU(device=device))


def _extractor(options: ExpertOptions, info: DatasetInfo) -> OrientedGradients | Scattering:
    return FEATURES[options.features](height=info.height, width=info.width, channels=info.channels)


def trainings(spec: TrialSpec) -> Sequence[TrialSpec]:
    """Plan no training of the family's network: there is none."""
    del spec
    return []


def flops_beside(spec: TrialSpec, info: DatasetInfo) -> float:
    """Plan the features of every training example, once, and the steps of the linear model on them [FLOP]."""
    extractor = _extractor(read_options(ExpertOptions, spec), info).eval()
    per_image = inference_flops_per_example(_countable(extractor), info.shape)
    linear = nn.Linear(extractor.n_features, info.n_classes)
    per_example = training_flops_per_example(linear, (2, extractor.n_features), info.n_classes)
    return spec.n_train * per_image + count_steps(spec) * min(spec.batch_size, spec.n_train) * per_example


def check(spec: TrialSpec, info: DatasetInfo, machine: Machine) -> None:
    """Refuse augmentation and images too small for a block of cells.

    Raises:
        ValueError: With the reason.
    """
    del machine
    if spec.augmentation != "none":
        raise ValueError(
            f"technique 'expert-features' computes features once per example, so augmentation {spec.augmentation!r} "
            "would do nothing; set augmentation: none for its trials"
        )
    if min(info.height, info.width) < 8:
        raise ValueError(
            f"technique 'expert-features' needs images of 8 x 8 pixels, {info.name} has {info.height} x {info.width}; "
            "enlarge them"
        )


def check_kept(spec: TrialSpec) -> None:
    """Refuse to keep models: they are no network of a family.

    Raises:
        ValueError: With the reason.
    """
    del spec
    raise ValueError("its model is a linear layer on fixed features, no network that a family builds")


EXPERT_FEATURES = Technique(
    run=expert_features,
    summary="fixed features that an expert would choose, and a linear model",
    options=ExpertOptions,
    check=check,
    trainings=trainings,
    flops_beside=flops_beside,
    phases=("features", "train"),
    check_kept=check_kept,
)
