"""The ranks that train one model together: each learns from its part of every batch.

Every process, called a rank, runs the whole trial by its spec and so comes to the same model; in the training loop
each takes its part of the batch, and torch's DistributedDataParallel averages the gradients. `team` starts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from experiments.machine import Machine
from experiments.spec import TrialSpec


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

        Raises:
            ValueError: If the model has batch norm of another kind than `torch.nn.BatchNorm2d`.
        """
        if self.n == 1:
            yield model
            return
        device = next(model.parameters()).device
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        strange = [type(norm).__name__ for norm in norms if type(norm) is not nn.BatchNorm2d]
        if strange:
            raise ValueError(
                f"execution.data_parallel is {self.n}, but the model has {strange[0]}, which would take the mean of a "
                "part of the batch; of batch norms torch.nn.BatchNorm2d alone is shared: set execution.data_parallel: 1"
            )
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
