"""The nights before: read from their files or from MLflow."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from scaling.guard import PAIR_KEYS
from scaling.guard.night import RESULTS, STRICT_COSTS

NIGHT_FILE = "night.json"
NIGHTS_SUFFIX = "-nights"


@dataclass(frozen=True)
class PastNight:
    """What drift needs of a night: its gains by technique, of which baseline, and whether it repeats another."""

    name: str
    ended_at: str
    baseline_digest: str
    results_digest: str
    gains: Mapping[str, float | None]


def read_history(folder: Path) -> list[PastNight]:
    """Read the nights that lie below a folder, oldest first; none if there is no folder.

    Raises:
        ValueError: If a night's file is damaged; it is named.
    """
    return sorted((_read(path) for path in folder.glob(f"**/{NIGHT_FILE}")), key=lambda past: past.ended_at)


def read_tracked_history(uri: str, sweep: str) -> list[PastNight]:
    """Read the nights that MLflow keeps.

    Raises:
        ValueError: If the server does not answer.
    """
    from cluster.night_log import read_nights

    found = []
    for params, metrics in read_nights(uri, f"{sweep}{NIGHTS_SUFFIX}"):
        gains = {key.removeprefix("gain/"): value for key, value in metrics.items() if key.startswith("gain/")}
        names = [params.get(name, "") for name in ("night", "ended_at", "baseline_digest", "results_digest")]
        found.append(PastNight(names[0], names[1], names[2], names[3], gains))
    return found


def results_digest(runs: pd.DataFrame) -> str:
    """Name the results of a night by all their digits."""
    names = [name for name in (*PAIR_KEYS, *RESULTS, *STRICT_COSTS) if name in runs.columns]
    rows = runs.sort_values(list(PAIR_KEYS))[names].to_dict(orient="records")
    text = json.dumps([[_text(value) for value in row.values()] for row in rows])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _text(value: object) -> str:
    missing = value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
    return "" if missing else str(value)


def _read(path: Path) -> PastNight:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = [str(content[name]) for name in ("name", "ended_at", "baseline_digest", "results_digest")]
        return PastNight(names[0], names[1], names[2], names[3], dict(content["gains"]))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); move it away and the drift is told without it") from None
