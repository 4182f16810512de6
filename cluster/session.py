"""Connecting to Ray: a private one on this machine, or a cluster that is already running.

Nothing of Ray is imported before `connect` is called.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.growth import NodeKind, kinds_to_come
from cluster.lock import FolderInUseError, hold_folder

GIBIBYTE = 2**30
# Ray's object store holds the list of trials and nothing large; its default is a third of the memory.
PRIVATE_OBJECT_STORE_BYTES = 512 * 2**20
FOLDER_PREFIX = "ninthpower-"
# Long enough for a driver to lock the folder it has just made, and for a killed Ray to be gone.
ABANDONED_SECONDS = 600
# A head that has not taken a connection after so long is not there.
ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class Resources:
    """What one trial occupies while it runs.

    Attributes:
        cpus: Cores; also the number of threads that Ray gives to numerical libraries.
        gpus: Devices; a fraction lets several trials share one.
        memory_gib: Memory that is set aside [GiB]; None sets nothing aside.
        custom: Units of the cluster's own resources by name.
    """

    cpus: float = 1
    gpus: float = 0
    memory_gib: float | None = None
    custom: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what Ray would refuse later, or never satisfy.

        Raises:
            ValueError: If an amount is negative or not finite, nothing is asked for, or a number of
                GPUs above 1 is not whole.
        """
        for name, amount in self.demand().items():
            if not math.isfinite(amount) or amount < 0:
                raise ValueError(f"a trial asks for {amount} of {name}; give a finite number, 0 or more")
        if not any(self.demand().values()):
            raise ValueError("a trial asks for no resource at all; give it at least cpus: 1")
        if self.gpus > 1 and self.gpus % 1:
            raise ValueError(
                f"a trial asks for {self.gpus} GPUs, but above 1 the number is whole; give {math.ceil(self.gpus)}"
            )

    def demand(self) -> dict[str, float]:
        """Name the amounts as Ray does, memory in bytes; what is not asked for is left out."""
        asked = {
            "CPU": float(self.cpus),
            "GPU": float(self.gpus),
            "memory": float(self.memory_gib or 0) * GIBIBYTE,
            **{name: float(amount) for name, amount in self.custom.items()},
        }
        return {name: amount for name, amount in asked.items() if amount != 0}


@dataclass(frozen=True)
class Node:
    """One machine of the cluster and all that it offers, in Ray's names."""

    host: str
    address: str
    resources: Mapping[str, float]
    node_id: str = ""


