"""What a sweep would cost, said before anything is spent.

Parameters, FLOP and memory are exact or counted on models without weights. Seconds come from a short
measured calibration on the machine at hand; energy from the node's meter during it. What trials share, such as a
teacher, is charged to each of them, and computed once: FLOP are said both ways, seconds, energy and money as computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from experiments.data import DatasetInfo, check_dataset
from experiments.machine import Machine
from experiments.models import check_buildable
from experiments.ranks import check_ranks
from experiments.spec import TrialSpec
from experiments.step_costs import (
    Calibration,
    Shape,
    ShapeCost,
    dataset_infos,
    shape_arguments,
    shape_costs,
    shape_of,
)
from experiments.sweep import SweepSpec
from experiments.techniques import Earlier, Technique, check_options, find_technique
from experiments.training import count_steps
from experiments.wording import bytes_text

# What a processor computes where nothing was measured; only the order of trials hangs on it [FLOP/s]. Assumed.
GUESSED_FLOPS_PER_SECOND = 2e10
# Time of a trial beside its steps: reading data, building and counting the model, writing the
# record. Measured: 0.1 to 0.3 s.
TRIAL_OVERHEAD_SECONDS = 0.2
# Time of a sweep beside its trials, which the lines of a plan leave out. Measured on two cores: Ray, its workers'
# imports and MLflow 10 s, then the fits and the report of 162 trials 7 s.
SWEEP_OVERHEAD_SECONDS = 17.0


@dataclass(frozen=True)
class PlannedTrial:
    """One trial and what it is expected to cost.

    Attributes:
        spec: The trial.
        cost: Of a step of its model.
        n_steps: Steps of its own training.
        flops: What it is charged for, what it shares with others included [FLOP].
        flops_here: What is computed when it runs: what it shares only if it is the first to need it [FLOP].
        seconds: How long that takes one worker [s].
        done: Whether it has its record already.
    """

    spec: TrialSpec
    cost: ShapeCost
    n_steps: int
    flops: float
    flops_here: float
    seconds: float
    done: bool


@dataclass(frozen=True)
class PlanLine:
    """Totals over some of the trials; seconds are wall time over all workers.

    `flops` is what all trials are charged for; what is left is what the machine has yet to compute, where that which
    trials share counts once.
    """

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
    infos = dataset_infos(trials, machine)
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
        check_buildable(shape.family, **shape_arguments(shape, infos[shape.dataset]))
    for family, dataset, depth, width in dict.fromkeys(
        (spec.family, spec.dataset, spec.depth, spec.base_width) for spec in trials
    ):
        try:
            check_buildable(family, **shape_arguments(Shape(dataset, family, width, depth, 1), infos[dataset]))
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
    infos = dataset_infos(trials, machine)
    every = [part for spec in trials for part in (spec, *_work_of(spec, infos[spec.dataset]).all)]
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
    """Count what each trial will cost, on one node. Without a calibration the seconds are a rough guess for ordering.

    What a trial that is done has shared is taken to be on the node still.
    """
    finished, trials = set(done), sweep.trials()
    infos = dataset_infos(trials, machine)
    works = [_work_of(spec, infos[spec.dataset]) for spec in trials]
    costs = shape_costs([part for spec, work in zip(trials, works, strict=True) for part in (spec, *work.all)], machine)
    made = {work.key for spec, work in zip(trials, works, strict=True) if spec.trial_id in finished}
    planned = []
    for spec, work in zip(trials, works, strict=True):
        makes = work.key not in made and spec.trial_id not in finished
        made |= {work.key} if makes else set()
        parts = work.all if makes else work.own
        flops, here = (work.beside + sum(_training_flops(part, costs) for part in some) for some in (work.all, parts))
        seconds = TRIAL_OVERHEAD_SECONDS + work.beside / GUESSED_FLOPS_PER_SECOND
        seconds += sum(count_steps(part) * _step_seconds(shape_of(part), costs, calibration) for part in parts)
        if work.own:
            seconds += _looking_seconds(spec, infos[spec.dataset], _step_seconds(shape_of(spec), costs, calibration))
        memory = max(costs[shape_of(part)].memory_bytes for part in (spec, *work.all))
        cost = replace(costs[shape_of(spec)], memory_bytes=memory)
        is_done = spec.trial_id in finished
        planned.append(PlannedTrial(spec, cost, count_steps(spec), flops, here, seconds, is_done))
    return planned


@dataclass(frozen=True)
class _Work:
    """What a trial takes: trainings of its own, those that a node makes once, and FLOP beside them."""

    own: Sequence[TrialSpec]
    earlier: Earlier | None
    beside: float

    @property
    def key(self) -> str:
        """By what it is shared; empty where nothing is."""
        return self.earlier.key if self.earlier else ""

    @property
    def all(self) -> list[TrialSpec]:
        """Every training that the trial is charged for."""
        return [*self.own, *(self.earlier.trainings if self.earlier else ())]


def _work_of(spec: TrialSpec, info: DatasetInfo) -> _Work:
    technique = find_technique(spec.technique)
    return _Work(technique.trainings(spec), technique.earlier(spec, info), technique.flops_beside(spec, info))


def _looking_seconds(spec: TrialSpec, info: DatasetInfo, step_seconds: float) -> float:
    """Time of the passes over validation and test: looking at an example costs about a third of learning from it."""
    looks = spec.validation_passes * info.n_validation + 2 * info.n_test
    return step_seconds * looks / shape_of(spec).batch_size / 3


def _training_flops(spec: TrialSpec, costs: Mapping[Shape, ShapeCost]) -> float:
    shape = shape_of(spec)
    return count_steps(spec) * shape.batch_size * costs[shape].flops_per_example


def _step_seconds(shape: Shape, costs: Mapping[Shape, ShapeCost], calibration: Calibration | None) -> float:
    """Seconds of a step; roughly, where nothing was measured of the family."""
    cost = costs[shape]
    if calibration and shape.family in calibration.coefficients:
        return calibration.step_seconds(shape, cost)
    return 1e-3 * (1 + shape.depth) + cost.flops_per_example * shape.batch_size / GUESSED_FLOPS_PER_SECOND


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
        flops_left=sum(trial.flops_here for trial in left),
        memory_bytes=max(trial.cost.memory_bytes for trial in trials),
        seconds_left=seconds,
        joules_left=joules,
        money_left=sum(money) if money else None,
    )
