"""Labelled images that are read by index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Labels = NDArray[np.int64]
Images = NDArray[np.uint8]


@runtime_checkable
class Examples(Protocol):
    """Labelled images that are read by index.

    `in_memory` says that reading is cheap enough to read a whole subset at once and keep it; where
    it is false, read batch by batch.
    """

    @property
    def labels(self) -> Labels:
        """Class of every example, shape (n,), 0 to n_classes - 1. May be read-only."""

    @property
    def in_memory(self) -> bool:
        """Whether a whole subset may be read at once."""

    def __len__(self) -> int:
        """Number of examples."""

    def read(self, indices: NDArray[np.int64]) -> Images:
        """Return the images at `indices`, a fresh array of shape (n, channels, height, width)."""


@dataclass(frozen=True)
class ArrayExamples:
    """Examples that lie in arrays, in memory or mapped from a file."""

    images: Images
    labels: Labels
    in_memory: bool = True

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: NDArray[np.int64]) -> Images:
        """Copy the images at `indices` out of the array."""
        return np.asarray(self.images[checked_indices(indices, len(self))])


def checked_indices(indices: ArrayLike, length: int) -> NDArray[np.int64]:
    """Return the indices as int64, none of them negative or past the end.

    Raises:
        ValueError: If an index lies outside; numpy would take -1 for the last example.
    """
    checked = np.asarray(indices, dtype=np.int64).reshape(-1)
    if checked.size and (checked.min() < 0 or checked.max() >= length):
        wrong = checked[(checked < 0) | (checked >= length)][0]
        raise ValueError(f"there is no example {wrong}; indices run from 0 to {length - 1}")
    return checked
