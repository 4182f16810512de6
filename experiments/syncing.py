"""What a results folder owes to others: records that MLflow or the storage missed, and those that it lacks itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.records import Record, read_record, record_path
from experiments.delivering import deliver, open_tracker
from experiments.destination import Destination, destination_of
from experiments.fitting import fit_runs
from experiments.results import SWEEP_FILE, TRIALS_FOLDER, read_sweep, read_sweep_records
from experiments.sweep import SweepSpec
from experiments.wording import part_of
from scaling.progress import Progress, silent

if TYPE_CHECKING:
    from cluster.storage import Storage


@dataclass(frozen=True)
class Synced:
    """What one sweep's folder gave and got.

    Attributes:
        name: The sweep.
        destination: Where its runs go.
        n_records: Records in the folder, those fetched now included.
        n_delivered: Records that MLflow had missed and has now.
        n_undelivered: Records that it still lacks.
        n_fetched: Records that came from the storage.
        n_stored: Records that went to the storage.
        problem: Why something is still missing; empty if nothing is.
    """

    name: str
    destination: Destination
    n_records: int
    n_delivered: int
    n_undelivered: int
    n_fetched: int
    n_stored: int
    problem: str = ""

    @property
    def sentence(self) -> str:
        """What was done, and what is left."""
        delivered = part_of(self.n_delivered, self.n_records, "trial")
        parts = [f"{self.name}: {delivered} delivered to MLflow now ({self.destination.shown})"]
        parts += [f"{self.n_fetched} fetched from the storage"] if self.n_fetched else []
        parts += [f"{self.n_stored} written to the storage"] if self.n_stored else []
        parts += [f"{self.n_undelivered} not in MLflow yet"] if self.n_undelivered else []
        return ", ".join(parts) + (f": {self.problem}" if self.problem else "")

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it, the address without credentials."""
        return {**asdict(self), "destination": self.destination.shown}


def sweep_folders(path: Path) -> list[Path]:
    """Find the sweeps of a path: the path itself, or the folders in it.

    Raises:
        ValueError: If there is no results folder of a sweep.
    """
    folders = [path] if (path / SWEEP_FILE).is_file() else sorted(file.parent for file in path.glob(f"*/{SWEEP_FILE}"))
    if not folders:
        raise ValueError(f"{path} holds no results of a sweep; give results or results/NAME")
    return folders


def sync_sweep(
    folder: Path, *, tracking_uri: str | None, storage_uri: str | None, progress: Progress = silent
) -> Synced:
    """Make folder, storage and MLflow agree on one sweep, and its own run in MLflow with them.

    `progress` hears how many of the records were looked at and, where need be, delivered.

    Raises:
        ValueError: If an address is of no kind that is written to, or a record is damaged.
        OSError: If the storage is away.
    """
    from cluster.storage import open_storage

    sweep = read_sweep(folder)
    storage = open_storage(storage_uri, sweep.name)
    n_fetched, n_stored = exchange(sweep, folder / TRIALS_FOLDER, storage) if storage else (0, 0)
    records = read_sweep_records(sweep, folder)
    destination = destination_of(sweep, folder, tracking_uri)
    tracker = open_tracker(sweep, folder.parent, destination.told)
    report = tracker.deliver_missing(_heard(records, progress))
    problem = report.problem
    if not report.n_missing and any(record["status"] == "finished" for record in records):
        try:
            problem = deliver(tracker, sweep, folder, fit_runs(folder, tracking_uri=destination.uri).analysis)
        except ValueError as error:
            problem = f"the run of the sweep itself was not written, since {error}"
    if problem and destination.remedy:
        problem += f"; {destination.remedy}"
    return Synced(
        sweep.name, destination, len(records), report.n_delivered, report.n_missing, n_fetched, n_stored, problem
    )  # fmt: skip


def _heard(records: Sequence[Record], progress: Progress) -> Iterator[Record]:
    """The records, one by one, with a word to whoever waits before each."""
    for number, record in enumerate(records):
        progress(number, len(records))
        yield record


def exchange(sweep: SweepSpec, folder: Path, storage: Storage) -> tuple[int, int]:
    """Fetch the records that a folder lacks, store those that the storage lacks, and count both."""
    wanted = {trial.trial_id for trial in sweep.trials()}
    n_fetched = storage.fetch(wanted, folder)
    stored = storage.trial_ids()
    missing = [trial_id for trial_id in sorted(wanted - stored) if record_path(folder, trial_id).exists()]
    storage.write_all(read_record(record_path(folder, trial_id)) for trial_id in missing)
    return n_fetched, len(missing)


def count_undelivered(sweep: SweepSpec, folder: Path, records: list[Record], tracking_uri: str | None) -> int:
    """Count the records of which the folder has no note that MLflow has them; nobody is asked."""
    from cluster.delivery_log import DeliveryLog
    from cluster.mlflow_values import digest

    tracker = open_tracker(sweep, folder.parent, destination_of(sweep, folder, tracking_uri).told)
    delivered = DeliveryLog(folder.absolute(), tracker.uri, tracker.experiment)
    found = [(delivered.find(record["trial_id"]), record) for record in records]
    return sum(delivery is None or delivery.digest != digest(record) for delivery, record in found)
