"""Where the commands print."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

LOG_COLUMNS = 140


def make_console(*, stderr: bool = False) -> Console:
    """A console of the terminal's width; where there is none, tables get the room they need instead of 80 columns."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(highlight=False, width=None if stream.isatty() else LOG_COLUMNS, stderr=stderr)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Say in a terminal what takes its time, and how long it has; a log is told nothing."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(what, total=None)
        yield
