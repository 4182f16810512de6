"""Progress of a sweep, on a terminal or as plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from experiments.wording import flops_text, part_of, seconds_text

LOG_SECONDS = 10.0


class SweepProgress:
    """Follows a sweep's trials; use it as a context manager around the run.

    Args:
        seconds: Expected duration of each trial still to run, by id; for the time left.
        flops: Expected training FLOP of each, by id.
        console: Where to write; a bar on a terminal, else a line every ten seconds.
        quiet: Write nothing.
        clock: For tests.
    """

    def __init__(
        self,
        seconds: Mapping[str, float],
        flops: Mapping[str, float],
        *,
        console: Console,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds, self._flops = dict(seconds), dict(flops)
        self._console, self._quiet, self._clock = console, quiet, clock
        self._running: set[str] = set()
        self._done: dict[str, str] = {}
        self._spent = 0.0
        self._retries = 0
        self._best: float | None = None
        self._bar: Progress | None = None
        self._began = self._last_line = clock()

    def __enter__(self) -> SweepProgress:
        self._began = self._last_line = self._clock()
        if self._console.is_terminal and not self._quiet:
            self._bar = Progress(
                TextColumn("trials"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.description}"),
                console=self._console,
            )
            self._task = self._bar.add_task("", total=len(self._seconds))
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif not self._quiet and self._done:
            self._console.print(self.line(), highlight=False)

    def started(self, trial_id: str) -> None:
        """A trial began."""
        self._running.add(trial_id)
        self._show()

    def retried(self, trial_id: str, reason: str) -> None:
        """A trial's worker died and the trial begins again."""
        self._running.discard(trial_id)
        self._retries += 1
        if not self._quiet:
            self._console.print(f"trial {trial_id} begins again: {reason}", highlight=False)

    def finished(self, record: Mapping[str, Any]) -> None:
        """A trial left its record."""
        trial_id, row = record["trial_id"], record["row"]
        self._running.discard(trial_id)
        self._done[trial_id] = record["status"]
        self._spent += row.get("train_flops", 0.0)
        error = row.get("test_error")
        if error is not None and (self._best is None or error < self._best):
            self._best = error
        # The worker that is free now takes the next trial at once; a line says what runs then.
        if self._bar is not None or len(self._done) + len(self._running) >= len(self._seconds):
            self._show()

    def line(self) -> str:
        """One line that says where the sweep stands."""
        failed = sum(status != "finished" for status in self._done.values())
        parts = [part_of(len(self._done), len(self._seconds), "trial"), *self._details(failed)]
        return ", ".join(parts)

    def _details(self, failed: int) -> list[str]:
        parts = [f"{len(self._running)} running"]
        parts += [f"{failed} not finished"] if failed else []
        parts += [f"{self._retries} begun again"] if self._retries else []
        parts.append(f"{flops_text(self._spent)} of {flops_text(sum(self._flops.values()))}")
        parts += [f"best error {self._best:.2%}"] if self._best is not None else []
        left = self._seconds_left()
        parts += [f"{seconds_text(left)} left"] if left is not None else []
        return parts

    def _seconds_left(self) -> float | None:
        done = sum(self._seconds.get(trial_id, 0.0) for trial_id in self._done)
        total = sum(self._seconds.values())
        if not done:
            return None
        return max(0.0, (self._clock() - self._began) * (total - done) / done)

    def _show(self) -> None:
        if self._quiet:
            return
        failed = sum(status != "finished" for status in self._done.values())
        if self._bar is not None:
            self._bar.update(self._task, completed=len(self._done), description=", ".join(self._details(failed)))
        elif self._clock() - self._last_line >= LOG_SECONDS:
            self._last_line = self._clock()
            self._console.print(self.line(), highlight=False)
