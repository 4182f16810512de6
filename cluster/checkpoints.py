"""What a trial under way leaves for the attempt that may have to follow: its last checkpoint, and what it has spent.

Both lie beside the records, on the driver's machine; checkpoints are copied to storage where there is one, so that
they outlive the head. A checkpoint is bytes here, made and read by the trial alone. Importing this module does not
import Ray.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cluster.records import Record, final_record, record_path, write_atomically
from cluster.storage import Storage, open_storage

logger = logging.getLogger(__name__)

FOLDER = "checkpoints"
# How often a trial says what it has spent. What it spends after its last word stays unknown if it dies.
REPORT_SECONDS = 10.0
# Methods of the keeper in this group run beside those that keep records, so that no record waits for a checkpoint.
GROUP = "checkpoints"
# An attempt of which storage has a checkpoint and this disk has nothing: what it spent after that, nobody knows.
UNKNOWN_LOSS: Record = {
    "reason": "it was begun under a head that is gone", "lost_seconds": None, "lost_flops": None, "lost_joules": None
}  # fmt: skip


@dataclass(frozen=True)
class Spent:
    """What an attempt has spent since it began: seconds, FLOP and joules; None where it cannot be known."""

    seconds: float
    flops: float | None = None
    joules: float | None = None


@dataclass(frozen=True)
class Checkpointing:
    """How trials are to leave checkpoints.

    Attributes:
        every_seconds: Least time between two; a trial that is over by then leaves none [s].
        storage_uri: Storage that is given a copy; None for none.
        name: The sweep's folder there.
    """

    every_seconds: float
    storage_uri: str | None = None
    name: str = ""


class TrialCheckpoints(Protocol):
    """What one trial leaves on its way; none of the methods raises when the disk or the network fails."""

    every_seconds: float
    report_seconds: float

    def load(self) -> bytes | None:
        """What an earlier attempt left; None if there is nothing."""

    def save(self, content: bytes, spent: Spent) -> None:
        """Keep a checkpoint in place of the one before, whole or not at all."""

    def report(self, spent: Spent) -> None:
        """Say what this attempt has spent by now."""

    def discard(self, spent: Spent) -> None:
        """Drop what an earlier attempt left, in which so much was spent: it is of no use to this one."""


@dataclass
class Progress:
    """Of one trial: the attempts that left no record, and what the present one has spent.

    Attributes:
        retries: Per ended attempt ``reason``, ``lost_seconds``, ``lost_flops`` and ``lost_joules``.
        kept: What the present attempt had spent at its last checkpoint.
        reported: The same at its last word.
    """

    retries: list[Record] = field(default_factory=list)
    kept: Spent | None = None
    reported: Spent | None = None

    def end_attempt(self, reason: str, wall_seconds: float | None = None) -> Record:
        """Count the present attempt as ended without a record.

        Args:
            reason: Why it ended.
            wall_seconds: How long it took; what it said last if not given [s].
        """
        kept = self.kept or Spent(0.0, 0.0, 0.0)
        said = self.reported if self.reported and self.reported.seconds > kept.seconds else Spent(kept.seconds)
        taken = said.seconds if wall_seconds is None else wall_seconds
        lost = {
            "reason": reason,
            "lost_seconds": max(0.0, taken - kept.seconds),
            "lost_flops": _difference(said.flops, kept.flops),
            "lost_joules": _difference(said.joules, kept.joules),
        }
        self.retries.append(lost)
        self.kept = self.reported = None
        return lost


class CheckpointFolder:
    """Checkpoints and progress of a sweep's trials. Safe to call from several threads."""

    def __init__(self, records_folder: Path, checkpointing: Checkpointing | None = None) -> None:
        """Take over what an earlier driver left here or in the storage, less that of trials that have their record."""
        self._records_folder = records_folder
        self._folder = records_folder / FOLDER
        self._lock = threading.Lock()
        self._storage: Storage | None = None
        if checkpointing is not None:
            self._storage = open_storage(checkpointing.storage_uri, checkpointing.name)
        self._stored = self._list_storage()
        self._progress: dict[str, Progress] = {}
        self._local = {path.name.removesuffix(".pt") for path in self._folder.glob("*.pt")}
        for path in self._folder.glob("*.progress"):
            self._progress[path.name.removesuffix(".progress")] = _read_progress(path)
        for trial_id in self._local | self._stored | set(self._progress):
            if final_record(records_folder, trial_id) is not None:
                self.remove(trial_id)
        for progress in self._progress.values():
            if progress.kept or progress.reported:
                progress.end_attempt("its sweep ended before it did")
        for trial_id in self._stored - self._local - set(self._progress):
            self._progress[trial_id] = Progress([dict(UNKNOWN_LOSS)])

    def waiting(self) -> set[str]:
        """Ids of the trials that have a checkpoint."""
        return self._local | self._stored

    def load(self, trial_id: str) -> bytes | None:
        """The last checkpoint of a trial, from here or from the storage."""
        try:
            if self._path(trial_id).exists():
                return self._path(trial_id).read_bytes()
            if self._storage is not None and trial_id in self._stored:
                return self._storage.read_checkpoint(trial_id)
        except OSError as error:
            logger.warning("the checkpoint of trial %s cannot be read: %s", trial_id, error)
        return None

    def save(self, trial_id: str, content: bytes, spent: Spent) -> None:
        """Write a checkpoint under a temporary name, flush it to disk and rename it; then copy it to the storage."""
        try:
            write_atomically(self._path(trial_id), content)
        except OSError as error:
            logger.warning("a checkpoint of trial %s could not be written: %s", trial_id, error)
            return
        with self._lock:
            self._local.add(trial_id)
            self._of(trial_id).kept = spent
            self._write_progress(trial_id)
        if self._storage is not None:
            try:
                self._storage.write_checkpoint(trial_id, content)
                self._stored.add(trial_id)
            except OSError as error:
                logger.warning("storage %s took no checkpoint of trial %s: %s", self._storage.uri, trial_id, error)

    def report(self, trial_id: str, spent: Spent) -> None:
        """Note what the present attempt has spent by now."""
        with self._lock:
            self._of(trial_id).reported = spent
            self._write_progress(trial_id)

    def discard(self, trial_id: str, spent: Spent) -> None:
        """Drop a checkpoint; what went into it is lost with the attempt that wrote it."""
        with self._lock:
            progress = self._of(trial_id)
            if not progress.retries:
                progress.retries.append({"reason": "its checkpoint was of no use", "lost_seconds": 0.0,
                                         "lost_flops": 0.0, "lost_joules": 0.0})  # fmt: skip
            last = progress.retries[-1]
            last["lost_seconds"] = _sum(last["lost_seconds"], spent.seconds)
            last["lost_flops"] = _sum(last["lost_flops"], spent.flops)
            last["lost_joules"] = _sum(last["lost_joules"], spent.joules)
            self._write_progress(trial_id)
        self._remove_checkpoint(trial_id)

    def end_attempt(self, trial_id: str, reason: str, wall_seconds: float) -> Record:
        """Count an attempt that ended without a record, and return what was lost with it."""
        with self._lock:
            lost = self._of(trial_id).end_attempt(reason, wall_seconds)
            self._write_progress(trial_id)
        return lost

    def retries(self, trial_id: str) -> list[Record]:
        """The attempts of a trial that ended without a record."""
        progress = self._progress.get(trial_id)
        return progress.retries if progress else []

    def forget_progress(self, trial_id: str) -> None:
        """Drop what is known of the trial's attempts: it stands in a record now."""
        with self._lock:
            if self._progress.pop(trial_id, None) is not None:
                self._path(trial_id, "progress").unlink(missing_ok=True)

    def remove(self, trial_id: str) -> None:
        """Drop all of a trial that has its final record."""
        self.forget_progress(trial_id)
        if trial_id in self._local or trial_id in self._stored:
            self._remove_checkpoint(trial_id)

    def _remove_checkpoint(self, trial_id: str) -> None:
        self._path(trial_id).unlink(missing_ok=True)
        self._local.discard(trial_id)
        if self._storage is not None and trial_id in self._stored:
            try:
                self._storage.delete_checkpoint(trial_id)
                self._stored.discard(trial_id)
            except OSError as error:
                logger.warning("storage %s kept the checkpoint of trial %s: %s", self._storage.uri, trial_id, error)

    def _list_storage(self) -> set[str]:
        try:
            return self._storage.checkpoint_ids() if self._storage is not None else set()
        except OSError as error:
            logger.warning("the checkpoints in the storage cannot be listed: %s", error)
            return set()

    def _of(self, trial_id: str) -> Progress:
        return self._progress.setdefault(trial_id, Progress())

    def _path(self, trial_id: str, suffix: str = "pt") -> Path:
        return record_path(self._folder, trial_id).with_name(f"{trial_id}.{suffix}")

    def _write_progress(self, trial_id: str) -> None:
        text = json.dumps(asdict(self._progress[trial_id]))
        try:
            write_atomically(self._path(trial_id, "progress"), text.encode())
        except OSError as error:
            logger.warning("the progress of trial %s could not be written: %s", trial_id, error)


