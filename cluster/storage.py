"""Records on storage that outlives the head: a bucket, or a folder that machines share.

Each record is written there as it finishes, one small object under its trial's id. A head that is lost takes
nothing with it: the next one fetches what there is and goes on. pyarrow is imported when storage is opened.
"""

from __future__ import annotations

import json
import logging
import queue
import re
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from cluster.mlflow_errors import without_password
from cluster.records import RECORD_VERSION, Record, final_record, record_path, write_record

logger = logging.getLogger(__name__)

SCHEMES = ("s3://", "gs://", "gcs://", "file:///", "hdfs://")
PAUSES_SECONDS = (1.0, 4.0, 15.0)
CHECKPOINT_SUFFIX = ".pt"
# A bucket takes some tens of milliseconds for each object, and minutes for ten thousand one after the other.
AT_ONCE = 16


class Storage:
    """A folder of records at an address.

    Its methods raise OSError where the storage is away or refuses.
    """

    def __init__(self, uri: str) -> None:
        """Open storage; a folder that is not there is made with the first record.

        Raises:
            ValueError: If the address is of no kind that pyarrow writes to, or cannot be read.
        """
        if not uri.startswith(SCHEMES):
            raise ValueError(f"storage {without_secrets(uri)!r} is none of {', '.join(SCHEMES)}")
        import pyarrow
        from pyarrow import fs

        self.uri = without_secrets(uri)
        try:
            self._files, path = fs.FileSystem.from_uri(uri)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise ValueError(f"storage {self.uri!r} cannot be opened: {_first_line(error)}") from None
        self._folder = path.rstrip("/")

    def write(self, record: Record) -> None:
        """Write one record over an earlier one of the same trial; half of one is never seen."""
        name = record_path(Path(), str(record["trial_id"])).name
        text = json.dumps({"record_version": RECORD_VERSION, **record}, allow_nan=False)
        self._write(self._folder, name, text.encode())

    def fetch(self, trial_ids: Iterable[str], folder: Path) -> int:
        """Fetch the final records that a folder lacks, and return how many came."""
        wanted = sorted(set(trial_ids) & self.trial_ids())
        lacking = [trial_id for trial_id in wanted if final_record(folder, trial_id) is None]
        n_new = 0
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for record in pool.map(self._read, lacking):
                if record is not None:
                    write_record(folder, record)
                    n_new += 1
        return n_new

    def write_all(self, records: Iterable[Record]) -> None:
        """Write many records, several at a time."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(self.write, records):
                pass

    def trial_ids(self) -> set[str]:
        """Ids of the trials that have a record here."""
        return self._ids(self._folder, ".json")

    def write_checkpoint(self, trial_id: str, content: bytes) -> None:
        """Write a trial's checkpoint over the one before; half of one is never seen."""
        self._write(self._checkpoints, record_path(Path(), trial_id).with_suffix(CHECKPOINT_SUFFIX).name, content)

    def read_checkpoint(self, trial_id: str) -> bytes:
        """Read the checkpoint of a trial that has one here."""
        with self._files.open_input_stream(f"{self._checkpoints}/{trial_id}{CHECKPOINT_SUFFIX}") as stream:
            return stream.read()

    def delete_checkpoint(self, trial_id: str) -> None:
        """Delete the checkpoint of a trial that has one here."""
        self._files.delete_file(f"{self._checkpoints}/{trial_id}{CHECKPOINT_SUFFIX}")

    def checkpoint_ids(self) -> set[str]:
        """Ids of the trials that have a checkpoint here."""
        return self._ids(self._checkpoints, CHECKPOINT_SUFFIX)

    @property
    def _checkpoints(self) -> str:
        return f"{self._folder}/checkpoints"

    def _ids(self, folder: str, suffix: str) -> set[str]:
        from pyarrow import fs

        found = self._files.get_file_info(fs.FileSelector(folder, allow_not_found=True))
        names = [Path(entry.path).name for entry in found if entry.is_file]
        return {name.removesuffix(suffix) for name in names if name.endswith(suffix) and not name.startswith(".")}

    def _write(self, folder: str, name: str, content: bytes) -> None:
        self._files.create_dir(folder, recursive=True)
        # A bucket shows an object when it is whole; a folder gets it by a rename.
        is_folder = self._files.type_name == "local"
        target = f"{folder}/{'.' if is_folder else ''}{name}"
        with self._files.open_output_stream(target) as stream:
            stream.write(content)
        if is_folder:
            self._files.move(target, f"{folder}/{name}")

    def _read(self, trial_id: str) -> Record | None:
        """Read a record; None if what is there is none of this trial, which is then run again."""
        with self._files.open_input_stream(f"{self._folder}/{trial_id}.json") as stream:
            content = stream.read()
        try:
            record = json.loads(content)
        except ValueError:
            record = None
        if not isinstance(record, dict) or record.get("trial_id") != trial_id or "row" not in record:
            logger.warning("%s/%s.json is damaged; its trial is run again", self.uri, trial_id)
            return None
        return record


class Mirror:
    """A listener of a sweep that copies its records to storage, in a thread of its own."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._queue: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._copy, name="storage-mirror", daemon=True)
        self._missing: list[Record] = []
        self.problem = ""

    def started(self, trial_id: str) -> None:
        """Do nothing: records are what is copied."""

    def retried(self, trial_id: str, reason: str) -> None:
        """Do nothing: the record will count its retries."""

    def finished(self, record: Record) -> None:
        """Queue a record; the sweep does not wait."""
        self._queue.put(record)

    def __enter__(self) -> Mirror:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Copy what is queued, try once more what had failed, and say in `problem` what is not there."""
        self._queue.put(None)
        self._thread.join()
        missing, self._missing = self._missing, []
        for record in missing:
            self._try(record)
        if not self._missing:
            self.problem = ""

    @property
    def n_missing(self) -> int:
        """Records that the storage did not take."""
        return len(self._missing)

    def _copy(self) -> None:
        while (record := self._queue.get()) is not None:
            self._try(record, PAUSES_SECONDS if not self._missing else ())

    def _try(self, record: Record, pauses: tuple[float, ...] = ()) -> None:
        for pause_seconds in (*pauses, None):
            try:
                self._storage.write(record)
                return
            except OSError as error:
                if pause_seconds is None:
                    if not self._missing:
                        logger.warning("storage %s took no record: %s", self._storage.uri, _first_line(error))
                    self.problem = _first_line(error)
                    self._missing.append(record)
                    return
                time.sleep(pause_seconds)


def without_secrets(uri: str) -> str:
    """Show an address without keys: pyarrow reads them from before an @ and from after a question mark."""
    return without_password(uri).split("?")[0]


def _first_line(error: Exception) -> str:
    return without_keys((str(error).splitlines() or [type(error).__name__])[0])[:200]


def without_keys(text: str) -> str:
    """Blot out what looks like a key of a cloud in a message."""
    return re.sub(r"(?i)(access_key|secret_key|token|password)=[^&\s]+", r"\1=...", without_password(text))


def open_storage(uri: str | None, name: str) -> Storage | None:
    """Open the folder of one sweep below an address; None for no address."""
    if not uri:
        return None
    head, mark, options = uri.partition("?")
    return Storage(f"{head.rstrip('/')}/{name}/trials{mark}{options}")
