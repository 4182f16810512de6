"""A piece of work that never changes, timed in every night: what seconds and joules of that night are measured in."""

from __future__ import annotations

import math
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from experiments.energy import EnergyAccount

# Assumed: one round takes about 0.2 s on a core of today, ten rounds outlast the hiccups of a shared machine.
STEPS = 60
ROUNDS = 10
# Beside the trials: short rounds, few enough to take some per cent of one core from them.
SAMPLE_STEPS = 15
SAMPLE_PAUSE_SECONDS = 0.5
READY_SECONDS = 60.0
BATCH, SIDE, CHANNELS, CLASSES = 32, 8, 16, 10


@dataclass(frozen=True)
class KernelTiming:
    """How long the reference kernel took, and what it drew.

    Attributes:
        seconds: Median of the rounds.
        spread: Slowest of the middle half over its fastest.
        joules: Mean of a round; None where the machine has no meter.
        energy_source: ``measured``, ``estimated`` or ``unknown``.
    """

    seconds: float
    spread: float
    joules: float | None
    energy_source: str


@dataclass(frozen=True)
class KernelSample:
    """One short round beside the trials.

    Attributes:
        at: When it ended (Unix time).
        seconds: How long it took: what a trial, which also waits for its turns, is measured in.
        step_seconds: Its fastest step, which waited for nothing: what a latency (a median of short calls) is read in.
    """

    at: float
    seconds: float
    step_seconds: float


@contextmanager
def kernel_beside() -> Iterator[list[KernelSample]]:
    """Time short rounds of the kernel in a process of its own while trials run.

    What else the machine does slows these rounds and the trials alike.

    Yields:
        A list that holds the samples once the block has ended; empty if the process died.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_sample, args=(there,), daemon=True)
    process.start()
    there.close()
    samples: list[KernelSample] = []
    try:
        if here.poll(READY_SECONDS):  # its imports are over before the first trial begins
            here.recv()
        yield samples
    finally:
        try:
            here.send("end")
            samples.extend(here.recv() if here.poll(READY_SECONDS) else ())
        except (EOFError, OSError):  # it died: a night without samples says nothing of seconds
            samples.clear()
        process.terminate()
        process.join()


def _sample(parent: Any) -> None:
    torch.set_num_threads(1)
    _round(SAMPLE_STEPS)
    parent.send([])
    found: list[KernelSample] = []
    while not parent.poll(SAMPLE_PAUSE_SECONDS):
        began = time.perf_counter()
        fastest = _round(SAMPLE_STEPS)
        found.append(KernelSample(time.time(), time.perf_counter() - began, fastest))
    parent.send(found)


def time_reference_kernel(*, threads: int = 1, rounds: int = ROUNDS) -> KernelTiming:
    """Train a fixed small convolutional network in plain PyTorch, apart from all code of this project.

    Its mix of small products and overhead is that of small trials, so that a machine that is slow for one is slow for
    the other. It runs alone, on the processor.

    Args:
        threads: Of torch, as a trial has.
        rounds: How often it is timed.
    """
    torch.set_num_threads(threads)
    _round()
    seconds = []
    with EnergyAccount() as account:
        for _ in range(rounds):
            began = time.perf_counter()
            _round()
            seconds.append(time.perf_counter() - began)
        reading = account.read(end=True)
    joules = None if reading.total_joules is None else reading.total_joules / rounds
    ordered = sorted(seconds)
    quarter = len(ordered) // 4
    spread = ordered[len(ordered) - 1 - quarter] / ordered[quarter]
    return KernelTiming(statistics.median(seconds), spread, joules, reading.source if joules is not None else "unknown")


def _round(n_steps: int = STEPS) -> float:
    """Train for some steps; return the seconds of the fastest."""
    fastest = math.inf
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, 1, SIDE, SIDE, generator=generator)
    labels = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, CHANNELS, 3, padding=1), nn.ReLU(), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, CLASSES),
        )  # fmt: skip
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(n_steps):
            began = time.perf_counter()
            loss = functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            fastest = min(fastest, time.perf_counter() - began)
    return fastest
