"""Workers that Ray's own memory monitor ends, on clusters that have it switched on.

Ray says so by an error that is no actor's death. Tune knows deaths of actors alone, and ends the sweep at anything
else. Here it is told of a death, whose message says what it was: the trial is then repeated like any other whose
machine ran short of memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray

# Where the actor manager that Tune 2.60 uses hears of errors. In another version they may be elsewhere: such a sweep
# ends then with an error, and a test says so.
HEARERS = ("_actor_task_failed", "_actor_start_failed")


def tell_evictions_as_deaths(controller: Any) -> None:
    """See to it that Tune hears of the death of an actor where Ray ended one for want of memory; once is enough."""
    manager = getattr(controller, "_actor_manager", None)
    for name in HEARERS:
        hear = getattr(manager, name, None)
        if hear is not None and name not in vars(manager):
            setattr(manager, name, _translating(hear))


def _translating(hear: Callable[..., None]) -> Callable[..., None]:
    def hear_translated(*actor: Any, exception: Exception, **named: Any) -> None:
        if isinstance(exception, ray.exceptions.OutOfMemoryError):
            exception = ray.exceptions.RayActorError(error_msg=str(exception))
        hear(*actor, exception=exception, **named)

    return hear_translated
