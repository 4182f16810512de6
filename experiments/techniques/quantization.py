"""Quantisation: weights and activations of 8 bits, after training or with their rounding in the loop."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import nn

from experiments.flops import inference_flops_per_example, training_flops_per_example
from experiments.models import build_model, count_parameters, model_arguments
from experiments.spec import TrialSpec
from experiments.techniques.eight_bit import (
    convert_to_int8,
    is_quantisable,
    quiet_import,
    round_while_training,
    stored_bytes,
    unfold_convolutions,
)
from experiments.techniques.technique import Options, Technique, read_options
from experiments.workbench import TrainedModel, Workbench

if TYPE_CHECKING:
    from collections.abc import Sequence

    from experiments.data import DatasetInfo
    from experiments.workbench import Machine


class QuantizationOptions(Options):
    """When to quantise."""

    mode: Literal["after", "aware"] = Field("after", description="after training, or with the rounding in the loop")
    aware_share: float = Field(0.3, gt=0, lt=1, description="share of the epochs that train with rounding; mode aware")
    aware_rate: float = Field(0.3, gt=0, le=1, description="learning rate then, as a share of the trial's; mode aware")


@dataclass
class UnfoldedWorkbench(Workbench):
    """A workbench for a model whose convolutions are linear layers.

    Attributes:
        unfolded: That model.
    """

    unfolded: nn.Module = field(default_factory=nn.Identity)

    def base_model(self) -> nn.Module:
        """The base model in the same form, so that rates transfer alike."""
        base = copy.deepcopy(super().base_model())
        unfold_convolutions(base, like=self.unfolded)
        return base


def quantization(workbench: Workbench) -> TrainedModel:
    """Train, then deploy with weights of 8 bits and activations quantised as they come."""
    with quiet_import():
        import torchao.quantization  # noqa: F401 - its seconds are no part of a phase

    options = read_options(QuantizationOptions, workbench.spec)
    spec = workbench.spec
    trained = workbench.train(
        workbench.build_model(), phase="train", spec=spec.model_copy(update={"epochs": _float_epochs(spec)})
    )
    if trained.training.status != "finished":
        return trained
    model = trained.model
    flops = inference_flops_per_example(model, workbench.dataset.info.shape)
    n_params = count_parameters(model)
    unfold_convolutions(model)
    training = trained.training
    if options.mode == "aware":
        epochs = spec.epochs - _float_epochs(spec)
        gentler = {"epochs": epochs, "learning_rate": spec.learning_rate * options.aware_rate}
        training = _train_rounded(workbench, model, spec.model_copy(update=gentler)).training
        if training.status != "finished":
            return TrainedModel(model, training, n_params=n_params, inference_flops=flops)
    with workbench.ledger.phase("quantize"):
        convert_to_int8(model.eval())
    return TrainedModel(
        model, training, n_params=n_params, inference_flops=flops, model_bytes=stored_bytes(model), precision="fp32"
    )


def _train_rounded(workbench: Workbench, model: nn.Module, spec: TrialSpec) -> TrainedModel:
    """Go on training with the rounding of the 8-bit layers, whose products are those of the plain ones."""
    info = workbench.dataset.info
    per_example = training_flops_per_example(model, (spec.batch_size, *info.shape), info.n_classes)
    round_while_training(model)
    settings = {one.name: getattr(workbench, one.name) for one in fields(workbench)}
    return UnfoldedWorkbench(**settings, unfolded=model).train(
        model, phase="quantize", images=workbench.train_images, spec=spec, flops_per_example=per_example
    )


def _float_epochs(spec: TrialSpec) -> float:
    options = read_options(QuantizationOptions, spec)
    return spec.epochs * (1 - options.aware_share) if options.mode == "aware" else spec.epochs


def check(spec: TrialSpec, info: DatasetInfo, machine: Machine) -> None:
    """Refuse GPUs, arithmetic other than fp32, and models without a layer that can be quantised.

    Raises:
        ValueError: With the reason.
    """
    if machine.device == "cuda" or (machine.device == "auto" and torch.cuda.is_available()):
        raise ValueError(
            "technique 'quantization' was only tried on processors, where its int8 products are known to run as "
            "int8; set execution.device: cpu"
        )
    if spec.precision != "fp32":
        raise ValueError(f"technique 'quantization' starts from fp32, not {spec.precision}; set precision: fp32")
    if machine.compile:
        raise ValueError("technique 'quantization' measures the int8 model uncompiled; set execution.compile: false")
    with torch.device("meta"):
        model = build_model(spec.family, **model_arguments(info, width=spec.width, depth=spec.depth))
    if not any(is_quantisable(module) for module in model.modules()):
        raise ValueError(
            f"technique 'quantization' finds nothing to quantise in {spec.family}: no torch.nn.Linear and no "
            "torch.nn.Conv2d without groups; take one of the families that ship"
        )


def check_kept(spec: TrialSpec) -> None:
    """Refuse to keep models: their weights are of torchao's own kinds, and their convolutions unfolded.

    Raises:
        ValueError: With the reason.
    """
    del spec
    raise ValueError("its weights are int8 tensors of torchao's, which torch does not load as weights alone")


def trainings(spec: TrialSpec, info: DatasetInfo) -> Sequence[TrialSpec]:
    """The epochs in fp32 and those with rounding."""
    del info
    rest = spec.epochs - _float_epochs(spec)
    parts = [_float_epochs(spec), *([rest] if rest else [])]
    return [spec.model_copy(update={"epochs": epochs}) for epochs in parts]


QUANTIZATION = Technique(
    run=quantization,
    summary="weights and activations of 8 bits, after training or with their rounding in the loop",
    options=QuantizationOptions,
    check=check,
    trainings=trainings,
    phases=("train", "quantize"),
    check_kept=check_kept,
)
