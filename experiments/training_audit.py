"""What a training step really does, seen from outside: FLOP as they run, and labels as they arrive.

The ledger of a trial says what a step should cost; this counts what it did, whoever's loss or technique it was. A
second forward pass that nobody meant is in these numbers and not in the ledger's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from experiments.conditions import Audited
from experiments.energy import EnergyAccount
from experiments.machine import Machine
from experiments.spec import TrialSpec
from experiments.workbench import Workbench, open_dataset

FEW_STEPS, MORE_STEPS = 1, 3


def audit_trials(trials: Sequence[TrialSpec], machine: Machine) -> list[Audited]:
    """Run a few steps of every cell under a counter.

    Raises:
        ValueError: If a step runs an operation that would be counted as nothing.
    """
    first = {
        (one.dataset, one.family, one.technique, one.width, one.depth, one.n_train): one for one in reversed(trials)
    }
    with EnergyAccount() as account:
        return [_audit(spec, machine, account) for spec in reversed(first.values())]


def _audit(spec: TrialSpec, machine: Machine, account: EnergyAccount) -> Audited:
    _flops_of(spec, FEW_STEPS, machine, account)  # what is counted once and kept must not enter the difference
    few, more = (_flops_of(spec, n_steps, machine, account) for n_steps in (FEW_STEPS, MORE_STEPS))
    return Audited(
        dataset=spec.dataset, family=spec.family, technique=spec.technique,
        width=spec.width, depth=spec.depth, n_train=spec.n_train,
        flops_per_step=(more - few) / (MORE_STEPS - FEW_STEPS), labels_digest=_labels_digest(spec, machine, account),
    )  # fmt: skip


def _flops_of(spec: TrialSpec, n_steps: int, machine: Machine, account: EnergyAccount) -> int:
    from experiments.flops import watch_flops
    from experiments.techniques import find_technique

    batch_size = min(spec.batch_size, spec.n_train)
    short = spec.model_copy(update={"epochs": n_steps * batch_size / spec.n_train, "validation_passes": 1})
    workbench = _workbench(short, machine, account)
    with watch_flops() as counter:
        find_technique(spec.technique).run(workbench)
    return int(counter.get_total_flops())


def _labels_digest(spec: TrialSpec, machine: Machine, account: EnergyAccount) -> str:
    batch_size = min(spec.batch_size, spec.n_train)
    digest = hashlib.sha256()
    images = _workbench(spec, machine, account).train_images
    for _, labels in images.stream(batch_size, -(-spec.n_train // batch_size)):
        digest.update(labels.cpu().numpy().astype(np.int64).tobytes())
    return digest.hexdigest()[:16]


def _workbench(spec: TrialSpec, machine: Machine, account: EnergyAccount) -> Workbench:
    from experiments.data import default_cache_folder
    from experiments.device import find_device
    from experiments.ledger import Ledger

    cache_folder = machine.cache_folder or default_cache_folder()
    device = find_device(machine.device, threads=machine.threads, precision=spec.precision, cache_folder=cache_folder)
    dataset = open_dataset(spec.dataset, machine.data_folder, machine.cache_folder)
    return Workbench(spec, machine, device, dataset, Ledger(account))
