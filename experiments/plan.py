"""What a sweep would cost, said before anything is spent.

Parameters, FLOP and memory are exact or counted on models without weights. Seconds come from a short
measured calibration on the machine at hand; energy from the node's meter during it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

from experiments.data import DatasetInfo, check_dataset, describe_dataset
from experiments.energy import EnergyAccount
from experiments.flops import training_flops_per_example
from experiments.models import build_model, check_buildable, count_parameters, model_arguments
from experiments.ranks import check_ranks
from experiments.spec import TrialSpec
from experiments.sweep import SweepSpec
from experiments.techniques import Technique, check_options, find_technique
from experiments.training import count_steps, make_optimizer
from experiments.wording import bytes_text
from experiments.workbench import Machine
from scaling.progress import Progress, silent

# Bytes per parameter while training with AdamW in fp32: weight, gradient, two moments.
TRAINING_BYTES_PER_PARAMETER = 16
# A process with torch, timm and its caches. Measured: 350 to 450 MiB.
PROCESS_BYTES = 450 * 2**20
CALIBRATED_SHAPES = 6
CALIBRATION_SECONDS = 0.3
# Time of a trial beside its steps: reading data, building and counting the model, writing the
# record. Measured: 0.1 to 0.3 s.
TRIAL_OVERHEAD_SECONDS = 0.2


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
class PlannedTrial:
    """One trial and what it is expected to cost; seconds are for one worker."""

    spec: TrialSpec
    cost: ShapeCost
    n_steps: int
    flops: float
    seconds: float
    done: bool


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


@dataclass(frozen=True)
class PlanLine:
    """Totals over some of the trials; seconds are wall time over all workers."""

    name: str
    n_trials: int
    n_done: int
    n_params: tuple[int, int]
    flops: float
    flops_left: float
    memory_bytes: int
    seconds_left: float
    joules_left: float | None
    money_left: float | None


def check_sweep(sweep: SweepSpec, machine: Machine) -> None:
    """Refuse a sweep with a trial that cannot run.

    Raises:
        ValueError: With the first reason found: a data set that is not there, more examples than it
            has, a model that cannot be built, a technique that does not exist.
    """
    trials = sweep.trials()
    for dataset in dict.fromkeys(spec.dataset for spec in trials):
        check_dataset(dataset, data_folder=machine.data_folder)
    infos = _infos(trials, machine)
    for spec in trials:
        info = infos[spec.dataset]
        if not info.n_classes <= spec.n_train <= info.n_train:
            raise ValueError(
                f"n_train is {spec.n_train}, but {info.name} has {info.n_train} training examples in "
                f"{info.n_classes} classes; take {info.n_classes} to {info.n_train}"
            )
    for spec in trials:
        technique = find_technique(spec.technique)
        check_options(technique, spec)
        technique.check(spec, infos[spec.dataset], machine)
        check_ranks(spec, machine, gpus=sweep.resources.gpus, can=technique.data_parallel)
        if sweep.tracking.models != "none":
            _check_kept(technique, spec, sweep.tracking.models)
    for shape in dict.fromkeys(map(shape_of, trials)):
        check_buildable(shape.family, **_arguments(shape, infos[shape.dataset]))
    for family, dataset, depth, width in dict.fromkeys(
        (spec.family, spec.dataset, spec.depth, spec.base_width) for spec in trials
    ):
        try:
            check_buildable(family, **_arguments(Shape(dataset, family, width, depth, 1), infos[dataset]))
        except ValueError as error:
            raise ValueError(f"base_width is {width}, at which the learning rate is defined, but {error}") from None


def _check_kept(technique: Technique, spec: TrialSpec, models: str) -> None:
    try:
        technique.check_kept(spec)
    except ValueError as error:
        raise ValueError(
            f"tracking.models is {models!r}, but models of technique {spec.technique!r} cannot be kept: {error}; set "
            "tracking.models: none, or give that technique a sweep of its own"
        ) from None


def check_memory(trials: Sequence[TrialSpec], machine: Machine, *, memory_gib: float | None = None) -> None:
    """Refuse a trial that needs more memory than its machine has, for its teacher or another earlier training too.

    What it needs is counted from below: weights, gradients, optimiser, and what the forward pass keeps for the
    backward pass.

    Args:
        trials: To run on this machine.
        machine: Whose device they use.
        memory_gib: What Ray reserves for a trial, where the sweep says so [GiB].

    Raises:
        ValueError: With the first such trial, what it needs and what there is.
    """
    there, where = _memory_bytes(machine)
    if memory_gib is not None and memory_gib * 2**30 > there:
        raise ValueError(
            f"resources.memory_gib is {memory_gib:g}, but {where} has {bytes_text(there)}; ask for less, or plan and "
            "run on a larger machine"
        )
    infos = _infos(trials, machine)
    every = [training for spec in trials for training in (spec, *_trainings(spec, infos[spec.dataset]))]
    for shape, cost in shape_costs(every, machine).items():
        if cost.memory_bytes > there:
            raise ValueError(
                f"a training of {shape.family} with width {shape.width}, depth {shape.depth} and batch_size "
                f"{shape.batch_size} needs {bytes_text(cost.memory_bytes)} of memory, but {where} has "
                f"{bytes_text(there)}; take a smaller width, depth or batch_size, or plan and run on a larger machine"
            )


def _memory_bytes(machine: Machine) -> tuple[int, str]:
    """What the machine's device has in all, and what it is called."""
    if machine.device != "cpu" and torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory), "this machine's GPU"
    import psutil

    return int(psutil.virtual_memory().total), "this machine"


