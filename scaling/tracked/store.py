"""What is asked of a place that keeps MLflow's runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class TrackedRun:
    """One run that has ended, as MLflow keeps it.

    Attributes:
        run_id: MLflow's id.
        status: MLflow's status: ``FINISHED``, ``FAILED`` or ``KILLED``.
        started, ended: Milliseconds since 1970; None where MLflow does not know.
        artifacts: Where its files lie.
        metrics: The last value of each.
        params, tags: Texts.
    """

    run_id: str
    status: str
    started: int | None
    ended: int | None
    artifacts: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


class Store(Protocol):
    """A place that keeps runs. All methods raise ValueError, with one sentence, if it does not answer."""

    shown: str

    def experiments(self) -> dict[str, str]:
        """Id of every experiment that is not deleted, by name."""

    def runs(self, experiment_id: str) -> Iterator[TrackedRun]:
        """Every run of an experiment that has ended and is not deleted, in no order."""

    def history(self, run_ids: Sequence[str], metric: str) -> dict[str, list[tuple[int, float]]]:
        """Step and value of every point of a metric, by run; runs without the metric are absent."""

    def artifact(self, run: TrackedRun, name: str) -> bytes | None:
        """Content of a file of a run; None if it has no such file."""


def find_experiment(store: Store, name: str, number: str = "") -> tuple[str, str]:
    """Name and id of an experiment; of the only one, where neither name nor number is given.

    Raises:
        ValueError: If there is no such experiment, or several to choose from.
    """
    found = store.experiments()
    if name in found:
        return name, found[name]
    for other, identifier in found.items():
        if number and identifier == number:
            return other, identifier
    # MLflow makes `Default` by itself.
    names = sorted(other for other in found if other != "Default")
    listed = f"; it has {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}" if names else "; it has none"
    if name or number:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else listed
        raise ValueError(f"{store.shown} has no experiment {name or f'number {number}'!r}{hint}")
    if len(names) != 1:
        raise ValueError(f"no experiment of {store.shown} is named; write {store.shown}#EXPERIMENT{listed}")
    return names[0], found[names[0]]
