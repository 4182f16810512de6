"""What a machine does when its memory runs short: the worker that holds most of it ends itself and says why.

Ray's own monitor ends workers with an error that Tune does not know, which ends the sweep, and often several at once.
The kernel ends one without a word. Here each worker looks for itself, a few times a second, and the one that holds most
gives way, so that its trial can be tried once more when nothing else runs. A single allocation that fills the machine
between two looks is left to the kernel; where driver and workers share a machine, the kernel's own count tells it from
a crash.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "NINTHPOWER_MEMORY_FRACTION"
DEFAULT_FRACTION = 0.95
PAUSE_SECONDS = 0.25
# To end a worker that holds less than this part of the memory would not help the machine.
SMALLEST_SHARE = 0.05
GIBIBYTE = 2**30
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROCESSES = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Memory:
    """What a machine, or the container that it is divided into, has and uses [bytes]."""

    used: int
    total: int

    @property
    def fraction(self) -> float:
        """Used part of the whole."""
        return self.used / self.total


def allowed_fraction() -> float:
    """The part of a machine's memory beyond which a worker gives way: 0.95, or what the environment says.

    Raises:
        ValueError: If ``NINTHPOWER_MEMORY_FRACTION`` is no number above 0 and up to 1.
    """
    text = os.environ.get(VARIABLE, str(DEFAULT_FRACTION))
    try:
        fraction = float(text)
    except ValueError:
        fraction = 0.0
    if not 0 < fraction <= 1:
        raise ValueError(f"{VARIABLE} is {text!r}; give a number above 0 and up to 1, such as 0.95")
    return fraction


def machine_memory() -> Memory | None:
    """Memory of this machine, or of the tightest container around this process; None where there is no /proc."""
    try:
        fields = dict(line.split(":") for line in (_PROCESSES / "meminfo").read_text().splitlines())
    except OSError:
        return None
    total, available = (int(fields[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    containers = [memory for folder in _container_folders() if (memory := _container(folder)) is not None]
    return max((Memory(total - available, total), *containers), key=lambda memory: memory.fraction)


def kernel_kills() -> int:
    """How many processes the kernel has ended on this machine for want of memory; 0 where it does not say."""
    try:
        lines = (_PROCESSES / "vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


class MemoryGuard:
    """A thread of a worker that ends the process when memory runs short and no sibling holds more."""

    def __init__(
        self,
        end: Callable[[str, str], None],
        *,
        fraction: float,
        memory: Callable[[], Memory | None] = machine_memory,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        """Prepare to watch.

        Args:
            end: Called with the trial that runs and one sentence: says it where it is read, and ends the process.
            fraction: Used part of the memory beyond which it is short.
            memory: Looks at the machine.
            pause_seconds: Between two looks.
        """
        self._end = end
        self._fraction = fraction
        self._memory = memory
        self._pause_seconds = pause_seconds
        self.trial_id: str | None = None

    def start(self) -> None:
        """Begin to watch, until the process ends; do nothing where the system does not tell its memory."""
        if self._memory() is not None:
            threading.Thread(target=self._watch, name="memory-guard", daemon=True).start()

    def _watch(self) -> None:
        before = 0
        while True:
            time.sleep(self._pause_seconds)
            memory = self._memory()
            if memory is None or memory.fraction <= self._fraction:
                before = 0
            elif not before or memory.used < before:  # a first look, or another worker is just giving way
                before = memory.used
            elif self._gives_way(memory):
                return

    def _gives_way(self, memory: Memory) -> bool:
        trial_id, own = self.trial_id, resident_bytes(os.getpid())
        if trial_id is None or own < SMALLEST_SHARE * memory.total:
            return False
        if any(resident_bytes(sibling) > own for sibling in siblings()):
            return False
        self._end(
            trial_id,
            f"out of memory: its worker held {own / GIBIBYTE:.1f} GiB when {memory.used / GIBIBYTE:.1f} of"
            f" {memory.total / GIBIBYTE:.1f} GiB were in use",
        )
        return True


def resident_bytes(process: int) -> int:
    """Memory that a process holds for itself; 0 if it has ended."""
    try:
        resident, shared = (_PROCESSES / str(process) / "statm").read_text().split()[1:3]
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * _PAGE_BYTES


def siblings() -> list[int]:
    """Other processes that were started by the one that started this."""
    parent, found = os.getppid(), []
    for folder in _PROCESSES.glob("[0-9]*"):
        try:
            # The name, in brackets, may hold anything.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def _container_folders() -> list[Path]:
    """Where the limits of this process's control groups may stand, of either version, and of those around them."""
    try:
        lines = (_PROCESSES / "self/cgroup").read_text().splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            own = Path(path.lstrip("/"))
            folders += [_CGROUPS / controllers / folder for folder in (own, *own.parents)]
    return folders


def _container(folder: Path) -> Memory | None:
    """What a control group uses of its limit, file pages that can be dropped aside; None if it has no limit."""
    for limit, used, pages in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            text = (folder / limit).read_text().strip()
            if text == "max" or int(text) >= 2**60:
                return None
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            return Memory(int((folder / used).read_text()) - int(statistics.get(pages, 0)), int(text))
        except (OSError, ValueError):
            continue
    return None
