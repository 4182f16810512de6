"""What a training step costs: counted on models without weights, and timed on the machine at hand."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

from experiments.data import DatasetInfo, describe_dataset
from experiments.energy import EnergyAccount
from experiments.flops import training_flops_per_example
from experiments.machine import Machine, n_cores
from experiments.models import build_model, count_parameters, model_arguments
from experiments.spec import TrialSpec
from experiments.training import make_optimizer
from scaling.progress import Progress, silent

# Bytes per parameter while training with AdamW in fp32: weight, gradient, two moments.
TRAINING_BYTES_PER_PARAMETER = 16
# A process with torch, timm and its caches. Measured: 350 to 450 MiB.
PROCESS_BYTES = 450 * 2**20
CALIBRATED_SHAPES = 6
CALIBRATION_SECONDS = 0.3


@dataclass(frozen=True)
class Shape:
    """What decides the cost of one step."""

    dataset: str
    family: str
    width: int
    depth: int
    batch_size: int


@dataclass(frozen=True)
class ShapeCost:
    """The cost of one step of a shape: exact counts on a model without weights."""

    n_params: int
    flops_per_example: float
    memory_bytes: int


@dataclass(frozen=True)
class Calibration:
    """How fast this machine takes steps, and what it draws meanwhile.

    The time of a step is ``fixed + per_layer x depth + per_flop x FLOP``, fitted per family with
    coefficients that are not negative.
    """

    coefficients: Mapping[str, tuple[float, float, float]]
    watts: float | None

    def step_seconds(self, shape: Shape, cost: ShapeCost) -> float:
        """Expected duration of one training step [s]."""
        fixed, per_layer, per_flop = self.coefficients[shape.family]
        return fixed + per_layer * shape.depth + per_flop * cost.flops_per_example * shape.batch_size


def shape_of(spec: TrialSpec) -> Shape:
    """The shape that a trial's steps have."""
    return Shape(spec.dataset, spec.family, spec.width, spec.depth, min(spec.batch_size, spec.n_train))


def shape_costs(trials: Sequence[TrialSpec], machine: Machine) -> dict[Shape, ShapeCost]:
    """Count parameters, FLOP and memory of every shape, on models without weights."""
    infos = dataset_infos(trials, machine)
    return {shape: _cost(shape, infos[shape.dataset]) for shape in dict.fromkeys(map(shape_of, trials))}


def calibrate(trials: Sequence[TrialSpec], machine: Machine, progress: Progress = silent) -> Calibration:
    """Time a few steps of the smallest, the largest and some shapes between, family by family."""
    # More threads than cores would measure how they wait for one another.
    torch.set_num_threads(min(machine.threads, n_cores()))
    costs = shape_costs(trials, machine)
    infos = dataset_infos(trials, machine)
    coefficients: dict[str, tuple[float, float, float]] = {}
    began = time.perf_counter()
    with EnergyAccount() as account:
        families = dict.fromkeys(shape.family for shape in costs)
        spread = {name: _spread([shape for shape in costs if shape.family == name], costs) for name in families}
        timed, n_all = itertools.count(1), sum(map(len, spread.values()))
        for family, chosen in spread.items():
            seconds = []
            for shape in chosen:
                seconds.append(_time_step(shape, infos[shape.dataset], trials[0], machine))
                progress(next(timed), n_all)
            coefficients[family] = _fit_step_seconds(chosen, seconds, costs)
        joules = account.read().total_joules
    watts = None if joules is None else joules / (time.perf_counter() - began)
    return Calibration(coefficients, watts)


def dataset_infos(trials: Sequence[TrialSpec], machine: Machine) -> dict[str, DatasetInfo]:
    """The facts of every data set of some trials, by name."""
    names = dict.fromkeys(spec.dataset for spec in trials)
    return {name: describe_dataset(name, data_folder=machine.data_folder) for name in names}


def shape_arguments(shape: Shape, info: DatasetInfo) -> dict[str, Any]:
    """What builds a model of a shape, but for its family."""
    return model_arguments(info, width=shape.width, depth=shape.depth)


def _cost(shape: Shape, info: DatasetInfo) -> ShapeCost:
    with torch.device("meta"):
        model = build_model(shape.family, **shape_arguments(shape, info))
        images = torch.zeros(shape.batch_size, info.channels, info.height, info.width)
    saved = 0

    def weigh(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal saved
        saved += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(weigh, lambda tensor: tensor):
        model(images)
    n_params = count_parameters(model)
    flops = training_flops_per_example(model, tuple(images.shape), info.n_classes)
    memory = PROCESS_BYTES + TRAINING_BYTES_PER_PARAMETER * n_params + saved
    return ShapeCost(n_params, flops, memory)


def _spread(shapes: list[Shape], costs: Mapping[Shape, ShapeCost]) -> list[Shape]:
    ordered = sorted(shapes, key=lambda shape: costs[shape].flops_per_example * shape.batch_size)
    places = np.unique(np.linspace(0, len(ordered) - 1, CALIBRATED_SHAPES).round().astype(int))
    return [ordered[place] for place in places]


def _time_step(shape: Shape, info: DatasetInfo, spec: TrialSpec, machine: Machine) -> float:
    device = "cuda" if machine.device != "cpu" and torch.cuda.is_available() else "cpu"
    model = build_model(shape.family, **shape_arguments(shape, info)).to(device).train()
    optimizer = make_optimizer(spec, [{"params": list(model.parameters()), "lr": 1e-6}])
    images = torch.zeros(shape.batch_size, info.channels, info.height, info.width, device=device)
    labels = torch.zeros(shape.batch_size, dtype=torch.int64, device=device)
    seconds: list[float] = []
    deadline = time.perf_counter() + CALIBRATION_SECONDS
    while len(seconds) < 4 or time.perf_counter() < deadline:
        began = time.perf_counter()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[1:]))


def _fit_step_seconds(
    shapes: Sequence[Shape], seconds: Sequence[float], costs: Mapping[Shape, ShapeCost]
) -> tuple[float, float, float]:
    """Least squares of relative errors with coefficients that are not negative."""
    design = np.array([[1.0, shape.depth, costs[shape].flops_per_example * shape.batch_size] for shape in shapes])
    scale = design.max(axis=0)
    weights = 1 / np.asarray(seconds)
    found, _ = nnls(design / scale * weights[:, None], np.ones(len(shapes)))
    fixed, per_layer, per_flop = (float(value) for value in found / scale)
    return fixed, per_layer, per_flop
