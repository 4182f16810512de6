"""Where the commands print."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from scaling.progress import Progress

LOG_COLUMNS = 140


def make_console(*, stderr: bool = False) -> Console:
    """A console of the terminal's width; where there is none, tables get the room they need instead of 80 columns."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(highlight=False, width=None if stream.isatty() else LOG_COLUMNS, stderr=stderr)


@contextmanager
def working(what: str, console: Console | None = None) -> Iterator[Progress]:
    """Say in a terminal what takes its time, how long it has, and how long it will; a log is told nothing.

    Yields:
        What hears how far the work has come. Until it first hears, the time left is unknown.

    Args:
        what: What is done.
        console: Where to write; standard error if None.
    """
    from scaling.progress import silent

    if console is None and not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    words, left = TextColumn("{task.description}"), TextColumn("{task.fields[left]}")
    columns = (SpinnerColumn(), words, BarColumn(), TimeElapsedColumn(), left)
    with Bar(*columns, console=console or Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, left="")
        began = time.monotonic()

        def hear(n_done: int, n_all: int) -> None:
            bar.update(task, completed=n_done, total=n_all, left=time_left(n_done, n_all, time.monotonic() - began))

        yield hear


def time_left(n_done: int, n_all: int, seconds: float) -> str:
    """What is left of work of which some parts took so long, in words; nothing where no part is done."""
    from experiments.wording import seconds_text

    return f"{seconds_text(seconds * (n_all - n_done) / n_done)} left" if n_done else ""


def say_next(*command: object) -> None:
    """Print the next command to type, as the last line, quoted for a shell."""
    sys.stdout.write(f"next: {shlex.join(map(str, command))}\n")
