"""Trials that have ended, taken out of Tune, so that the ten-thousandth costs what the first did.

Tune keeps every trial that it has seen, 20 KiB each, and looks through all of them at every event. Nobody asks it
for them here: the records on disk are the truth.
"""

from __future__ import annotations

from typing import Any

ENDED = frozenset({"TERMINATED", "ERROR"})
# Where Tune 2.60 keeps trials that have ended. Another version may have other places: memory grows then, and a test
# says so.
PLACES = ("_live_trials", "_stopped_trials", "_failed_trials", "_trials_to_cache")


class Forgetter:
    """Takes ended trials out of Tune's controller, one decision after they were said to end."""

    def __init__(self) -> None:
        self._controller: Any = None
        self._ending: list[Any] = []
        self._last: Any = None

    def note(self, controller: Any, trial: Any) -> None:
        """Hear that a trial is about to end, or to be tried again."""
        self._controller = controller
        self._ending.append(trial)

    def forget(self) -> None:
        """Take out what has ended; the newest stays, since Tune reads its files again where it finds no trial left."""
        ended = [trial for trial in self._ending if trial.status in ENDED]
        self._ending.clear()
        for trial in ended:
            if self._last is not None:
                _take_out(self._controller, self._last)
            self._last = trial


def _take_out(controller: Any, trial: Any) -> None:
    controller.get_trials().remove(trial)
    for place in PLACES:
        getattr(controller, place, set()).discard(trial)
    getattr(controller, "_trial_metadata", {}).pop(trial.trial_id, None)
