"""Long trials that go on where an earlier attempt was ended: by a worker's, a machine's or the driver's death.

A trial is decided by its spec. So an attempt that follows another does not restore the whole trial but runs it
anew, and each training in it that the earlier attempt had ended, or left in the middle, is taken from the checkpoint
in place of its steps. What lies between trainings, such as which weights are cut, follows again from their weights.
What the earlier attempt had spent by its checkpoint is the trial's; what it spent after it is lost.
"""

from __future__ import annotations

import functools
import io
import logging
import pickle
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from cluster.checkpoints import Spent, TrialCheckpoints
from experiments.data.cache import content_hash
from experiments.device import Device
from experiments.energy import EnergyReading
from experiments.ledger import Ledger
from experiments.spec import TrialSpec
from experiments.training_state import State

logger = logging.getLogger(__name__)

CHECKPOINT_VERSION = 1
# A checkpoint that takes long to make is made the more seldom: at most this share of a trial's time goes into them.
LARGEST_SHARE = 0.02
# The part of the program that decides what a trial finds, and how a checkpoint or a shared training is read.
DECISIVE_FILES = (
    "continuing.py", "evaluation.py", "families.py", "flops.py", "images.py", "ledger.py",
    "machine.py", "models.py", "mup.py", "preparation.py", "ranks.py", "spec.py", "team.py", "torchvision_mend.py",
    "training.py", "training_state.py", "trial.py", "workbench.py", "data/*.py", "techniques/*.py",
)  # fmt: skip
# What is said of a checkpoint that cannot be used, by what differs.
REFUSALS = {
    "version": "it has another form",
    "spec": "it is of another trial",
    "code": "it was written by another version of the program",
    "torch": "it was written with another version of torch",
    "device": "it was written on another device",
    "threads": "it was written with another number of threads",
    "ranks": "it was written by another number of processes",
}


@dataclass
class Journal:
    """A trial's trainings as they are left for the attempt that may have to follow.

    Attributes:
        checkpoints: Where they are left.
        ledger: The trial's own.
        earlier_seconds: What earlier attempts took until their last checkpoint [s].
        earlier_energy: What they used until then.
        began: Reading of `time.perf_counter` as this attempt began.
        leads: Whether this process keeps the trial's account; other ranks of it do not.
        content: The checkpoint that the trial goes on from; None if it begins.
    """

    checkpoints: TrialCheckpoints
    ledger: Ledger
    began: float
    leads: bool = True
    earlier_seconds: float = 0.0
    earlier_energy: EnergyReading | None = None
    content: bytes | None = None
    continued: list[str] = field(default_factory=list)
    running_flops: float = 0.0
    _earlier_flops: float = 0.0
    _identity: Callable[[], dict[str, Any]] = dict
    _found: dict[str, Any] = field(default_factory=dict)
    _ended: dict[str, Any] = field(default_factory=dict)
    _visits: Counter[str] = field(default_factory=Counter)
    _due: float = 0.0

    def open(self, identity: Callable[[], dict[str, Any]]) -> None:
        """Take up what an earlier attempt has left, if it is of this trial, program and device.

        Args:
            identity: What must be the same, by the keys of `REFUSALS`; see `identity_of`. Asked for only
                where there is a checkpoint to read or to write.
        """
        self._identity = functools.cache(identity)
        self._due = self.began + self.checkpoints.every_seconds
        content = self.checkpoints.load()
        if content is None:
            return
        kept = _read(content)
        refusal = "it is damaged" if kept is None else _refusal(kept["identity"], self._identity())
        if refusal:
            self.refuse(refusal, kept)
            return
        assert kept is not None
        self.content = content
        self._found = kept["trainings"]
        self.earlier_seconds, self._earlier_flops = kept["seconds"], kept["flops"]
        self.earlier_energy = EnergyReading(**kept["energy"])
        logger.info("a trial goes on from its checkpoint after %.0f s", self.earlier_seconds)

    def refuse(self, why: str, kept: Mapping[str, Any] | None = None) -> None:
        """Begin again, and say so in the log; what had gone into the checkpoint is lost."""
        logger.warning("a checkpoint is not used: %s; its trial begins again", why)
        if kept is None:
            self.checkpoints.discard(Spent(self.earlier_seconds, self._earlier_flops or None, self._earlier_joules))
        else:
            self.checkpoints.discard(_spent_in(kept))
        self.earlier_seconds, self._earlier_flops, self.earlier_energy = 0.0, 0.0, None
        self.running_flops = 0.0
        self._found, self._ended, self.content = {}, {}, None
        self._visits.clear()
        self.continued.clear()

    def training(self, place: str, ledger: Ledger, flops_per_example: float) -> TrainingInJournal:
        """The next training of a place in the trial: the first one there, the second, and so on.

        Args:
            place: Phase, and the shared preparations that it is part of.
            ledger: Where it is entered.
            flops_per_example: What learning from one example takes [FLOP].
        """
        self._visits[place] += 1
        self.running_flops = 0.0
        return TrainingInJournal(self, f"{place} {self._visits[place]}", ledger, flops_per_example)

    def report(self) -> None:
        """Say what this attempt has spent by now."""
        self.checkpoints.report(self.spent())

    def spent(self) -> Spent:
        """What this attempt has spent by now; its FLOP are not known while it repeats what was done."""
        flops = None if self._found else self._flops() - self._earlier_flops
        return Spent(time.perf_counter() - self.began, flops, self.ledger.account.read().total_joules)

    def energy(self, reading: EnergyReading) -> EnergyReading:
        """What the whole trial has used, by the reading of this attempt."""
        return reading if self.earlier_energy is None else self.earlier_energy + reading

    def _flops(self) -> float:
        return self.ledger.flops_so_far() + self.running_flops

    @property
    def _earlier_joules(self) -> float | None:
        return None if self.earlier_energy is None else self.earlier_energy.total_joules

    def _write(self, name: str, entry: dict[str, Any]) -> None:
        began = time.perf_counter()
        content = {
            "identity": self._identity(),
            "seconds": self.earlier_seconds + began - self.began,
            "flops": self._flops(),
            "energy": asdict(self.energy(self.ledger.account.read())),
            "trainings": {**self._ended, name: entry},
        }
        buffer = io.BytesIO()
        torch.save(content, buffer)
        self.checkpoints.save(buffer.getvalue(), self.spent())
        ended = time.perf_counter()
        self._due = ended + max(self.checkpoints.every_seconds, (ended - began) / LARGEST_SHARE)


