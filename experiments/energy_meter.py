"""A node's energy, measured once and shared out by what each trial used.

One small process per node reads the node's counters (codecarbon for processor and memory, NVML for
each GPU) and keeps an account per trial. Whatever the node draws while trials run is split between
them: processor and memory by the processor seconds used since the last reading, a GPU equally
between the trials on it. So the trials' joules sum to the node's, however many run at once. What the
node draws while no trial runs is kept apart.

The process answers JSON lines on a Unix socket that only its user can open, reads nothing else, and
ends by itself when nobody has asked for a while.
"""

from __future__ import annotations

import json
import os
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

TICK_SECONDS = 1.0
IDLE_SECONDS = 60.0
PARTS = ("cpu", "ram", "gpu")
JOULES_PER_KWH = 3.6e6


class NodeCounters(Protocol):
    """Energy since the last call, by part."""

    sources: Mapping[str, str]

    def read(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return joules of ``cpu`` and ``ram``, and joules per GPU identifier."""


@dataclass
class Account:
    """What one trial has used so far."""

    pid: int
    gpus: tuple[str, ...]
    cpu_seconds: float
    joules: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    shared_a_gpu: bool = False


class Ledger:
    """The accounts of the trials that run on this node. Safe to call from several threads."""

    def __init__(self, counters: NodeCounters, read_cpu_seconds: Callable[[int], float | None]) -> None:
        self.counters = counters
        self._read_cpu_seconds = read_cpu_seconds
        self._accounts: dict[str, Account] = {}
        self._lock = threading.Lock()
        self._opened = 0
        self.node_joules = 0.0
        self.unattributed_joules = 0.0
        counters.read()

    def begin(self, pid: int, gpus: tuple[str, ...]) -> str:
        """Open an account for a process and return its token."""
        with self._lock:
            self._share()
            self._opened += 1
            token = f"{os.getpid()}-{self._opened}"
            self._accounts[token] = Account(pid, gpus, self._read_cpu_seconds(pid) or 0.0)
            return token

    def read(self, token: str, *, end: bool = False) -> dict[str, Any]:
        """Return what an account holds by now, and close it if that is asked.

        Raises:
            ValueError: If there is no such account.
        """
        with self._lock:
            self._share()
            if token not in self._accounts:
                raise ValueError(f"no account {token!r}")
            account = self._accounts.pop(token) if end else self._accounts[token]
            sources = dict(self.counters.sources)
            if account.shared_a_gpu:
                sources["gpu"] = "estimated"
            return {"joules": dict(account.joules), "sources": sources}

    def tick(self) -> int:
        """Share out what was drawn since the last reading; return how many accounts are open."""
        with self._lock:
            self._share()
            return len(self._accounts)

    def _share(self) -> None:
        parts, by_gpu = self.counters.read()
        self.node_joules += sum(parts.values()) + sum(by_gpu.values())
        shares = self._processor_shares()
        for part, joules in parts.items():
            if not shares:
                self.unattributed_joules += joules
            for account, share in shares:
                account.joules[part] += share * joules
        for gpu, joules in by_gpu.items():
            users = [account for account in self._accounts.values() if gpu in account.gpus]
            if not users:
                self.unattributed_joules += joules
            for account in users:
                account.joules["gpu"] += joules / len(users)
                account.shared_a_gpu |= len(users) > 1

    def _processor_shares(self) -> list[tuple[Account, float]]:
        used = []
        for token, account in list(self._accounts.items()):
            seconds = self._read_cpu_seconds(account.pid)
            if seconds is None:  # the process is gone and will not ask again
                del self._accounts[token]
                continue
            used.append((account, max(0.0, seconds - account.cpu_seconds)))
            account.cpu_seconds = seconds
        total = sum(seconds for _, seconds in used)
        return [(account, seconds / total if total else 1 / len(used)) for account, seconds in used]


class HardwareCounters:
    """The counters of this machine: codecarbon for processor and memory, NVML for each GPU.

    codecarbon reads RAPL where it may and otherwise models the processor from its load and rated
    power; memory is always modelled. NVML's energy counter is per device.
    """

    def __init__(self) -> None:
        from codecarbon import OfflineEmissionsTracker

        # The country is needed to start and does not enter the joules.
        self._tracker = OfflineEmissionsTracker(
            country_iso_code="USA",
            measure_power_secs=3600,
            tracking_mode="machine",
            save_to_file=False,
            allow_multiple_runs=True,
            log_level="critical",
        )
        self._tracker.start_task("reading")
        self._gpus = _nvml_handles()
        self._gpu_joules = {gpu: _nvml_joules(handle) for gpu, handle in self._gpus.items()}
        self.sources: Mapping[str, str] = {"cpu": _cpu_source(), "ram": "estimated", "gpu": "measured"}

    def read(self) -> tuple[dict[str, float], dict[str, float]]:
        drawn = self._tracker.stop_task("reading")
        self._tracker.start_task("reading")
        parts = {"cpu": drawn.cpu_energy * JOULES_PER_KWH, "ram": drawn.ram_energy * JOULES_PER_KWH}
        by_gpu = {}
        for gpu, handle in self._gpus.items():
            total = _nvml_joules(handle)
            by_gpu[gpu] = max(0.0, total - self._gpu_joules[gpu])
            self._gpu_joules[gpu] = total
        return parts, by_gpu


def _cpu_source() -> str:
    from codecarbon.core.cpu import is_powergadget_available, is_rapl_available

    return "measured" if is_rapl_available() or is_powergadget_available() else "estimated"


def _nvml_handles() -> dict[str, Any]:
    try:
        import pynvml

        pynvml.nvmlInit()
    except (ImportError, OSError):
        return {}
    except pynvml.NVMLError:  # no driver on this machine
        return {}
    handles = {}
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        identifier = pynvml.nvmlDeviceGetUUID(handle)
        try:
            _nvml_joules(handle)
        except pynvml.NVMLError:  # no energy counter before Volta
            continue
        handles[identifier if isinstance(identifier, str) else identifier.decode()] = handle
    return handles


def _nvml_joules(handle: Any) -> float:
    import pynvml

    return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000


def process_cpu_seconds(pid: int) -> float | None:
    """Processor seconds of a process and its children, None once it is gone."""
    import psutil

    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return None
    return times.user + times.system + times.children_user + times.children_system


class _Handler(socketserver.StreamRequestHandler):
    server: MeterServer

    def handle(self) -> None:
        for line in self.rfile:
            try:
                answer = self.server.answer(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                answer = {"error": str(error)}
            self.wfile.write(json.dumps(answer).encode() + b"\n")


class MeterServer(socketserver.ThreadingUnixStreamServer):
    """Answers the trials of one node until nobody has had an account for a while."""

    daemon_threads = True

    def __init__(self, path: Path, ledger: Ledger, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self.ledger = ledger
        self.idle_seconds = idle_seconds
        self.last_used = time.monotonic()
        path.unlink(missing_ok=True)
        super().__init__(str(path), _Handler)
        path.chmod(0o600)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request."""
        self.last_used = time.monotonic()
        action = request["do"]
        if action == "begin":
            return {"token": self.ledger.begin(int(request["pid"]), tuple(request["gpus"]))}
        if action in ("read", "end"):
            return self.ledger.read(request["token"], end=action == "end")
        if action == "totals":
            self.ledger.tick()
            return {
                "node_joules": self.ledger.node_joules,
                "unattributed_joules": self.ledger.unattributed_joules,
            }
        raise ValueError(f"unknown request {action!r}")

    def run(self) -> None:
        """Serve until idle."""
        threading.Thread(target=self.serve_forever, daemon=True).start()
        while time.monotonic() - self.last_used < self.idle_seconds:
            time.sleep(TICK_SECONDS)
            if self.ledger.tick():
                self.last_used = time.monotonic()
        Path(str(self.server_address)).unlink(missing_ok=True)
        self.shutdown()


def main() -> None:
    """Serve on the socket named on the command line, detached from whoever started it."""
    path = Path(sys.argv[1])
    if os.fork():
        os._exit(0)
    os.setsid()
    server = MeterServer(path, Ledger(HardwareCounters(), process_cpu_seconds))
    server.run()


if __name__ == "__main__":
    main()