def plan_trials(
    sweep: SweepSpec, machine: Machine, *, done: Iterable[str] = (), calibration: Calibration | None = None
) -> list[PlannedTrial]:
    """Count what each trial will cost. Without a calibration the seconds are a rough guess for ordering."""
    finished = set(done)
    trials = sweep.trials()
    infos = _infos(trials, machine)
    trainings = [_trainings(spec, infos[spec.dataset]) for spec in trials]
    every = [training for spec, parts in zip(trials, trainings, strict=True) for training in (spec, *parts)]
    costs = shape_costs(every, machine)
    planned = []
    for spec, parts in zip(trials, trainings, strict=True):
        step = _step_seconds(shape_of(spec), costs, calibration)
        memory = max(costs[shape_of(part)].memory_bytes for part in (spec, *parts))
        cost = replace(costs[shape_of(spec)], memory_bytes=memory)
        flops = sum(_training_flops(part, costs) for part in parts)
        training = sum(count_steps(part) * _step_seconds(shape_of(part), costs, calibration) for part in parts)
        # Looking at an example costs about a third of learning from it.
        looks = spec.validation_passes * infos[spec.dataset].n_validation + 2 * infos[spec.dataset].n_test
        seconds = TRIAL_OVERHEAD_SECONDS + training + step * looks / shape_of(spec).batch_size / 3
        planned.append(PlannedTrial(spec, cost, count_steps(spec), flops, seconds, spec.trial_id in finished))
    return planned


def _trainings(spec: TrialSpec, info: DatasetInfo) -> tuple[TrialSpec, ...]:
    """The trainings of a trial, those of its teacher, search or oversized network included."""
    return tuple(find_technique(spec.technique).trainings(spec, info))


def _training_flops(spec: TrialSpec, costs: Mapping[Shape, ShapeCost]) -> float:
    shape = shape_of(spec)
    return count_steps(spec) * shape.batch_size * costs[shape].flops_per_example


def _step_seconds(shape: Shape, costs: Mapping[Shape, ShapeCost], calibration: Calibration | None) -> float:
    """Seconds of a step; roughly, where nothing was measured of the family."""
    cost = costs[shape]
    if calibration and shape.family in calibration.coefficients:
        return calibration.step_seconds(shape, cost)
    return 1e-3 * (1 + shape.depth) + cost.flops_per_example * shape.batch_size / 2e10


def shape_of(spec: TrialSpec) -> Shape:
    """The shape that a trial's steps have."""
    return Shape(spec.dataset, spec.family, spec.width, spec.depth, min(spec.batch_size, spec.n_train))


def shape_costs(trials: Sequence[TrialSpec], machine: Machine) -> dict[Shape, ShapeCost]:
    """Count parameters, FLOP and memory of every shape, on models without weights."""
    infos = _infos(trials, machine)
    return {shape: _cost(shape, infos[shape.dataset]) for shape in dict.fromkeys(map(shape_of, trials))}


def calibrate(trials: Sequence[TrialSpec], machine: Machine, progress: Progress = silent) -> Calibration:
    """Time a few steps of the smallest, the largest and some shapes between, family by family."""
    torch.set_num_threads(machine.threads)
    costs = shape_costs(trials, machine)
    infos = _infos(trials, machine)
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


def summarise(
    planned: Sequence[PlannedTrial], sweep: SweepSpec, *, workers: int, watts: float | None
) -> list[PlanLine]:
    """Sum the trials up per technique and in all."""
    names = list(dict.fromkeys(trial.spec.technique for trial in planned))
    lines = [
        _line(name, [trial for trial in planned if trial.spec.technique == name], sweep, workers, watts)
        for name in names
    ]
    return lines + ([_line("all", planned, sweep, workers, watts)] if len(names) > 1 else [])


def _line(name: str, trials: Sequence[PlannedTrial], sweep: SweepSpec, workers: int, watts: float | None) -> PlanLine:
    left = [trial for trial in trials if not trial.done]
    longest = max((trial.seconds for trial in left), default=0.0)
    seconds = max(longest, sum(trial.seconds for trial in left) / workers)
    joules = None if watts is None else watts * seconds
    money = [
        price * amount
        for price, amount in (
            (sweep.energy.price_per_hour, seconds / 3600),
            (sweep.energy.price_per_kwh, None if joules is None else joules / 3.6e6),
        )
        if price is not None and amount is not None
    ]
    sizes = [trial.cost.n_params for trial in trials]
    return PlanLine(
        name=name,
        n_trials=len(trials),
        n_done=len(trials) - len(left),
        n_params=(min(sizes), max(sizes)),
        flops=sum(trial.flops for trial in trials),
        flops_left=sum(trial.flops for trial in left),
        memory_bytes=max(trial.cost.memory_bytes for trial in trials),
        seconds_left=seconds,
        joules_left=joules,
        money_left=sum(money) if money else None,
    )


def _infos(trials: Sequence[TrialSpec], machine: Machine) -> dict[str, DatasetInfo]:
    names = dict.fromkeys(spec.dataset for spec in trials)
    return {name: describe_dataset(name, data_folder=machine.data_folder) for name in names}


def _arguments(shape: Shape, info: DatasetInfo) -> dict[str, Any]:
    return model_arguments(info, width=shape.width, depth=shape.depth)


def _cost(shape: Shape, info: DatasetInfo) -> ShapeCost:
    with torch.device("meta"):
        model = build_model(shape.family, **_arguments(shape, info))
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
    model = build_model(shape.family, **_arguments(shape, info)).to(device).train()
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