class OwnCheckpoints:
    """Checkpoints of one trial in a folder that its process can write: what a trial uses without Ray."""

    def __init__(
        self, folder: CheckpointFolder, trial_id: str, *, every_seconds: float, report_seconds: float = REPORT_SECONDS
    ) -> None:
        self._folder, self._trial_id = folder, trial_id
        self.every_seconds, self.report_seconds = every_seconds, report_seconds

    def load(self) -> bytes | None:
        """What an earlier attempt left."""
        return self._folder.load(self._trial_id)

    def save(self, content: bytes, spent: Spent) -> None:
        """Write it."""
        self._folder.save(self._trial_id, content, spent)

    def report(self, spent: Spent) -> None:
        """Note it."""
        self._folder.report(self._trial_id, spent)

    def discard(self, spent: Spent) -> None:
        """Drop what an earlier attempt left."""
        self._folder.discard(self._trial_id, spent)


class SentCheckpoints:
    """Checkpoints of one trial in a worker of Ray: they go to the keeper, so that no disk need be shared.

    Sending is no waiting: the trial goes on while the keeper writes, and waits only if the one before is not written.
    """

    report_seconds = REPORT_SECONDS

    def __init__(self, keeper: Any, trial_id: str, *, every_seconds: float, may_be_there: bool) -> None:
        self._keeper, self._trial_id, self._may_be_there = keeper, trial_id, may_be_there
        self.every_seconds = every_seconds
        # The keeper takes a worker's calls in their order, so that the last one's arrival is that of all.
        self._last_call: Any = None

    def load(self) -> bytes | None:
        """What an earlier attempt left; nobody is asked if there was none."""
        import ray

        return ray.get(self._call("load_checkpoint")) if self._may_be_there else None

    def save(self, content: bytes, spent: Spent) -> None:
        """Send it."""
        self.settle()
        self._last_call = self._call("save_checkpoint", content, spent)

    def report(self, spent: Spent) -> None:
        """Send it."""
        self._last_call = self._call("report_progress", spent)

    def discard(self, spent: Spent) -> None:
        """Drop what an earlier attempt left."""
        import ray

        ray.get(self._call("discard_checkpoint", spent))

    def settle(self) -> None:
        """Wait until all that was sent has arrived."""
        import ray

        if self._last_call is not None:
            ray.get(self._last_call)

    def _call(self, method: str, *arguments: Any) -> Any:
        return getattr(self._keeper, method).options(concurrency_group=GROUP).remote(self._trial_id, *arguments)


def _read_progress(path: Path) -> Progress:
    """Read what is known of a trial; nothing is known from a damaged file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        spent = {name: Spent(**content[name]) if content[name] else None for name in ("kept", "reported")}
        return Progress(list(content["retries"]), **spent)
    except (OSError, ValueError, KeyError, TypeError):
        logger.warning("%s is damaged; what earlier attempts of its trial spent is unknown", path)
        return Progress()


def _difference(later: float | None, earlier: float | None) -> float | None:
    return None if later is None or earlier is None else max(0.0, later - earlier)


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other