@dataclass
class TrainingInJournal:
    """One training of a trial: what an earlier attempt left of it, and what this one leaves."""

    journal: Journal
    name: str
    ledger: Ledger
    flops_per_example: float

    def found(self) -> State | None:
        """The state in which an earlier attempt left it, with the ledger as it was then."""
        entry = self.journal._found.pop(self.name, None)
        if entry is None:
            return None
        if self.journal.leads:
            self.ledger.restore(entry["ledgers"])
        state: State = entry["state"]
        self.journal.running_flops = state["result"]["n_examples"] * self.flops_per_example
        self.journal.continued.append(f"{self.name}, step {state['result']['n_steps']}")
        return state

    def is_due(self, n_examples: int) -> bool:
        """Whether the next checkpoint is due."""
        self.journal.running_flops = n_examples * self.flops_per_example
        return time.perf_counter() >= self.journal._due

    def keep(self, take: Callable[[], State]) -> None:
        """Write a checkpoint."""
        self.journal._write(self.name, self._entry(take))

    def ended(self, take: Callable[[], State]) -> None:
        """Hold the state for the trial's next checkpoint: most trials are over before it is due."""
        self.journal._ended[self.name] = self._entry(take)
        self.journal.running_flops = 0.0

    def _entry(self, take: Callable[[], State]) -> dict[str, Any]:
        return {"state": take(), "ledgers": self.ledger.snapshot()}


@contextmanager
def reporting(journal: Journal | None) -> Iterator[None]:
    """Let a trial say now and then what it has spent, from a thread of its own."""
    if journal is None:
        yield
        return
    ended = threading.Event()

    def report() -> None:
        while not ended.wait(journal.checkpoints.report_seconds):
            journal.report()

    thread = threading.Thread(target=report, name="trial-report", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def identity_of(spec: TrialSpec, device: Device, threads: int, ranks: int) -> dict[str, Any]:
    """What must be the same for a trial to go on from a checkpoint as if it had never been ended."""
    return {
        "version": CHECKPOINT_VERSION,
        "spec": spec.model_dump(mode="json"),
        "code": code_hash(spec),
        "torch": str(torch.__version__),
        "device": device.name,
        "threads": threads,
        "ranks": ranks,
    }


def code_hash(spec: TrialSpec) -> str:
    """Hash of the part of the program that decides what a trial finds, a user's own modules included."""
    named = (spec.dataset, spec.family, spec.technique)
    own = [sys.modules.get(name.partition(":")[0]) for name in named if ":" in name]
    here = Path(__file__).parent
    files = sorted(path for pattern in DECISIVE_FILES for path in here.glob(pattern))
    files += [Path(module.__file__) for module in own if module is not None and module.__file__]
    return content_hash(files)


def _read(content: bytes) -> dict[str, Any] | None:
    """Read a checkpoint, tensors and plain data alone; None if it is none."""
    try:
        kept = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
        return None
    wanted = {"identity", "seconds", "flops", "energy", "trainings"}
    return kept if isinstance(kept, dict) and wanted <= kept.keys() else None


def _refusal(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    return next((words for key, words in REFUSALS.items() if found.get(key) != wanted[key]), "")


def _spent_in(kept: Mapping[str, Any]) -> Spent:
    return Spent(kept["seconds"], kept["flops"], EnergyReading(**kept["energy"]).total_joules)
