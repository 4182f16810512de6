"""What is wrong with this machine, a cluster, a tracking server or a results folder, in sentences."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

from cluster.lock import FolderInUseError, hold_folder
from cluster.records import read_record, record_path
from experiments.destination import STORE_NAME, without_credentials
from experiments.machine import n_cores
from experiments.results import SWEEP_FILE, TRIALS_FOLDER
from experiments.wording import bytes_text, part_of
from scaling.export import check_writable
from scaling.words import agree, counted

LEAST_FREE_BYTES = 2**30
LEAST_OPEN_FILES = 4096
# Ray's own advice for its object store; below it spills to a disk.
LEAST_SHARED_MEMORY_BYTES = 2**29
NEEDED = {
    "a trial": ("torch", "torchvision", "timm", "scikit-learn", "codecarbon"),
    "a sweep": ("ray", "mlflow"),
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        good: Whether it needs no mending.
        sentence: What was found and, if it is not good, what to do.
    """

    good: bool
    sentence: str


def examine(
    results: Path, *, address: str | None = None, tracking_uri: str | None = None, storage_uri: str | None = None
) -> list[Finding]:
    """Look at everything that is named; nothing is changed.

    Args:
        results: Folder that holds a folder per sweep; it need not exist.
        address: Cluster, as `host:port`, `auto` or an http address; None looks at none.
        tracking_uri: Tracking server; None for the SQLite file in the results folder.
        storage_uri: Storage of records; None for none.
    """
    findings = [*_python(), *_libraries(), *_limits(), *_token_file(), *_room(results), *_store(results)]
    for folder in sorted(file.parent for file in results.glob(f"*/{SWEEP_FILE}")):
        findings += _sweep(folder, tracking_uri)
    if tracking_uri:
        findings.append(_tried(lambda: _tracking(tracking_uri)))
    if storage_uri:
        findings.append(_tried(lambda: _storage(storage_uri)))
    if address:
        findings.append(_tried(lambda: _cluster(address)))
    return findings


def _tried(look: Callable[[], str]) -> Finding:
    """What a look at something remote says, or why it could not be had."""
    try:
        return Finding(True, look())
    except (ValueError, OSError, RuntimeError) as error:
        return Finding(False, str(error))


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Finding(good, f"Python {version}" + ("" if good else " is too old: 3.11 or newer is needed"))


def _libraries() -> Iterator[Finding]:
    for purpose, names in NEEDED.items():
        found = {name: _version(name) for name in names}
        missing = [name for name, version in found.items() if version is None]
        extra = "trial" if purpose == "a trial" else "cluster"
        if missing:
            yield Finding(
                False, f"{purpose} needs {', '.join(missing)}, not installed; run: pip install 'ninthpower[{extra}]'"
            )
        else:
            yield Finding(True, f"{purpose} has " + ", ".join(f"{name} {version}" for name, version in found.items()))
    if _version("torch") is not None:
        yield _devices()


