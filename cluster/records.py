"""Finished trials on disk: one JSON file each, the truth that resume and reports rest on.

A record is a mapping with at least ``trial_id``, ``status`` and ``row`` (its line of the runs
table). This module knows nothing of what was measured, and imports neither Ray nor MLflow.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]

RECORD_VERSION = 1
# A trial that failed is tried again by the next start of its sweep; all else is a result.
FINAL_STATUSES = frozenset({"finished", "diverged", "stopped"})
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def write_record(folder: Path, record: Record) -> Path:
    """Write one record under a temporary name, flush it to disk, and rename it into place.

    An interrupted write leaves no record and no half of one. An earlier record of the same trial
    is replaced.

    Raises:
        ValueError: If the trial id could leave the folder, or the record holds NaN or infinity.
        OSError: If the disk is full or the folder cannot be written.
    """
    path = record_path(folder, str(record["trial_id"]))
    text = json.dumps({"record_version": RECORD_VERSION, **record}, allow_nan=False, indent=1)
    write_atomically(path, text.encode())
    return path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, flush it to disk and rename it over what was there.

    Raises:
        OSError: If the disk is full or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_record(path: Path) -> Record:
    """Read one record.

    Raises:
        ValueError: If the file is no record of this version; the message names it.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and its trial is run again") from None
    version = record.get("record_version") if isinstance(record, dict) else None
    if version != RECORD_VERSION:
        raise ValueError(
            f"{path} is a record of version {version!r}, this program reads {RECORD_VERSION}; move it away"
        )
    return record


def read_records(folder: Path) -> Iterator[Record]:
    """Yield every record of a folder in the order of the trial ids; none if there is no folder."""
    for path in sorted(folder.glob("*.json")):
        yield read_record(path)


def final_ids(folder: Path, among: Iterable[str]) -> set[str]:
    """Which of some trials need not be run again; other records in the folder are not looked at."""
    return {trial_id for trial_id in among if final_record(folder, trial_id) is not None}


def final_record(folder: Path, trial_id: str) -> Record | None:
    """Read the record of a trial if there is one that need not be made again."""
    path = record_path(folder, trial_id)
    record = read_record(path) if path.exists() else None
    return record if record and record["status"] in FINAL_STATUSES else None


def record_path(folder: Path, trial_id: str) -> Path:
    """Where the record of a trial lies.

    Raises:
        ValueError: If the id holds anything but letters, digits, dots, dashes and underscores.
    """
    if not _SAFE_ID.fullmatch(trial_id):
        raise ValueError(f"trial id {trial_id!r} may hold only letters, digits, '.', '_' and '-'")
    return folder / f"{trial_id}.json"
