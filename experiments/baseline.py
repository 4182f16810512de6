"""A baseline: what a night is compared with, one small JSON file in the repository, reviewed like code."""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import ConfigDict, Field, ValidationError

from cluster.records import Record
from experiments.conditions import Conditions, kernel_seconds_beside, read_conditions
from experiments.results import read_results
from experiments.rules import rule_text
from experiments.spec import Strict
from scaling.export import write_json
from scaling.guard import PAIR_KEYS

BASELINE_VERSION = 1


class Replaced(Strict):
    """The baseline that this one took the place of."""

    digest: str = Field(description="first 16 hexadecimal digits of the sha256 of its file")
    git_commit: str | None = Field(None, description="commit whose training it held")


Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Spent = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class KeptTrial(Strict):
    """One trial of the night: settings, results and costs; seconds and joules as measured, null what is not known."""

    dataset: str
    family: str
    technique: str
    width: Count
    depth: Count
    n_train: Count
    seed: Count
    trial_id: str
    status: str
    epochs: Spent | None = None
    learning_rate: Spent | None = None
    n_test: Annotated[int, Field(ge=1)] | None = None
    test_loss: Amount | None = None
    test_error: Amount | None = None
    validation_loss: Amount | None = None
    validation_error: Amount | None = None
    shift_error: Amount | None = None
    train_flops_counted: Spent | None = None
    train_flops: Spent | None = None
    inference_flops: Spent | None = None
    n_params: Count | None = None
    wall_seconds: Spent | None = None
    inference_seconds: Spent | None = None
    energy_joules: Amount | None = None
    energy_source: str | None = None
    kernel_seconds: Spent | None = None


class Baseline(Strict):
    """A whole night, kept."""

    # Merged with the settings of `Strict`; names the published schema as those of fits.json and exports are named.
    model_config = ConfigDict(
        json_schema_extra={
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": "urn:ninthpower:baseline-1",
        }
    )

    version: Literal[1] = Field(description="version of this form")
    sweep: str = Field(description="name of the sweep")
    created_at: str = Field(description="when the night ended, UTC")
    conditions: Conditions = Field(description="machine, versions, reference kernel and audit of that night")
    trials: tuple[KeptTrial, ...] = Field(min_length=1, description="every trial of the night")
    fits: tuple[dict[str, Any], ...] = Field(description="the frontier's fits with their intervals, from fits.json")
    replaces: Replaced | None = Field(None, description="the baseline before, if there was one")

    def runs(self) -> pd.DataFrame:
        """The trials as a table, one row each; without columns of which nothing is known."""
        return pd.DataFrame([trial.model_dump() for trial in self.trials]).dropna(axis=1, how="all")


def make_baseline(results: Path, path: Path) -> Baseline:
    """Read a whole night and write it as a baseline; nothing is written unless all of it is there.

    Args:
        results: Results folder of the sweep.
        path: File to write; an earlier baseline there is replaced, and named in the new one.

    Raises:
        ValueError: If a trial is missing or did not finish, there is no fit, or the night's conditions were not kept.
    """
    table, sweep, records = read_results(results)
    if sweep is None:
        raise ValueError(f"{results} is a table, not the results folder of a sweep; give that folder")
    wanted = len(sweep.trials())
    finished = int((table["status"] == "finished").sum())
    if finished < wanted:
        raise ValueError(f"{results} holds {finished} finished trials of {wanted}; a baseline is a whole night")
    fits = results / "fits.json"
    if not fits.is_file():
        raise ValueError(f"{results} has no fits.json; run ninthpower fit {results} first")
    conditions = read_conditions(results)
    found = Baseline(
        version=BASELINE_VERSION,
        sweep=sweep.name,
        created_at=max(str(record["ended_at"]) for record in records),
        conditions=conditions.model_copy(update={"kernel_beside": ()}),
        trials=tuple(KeptTrial(**row) for row in kept_rows(with_units(table, records, conditions))),
        fits=tuple(json.loads(fits.read_text(encoding="utf-8"))["fits"]),
        replaces=_replaced(path),
    )
    write_json(found.model_dump(mode="json", exclude_none=True), path)
    return found


def read_baseline(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        ValueError: If there is none, it is damaged, or it is of another version; the message says what to do.
    """
    if not path.is_file():
        raise ValueError(f"there is no baseline {path}; run a night and write one with ninthpower baseline RESULTS")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the baseline {path} is damaged ({error}); take it back from version control") from None
    version = content.get("version") if isinstance(content, Mapping) else None
    if version != BASELINE_VERSION:
        raise ValueError(
            f"the baseline {path} is of version {version!r}, this program reads {BASELINE_VERSION}; write it again "
            "with ninthpower baseline RESULTS"
        )
    try:
        return Baseline.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        is_missing = first["type"] == "missing"
        wrong = "is missing" if is_missing else f"is {reprlib.repr(first['input'])}{rule_text(first)}"
        raise ValueError(
            f"the baseline {path} is damaged: {place} {wrong}; take it back from version control"
        ) from None


def with_units(table: pd.DataFrame, records: Sequence[Record], conditions: Conditions) -> pd.DataFrame:
    """Add what the night itself measured beside its trials: FLOP of a step that ran, and the kernel's seconds."""
    beside = kernel_seconds_beside(records, conditions)
    return with_audit(table, conditions).assign(kernel_seconds=lambda rows: rows["trial_id"].map(beside).astype(float))


def with_audit(table: pd.DataFrame, conditions: Conditions) -> pd.DataFrame:
    """Add what was counted on running steps to every trial of its cell, as ``train_flops_counted``."""
    if not conditions.audit:
        return table
    counted = pd.DataFrame([line.model_dump(exclude={"labels_digest"}) for line in conditions.audit])
    counted = counted.rename(columns={"flops_per_step": "train_flops_counted"})
    return table.merge(counted, how="left", on=[key for key in PAIR_KEYS if key != "seed"])


def kept_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a runs table, cut down to what a night is judged by; unknown values are null."""
    names = [name for name in KeptTrial.model_fields if name in table.columns]
    rows = table.sort_values([*PAIR_KEYS], kind="stable")[names].astype(object)
    return [{name: _plain(value) for name, value in row.items()} for row in rows.to_dict(orient="records")]


def digest_of(path: Path) -> str:
    """Name a file by its content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return None
    return value.item() if hasattr(value, "item") else value


def _replaced(path: Path) -> Replaced | None:
    """Name the baseline before; one that cannot be read is named by its bytes alone."""
    if not path.is_file():
        return None
    try:
        commit = read_baseline(path).conditions.git_commit
    except ValueError:
        commit = None
    return Replaced(digest=digest_of(path), git_commit=commit)
