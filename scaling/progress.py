"""How far a long computation has come, for whoever waits for it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Hears how far a computation has come."""

    def __call__(self, n_done: int, n_all: int) -> None:
        """`n_done` of `n_all` parts of about the same length are done; called at the start with 0."""


def silent(n_done: int, n_all: int) -> None:
    """Tell nobody."""
    del n_done, n_all