@dataclass(frozen=True)
class Session:
    """A live connection to Ray.

    Attributes:
        is_private: Whether this Ray was started for us and ends with the connection.
        log_folder: Where a private Ray keeps its logs while it lives.
        to_come: Machines that the cluster may start when trials wait for them.
    """

    is_private: bool
    log_folder: Path | None = None
    to_come: tuple[NodeKind, ...] = ()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Machines that are alive now."""
        import ray

        return tuple(
            Node(node["NodeManagerHostname"], node["NodeManagerAddress"], dict(node["Resources"]), node["NodeID"])
            for node in ray.nodes()
            if node["Alive"]
        )

    @property
    def resources(self) -> dict[str, float]:
        """Sum of what all machines offer, busy or not."""
        total: dict[str, float] = {}
        for node in self.nodes:
            for name, amount in node.resources.items():
                total[name] = total.get(name, 0.0) + amount
        return total

    def n_workers_for(self, resources: Resources) -> int:
        """Count the trials that fit side by side on the machines that are alive now.

        Returns:
            0 only if none fits yet and a machine that is to come could hold one.

        Raises:
            ValueError: If not one fits on any machine, there or to come; the message says what each has.
        """
        nodes, demand = self.nodes, resources.demand()
        n_workers = sum(_n_that_fit(demand, node.resources) for node in nodes)
        if n_workers == 0 and self.n_workers_to_come(resources) == 0:
            offers = [f"{node.host} has {resources_text(node.resources)}" for node in nodes]
            offers += [f"a new {kind.name} would have {resources_text(kind.resources)}" for kind in self.to_come]
            raise ValueError(
                f"a trial asks for {resources_text(demand)}, which no machine of the cluster can give"
                f" ({'; '.join(offers)}); lower the resources per trial or add a larger machine"
            )
        return n_workers

    def n_workers_beside(self, nodes: Collection[str], resources: Resources) -> int:
        """Count the trials that fit on the machines that are alive, some left out by their ids."""
        others = [node for node in self.nodes if node.node_id not in nodes]
        return sum(_n_that_fit(resources.demand(), node.resources) for node in others)

    def n_workers_to_come(self, resources: Resources) -> int:
        """Count the trials that fit on all machines that the cluster may start, those started already included."""
        return sum(kind.most * _n_that_fit(resources.demand(), kind.resources) for kind in self.to_come)


@contextmanager
def connect(
    address: str | None,
    *,
    cpus: int | None = None,
    gpus: int | None = None,
    log_level: int = logging.ERROR,
) -> Iterator[Session]:
    """Hold a connection to Ray, and end on leaving only what was started here.

    Args:
        address: ``host:port`` or ``auto`` of a running cluster; None starts a private Ray on this
            machine, without dashboard, behind a token of its own.
        cpus: Cores of a private Ray; None takes what this process may use.
        gpus: GPUs of a private Ray; None takes those it finds.
        log_level: Level from which Ray's own messages are shown.

    Raises:
        ValueError: If cores or GPUs are given for a running cluster, the address is one of the Ray
            Client (records are written on the driver's node, so the driver must be on one), or Ray is
            connected already.
        ConnectionError: If no cluster answers at the address.
    """
    if address is not None and (cpus is not None or gpus is not None):
        raise ValueError(f"cpus and gpus size a private Ray; the cluster at {address} has its own, leave them out")
    if address is not None and address.startswith("ray://"):
        raise ValueError(f"{address} is a Ray Client address; run on a node of the cluster with --address auto")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray runs workers at niceness 15, so that anything else on the machine slows them and skews their times.
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    if ray.is_initialized():
        raise ValueError("this process is connected to Ray already; leave that connection first")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": log_level}
    if address is not None:
        _check_answers(address)
        try:
            _initialise(address=address, **options)
            yield Session(is_private=False, to_come=kinds_to_come())
        finally:
            _leave()
        return
    # Ray's memory monitor ends several workers at once, with an error that Tune does not know and the sweep ends by.
    # Instead each worker looks for itself (cluster/memory.py); what is too fast for that, the kernel ends.
    os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
    # The head would remember every call for a dashboard that is not there: 17 KiB for each trial.
    os.environ.setdefault("RAY_task_events_report_interval_ms", "0")
    with private_folder() as parent:
        folder = parent / "r"
        _use_own_token()
        options.update(num_cpus=cpus, num_gpus=gpus, include_dashboard=False, _temp_dir=str(folder))
        options.update(object_store_memory=PRIVATE_OBJECT_STORE_BYTES)
        try:
            _initialise(address="local", **options)
            yield Session(is_private=True, log_folder=folder / "session_latest" / "logs")
        finally:
            _leave()


def _check_answers(address: str) -> None:
    """Refuse an address where nothing listens, at once: Ray would ask for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        why = (getattr(error, "strerror", None) or str(error)).lower()
        raise ConnectionError(
            f"no cluster answers at {address} ({why}); `ray start --head` prints the address of the one that it "
            "starts, and without --address a sweep starts a Ray of its own"
        ) from None


def _initialise(**options: Any) -> None:
    import ray

    with warnings.catch_warnings(), _own_answer_to_sigterm():
        # Ray announces changes of its defaults as FutureWarning on every start.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            ray.init(**options)
        except Exception as error:
            # Ray gives a node half a minute, and says so by an exception of no type of its own.
            if type(error) is not Exception or "timed out" not in str(error):
                raise
            raise RuntimeError(
                "Ray did not start within 30 s, as on a machine that is too busy or short of memory; try again when it "
                "has less to do, or take a running cluster by --address"
            ) from error


@contextmanager
def _own_answer_to_sigterm() -> Iterator[None]:
    """Keep SIGTERM with whoever has it, who is told afterwards of one that came while Ray started.

    Ray would take it, and answer by an exception that Python drops where it can raise none, such as in a finalizer.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    install = signal.signal
    before = install(signal.SIGTERM, lambda number, _: heard.append(number))

    def install_others(number: Any, handler: Any) -> Any:
        return before if number == signal.SIGTERM else install(number, handler)

    in_its_place: Any = install_others
    signal.signal = in_its_place
    try:
        yield
    finally:
        signal.signal = install
        install(signal.SIGTERM, before)
    if heard:
        os.kill(os.getpid(), signal.SIGTERM)


def _leave() -> None:
    """End the connection once nothing of Tune is left that would speak to Ray when it is collected.

    What holds placement groups gives them back as it is collected. If that happens while the connection ends, Ray ends
    the process.
    """
    import ray

    gc.collect()
    ray.shutdown()


@contextmanager
def private_folder() -> Iterator[Path]:
    """Yield a folder with a short path that only this user can enter, and remove it in the end.

    What a killed process left is removed by the next one.
    """
    place = _short_temporary_folder()
    for abandoned in place.glob(f"{FOLDER_PREFIX}*"):
        _remove_if_abandoned(abandoned)
    parent = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=place))
    try:
        with hold_folder(parent):
            yield parent
    finally:
        shutil.rmtree(parent, ignore_errors=True)


def _remove_if_abandoned(folder: Path) -> None:
    """Remove what a killed driver of this user left behind; a folder in use is locked by its driver."""
    try:
        status = folder.stat()
        if status.st_uid != os.getuid() or time.time() - status.st_mtime < ABANDONED_SECONDS:
            return
        with hold_folder(folder):
            shutil.rmtree(folder, ignore_errors=True)
    except (OSError, FolderInUseError):
        return


def _short_temporary_folder() -> Path:
    """Leave room for Ray's socket names: a Unix socket's path ends at 107 characters."""
    return Path(tempfile.gettempdir() if len(tempfile.gettempdir()) <= 24 else "/tmp")


def _use_own_token() -> None:
    """Give a private Ray a token through the environment, where no home directory need be writable.

    A token or mode that the user has set is left alone. The token stays for the life of the process,
    since Ray reads it once.
    """
    if not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _n_that_fit(demand: Mapping[str, float], offer: Mapping[str, float]) -> int:
    # Ray counts in ten-thousandths; the margin keeps 10 trials of 0.1 GPU on one GPU.
    return min(math.floor(offer.get(name, 0.0) / amount + 1e-6) for name, amount in demand.items())


def resources_text(resources: Mapping[str, float]) -> str:
    """Say what a machine offers or a trial asks for, without what Ray adds for itself."""
    shown = {
        name: amount
        for name, amount in resources.items()
        if not name.startswith(("node:", "object_store_memory", "accelerator_type:"))
    }
    memory = shown.pop("memory", None)
    words = [f"{amount:g} {name}" for name, amount in sorted(shown.items())]
    if memory is not None:
        words.append(f"{memory / GIBIBYTE:.1f} GiB of memory")
    return ", ".join(words) or "nothing"
