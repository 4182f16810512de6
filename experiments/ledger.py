"""What a trial cost, phase by phase: FLOP, joules, seconds and peak memory under each phase's own name."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.energy import EnergyAccount

_PHASE_NAME = re.compile(r"[a-z][a-z0-9-]*")


# What a trial took beside its phases: reading data, building and counting the model, testing it.
REST = "overhead"


@dataclass
class Phase:
    """One phase. Phases add up: no FLOP, joule or second stands under two names.

    Attributes:
        phase: Its name.
        flops: As the hardware does them, zeros included [FLOP].
        sparse_flops: As an ideal sparse machine would do them, without the products with weights that are
            held at 0; None where all are done [FLOP].
        wall_seconds: Duration [s].
        energy_joules: Share of the node's energy [J]; None if not known.
        peak_memory_bytes: Most memory in use [B]: on a GPU what torch has allocated there, on a processor the whole
            process as it is resident, libraries and data included; None if not known.
        elsewhere: Whether another trial of the node spent it and this one is charged for it as well.
    """

    phase: str
    flops: float = 0.0
    sparse_flops: float | None = None
    wall_seconds: float = 0.0
    energy_joules: float | None = None
    peak_memory_bytes: int | None = None
    elsewhere: bool = False


@dataclass
class Ledger:
    """The phases of one trial, in the order in which they began.

    Attributes:
        account: The trial's with the node's meter.
        device: ``cpu`` or ``cuda``.
        phases: The phases.
        parent: The ledger in which this one will be charged under one name.
    """

    account: EnergyAccount
    device: str = "cpu"
    phases: list[Phase] = field(default_factory=list)
    parent: Ledger | None = None
    _child: Ledger | None = None
    _open: dict[str, tuple[float, float | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.parent is not None:
            self.parent._child = self

    @contextmanager
    def phase(self, name: str) -> Iterator[Phase]:
        """Measure a phase; the caller adds the FLOP. A phase entered twice goes on where it was.

        What was spent is kept when the phase ends in an exception.

        Raises:
            ValueError: If the name cannot stand in a column's name.
        """
        phase = self._find(name)
        energy_before = self.account.read().total_joules
        _reset_peak_memory(self.device)
        self._open[name] = time.perf_counter(), energy_before
        try:
            yield phase
        finally:
            _finish(self.device)
            self._add_time_and_energy(phase)
            del self._open[name]
            phase.peak_memory_bytes = _larger(phase.peak_memory_bytes, _peak_memory_bytes(self.device))

    def charge(self, name: str, spent: Sequence[Phase], *, elsewhere: bool) -> None:
        """Enter under one name what was measured in another ledger: a teacher's training, a search.

        Args:
            name: The phase here.
            spent: Phases of the other ledger.
            elsewhere: Whether another trial spent it; then it is no part of this one's own clock and meter.
        """
        self._child = None
        phase = self._find(name)
        assert elsewhere == phase.elsewhere or phase == Phase(name), f"{name} was spent here and elsewhere"
        phase.elsewhere = elsewhere
        for part in spent:
            if part.sparse_flops is not None or phase.sparse_flops is not None:
                phase.sparse_flops = _sparse(phase) + _sparse(part)
            phase.flops += part.flops
            _add_energy(phase, part.energy_joules, part.wall_seconds)
            phase.peak_memory_bytes = _larger(phase.peak_memory_bytes, part.peak_memory_bytes)

    def close(self, *, wall_seconds: float, energy_joules: float | None) -> None:
        """Enter as a phase what the trial took beside its phases, so that they sum to its totals.

        Args:
            wall_seconds: The trial's own duration [s].
            energy_joules: Its own energy [J]; None if not known.
        """
        own = [phase for phase in self.phases if not phase.elsewhere]
        rest = self._find(REST)
        rest.wall_seconds = max(0.0, wall_seconds - sum(phase.wall_seconds for phase in own))
        if energy_joules is not None:
            rest.energy_joules = max(0.0, energy_joules - sum(phase.energy_joules or 0.0 for phase in own))

    def snapshot(self) -> list[list[dict[str, Any]]]:
        """The phases of the ledgers that this one is part of, outermost first, and its own, as if all ended now."""
        phases = [replace(phase) for phase in self.phases]
        for phase in phases:
            if phase.phase in self._open:
                self._add_time_and_energy(phase)
        outer = self.parent.snapshot() if self.parent is not None else []
        return [*outer, [asdict(phase) for phase in phases]]

    def restore(self, snapshot: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        """Put phases back as they were at a snapshot. What an open phase has taken by now is not counted again."""
        if self.parent is not None:
            self.parent.restore(snapshot[:-1])
        known = {phase.phase: phase for phase in self.phases}
        self.phases = []
        for entry in snapshot[-1]:
            phase = known.get(entry["phase"], Phase(entry["phase"]))
            vars(phase).update(entry)
            self.phases.append(phase)
        for name in self._open:
            self._open[name] = time.perf_counter(), self.account.read().total_joules

    def flops_so_far(self) -> float:
        """What was spent here by now, in a ledger that is still to be charged to this one included [FLOP]."""
        own = sum(phase.flops for phase in self.phases if not phase.elsewhere)
        return own + (self._child.flops_so_far() if self._child is not None else 0.0)

    @property
    def total_flops(self) -> float:
        """Sum over the phases [FLOP]."""
        return sum(phase.flops for phase in self.phases)

    @property
    def wall_seconds(self) -> float:
        """Sum over the phases [s]."""
        return sum(phase.wall_seconds for phase in self.phases)

    @property
    def sparse_flops(self) -> float | None:
        """What an ideal sparse machine would have done [FLOP]; None if no phase held weights at 0."""
        if all(phase.sparse_flops is None for phase in self.phases):
            return None
        return sum(_sparse(phase) for phase in self.phases)

    @property
    def peak_memory_bytes(self) -> int | None:
        """Most that any phase had in use at once [B]; None if that is not known of any."""
        return max((phase.peak_memory_bytes for phase in self.phases if phase.peak_memory_bytes), default=None)

    @property
    def energy_joules(self) -> float | None:
        """Sum over the phases [J]; None if any that took time is not known."""
        joules = [phase.energy_joules for phase in self.phases if phase.wall_seconds > 0]
        known = [value for value in joules if value is not None]
        return sum(known) if known and len(known) == len(joules) else None

    def columns(self) -> dict[str, float | None]:
        """The ledger's columns of the runs table: the totals, and each phase under its name."""
        columns: dict[str, float | None] = {
            "train_flops": self.total_flops,
            "sparse_train_flops": self.sparse_flops,
            "energy_joules": self.energy_joules,
            "wall_seconds": self.wall_seconds,
            "peak_memory_bytes": self.peak_memory_bytes,
        }
        for phase in self.phases:
            if phase.phase != REST:
                columns[f"train_flops_{phase.phase}"] = phase.flops
                columns[f"peak_memory_bytes_{phase.phase}"] = phase.peak_memory_bytes
            columns[f"energy_joules_{phase.phase}"] = phase.energy_joules
            columns[f"wall_seconds_{phase.phase}"] = phase.wall_seconds
        return columns

    def to_list(self) -> list[dict[str, Any]]:
        """The phases as plain mappings."""
        return [asdict(phase) for phase in self.phases]

    def _add_time_and_energy(self, phase: Phase) -> None:
        began, before = self._open[phase.phase]
        wall_seconds, after = time.perf_counter() - began, self.account.read().total_joules
        _add_energy(phase, None if before is None or after is None else after - before, wall_seconds)

    def _find(self, name: str) -> Phase:
        if not _PHASE_NAME.fullmatch(name):
            raise ValueError(f"phase {name!r} is not of lower-case letters, digits and dashes")
        for phase in self.phases:
            if phase.phase == name:
                return phase
        self.phases.append(Phase(name))
        return self.phases[-1]


def _sparse(phase: Phase) -> float:
    return phase.flops if phase.sparse_flops is None else phase.sparse_flops


def _add_energy(phase: Phase, joules: float | None, wall_seconds: float) -> None:
    """Add time and energy to a phase. What is not known of a part of it is not known of the whole."""
    known_so_far = phase.energy_joules if phase.wall_seconds > 0 else phase.energy_joules or 0.0
    if wall_seconds > 0:
        phase.energy_joules = None if joules is None or known_so_far is None else known_so_far + joules
    phase.wall_seconds += wall_seconds


def _larger(one: int | None, other: int | None) -> int | None:
    return max((value for value in (one, other) if value is not None), default=None)


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
