"""The processor that does the arithmetic: its name, its peak rate, and where that rate is from."""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# Dense peak rates without sparsity, from NVIDIA's data sheets [FLOP/s]: fp32 on CUDA cores, bf16 on
# tensor cores (fp16 on the V100 and T4, which have no bf16). The first name contained in the device's own is taken.
PEAK_FLOPS_PER_SECOND: dict[str, dict[str, float]] = {
    "H200": {"fp32": 66.9e12, "bf16": 989.4e12},
    "H100 PCIe": {"fp32": 51.2e12, "bf16": 756.0e12},
    "H100": {"fp32": 66.9e12, "bf16": 989.4e12},
    "A100": {"fp32": 19.5e12, "bf16": 312.0e12},
    "L40S": {"fp32": 91.6e12, "bf16": 362.0e12},
    "L4": {"fp32": 30.3e12, "bf16": 121.0e12},
    "A10G": {"fp32": 31.2e12, "bf16": 70.0e12},
    "V100": {"fp32": 15.7e12, "bf16": 125.0e12},
    "T4": {"fp32": 8.1e12, "bf16": 65.0e12},
}

_MATRIX_SIZE = 1024
_MEASURING_SECONDS = 0.3


@dataclass(frozen=True)
class Device:
    """A processor, or the share of one that a trial uses.

    Attributes:
        kind: ``cpu`` or ``cuda``.
        name: The maker's name for it.
        count: Cores or GPUs used.
        peak_flops_per_second: Peak rate of all of them together [FLOP/s].
        peak_source: Where the rate is from: a data sheet, or a matrix product timed on this node.
        identifiers: NVML's identifiers of the GPUs, for their energy counters.
    """

    kind: str
    name: str
    count: int
    peak_flops_per_second: float
    peak_source: str
    identifiers: tuple[str, ...] = ()

    def times(self, n: int) -> Device:
        """So many of them together."""
        return replace(self, count=n * self.count, peak_flops_per_second=n * self.peak_flops_per_second)


def is_out_of_memory(error: Exception) -> bool:
    """Say whether a trial alone on its machine might have had enough. On a CPU torch raises a plain RuntimeError."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def find_device(kind: str, *, threads: int, precision: str, cache_folder: Path) -> Device:
    """Describe the processor a trial will run on.

    Args:
        kind: ``auto``, ``cpu`` or ``cuda``; auto takes CUDA where this process sees a GPU.
        threads: Processor threads of the trial.
        precision: ``fp32`` or ``bf16``.
        cache_folder: Where a measured peak rate is kept for the node's later trials.

    Raises:
        ValueError: If CUDA is asked for and not there, or the device has no bf16 arithmetic.
    """
    import torch

    has_cuda = torch.cuda.is_available()
    if kind == "cuda" and not has_cuda:
        raise ValueError(
            "the trial wants a GPU, but torch sees none here; give trials a GPU (resources.gpus), use device: cpu, or"
            " run `ninthpower doctor` on the machine if it has one"
        )
    if kind == "cpu" or not has_cuda:
        name = processor_name()
        rate = _measured_rate(name, "cpu", threads, precision, cache_folder)
        return Device("cpu", name, threads, rate, "measured matrix product")
    name = torch.cuda.get_device_name(0)
    if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ValueError(f"precision is 'bf16', but {name} has no such arithmetic; use precision: fp32")
    sheet = [rates for part, rates in PEAK_FLOPS_PER_SECOND.items() if part in name]
    identifiers = (f"GPU-{torch.cuda.get_device_properties(0).uuid}",)
    if sheet:
        return Device("cuda", name, 1, sheet[0][precision], "data sheet", identifiers)
    rate = _measured_rate(name, "cuda", 1, precision, cache_folder)
    return Device("cuda", name, 1, rate, "measured matrix product", identifiers)


def here(kind: str) -> tuple[str, str]:
    """Kind and name of what this machine has for ``auto``, ``cpu`` or ``cuda``: its processor where there is no GPU."""
    import torch

    if kind != "cpu" and torch.cuda.is_available():
        return "cuda", torch.cuda.get_device_name(0)
    return "cpu", processor_name()


def processor_name() -> str:
    """The processor's model, as the operating system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _measured_rate(name: str, kind: str, threads: int, precision: str, cache_folder: Path) -> float:
    """Rate of a large matrix product, timed once per node and kept [FLOP/s]."""
    path = cache_folder / "peak-rates.json"
    key = f"{platform.node()} / {name} / {kind} / {threads} / {precision}"
    known = _read_rates(path)
    if key not in known:
        known = {**_read_rates(path), key: _time_matrix_product(kind, precision)}
        _write_rates(path, known)
    return known[key]


def _time_matrix_product(kind: str, precision: str) -> float:
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    left = torch.ones(_MATRIX_SIZE, _MATRIX_SIZE, dtype=dtype, device=kind)
    best = float("inf")
    deadline = time.perf_counter() + _MEASURING_SECONDS
    while time.perf_counter() < deadline:
        began = time.perf_counter()
        left @ left
        if kind == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * _MATRIX_SIZE**3 / best


def _read_rates(path: Path) -> dict[str, float]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}


def _write_rates(path: Path, rates: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(rates, file)
    os.replace(temporary, path)
