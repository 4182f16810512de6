"""One driver at a time on a folder of records."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_SECONDS = 0.5


class FolderInUseError(RuntimeError):
    """Another process works on the folder; the message names it."""


@contextmanager
def hold_folder(folder: Path, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Keep every other driver out of a folder for as long as the block lasts.

    The operating system frees the lock when its holder ends, in whatever way. On a shared file system
    this holds as far as that system honours `flock`, which is not checked.

    Args:
        folder: Folder of records; created if there is none.
        wait_seconds: How long to wait for the other to end before giving up.

    Raises:
        FolderInUseError: If another process holds the folder; host and process id are named.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_seconds
    with open(folder / ".lock", "a+", encoding="utf-8") as file:
        while not _try_lock(file.fileno()):
            if time.monotonic() >= deadline:
                raise FolderInUseError(
                    f"{folder} is in use by {_holder(folder)}; wait for it to end, or stop it and start again"
                )
            time.sleep(_POLL_SECONDS)
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(folder: Path) -> str:
    try:
        holder = json.loads((folder / ".lock").read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process that has just begun or is about to end"


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other process is in a block on the same lock file, and keep them out meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        yield
