"""Training in bf16: products of half the bits, sums and weights in fp32."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from experiments.data import default_cache_folder
from experiments.device import find_device
from experiments.techniques.technique import Technique, keep_as_built
from experiments.workbench import TrainedModel, Workbench

if TYPE_CHECKING:
    from experiments.data import DatasetInfo
    from experiments.machine import Machine
    from experiments.spec import TrialSpec

# As Linux names them: dot products of bf16 pairs in AVX-512, and tiles of AMX.
PROCESSOR_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})


def low_precision(workbench: Workbench) -> TrainedModel:
    """Train and deploy in bf16 by autocast, judged against the device's peak rate in bf16."""
    spec = workbench.spec.model_copy(update={"precision": "bf16"})
    bench = dataclasses.replace(workbench, spec=spec)
    trained = bench.train(bench.build_model(), phase="train")
    machine = workbench.machine
    device = find_device(
        machine.device,
        threads=max(1, machine.threads // machine.data_parallel),
        precision="bf16",
        cache_folder=machine.cache_folder or default_cache_folder(),
    ).times(machine.data_parallel)
    extra = {"peak_flops_per_second": device.peak_flops_per_second}
    return dataclasses.replace(trained, precision="bf16", extra=extra)


def check(spec: TrialSpec, info: DatasetInfo, machine: Machine) -> None:
    """Refuse processors and GPUs without bf16 arithmetic, and trials that are in bf16 anyway.

    Raises:
        ValueError: With the reason.
    """
    del info
    if spec.precision == "bf16":
        raise ValueError("technique 'low-precision' is what precision: bf16 does already; set precision: fp32")
    if machine.device != "cpu" and torch.cuda.is_available():
        if not torch.cuda.is_bf16_supported(including_emulation=False):
            raise ValueError(
                f"technique 'low-precision' needs bf16 arithmetic, which {torch.cuda.get_device_name(0)} does not "
                "have; take a GPU from the A100 on, or leave the technique out"
            )
    elif machine.device == "cuda":
        return  # a machine without a GPU may plan for those that have one; the trial asks again there
    elif not PROCESSOR_FLAGS & processor_flags():
        raise ValueError(
            "technique 'low-precision' needs a processor with AMX or AVX-512 for bf16 (flags "
            f"{' or '.join(sorted(PROCESSOR_FLAGS))} in /proc/cpuinfo), which this one lacks: it would only be "
            "slower; take another machine or a GPU, or leave the technique out"
        )


def processor_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """What the processor says it can do; nothing where Linux does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    flags = next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(flags.split())


LOW_PRECISION = Technique(
    run=low_precision,
    summary="training and inference in bf16",
    check=check,
    data_parallel=True,
    check_kept=keep_as_built,
)
