"""One trial: a plain function from what is asked to a record of what was found.

It needs neither Ray nor MLflow. Whatever goes wrong inside becomes a record with a status and a
reason.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
import random
import socket
import subprocess
import time
import traceback
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.checkpoints import TrialCheckpoints
from experiments.continuing import Journal, identity_of, reporting
from experiments.device import Device, find_device, is_out_of_memory
from experiments.energy import EnergyAccount, EnergyReading, carbon_intensity, ensure_meter
from experiments.kept_models import pack_model
from experiments.ledger import Ledger, Phase
from experiments.machine import Machine
from experiments.ranks import Ranks, check_ranks
from experiments.spec import SPEC_VERSION, TrialSpec
from experiments.sweep import SweepSpec
from experiments.team import Team, together
from experiments.training_state import CheckpointMismatchError
from experiments.workbench import TrainedModel, Workbench, open_dataset, shifted_test

if TYPE_CHECKING:
    from experiments.data import Dataset
    from experiments.techniques import Technique

Record = dict[str, Any]
KeepModel = Callable[[bytes], None]

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "codecarbon", "ray", "mlflow")
JOULES_PER_KWH = 3.6e6


def run_payload(
    payload: Mapping[str, Any],
    *,
    machine: Machine,
    sweep: str = "",
    checkpoints: TrialCheckpoints | None = None,
    keep_model: KeepModel | None = None,
) -> Record:
    """Run the trial that a payload describes: ``{"spec": ...}`` as plain data."""
    spec = TrialSpec.model_validate(payload["spec"])
    return run_trial(spec, machine, sweep=sweep, checkpoints=checkpoints, keep_model=keep_model)


def prepare_worker(sweep: SweepSpec, machine: Machine) -> None:
    """Import what trials need, open the sweep's data and start the node's meter, before the first trial's clock runs.

    Raises:
        ValueError: If a data set or a model of the sweep cannot be had on this machine.
        OSError: If the node's meter cannot be started.
    """
    from experiments.data import default_cache_folder
    from experiments.step_costs import shape_costs

    trials = sweep.trials()
    for dataset in dict.fromkeys(trial.dataset for trial in trials):
        open_dataset(dataset, machine.data_folder, machine.cache_folder)
        shifted_test(dataset, machine.data_folder, machine.cache_folder)
    one_per_family = {trial.family: trial for trial in trials}
    shape_costs(list(one_per_family.values()), machine)
    cache_folder = machine.cache_folder or default_cache_folder()
    find_device(machine.device, threads=machine.threads, precision=trials[0].precision, cache_folder=cache_folder)
    ensure_meter()


def run_trial(
    spec: TrialSpec,
    machine: Machine | None = None,
    *,
    sweep: str = "",
    checkpoints: TrialCheckpoints | None = None,
    keep_model: KeepModel | None = None,
) -> Record:
    """Train and measure one model.

    Deterministic by the spec on a CPU for one number of threads, timings and energy aside.

    Args:
        spec: What to do.
        machine: Where to do it; this machine with its defaults if not given.
        sweep: The sweep's name, for the record.
        checkpoints: Where a long trial leaves what it has come to, and finds what an earlier attempt left. A trial
            that goes on from a checkpoint leaves the same record as one that was never ended, times and energy aside.
        keep_model: Given the model of a finished trial as bytes that `experiments.kept_models` reads; None keeps none.

    Returns:
        The record: plain data that JSON can hold, with ``trial_id``, ``status``, ``reason``, the ``row``
        of the runs table, the training ``curve``, the ``phases`` of the ledger, the ``spec`` and the
        ``environment``. The status is finished, diverged, stopped or failed; a failed one holds the
        traceback in ``reason``. ``continued`` names the trainings that an earlier attempt had ended or begun.
    """
    machine = machine or Machine()
    started_at = _now()
    began = time.perf_counter()
    gpus = tuple(filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")))
    with EnergyAccount(_gpu_identifiers(gpus)) as account:
        ledger = Ledger(account)
        team = Team()
        journal = Journal(checkpoints, ledger, began) if checkpoints is not None else None
        measured: dict[str, Any] = {}
        out_of_memory = False
        try:
            with reporting(journal):
                status, reason, curve = _measure(spec, machine, ledger, measured, journal, team, keep_model)
        except Exception as error:  # the trial's boundary: a crash is a result
            status, reason, curve = "failed", _explain(error), []
            out_of_memory = is_out_of_memory(error)
            if journal is not None:  # it may be tried again, and then this was lost
                journal.report()
        reading = account.read(end=True)
    wall_seconds = time.perf_counter() - began
    if team.energy is not None:
        reading += team.energy
    if journal is not None:
        reading = journal.energy(reading)
        wall_seconds += journal.earlier_seconds
    use_of_hardware = _use_of_hardware(ledger, measured)
    ledger.close(wall_seconds=wall_seconds, energy_joules=reading.total_joules)
    row = {
        **identity(spec, sweep, status, reason),
        **measured,
        **ledger.columns(),
        "energy_source": "unknown" if ledger.energy_joules is None else reading.source,
        **_carbon(ledger.energy_joules, machine.region),
        **use_of_hardware,
    }
    return {
        "trial_id": spec.trial_id,
        "sweep": sweep,
        "status": status,
        "reason": reason,
        "out_of_memory": out_of_memory,
        "spec": spec.model_dump(mode="json"),
        "row": {name: value for name, value in row.items() if value is not None},
        "curve": curve,
        "phases": ledger.to_list(),
        "continued": journal.continued if journal is not None else [],
        "energy": {"joules": reading.joules, "sources": reading.sources, "reason": reading.reason},
        "environment": environment(machine),
        "started_at": started_at,
        "ended_at": _now(),
    }


def _measure(
    spec: TrialSpec,
    machine: Machine,
    ledger: Ledger,
    measured: dict[str, Any],
    journal: Journal | None,
    team: Team,
    keep_model: KeepModel | None,
) -> tuple[str, str, list[dict[str, Any]]]:
    device, dataset, technique = _set_up(spec, machine)
    ledger.device = device.kind
    measured |= {"device": device.name, "peak_flops_per_second": device.peak_flops_per_second}
    measured["devices"] = device.count
    measured["n_test"] = len(dataset.test)
    if dataset.real_shift is not None:
        measured["n_shift_test"] = len(dataset.real_shift)
    began = time.perf_counter()
    if journal is not None:
        journal.open(lambda: identity_of(spec, device, machine.threads, machine.data_parallel))
        began -= journal.earlier_seconds
    workbench = Workbench(spec, machine, device, dataset, ledger, began, journal)
    try:
        trained = _run_together(technique, workbench, team)
    except CheckpointMismatchError as mismatch:
        assert journal is not None
        journal.refuse(str(mismatch))
        ledger.phases.clear()
        workbench = Workbench(spec, machine, device, dataset, ledger, journal=journal)
        _seed(spec.seed)
        trained = _run_together(technique, workbench, team)
    training = trained.training
    measured |= _deployed(trained, workbench, device)
    if training.status == "finished":
        measured |= _errors(trained, workbench)
        if keep_model is not None:
            keep_model(pack_model(trained, workbench))
    measured |= trained.extra
    measured["note"] = trained.note or None
    return training.status, training.reason, training.curve


def _set_up(spec: TrialSpec, machine: Machine) -> tuple[Device, Dataset, Technique]:
    """Seed the process, and find the device, the data and the technique of a trial."""
    import torch

    from experiments.data import default_cache_folder
    from experiments.techniques import check_options, find_technique

    threads = max(1, machine.threads // machine.data_parallel)
    torch.set_num_threads(threads)
    torch.set_grad_enabled(True)
    _seed(spec.seed)
    device = find_device(
        machine.device,
        threads=threads,
        precision=spec.precision,
        cache_folder=machine.cache_folder or default_cache_folder(),
    )
    dataset = open_dataset(spec.dataset, machine.data_folder, machine.cache_folder)
    technique = find_technique(spec.technique)
    check_options(technique, spec)
    technique.check(spec, dataset.info, machine)
    check_ranks(spec, machine, gpus=_gpus_for(machine, device), can=technique.data_parallel)
    return device.times(machine.data_parallel), dataset, technique


def _run_together(technique: Technique, workbench: Workbench, team: Team) -> TrainedModel:
    """Run a technique, with further processes if the trial is to have them."""
    content = workbench.journal.content if workbench.journal is not None else None
    with together(run_rank, workbench.spec, workbench.machine, workbench.ledger, content, team):
        return technique.run(dataclasses.replace(workbench, ranks=team.ranks))


def run_rank(
    spec: TrialSpec, machine: Machine, ranks: Ranks, checkpoints: TrialCheckpoints
) -> tuple[list[Phase], EnergyReading]:
    """Run a trial's technique as one of its further processes; the rest is left to rank 0.

    Returns:
        What this process entered in its own ledger, and the energy that it used. GPUs are metered by rank 0.
    """
    with EnergyAccount() as account:
        device, dataset, technique = _set_up(spec, machine)
        began = time.perf_counter()
        ledger = Ledger(account, device.kind)
        journal = Journal(checkpoints, ledger, began, leads=False)
        journal.open(lambda: identity_of(spec, device, machine.threads, machine.data_parallel))
        began -= journal.earlier_seconds
        technique.run(Workbench(spec, machine, device, dataset, ledger, began, journal, ranks=ranks))
        return ledger.phases, account.read(end=True)


def _gpus_for(machine: Machine, device: Device) -> int:
    """GPUs that the trial's processes would have: one each, if as many are here."""
    import torch

    return min(torch.cuda.device_count(), machine.data_parallel) if device.kind == "cuda" else 0


