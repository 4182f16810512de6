"""Several processes of one machine that train one model: each learns from its part of every batch.

Every process, called a rank, runs the whole trial by its spec and so comes to the same model; in the training loop
each takes its part of the batch, and torch's DistributedDataParallel averages the gradients. Rank 0 is the trial's
own process: it validates, tests and leaves the record. The processes meet in a private folder and talk over the
loopback interface alone.
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
from torch import Tensor, nn

from cluster.checkpoints import Spent
from experiments.energy import EnergyReading
from experiments.ledger import Ledger, Phase

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from experiments.spec import TrialSpec
    from experiments.workbench import Machine

# How long a rank waits for the others, rank 0 among them, which validates alone.
PATIENCE = timedelta(minutes=30)


@dataclass(frozen=True)
class Ranks:
    """This process among those that train a model; a lone one by default.

    Attributes:
        rank: Its number; 0 is the trial's own process.
        n: How many there are.
    """

    rank: int = 0
    n: int = 1

    def part(self, batch: Tensor) -> Tensor:
        """This rank's part of a batch: as many examples as every other rank's."""
        return batch if self.n == 1 else batch.chunk(self.n)[self.rank]

    @contextmanager
    def joined(self, model: nn.Module) -> Iterator[nn.Module]:
        """The model with gradients averaged over the ranks; the model itself for a lone process.

        Batch norm takes mean and variance over the whole batch, as it does on one device.
        """
        if self.n == 1:
            yield model
            return
        device = next(model.parameters()).device
        norms = [module for module in model.modules() if type(module) is nn.BatchNorm2d]
        for norm in norms:
            norm.__class__ = WholeBatchNorm2d
        try:
            yield nn.parallel.DistributedDataParallel(
                model, device_ids=[device.index] if device.type == "cuda" else None, forward_sync_buffers=False
            )
        finally:
            for norm in norms:
                norm.__class__ = nn.BatchNorm2d

    def mean(self, value: Tensor) -> Tensor:
        """Mean over the ranks."""
        if self.n == 1:
            return value
        total = value.clone()
        torch.distributed.all_reduce(total)
        return total / self.n

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether it holds on any rank, so that all decide alike."""
        if self.n == 1:
            return flag
        total = torch.tensor(float(flag), device=device)
        torch.distributed.all_reduce(total)
        return bool(total > 0)

    def from_first(self, find: Callable[[], tuple[float, float]], device: torch.device) -> tuple[float, float]:
        """Two numbers that rank 0 finds and tells the others."""
        if self.n == 1:
            return find()
        told = torch.tensor(find() if self.rank == 0 else (0.0, 0.0), dtype=torch.float64, device=device)
        torch.distributed.broadcast(told, src=0)
        first, second = told.tolist()
        return first, second


class WholeBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the parts of a batch on all ranks; torch's own for this is for GPUs alone."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalise, shape (n, channels, height, width)."""
        if not self.training:
            return super().forward(inputs)
        values = inputs.float()
        mean = _mean_over_ranks(values.mean((0, 2, 3), keepdim=True))
        centred = values - mean
        variance = _mean_over_ranks(centred.square().mean((0, 2, 3), keepdim=True))
        self._follow(mean.detach().flatten(), variance.detach().flatten(), values.numel() // values.shape[1])
        normed = centred * torch.rsqrt(variance + self.eps)
        shape = (1, -1, 1, 1)
        if self.affine:
            normed = normed * self.weight.view(shape) + self.bias.view(shape)
        return normed.to(inputs.dtype)

    def _follow(self, mean: Tensor, variance: Tensor, n_here: int) -> None:
        """Update the running statistics as torch does, with the unbiased variance."""
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        n = n_here * torch.distributed.get_world_size()
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * n / (n - 1), share)


class _MeanOverRanks(torch.autograd.Function):
    """Mean over the ranks, through which gradients flow back to all of them."""

    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        del context
        total = value.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total / torch.distributed.get_world_size()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return _MeanOverRanks.forward(context, gradients[0])


def _mean_over_ranks(value: Tensor) -> Tensor:
    return _MeanOverRanks.apply(value)


def check_ranks(spec: TrialSpec, machine: Machine, *, gpus: float, can: bool) -> None:
    """Refuse ranks that have no device, no equal part of a batch, or a technique that trains elsewhere too.

    Args:
        spec: The trial.
        machine: How many ranks it has.
        gpus: What the trial is given.
        can: Whether its technique can be trained by several ranks.

    Raises:
        ValueError: With the value, what is allowed and the remedy.
    """
    n = machine.data_parallel
    if n == 1:
        return
    if gpus and gpus != n:
        raise ValueError(
            f"execution.data_parallel is {n} and resources.gpus {gpus:g}; each process needs a GPU of its own: "
            f"set resources.gpus: {n}"
        )
    batch_size = min(spec.batch_size, spec.n_train)
    if batch_size % n:
        raise ValueError(
            f"execution.data_parallel is {n}, but a batch of {batch_size} examples does not fall into {n} equal parts; "
            f"take a batch_size and n_train of at least and divisible by {n}"
        )
    if not can:
        raise ValueError(
            f"technique {spec.technique!r} shares trainings between trials or changes data as it goes, which several "
            "processes cannot; set execution.data_parallel: 1 for its trials"
        )


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
def together(spec: TrialSpec, machine: Machine, ledger: Ledger, checkpoint: bytes | None, team: Team) -> Iterator[None]:
    """Start the other ranks of a trial; at the end add what they used to the ledger, under the same phases.

    Args:
        spec: What all of them run.
        machine: How many ranks there are, and where.
        ledger: Of rank 0. FLOP are counted there for all, seconds pass for all alike.
        checkpoint: From which all of them go on.
        team: Filled in.

    Raises:
        RuntimeError: If another rank fails; with its traceback.
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
            arguments = (Ranks(rank, n), folder, spec, machine, checkpoint, there)
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
                    if why := _why_others_failed(answers):
                        raise RuntimeError(f"another process of the trial failed:\n{why}") from error
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
    ranks: Ranks, folder: str, spec: TrialSpec, machine: Machine, checkpoint: bytes | None, answer: Connection
) -> None:
    """Run a trial as one of its further ranks, and tell what that used or why it failed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from experiments.trial import run_rank

    answer.send_bytes(b"here")
    try:
        with _group(ranks, folder, machine.device):
            phases, energy = run_rank(spec, machine, ranks, Following(checkpoint))
        answer.send_bytes(
            json.dumps({"phases": [asdict(phase) for phase in phases], "energy": asdict(energy)}).encode()
        )
    except RuntimeError:
        answer.send_bytes(json.dumps({"failed": traceback.format_exc()}).encode())


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
        told = json.loads(answer.recv_bytes())
        if "failed" in told:
            raise RuntimeError(told["failed"])
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


def _why_others_failed(answers: list[Connection]) -> str:
    """The first traceback that another rank has left; empty if none did."""
    for answer in answers:
        try:
            if answer.poll(1.0):
                return json.loads(answer.recv_bytes()).get("failed", "")
        except (EOFError, OSError):
            continue
    return ""


def _end_with_parent() -> None:
    """Let no rank outlive the trial's process, however that ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
