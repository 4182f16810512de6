"""Glyphs kept on disk once they have been drawn, shared by the processes of a node.

One sparse file per split and size: a checksum per glyph, then the pixels of each. A glyph counts as
drawn when its checksum fits its pixels, so half a write, by a process that was killed or a machine
that lost power, reads as not drawn. Two processes that draw the same glyph write the same bytes.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.data.cache import node_lock, writing
from experiments.data.examples import Images, Labels, checked_indices

# Indices that share a lock: as many processes as there are blocks can draw at once.
BLOCK = 65_536
_CHECKSUM = np.dtype("<u4")


@dataclass(frozen=True)
class StoredExamples:
    """Examples that are functions of their index, drawn when first read.

    Args:
        labels: Class of every example.
        shape: Shape of one example, (channels, height, width).
        draw: Draws the examples at some indices, uint8, shape (n, channels, height, width).
        cache_folder: Where the file lies.
        name: Names the content: the same name always means the same examples.
    """

    labels: Labels
    shape: tuple[int, int, int]
    draw: Callable[[NDArray[np.int64]], Images]
    cache_folder: Path
    name: str
    in_memory: bool = True

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: NDArray[np.int64]) -> Images:
        """Read the examples at `indices`, drawing those that no process of the node has drawn.

        Raises:
            ValueError: If an index lies outside, or the cache folder cannot be written.
        """
        wanted = checked_indices(indices, len(self))
        path = self._existing_file()
        rows, drawn = self._rows(path, wanted)
        if not drawn.all():
            self._fill(path, np.unique(wanted[~drawn]))
            rows, drawn = self._rows(path, wanted)
            if not drawn.all():  # The file was deleted in between; what is asked for still has one answer.
                rows[~drawn] = self.draw(wanted[~drawn]).reshape(-1, self._row_bytes)
        return rows.reshape(-1, *self.shape)

    @property
    def _row_bytes(self) -> int:
        return int(np.prod(self.shape))

    def _existing_file(self) -> Path:
        """Make the file, all holes, unless it is there."""
        path = self.cache_folder / f"{self.name}.rows"
        if not path.exists():
            with node_lock(self.cache_folder, self.name), writing(self.cache_folder):
                if not path.exists():
                    self._make_file(path)
        return path

    def _make_file(self, path: Path) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)
            # The checksums get real blocks, so that writing them through the mapping cannot meet a full disk.
            file.write(bytes(len(self) * _CHECKSUM.itemsize))
            file.truncate(len(self) * (_CHECKSUM.itemsize + self._row_bytes))
        os.replace(temporary, path)

    def _rows(self, path: Path, wanted: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Copy the rows out of the file, and tell which of them have been drawn."""
        rows = np.zeros((len(wanted), self._row_bytes), dtype=np.uint8)
        try:
            content = _map_for_random_access(path)
        except FileNotFoundError:
            return rows, np.zeros(len(wanted), dtype=np.bool_)
        start = len(self) * _CHECKSUM.itemsize
        checksums = content[:start].view(_CHECKSUM)[wanted]
        written = checksums > 0
        rows[written] = content[start:].reshape(len(self), self._row_bytes)[wanted[written]]
        return rows, _checksums(rows) == checksums

    def _fill(self, path: Path, missing: NDArray[np.int64]) -> None:
        """Draw what is missing, block by block, each process beginning with another block."""
        blocks = np.unique(missing // BLOCK)
        for block in np.roll(blocks, os.getpid()):
            with node_lock(self.cache_folder, f"{self.name}-{block}"), writing(self.cache_folder):
                members = missing[missing // BLOCK == block]
                still_missing = members[~self._rows(path, members)[1]]
                if len(still_missing):
                    # Where the file was deleted meanwhile there is nothing to keep; `read` draws again.
                    with suppress(FileNotFoundError):
                        self._write(path, still_missing)

    def _write(self, path: Path, indices: NDArray[np.int64]) -> None:
        rows = self.draw(indices).reshape(-1, self._row_bytes)
        start = len(self) * _CHECKSUM.itemsize
        ends = np.flatnonzero(np.diff(indices) != 1) + 1
        with path.open("r+b", buffering=0) as file:
            # Plain writes, not the mapping: a full disk is then an error and not a fatal signal.
            for run in np.split(np.arange(len(indices)), ends):
                file.seek(start + int(indices[run[0]]) * self._row_bytes)
                file.write(rows[run[0] : run[-1] + 1].tobytes())
            checksums = np.memmap(file, dtype=_CHECKSUM, mode="r+", shape=(len(self),))
            checksums[indices] = _checksums(rows)


def _map_for_random_access(path: Path) -> NDArray[np.uint8]:
    """Map a file read-only, without reading ahead: in a sparse file that was measured to cost seconds."""
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_RANDOM"):
        mapped.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(mapped, dtype=np.uint8)


def _checksums(rows: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """One more than the sum of a row's bytes: never the 0 of a hole."""
    return rows.sum(axis=1, dtype=np.uint32) + np.uint32(1)
