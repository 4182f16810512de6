"""Examples per second of the training loop against a bare PyTorch loop: same model, batch and optimiser.

Run: OMP_NUM_THREADS=1 python benchmarks/training_throughput.py

Both are timed in turn, several times, in one process; what counts is the median of the ratios. The bare loop
is what a person would write: a permutation per epoch, batches by index, AdamW as torch makes it by
default, a cosine schedule. Neither evaluates.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from experiments.images import Images
from experiments.models import build_model
from experiments.spec import TrialSpec
from experiments.training import train


@dataclass(frozen=True)
class Case:
    """One model and batch."""

    family: str
    size: str
    width: int
    depth: int
    side: int
    batch_size: int


CASES = [
    Case("mlp", "small", 16, 2, 8, 32),
    Case("mlp", "medium", 256, 3, 28, 128),
    Case("resnet", "small", 8, 1, 8, 32),
    Case("resnet", "medium", 16, 2, 28, 64),
    Case("convnext", "small", 8, 1, 8, 32),
    Case("convnext", "medium", 16, 2, 28, 64),
    Case("vit", "small", 16, 2, 8, 32),
    Case("vit", "medium", 64, 4, 28, 64),
    Case("mixer", "small", 16, 2, 8, 32),
    Case("mixer", "medium", 64, 4, 28, 64),
]
N_EXAMPLES = 2048


class RandomExamples:
    """Noise with labels: the content does not matter to the clock."""

    in_memory = True

    def __init__(self, side: int) -> None:
        generator = np.random.default_rng(0)
        self.pixels = generator.integers(0, 256, (N_EXAMPLES, 1, side, side), dtype=np.uint8)
        self.labels = generator.integers(0, 10, N_EXAMPLES, dtype=np.int64)

    def __len__(self) -> int:
        return N_EXAMPLES

    def read(self, indices: np.ndarray) -> np.ndarray:
        return self.pixels[indices]


def make_model(case: Case) -> torch.nn.Module:
    """The same weights for both loops."""
    torch.manual_seed(0)
    shape = {"height": case.side, "image_width": case.side, "channels": 1, "n_classes": 10}
    return build_model(case.family, width=case.width, depth=case.depth, **shape)


def time_ours(case: Case, n_steps: int) -> float:
    """Seconds of `train` for so many steps."""
    examples = RandomExamples(case.side)
    images = Images(examples, np.arange(N_EXAMPLES), mean=(0.5,), std=(0.3,), n_classes=10, device=torch.device("cpu"))
    spec = TrialSpec(
        dataset="noise", family=case.family, width=case.width, depth=case.depth, n_train=N_EXAMPLES,
        epochs=n_steps * case.batch_size / N_EXAMPLES, batch_size=case.batch_size, learning_rate=1e-4,
        validation_passes=1,
    )  # fmt: skip
    model = make_model(case)
    groups = [{"params": list(model.parameters()), "lr": 1e-4, "weight_decay": 0.01}]
    began = time.perf_counter()
    outcome = train(model, images, spec, parameter_groups=groups, validate=lambda _: (0.0, 0.0))
    seconds = time.perf_counter() - began
    assert outcome.n_steps == n_steps, outcome
    return seconds


def time_bare(case: Case, n_steps: int) -> float:
    """Seconds of a bare loop for so many steps."""
    examples = RandomExamples(case.side)
    images = (torch.from_numpy(examples.pixels).float() / 255 - 0.5) / 0.3
    labels = torch.from_numpy(examples.labels)
    model = make_model(case)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    began = time.perf_counter()
    model.train()
    step = 0
    while step < n_steps:
        order = torch.randperm(N_EXAMPLES)
        for start in range(0, N_EXAMPLES - case.batch_size + 1, case.batch_size):
            chosen = order[start : start + case.batch_size]
            loss = functional.cross_entropy(model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            step += 1
            if step == n_steps:
                break
    return time.perf_counter() - began


def main() -> None:
    """Time every case and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="duration of one timing, about")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| family | size | ours [examples/s] | bare loop [examples/s] | ratio | lowest to highest |")
    print("|---|---|---|---|---|---|")
    for case in CASES:
        time_bare(case, 5)
        time_ours(case, 5)
        n_steps = max(10, round(arguments.seconds / (time_bare(case, 10) / 10)))
        pairs = [(time_ours(case, n_steps), time_bare(case, n_steps)) for _ in range(arguments.repeats)]
        ratios = [bare / ours for ours, bare in pairs]
        ours, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
        examples = n_steps * case.batch_size
        print(
            f"| {case.family} | {case.size} | {examples / ours:,.0f} | {examples / bare:,.0f} | "
            f"{statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
