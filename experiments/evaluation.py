"""What a trained model does: its error, its loss, and how long one example takes."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.images import ImageBatches

EVALUATION_BATCH = 512
LATENCY_BATCH = 64
LATENCY_REPEATS = 9
LATENCY_SECONDS = 0.1


def evaluate(model: nn.Module, images: ImageBatches, *, precision: str = "fp32") -> tuple[float, float]:
    """Measure a classifier on every example once.

    Returns:
        The share of examples misclassified and the mean cross-entropy [nat]. Not-a-number logits
        count as errors, and make the loss not a number.
    """
    was_training = model.training
    model.eval()
    wrong = torch.zeros((), dtype=torch.int64, device=images.device)
    loss = torch.zeros((), dtype=torch.float64, device=images.device)
    n = 0
    with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        for pixels, labels in images.once(EVALUATION_BATCH):
            logits = model(pixels).float()
            right = (logits.argmax(1) == labels) & logits.isfinite().all(1)
            wrong += (~right).sum()
            loss += functional.cross_entropy(logits, labels, reduction="sum").double()
            n += len(labels)
    model.train(was_training)
    return float(wrong) / n, float(loss) / n


def measure_latency(model: nn.Module, example: Tensor, *, precision: str = "fp32") -> float:
    """Seconds of one example's forward pass in batches of `LATENCY_BATCH`: the median of some repeats.

    Other trials on the same node slow it down; it says what was seen, not what the device could do.

    Args:
        model: On its device.
        example: Shape (1, channels, height, width), on the same device.
    """
    was_training = model.training
    model.eval()
    batch = example.expand(LATENCY_BATCH, -1, -1, -1).contiguous()
    on_gpu = batch.device.type == "cuda"
    seconds: list[float] = []
    with torch.no_grad(), torch.autocast(batch.device.type, torch.bfloat16, enabled=precision == "bf16"):
        model(batch)
        deadline = time.perf_counter() + LATENCY_SECONDS
        while len(seconds) < 3 or (len(seconds) < LATENCY_REPEATS and time.perf_counter() < deadline):
            if on_gpu:
                torch.cuda.synchronize()
            began = time.perf_counter()
            model(batch)
            if on_gpu:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
    model.train(was_training)
    return statistics.median(seconds) / LATENCY_BATCH
