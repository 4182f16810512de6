"""What a trial cost, phase by phase: FLOP, joules, seconds and peak memory under each phase's own name."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from experiments.energy import EnergyAccount

_PHASE_NAME = re.compile(r"[a-z][a-z0-9-]*")


@dataclass
class Phase:
    """One phase. Phases add up: no FLOP, joule or second stands under two names."""

    phase: str
    flops: float = 0.0
    wall_seconds: float = 0.0
    energy_joules: float | None = None
    peak_memory_bytes: int | None = None


@dataclass
class Ledger:
    """The phases of one trial, in the order in which they began."""

    account: EnergyAccount
    device: str = "cpu"
    phases: list[Phase] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[Phase]:
        """Measure a phase; the caller adds the FLOP. A phase entered twice goes on where it was.

        What was spent is kept when the phase ends in an exception.

        Raises:
            ValueError: If the name cannot stand in a column's name.
        """
        if not _PHASE_NAME.fullmatch(name):
            raise ValueError(f"phase {name!r} is not of lower-case letters, digits and dashes")
        found = [phase for phase in self.phases if phase.phase == name]
        phase = found[0] if found else Phase(name)
        if not found:
            self.phases.append(phase)
        energy_before = self.account.read().total_joules
        _reset_peak_memory(self.device)
        began = time.perf_counter()
        try:
            yield phase
        finally:
            _finish(self.device)
            phase.wall_seconds += time.perf_counter() - began
            energy_after = self.account.read().total_joules
            if energy_before is not None and energy_after is not None:
                phase.energy_joules = (phase.energy_joules or 0.0) + energy_after - energy_before
            peak = _peak_memory_bytes(self.device)
            if peak is not None:
                phase.peak_memory_bytes = max(peak, phase.peak_memory_bytes or 0)

    @property
    def total_flops(self) -> float:
        """Sum over the phases [FLOP]."""
        return sum(phase.flops for phase in self.phases)

    @property
    def wall_seconds(self) -> float:
        """Sum over the phases [s]."""
        return sum(phase.wall_seconds for phase in self.phases)

    def columns(self) -> dict[str, float]:
        """The ledger's columns of the runs table: the total, and each phase under its name."""
        by_phase = {f"train_flops_{phase.phase}": phase.flops for phase in self.phases}
        return {"train_flops": self.total_flops, **by_phase}

    def to_list(self) -> list[dict[str, Any]]:
        """The phases as plain mappings."""
        return [asdict(phase) for phase in self.phases]


def _finish(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()


def _reset_peak_memory(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats()
        return
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM: proc(5)
    except OSError:
        return


def _peak_memory_bytes(device: str) -> int | None:
    """Peak of the device's allocator, or of this process' resident memory; None off Linux."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated()
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return 1024 * int(found[1]) if found else None
