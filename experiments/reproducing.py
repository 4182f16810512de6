"""Whether trials can be made again: the same settings twice, column by column, to the last bit."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cluster.records import Record
from experiments.results import read_results
from experiments.sweep import SweepSpec
from scaling.words import agree, counted

# What a clock, a meter or the machine itself says: never the same twice, and no claim of a trial.
CLOCK_WORDS = ("seconds", "joules", "carbon", "utilisation", "hardware_burden", "peak_memory")
MACHINE_COLUMNS = frozenset({
    "device", "devices", "peak_flops_per_second", "energy_source", "region", "sweep", "inference_batch",
})  # fmt: skip
COMPARABLE = ("finished", "diverged")


@dataclass(frozen=True)
class ColumnDifference:
    """A column that is not the same.

    Attributes:
        column: Of the runs table, or ``curve.`` and a column of the training curve.
        n_trials: Trials in which it differs.
        largest: Largest difference relative to the larger of both values; None where they are no numbers.
        first_trial: Settings of the first of these trials, in words.
        before, now: Its values there.
    """

    column: str
    n_trials: int
    largest: float | None
    first_trial: str
    before: Any
    now: Any

    @property
    def sentence(self) -> str:
        """The difference in words."""
        size = "" if self.largest is None else f", by up to {self.largest:.2g} of its value"
        return (
            f"{self.column} differs in {counted(self.n_trials, 'trial')}{size}; in {self.first_trial} it was "
            f"{self.before!r} and is {self.now!r}."
        )


@dataclass(frozen=True)
class Reproduction:
    """Two makings of the same trials, compared.

    Attributes:
        n_trials: Trials compared.
        columns: What was compared.
        differences: What is not the same; empty if all is.
        conditions: What the two were made under that is not the same, in words.
        n_left_out: Trials that failed or were stopped, or that only one side has: of them nothing is said.
        is_uncommitted: Whether the code was not that of a commit alone, so that it may differ under one name.
    """

    n_trials: int
    columns: tuple[str, ...]
    differences: tuple[ColumnDifference, ...]
    conditions: tuple[str, ...]
    n_left_out: int = 0
    is_uncommitted: bool = False

    @property
    def exit_code(self) -> int:
        """0: all columns are the same; 1: some differ."""
        return 1 if self.differences else 0

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        trials = counted(self.n_trials, "trial")
        if not self.differences:
            agrees = agree(self.n_trials, "agrees", "agree")
            return f"The same: {trials} {agrees} in all {len(self.columns)} columns, to the last bit."
        names = ", ".join(one.column for one in self.differences)
        return f"Not the same: of {len(self.columns)} columns of {trials} these differ: {names}."

    @property
    def explanation(self) -> str:
        """What may be the cause, or that nothing known is."""
        if self.conditions:
            return "What they were made under differs: " + "; ".join(self.conditions) + "."
        if self.differences and self.is_uncommitted:
            return (
                "Versions, processor and threads are the same, and so is the commit, but files were changed beyond it: "
                "compare those, or commit them and run both again."
            )
        if self.differences:
            return (
                "Commit, versions, processor and threads are the same: something in the code draws from the clock, "
                "from an unseeded generator or from what ran before."
            )
        return "Commit, versions, processor and threads are the same."

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "same": not self.differences, "n_trials": self.n_trials, "n_left_out": self.n_left_out,
            "columns": list(self.columns), "differences": [asdict(one) for one in self.differences],
            "conditions": list(self.conditions), "sentence": self.sentence, "explanation": self.explanation,
        }  # fmt: skip


def reproduce(
    results: Path, *, n_trials: int | None = None, threads: int | None = None, data_folder: Path | None = None
) -> Reproduction:
    """Run trials of a results folder again in this process, and compare what is found.

    Args:
        results: Results folder of a sweep.
        n_trials: How many; one of every cell if not given. Of every cell the first seed comes before second seeds.
        threads: Of torch; those of the record if not given.
        data_folder: Where data sets are looked for.

    Raises:
        ValueError: If there is no trial that can be made again.
    """
    from experiments.running import machine_for
    from experiments.trial import run_payload

    records, sweep = _records_of(results)
    kept = [record for record in records if _is_comparable(record)]
    if not kept:
        raise ValueError(f"{results} holds no trial that finished or diverged, so there is nothing to make again")
    chosen = _spread_over_cells(kept)
    chosen = chosen[: n_trials or len({record["row"]["cell"] for record in kept})]
    pairs = []
    for record in chosen:
        used = threads or record.get("environment", {}).get("threads", 1)
        machine = replace(machine_for(sweep, data_folder), threads=used)
        pairs.append((record, _as_kept(run_payload(record, machine=machine, sweep=sweep.name))))
    return compare_records(pairs, n_left_out=len(records) - len(kept))


def compare_results(results: Path, others: Path) -> Reproduction:
    """Compare two results folders trial by trial, and run nothing.

    Raises:
        ValueError: If they have no trial in common.
    """
    first = {record["trial_id"]: record for record in _records_of(results)[0]}
    second = {record["trial_id"]: record for record in _records_of(others)[0]}
    both = [name for name in first if name in second and _is_comparable(first[name]) and _is_comparable(second[name])]
    if not both:
        raise ValueError(
            f"{results} and {others} have no trial in common; give two results folders of the same sweep, or none to "
            "run trials again"
        )
    return compare_records(
        [(first[name], second[name]) for name in both], n_left_out=len(first.keys() | second.keys()) - len(both)
    )


def compare_records(pairs: Sequence[tuple[Record, Record]], *, n_left_out: int = 0) -> Reproduction:
    """Compare records two by two, all but what a clock, a meter or the machine says."""
    columns: dict[str, None] = {}
    found: dict[str, list[ColumnDifference]] = {}
    for before, now in pairs:
        one, other = _claims(before), _claims(now)
        columns |= dict.fromkeys((*one, *other))
        for name in dict.fromkeys((*one, *other)):
            if one.get(name) != other.get(name):
                values = one.get(name), other.get(name)
                words = _trial_words(before["row"])
                found.setdefault(name, []).append(ColumnDifference(name, 1, _relative(*values), words, *values))
    commits = {str(record.get("environment", {}).get("git_commit")) for pair in pairs for record in pair}
    return Reproduction(
        len(pairs), tuple(columns), tuple(map(_merged, found.values())), _changed_conditions(pairs), n_left_out,
        is_uncommitted=any(commit.endswith("-dirty") for commit in commits),
    )  # fmt: skip


def _records_of(results: Path) -> tuple[list[Record], SweepSpec]:
    _, sweep, records = read_results(results)
    if sweep is None:
        raise ValueError(f"{results} is a table, which holds no records of trials; give the results folder of a sweep")
    return records, sweep


def _is_comparable(record: Record) -> bool:
    return record["status"] in COMPARABLE


def _spread_over_cells(records: Iterable[Record]) -> list[Record]:
    """The first seed of every cell, then the second of each, and so on."""
    by_cell: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda one: (one["row"]["seed"], one["trial_id"])):
        by_cell.setdefault(record["row"]["cell"], []).append(record)
    turns = [(turn, record) for cell in by_cell.values() for turn, record in enumerate(cell)]
    return [record for _, record in sorted(turns, key=lambda pair: pair[0])]


def _as_kept(record: Record) -> Record:
    """A record as it would be read from its file: JSON knows lists, no tuples."""
    kept: Record = json.loads(json.dumps(record))
    return kept


def _claims(record: Record) -> dict[str, Any]:
    """What a record says of the trial itself, by column."""
    row: dict[str, Any] = {"status": record["status"]} | {
        name: value
        for name, value in record["row"].items()
        if name not in MACHINE_COLUMNS and not any(word in name for word in CLOCK_WORDS)
    }
    curve = record.get("curve") or []
    for name in dict.fromkeys(name for point in curve for name in point):
        row[f"curve.{name}"] = [point.get(name) for point in curve]
    return row


def _relative(before: Any, now: Any) -> float | None:
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        sizes = [_relative(one, other) for one, other in zip(before, now, strict=True)]
        known = [size for size in sizes if size is not None]
        return max(known) if known else None
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in (before, now)):
        return None
    largest = max(abs(before), abs(now))
    return abs(now - before) / largest if largest and math.isfinite(largest) else 0.0


def _merged(differences: Sequence[ColumnDifference]) -> ColumnDifference:
    first = differences[0]
    sizes = [one.largest for one in differences if one.largest is not None]
    largest = max(sizes) if sizes else None
    return ColumnDifference(
        first.column, len(differences), largest, first.first_trial, *map(_short, (first.before, first.now))
    )


def _short(value: Any) -> Any:
    """Of a curve its last point."""
    return value[-1] if isinstance(value, list) and value else value


def _trial_words(row: Mapping[str, Any]) -> str:
    names = ("dataset", "family", "technique", "width", "depth", "n_train", "seed")
    return " ".join(f"{name}={row[name]}" for name in names if name in row)


def _changed_conditions(pairs: Sequence[tuple[Record, Record]]) -> tuple[str, ...]:
    """Name what may explain a difference: code, versions, processor, threads."""
    found: dict[str, None] = {}
    for before, now in pairs:
        one, other = _conditions(before), _conditions(now)
        for name in sorted({*one, *other}):
            if one.get(name) != other.get(name):
                found[f"{name} was {one.get(name, 'not known')}, now {other.get(name, 'not known')}"] = None
    return tuple(found)


def _conditions(record: Record) -> dict[str, Any]:
    environment = dict(record.get("environment", {}))
    versions = environment.pop("versions", {})
    return {**environment, **versions, "processor": record["row"].get("device")}
