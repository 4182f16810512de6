"""Arrays that every process of a node maps from the same files, written once.

Deleting the cache is safe at any time, while it is written or read included: a process keeps the
files it has opened, and the next one writes them anew. The folder belongs on a local disk: locks and
shared mappings are between the processes of one node.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

DATA_VARIABLE = "NINTHPOWER_DATA"
CACHE_VARIABLE = "NINTHPOWER_CACHE"
_MANIFEST = "arrays.json"


def default_data_folder() -> Path:
    """Where data sets are looked for: $NINTHPOWER_DATA, else ~/.cache/ninthpower/data."""
    return _folder(DATA_VARIABLE, "data")


def default_cache_folder() -> Path:
    """Where decoded arrays are kept: $NINTHPOWER_CACHE, else ~/.cache/ninthpower/arrays."""
    return _folder(CACHE_VARIABLE, "arrays")


def cached_arrays(cache_folder: Path, name: str, make: Callable[[], Mapping[str, NDArray[Any]]]) -> Arrays:
    """Return read-only arrays mapped from the cache, making them first if no process has.

    Args:
        cache_folder: A folder on a local disk; it need not exist.
        name: Name and hash of the content: the same name always means the same arrays.
        make: Called in at most one process of the node, under a lock.

    Returns:
        The arrays by name, not writable.

    Raises:
        ValueError: If the cache folder cannot be written.
    """
    folder = cache_folder / name
    arrays = _open(folder)
    if arrays is None:
        with node_lock(cache_folder, name):
            arrays = _open(folder)
            while arrays is None:
                with writing(cache_folder):
                    _publish(folder, make())
                arrays = _open(folder)
    return arrays


@contextmanager
def node_lock(cache_folder: Path, name: str) -> Iterator[None]:
    """Hold the node's only lock of this name; it is freed when its holder ends, however it ends.

    Raises:
        ValueError: If the cache folder cannot be written.
    """
    from filelock import FileLock

    with writing(cache_folder):
        cache_folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(cache_folder / f"{name}.lock")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writing(cache_folder: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a sentence.

    Raises:
        ValueError: If an operation in the block fails with an OSError.
    """
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"the cache folder {cache_folder} cannot be written ({error}); "
            f"set {CACHE_VARIABLE} to a folder on a local disk with room"
        ) from error


def content_hash(paths: list[Path]) -> str:
    """Hash of what the files hold, wherever they lie: 16 hexadecimal digits.

    A file is read once per process for as long as its size and time of change stay.
    """
    digest = hashlib.sha256()
    for path in paths:
        status = path.stat()
        digest.update(_file_hash(path, status.st_size, status.st_mtime_ns))
    return digest.hexdigest()[:16]


@functools.lru_cache(maxsize=256)
def _file_hash(path: Path, _size: int, _changed_ns: int) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _folder(variable: str, name: str) -> Path:
    chosen = os.environ.get(variable)
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "ninthpower" / name


def _open(folder: Path) -> Arrays | None:
    """Map the arrays of a folder, or return None where it is absent or being deleted."""
    try:
        names = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in names}
    except (FileNotFoundError, NotADirectoryError):
        return None


def _publish(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the arrays under a temporary name, flush them to disk, and rename the folder into place."""
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-", suffix=".tmp"))
    try:
        for name, array in arrays.items():
            with (temporary / f"{name}.npy").open("wb") as file:
                np.save(file, np.ascontiguousarray(array), allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
        (temporary / _MANIFEST).write_text(json.dumps(sorted(arrays)), encoding="utf-8")
        temporary.chmod(0o755)
        _move_into_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_into_place(temporary: Path, folder: Path) -> None:
    """Rename, over the remains of a half-deleted folder if need be.

    Whoever deletes the cache may delete the lock too, and let a second writer in. The one that comes
    second finds a whole folder and leaves it.
    """
    if _open(folder) is not None:
        return
    shutil.rmtree(folder, ignore_errors=True)
    try:
        temporary.rename(folder)
    except OSError:
        if _open(folder) is None and temporary.exists():
            raise