def _seed(seed: int) -> None:
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - a user's own code may draw from it
    torch.manual_seed(seed)


def _deployed(trained: TrainedModel, workbench: Workbench, device: Device) -> dict[str, Any]:
    """What the model is, whether or not its training succeeded."""
    import torch

    from experiments.evaluation import LATENCY_BATCH, measure_latency
    from experiments.flops import inference_flops_per_example

    example_shape = workbench.dataset.info.shape
    weights = [parameter for parameter in trained.model.parameters() if parameter.requires_grad]
    n_params = sum(int(torch.count_nonzero(weight)) if trained.sparse else weight.numel() for weight in weights)
    kept = (*trained.model.parameters(), *trained.model.buffers())
    flops = trained.inference_flops
    return {
        "n_params": n_params if trained.n_params is None else trained.n_params,
        "model_bytes": trained.model_bytes or sum(tensor.numel() * tensor.element_size() for tensor in kept),
        "inference_flops": inference_flops_per_example(trained.model, example_shape) if flops is None else flops,
        "sparse_inference_flops": trained.sparse_inference_flops,
        "inference_seconds": measure_latency(
            trained.model,
            torch.zeros(1, *example_shape, device=device.kind),
            precision=trained.precision or workbench.spec.precision,
        ),
        "inference_batch": LATENCY_BATCH,
    }


