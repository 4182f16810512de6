"""The processes beside a trial's own that train its model with it: started, met, listened to, ended.

Rank 0 is the trial's own process: it validates, tests and leaves the record. The processes meet in a private folder
and talk over the loopback interface alone.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch

from cluster.checkpoints import Spent, TrialCheckpoints
from experiments.device import is_out_of_memory
from experiments.energy import EnergyReading
from experiments.ledger import Ledger, Phase
from experiments.machine import Machine
from experiments.ranks import Ranks
from experiments.spec import TrialSpec

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

# How long a rank waits for the others, rank 0 among them, which validates alone.
PATIENCE = timedelta(minutes=30)

# What a further rank does with the trial: the phases that it entered, and the energy that it used.
RunRank = Callable[[TrialSpec, Machine, Ranks, TrialCheckpoints], tuple[list[Phase], EnergyReading]]


@dataclass
class Team:
    """The processes beside rank 0, while a trial runs.

    Attributes:
        ranks: Of the trial's own process.
        energy: What the others have used, once they have ended; None for a lone process.
    """

    ranks: Ranks = field(default_factory=Ranks)
    energy: EnergyReading | None = None


@contextmanager
def together(
    run_rank: RunRank, spec: TrialSpec, machine: Machine, ledger: Ledger, checkpoint: bytes | None, team: Team
) -> Iterator[None]:
    """Start the other ranks of a trial; at the end add what they used to the ledger, under the same phases.

    Args:
        run_rank: What each of them runs, a function of a module: it is called in another process.
        spec: What all of them run.
        machine: How many ranks there are, and where.
        ledger: Of rank 0. FLOP are counted there for all, seconds pass for all alike.
        checkpoint: From which all of them go on.
        team: Filled in.

    Raises:
        RuntimeError: If another rank fails; with its traceback.
        MemoryError: If it fails for want of memory.
    """
    if machine.data_parallel == 1:
        yield
        return
    n = machine.data_parallel
    machine = replace(machine, device=ledger.device)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="ninthpower-ranks-") as folder:
        members = []
        for rank in range(1, n):
            here, there = context.Pipe(duplex=False)
            arguments = (run_rank, Ranks(rank, n), folder, spec, machine, checkpoint, there)
            process = context.Process(target=_run_rank, args=arguments, name=f"rank-{rank}", daemon=True)
            process.start()
            there.close()
            members.append((process, here))
        team.ranks = Ranks(0, n)
        answers = [here for _, here in members]
        try:
            for answer in answers:
                _await_start(answer)
            with _group(team.ranks, folder, ledger.device):
                try:
                    yield
                except RuntimeError as error:
                    # Asked before the group ends: after that every rank fails.
                    failed = [told for told in map(_told_already, answers) if "failed" in told]
                    if failed:
                        raise _failure(failed[0]) from error
                    raise
            team.energy = _gather(ledger, answers)
        finally:
            for process, here in members:
                process.join(1.0)
                process.kill()
                process.join()
                here.close()


@contextmanager
def _group(ranks: Ranks, folder: str, device: str) -> Iterator[None]:
    """Meet the other ranks through a file in a folder of this user alone, and talk over loopback."""
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = "lo"
    if device == "cuda":
        torch.cuda.set_device(ranks.rank)
    torch.distributed.init_process_group(
        "nccl" if device == "cuda" else "gloo",
        init_method=f"file://{folder}/meeting",
        rank=ranks.rank,
        world_size=ranks.n,
        timeout=PATIENCE,
    )
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def _run_rank(
    run_rank: RunRank,
    ranks: Ranks,
    folder: str,
    spec: TrialSpec,
    machine: Machine,
    checkpoint: bytes | None,
    answer: Connection,
) -> None:
    """Run a trial as one of its further ranks, and tell what that used or why it failed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    answer.send_bytes(b"here")
    try:
        with _group(ranks, folder, machine.device):
            phases, energy = run_rank(spec, machine, ranks, Following(checkpoint))
        answer.send_bytes(
            json.dumps({"phases": [asdict(phase) for phase in phases], "energy": asdict(energy)}).encode()
        )
    except Exception as error:  # the trial's boundary in this process: rank 0 raises it
        told = {"failed": traceback.format_exc(), "out_of_memory": is_out_of_memory(error)}
        answer.send_bytes(json.dumps(told).encode())


@dataclass
class Following:
    """Checkpoints of a rank other than 0: it goes on from the same one and leaves none itself."""

    content: bytes | None
    every_seconds: float = math.inf
    report_seconds: float = math.inf

    def load(self) -> bytes | None:
        """What rank 0 goes on from."""
        return self.content

    def save(self, content: bytes, spent: Spent) -> None:
        """Leave it to rank 0."""

    def report(self, spent: Spent) -> None:
        """Leave it to rank 0."""

    def discard(self, spent: Spent) -> None:
        """Leave it to rank 0."""


def _await_start(answer: Connection) -> None:
    try:
        if answer.poll(PATIENCE.total_seconds()):
            answer.recv_bytes()
            return
    except EOFError:
        pass
    raise RuntimeError("another process of the trial did not start; the log of the trial's process says why")


def _gather(ledger: Ledger, answers: list[Connection]) -> EnergyReading:
    """Add joules and memory of the other ranks to the phases of rank 0; return what they used in all."""
    phases = {phase.phase: phase for phase in ledger.phases}
    readings = []
    for answer in answers:
        try:
            if not answer.poll(PATIENCE.total_seconds()):
                raise RuntimeError(f"another process of the trial did not end within {PATIENCE}")
            told = json.loads(answer.recv_bytes())
        except EOFError:
            raise RuntimeError("another process of the trial ended without a word") from None
        if "failed" in told:
            raise _failure(told)
        readings.append(EnergyReading(**told["energy"]))
        for other in (Phase(**entry) for entry in told["phases"]):
            own = phases[other.phase]
            own.energy_joules = _sum(own.energy_joules, other.energy_joules)
            own.peak_memory_bytes = _sum(own.peak_memory_bytes, other.peak_memory_bytes)
    total = readings[0]
    for reading in readings[1:]:
        total += reading
    return total


def _sum(one: Any, other: Any) -> Any:
    return None if one is None or other is None else one + other


def _told_already(answer: Connection) -> dict[str, Any]:
    """What another rank says within a second; nothing if it runs still, or has ended without a word."""
    try:
        return dict(json.loads(answer.recv_bytes())) if answer.poll(1.0) else {}
    except (EOFError, OSError):
        return {}


def _failure(told: dict[str, Any]) -> Exception:
    """What is raised here for what another rank has left."""
    kind = MemoryError if told["out_of_memory"] else RuntimeError
    return kind(f"another process of the trial failed:\n{told['failed']}")


def _end_with_parent() -> None:
    """Let no rank outlive the trial's process, however that ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
