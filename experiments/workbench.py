"""What a technique works with: the trial's data, its model, its training loop and its ledger."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from experiments.continuing import Journal, code_hash
from experiments.data import (
    ArrayExamples,
    Dataset,
    Examples,
    default_cache_folder,
    fingerprint,
    load_dataset,
    nested_subset,
)
from experiments.device import Device
from experiments.evaluation import evaluate
from experiments.flops import inference_flops_per_example, training_flops_per_example
from experiments.images import Images
from experiments.ledger import Ledger
from experiments.machine import Machine
from experiments.models import build_model, model_arguments
from experiments.mup import parameter_groups, rescale_initialisation
from experiments.preparation import prepare_once
from experiments.ranks import Ranks
from experiments.spec import TrialSpec
from experiments.training import Loss, Training, train
from experiments.training_state import Continuation, Stateful


@dataclass(frozen=True)
class TrainedModel:
    """A model as it would be deployed, and how its training ended.

    Attributes:
        model: The model.
        training: How the training ended.
        sparse: Whether weights that are exactly 0 were cut away and need not be kept. Without it they
            count as parameters: a unit that never learnt is not a smaller model.
        n_params: Trainable parameters; counted on the model if not given.
        model_bytes: Size of the model as it would be stored; of its parameters and buffers if not given.
        inference_flops: Of one forward pass of one example; counted on the graph if not given [FLOP].
        sparse_inference_flops: The same on an ideal sparse machine; None where no weight was cut away [FLOP].
        precision: Arithmetic of its forward pass; the trial's if not given.
        extra: Further columns of the trial's row: what the technique found, such as an architecture.
        note: What a reader of its row must know, such as a layer that lost all its weights; empty if nothing.
        architecture: Family, width and depth of the model where they are not the trial's, by these names.
    """

    model: nn.Module
    training: Training
    sparse: bool = False
    n_params: int | None = None
    model_bytes: int | None = None
    inference_flops: float | None = None
    sparse_inference_flops: float | None = None
    precision: str | None = None
    extra: Mapping[str, str | float] = field(default_factory=dict)
    note: str = ""
    architecture: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Workbench:
    """One trial at work."""

    spec: TrialSpec
    machine: Machine
    device: Device
    dataset: Dataset
    ledger: Ledger
    began: float = field(default_factory=time.perf_counter)
    journal: Journal | None = None
    place: str = ""
    ranks: Ranks = field(default_factory=Ranks)

    @functools.cached_property
    def torch_device(self) -> torch.device:
        """The device that batches and weights lie on."""
        return torch.device(self.device.kind)

    @functools.cached_property
    def train_images(self) -> Images:
        """The trial's training examples, shuffled and augmented by its seed."""
        indices = nested_subset(self.dataset.train.labels, self.spec.n_train, self.spec.seed)
        return self.images("train", indices=indices, augmentation=self.spec.augmentation)

    @functools.cached_property
    def validation_images(self) -> Images:
        """All validation examples."""
        return self.images("validation")

    def images(self, split: str, *, indices: Any = None, augmentation: str = "none") -> Images:
        """Images of a split: ``train``, ``validation`` or ``test``."""
        return self.images_of(getattr(self.dataset, split), indices=indices, augmentation=augmentation)

    def images_of(self, examples: Any, *, indices: Any = None, augmentation: str = "none") -> Images:
        """Images of any examples of the data set's shape, normalised like all others."""
        info = self.dataset.info
        return Images(
            examples,
            np.arange(len(examples)) if indices is None else indices,
            mean=info.mean,
            std=info.std,
            n_classes=info.n_classes,
            device=self.torch_device,
            seed=self.spec.seed,
            augmentation=augmentation,
            channels_last=self.machine.channels_last,
        )

    def model_shape(self, *, width: int | None = None) -> dict[str, Any]:
        """Arguments of `build_model` for this trial, or for another width of it."""
        return model_arguments(self.dataset.info, width=width or self.spec.width, depth=self.spec.depth)

    def build_model(self, *, width: int | None = None) -> nn.Module:
        """A new model, initialised by the trial's seed and the rules of muP."""
        torch.manual_seed(self.spec.seed)
        model = build_model(self.spec.family, **self.model_shape(width=width))
        rescale_initialisation(model, self.base_model())
        layout = torch.channels_last if self.machine.channels_last else torch.contiguous_format
        return model.to(self.torch_device).to(memory_format=layout)  # type: ignore[call-overload]

    def base_model(self) -> nn.Module:
        """The model at the base width, without weights: where the learning rate means itself."""
        return _base_model(self.spec.family, tuple(self.model_shape(width=self.spec.base_width).items()))

    def train(
        self,
        model: nn.Module,
        *,
        phase: str,
        images: Images | None = None,
        loss_function: Loss | None = None,
        after_step: Callable[[int, int], None] | None = None,
        spec: TrialSpec | None = None,
        more_groups: Sequence[dict[str, Any]] = (),
        flops_per_example: float | None = None,
        parts: Sequence[Stateful] = (),
    ) -> TrainedModel:
        """Train a model in place by the trial's settings and enter what it cost under a phase.

        Validation passes are charged, as phase ``validate``, only if they choose the weights.

        Args:
            model: The model.
            phase: Name of the phase.
            images: What it learns from; the trial's examples if not given.
            loss_function: Loss of (model, images, labels).
            after_step: Called after each update.
            spec: Settings other than the trial's.
            more_groups: Groups for the optimiser beside the model's, with ``lr`` as their peak rate.
            flops_per_example: Of a step, where the loss itself has products; else counted on the model [FLOP].
            parts: What `loss_function` or `after_step` change with the steps, so that a long trial can go on
                from a checkpoint.
        """
        spec = spec or self.spec
        images = images or self.train_images
        info = self.dataset.info
        per_example = flops_per_example
        if per_example is None:
            per_example = training_flops_per_example(model, (spec.batch_size, *info.shape), info.n_classes)
        groups = parameter_groups(
            model,
            self.base_model(),
            optimizer=spec.optimizer,
            learning_rate=spec.learning_rate,
            weight_decay=spec.weight_decay,
        )
        callable_model: Any = torch.compile(model) if self.machine.compile else model
        limit = self.machine.time_limit_seconds
        with self.ledger.phase(phase) as entry:
            training = train(
                callable_model,
                images,
                spec,
                parameter_groups=[*groups, *more_groups],
                validate=self.validate,
                loss_function=loss_function,
                after_step=after_step,
                deadline=math.inf if limit is None else self.began + limit,
                flops_per_example=per_example,
                parts=parts,
                continuation=self.continuation(phase, per_example),
                ranks=self.ranks,
            )
            entry.flops += training.n_examples * per_example
        if training.best_weights is not None:
            model.load_state_dict(training.best_weights)
            with self.ledger.phase("validate") as entry:
                entry.flops += (
                    training.n_validation_passes
                    * len(self.validation_images)
                    * inference_flops_per_example(model, info.shape)
                )
        return TrainedModel(model, training)

    def continuation(self, phase: str, flops_per_example: float) -> Continuation | None:
        """Where the next training of a phase may have been left, and will be; None if the trial leaves nothing."""
        if self.journal is None:
            return None
        return self.journal.training(self.place + phase, self.ledger, flops_per_example)

    def prepare(
        self, phase: str, what: Mapping[str, Any], make: Callable[[Workbench], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Tensors that several trials need: made by the first one on this node, charged to each.

        What another version of the program, another device or number of threads made is made anew.

        Args:
            phase: Under which name of the ledger the whole cost stands.
            what: Everything that the result depends on beside data set, arithmetic and device, as plain data.
            make: Makes them at a workbench like this one with a ledger of its own.
        """
        key = {
            **what,
            "phase": phase,
            "dataset": fingerprint(self.dataset, ("train", "validation")),
            "device": self.device.name,
            "threads": self.machine.threads,
            "torch": torch.__version__,
            # A teacher of an earlier version of the program would be another one, and its cost another.
            "code": code_hash(self.spec),
        }
        folder = self.machine.cache_folder or default_cache_folder()
        # By its content: another attempt may find some of what this one made, and make the rest.
        content = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        place = f"{self.place}{phase} {content}: "
        tensors, spent, made_here = prepare_once(
            folder, key, self.ledger, lambda ledger: make(dataclasses.replace(self, ledger=ledger, place=place))
        )
        self.ledger.charge(phase, spent, elsewhere=not made_here)
        return {name: tensor.to(self.torch_device) for name, tensor in tensors.items()}

    def validate(self, model: nn.Module) -> tuple[float, float]:
        """Error and loss on the validation examples."""
        return evaluate(model, self.validation_images, precision=self.spec.precision)


@functools.lru_cache(maxsize=64)
def _base_model(family: str, shape: tuple[tuple[str, Any], ...]) -> nn.Module:
    with torch.device("meta"):
        return build_model(family, **dict(shape))


@functools.lru_cache(maxsize=2)
def shifted_test(name: str, data_folder: Path | None, cache_folder: Path | None) -> Examples:
    """The shifted test set of a data set, corrupted once per process where it fits into memory."""
    shifted = open_dataset(name, data_folder, cache_folder).shifted()
    if not shifted.in_memory:
        return shifted
    return ArrayExamples(shifted.read(np.arange(len(shifted))), shifted.labels)


@functools.lru_cache(maxsize=4)
def open_dataset(name: str, data_folder: Path | None, cache_folder: Path | None) -> Dataset:
    """Open a data set once per process; its arrays are shared by all processes of the node."""
    return load_dataset(name, data_folder=data_folder, cache_folder=cache_folder)