def _errors(trained: TrainedModel, workbench: Workbench) -> dict[str, float]:
    """Errors and losses of a finished model. The test examples are read here and nowhere else."""
    from experiments.evaluation import evaluate

    precision = trained.precision or workbench.spec.precision
    found: dict[str, float] = {}
    for split, images in (
        ("validation", workbench.validation_images),
        ("test", workbench.images("test")),
    ):
        found[f"{split}_error"], found[f"{split}_loss"] = evaluate(trained.model, images, precision=precision)
    machine = workbench.machine
    shifted = workbench.images_of(shifted_test(workbench.spec.dataset, machine.data_folder, machine.cache_folder))
    found["shift_error"], _ = evaluate(trained.model, shifted, precision=precision)
    return found


def identity(spec: TrialSpec, sweep: str, status: str, reason: str) -> dict[str, Any]:
    """The part of a trial's row that is known before it runs, and how it ended."""
    return {
        "trial_id": spec.trial_id,
        "cell": spec.cell,
        "tuning_cell": spec.tuning_cell,
        "sweep": sweep,
        "dataset": spec.dataset,
        "family": spec.family,
        "technique": spec.technique,
        "seed": spec.seed,
        "status": status,
        "reason": reason.splitlines()[-1] if reason else None,
        "width": spec.width,
        "depth": spec.depth,
        "n_train": spec.n_train,
        "epochs": spec.epochs,
        "learning_rate": spec.learning_rate,
        **spec.technique_options,
    }


def _use_of_hardware(ledger: Ledger, measured: Mapping[str, Any]) -> dict[str, float]:
    peak = measured.get("peak_flops_per_second")
    if not peak or not ledger.wall_seconds:
        return {}
    burden = peak * ledger.wall_seconds
    return {"utilisation": ledger.total_flops / burden, "hardware_burden_flop": burden}


def _carbon(joules: float | None, region: str | None) -> dict[str, Any]:
    if region is None:
        return {}
    intensity = _intensity(region)
    grams = None if joules is None else joules / JOULES_PER_KWH * intensity
    return {"carbon_grams": grams, "carbon_intensity_g_per_kwh": intensity, "region": region}


@lru_cache(maxsize=8)
def _intensity(region: str) -> float:
    return carbon_intensity(region)


def environment(machine: Machine) -> dict[str, Any]:
    """Versions, commit and host, enough to say what a record came from."""
    return {
        "versions": _versions(),
        "git_commit": _git_commit(),
        "host": socket.gethostname(),
        "threads": machine.threads,
        "compile": machine.compile,
        "channels_last": machine.channels_last,
        "spec_version": SPEC_VERSION,
    }


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for library in ("ninthpower", *LIBRARIES):
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return versions


@lru_cache(maxsize=1)
def _git_commit() -> str | None:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def _gpu_identifiers(visible: tuple[str, ...]) -> tuple[str, ...]:
    """NVML's identifiers of the GPUs that this process may use; none where there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        return ()
    count = len(visible) or torch.cuda.device_count()
    return tuple(f"GPU-{torch.cuda.get_device_properties(index).uuid}" for index in range(count))


def _explain(error: Exception) -> str:
    text = "".join(traceback.format_exception(error)).strip()
    if is_out_of_memory(error):
        text += "\nout of memory: take a smaller batch_size, width or depth, or a larger device"
    return text


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