def _devices() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = Counter(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return Finding(True, "torch sees " + ", ".join(f"{count} x {name}" for name, count in names.items()))
    if any(Path("/dev").glob("nvidia[0-9]*")):
        return Finding(
            False,
            f"this machine has an NVIDIA GPU, which torch {torch.__version__} cannot use; install a CUDA build of "
            "torch and a driver that is new enough for it",
        )
    return Finding(True, f"torch sees no GPU; trials run on {n_cores()} cores")


def _limits() -> Iterator[Finding]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    good = soft == resource.RLIM_INFINITY or soft >= LEAST_OPEN_FILES
    yield Finding(
        good, f"{soft} files may be open at once" + ("" if good else f"; Ray wants more: ulimit -n {LEAST_OPEN_FILES}")
    )
    if Path("/dev/shm").is_dir():
        size = shutil.disk_usage("/dev/shm").total
        good = size >= LEAST_SHARED_MEMORY_BYTES
        remedy = "" if good else "; Ray would use the disk instead: start the container with --shm-size=2g"
        yield Finding(good, f"shared memory holds {bytes_text(size)}{remedy}")


def _token_file() -> Iterator[Finding]:
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return
    good = not mode & 0o077
    yield Finding(
        good,
        f"Ray's token in {path} is readable for "
        + (
            "you alone"
            if good
            else f"others (mode {mode:04o}), who may run code on your clusters; run: chmod 600 {path}"
        ),
    )


def _room(results: Path) -> Iterator[Finding]:
    folder = next(place for place in (results.absolute(), *results.absolute().parents) if place.is_dir())
    for place in dict.fromkeys((folder, Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(place).free
        good = free >= LEAST_FREE_BYTES
        yield Finding(good, f"{bytes_text(free)} are free at {place}" + ("" if good else "; make room"))
        option = "give --results" if place == folder else "set TMPDIR"
        try:
            check_writable(place, f"{option} and a folder that you may write to")
        except ValueError as refusal:
            yield Finding(False, str(refusal))


def _store(results: Path) -> Iterator[Finding]:
    """The SQLite file of MLflow, if sweeps have written one."""
    store = results / STORE_NAME
    if not store.is_file():
        return
    try:
        with closing(sqlite3.connect(f"file:{quote(str(store.absolute()))}?mode=ro", uri=True)) as database:
            database.execute("SELECT count(*) FROM runs")
    except sqlite3.Error as error:
        yield Finding(
            False,
            f"{store} is no store of MLflow's ({error}); move it away and run: ninthpower sync {results}, which fills "
            "a new one from the records",
        )


def _sweep(folder: Path, tracking_uri: str | None) -> Iterator[Finding]:
    """Its file, its records, whether it runs, and what MLflow lacks."""
    from experiments.results import read_sweep
    from experiments.syncing import count_undelivered

    try:
        sweep = read_sweep(folder)
    except ValueError as error:
        yield Finding(False, str(error))
        return
    records, trials_folder = [], folder / TRIALS_FOLDER
    for trial in sweep.trials():
        path = record_path(trials_folder, trial.trial_id)
        try:
            records += [read_record(path)] if path.exists() else []
        except ValueError as error:
            yield Finding(False, str(error))
    n_trials = len(sweep.trials())
    counts = Counter(str(record["status"]) for record in records)
    state = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none run yet"
    running = _holder(trials_folder)
    yield Finding(True, f"{folder}: {state}, of {counted(n_trials, 'trial')}" + (f"; {running}" if running else ""))
    if counts["failed"] and not running:
        first = next(record for record in records if record["status"] == "failed")
        reason = (str(first.get("reason") or "no reason given").splitlines() or [""])[-1]
        yield Finding(
            False,
            f"{folder}: {counted(counts['failed'], 'trial')} failed and the next start tries "
            f"{agree(counts['failed'], 'it', 'them')} again; one said: {reason}",
        )
    if not running:
        left = sorted(trials_folder.glob(".*.tmp"))
        if left:
            yield Finding(
                False, f"{folder}: a killed sweep left {left[0]} and {len(left) - 1} more; they may be deleted"
            )
    n_missing = count_undelivered(sweep, folder, records, tracking_uri)
    if n_missing and not running:
        trials = counted(n_missing, "trial")
        told = f" --tracking-uri {without_credentials(tracking_uri)}" if tracking_uri else ""
        yield Finding(False, f"{folder}: MLflow has not been told of {trials}; run: ninthpower sync {folder}{told}")


def _holder(folder: Path) -> str:
    """Who works on the folder; nobody if it can be locked."""
    if not (folder / ".lock").exists():
        return ""
    try:
        with hold_folder(folder):
            return ""
    except FolderInUseError as error:
        return str(error).removeprefix(f"{folder} ").split(";")[0]


def _tracking(uri: str) -> str:
    from cluster.mlflow_client import open_client
    from cluster.mlflow_errors import advice, failures, in_words, without_password

    try:
        experiments = open_client(uri).search_experiments(max_results=1000)
    except failures() as error:
        remedy = advice(error)
        raise RuntimeError(
            f"the tracking server at {without_password(uri)} does not answer ({in_words(error)}); "
            f"{f'{remedy}; ' if remedy else ''}sweeps run without it, and ninthpower sync delivers later"
        ) from None
    return f"the tracking server at {without_password(uri)} answers and has {len(experiments)} experiments"


def _storage(uri: str) -> str:
    from cluster.storage import Storage

    storage = Storage(uri)
    try:
        storage.trial_ids()
    except OSError as error:
        raise RuntimeError(f"the storage {storage.uri} does not answer ({str(error).splitlines()[0][:200]})") from None
    return f"the storage {storage.uri} answers"


def _cluster(address: str) -> str:
    if address.startswith(("http://", "https://")):
        from cluster.jobs import Jobs

        jobs = Jobs(address).all()
        running = sum(not job.has_ended for job in jobs)
        jobs_running = f"{part_of(running, len(jobs), 'job')} {agree(running, 'has', 'have')}"
        return f"the job server at {address} answers; {jobs_running} not ended"
    from cluster.session import connect, resources_text

    with connect(address) as session:
        machines = "; ".join(f"{node.host} with {resources_text(node.resources)}" for node in session.nodes)
        to_come = ", ".join(f"{kind.most} x {kind.name}" for kind in session.to_come)
        return f"the cluster at {address} has {machines}" + (f"; it may start {to_come}" if to_come else "")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
