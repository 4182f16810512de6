"""The IDX format of MNIST: a magic number, the dimensions, then bytes; plain or gzipped.

Source:
    LeCun, Cortes and Burges, The MNIST database of handwritten digits, section "File formats".
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

_UNSIGNED_BYTE = 0x08


def idx_shape(path: Path, n_dimensions: int) -> tuple[int, ...]:
    """Read the shape of an IDX file of bytes from its header alone.

    Raises:
        ValueError: If it is no such file; the message names it.
    """
    with _sentences(path), _open(path) as file:
        return _header(file, path, n_dimensions)


def read_idx(path: Path, n_dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes.

    Raises:
        ValueError: If the magic number is wrong, or bytes are missing or left over.
    """
    with _sentences(path), _open(path) as file:
        shape = _header(file, path, n_dimensions)
        expected = math.prod(shape)
        content = file.read(expected + 1)
    if len(content) < expected:
        raise ValueError(
            f"{path} is cut off: its header promises {expected} bytes, {len(content)} are there; fetch it again"
        )
    if len(content) > expected:
        raise ValueError(f"{path} is longer than the {expected} bytes its header promises; fetch it again")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _open(path: Path) -> IO[bytes]:
    """Open a file, unpacked if it is gzipped, whatever its name says."""
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb")) if gzipped else path.open("rb")


def _header(file: IO[bytes], path: Path, n_dimensions: int) -> tuple[int, ...]:
    magic = file.read(4)
    expected = bytes([0, 0, _UNSIGNED_BYTE, n_dimensions])
    if magic != expected:
        raise ValueError(
            f"{path} begins with {magic.hex(' ') or 'nothing'}, an IDX file of bytes in {n_dimensions} "
            f"dimension{'s' * (n_dimensions > 1)} begins with {expected.hex(' ')}; it is another file or damaged"
        )
    sizes = file.read(4 * n_dimensions)
    if len(sizes) < 4 * n_dimensions:
        raise ValueError(f"{path} is cut off within its header; fetch it again")
    return struct.unpack(f">{n_dimensions}I", sizes)


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """Turn what a damaged gzip stream raises into one sentence."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged or cut off ({error}); fetch it again") from error
