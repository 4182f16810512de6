"""Where a trial runs, as far as that does not change what it finds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """Where a trial runs, as far as that does not change what it finds.

    Attributes:
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: Processor threads of torch; on a CPU they decide the order of sums, so results are
            reproducible for one number of threads.
        data_folder: Where data sets are looked for; None for the default.
        cache_folder: Where prepared arrays lie, once per node; None for the default.
        region: Grid that the node draws from, see `energy.carbon_intensity`; None for unknown.
        compile: Compile models with `torch.compile`.
        channels_last: Memory layout of convolutions.
        time_limit_seconds: After this long a trial is stopped.
        data_parallel: Processes that train one model together, each with a GPU of its own or its share of the threads.
    """

    device: str = "auto"
    threads: int = 1
    data_folder: Path | None = None
    cache_folder: Path | None = None
    region: str | None = None
    compile: bool = False
    channels_last: bool = False
    time_limit_seconds: float | None = None
    data_parallel: int = 1


def n_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
