"""How the runs came to be, and what is needed to make them again."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from cluster.records import Record
from experiments.sweep import FitSpec, SweepSpec
from scaling.columns import label
from scaling.words import counted


def provenance_of(sweep: SweepSpec, records: Sequence[Record]) -> dict[str, str]:
    """Enough to run the sweep again: its file, every option, the code, the machine."""
    content = sweep.model_dump(mode="json", exclude_none=True)
    entries = {
        "command": f"ninthpower sweep {sweep.name}.yaml",
        f"{sweep.name}.yaml": yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100),
        "sweep": sweep.name,
        "sweep id": sweep_id(sweep),
    }
    if not records:
        return entries
    # A trial whose worker died has no environment of its own.
    environments = [record["environment"] for record in records if "environment" in record]
    entries["options of every trial"] = _common_options(records)
    entries["commit"] = _distinct(environment.get("git_commit") for environment in environments)
    entries["host"] = _distinct(environment.get("host") for environment in environments)
    entries["threads per trial"] = _distinct(environment.get("threads") for environment in environments)
    entries["device"] = _distinct(record["row"].get("device") for record in records)
    entries["versions"] = _distinct(
        ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
        for environment in environments
    )
    entries["measured"] = f"{min(r['started_at'] for r in records)} to {max(r['ended_at'] for r in records)}"
    return entries


def sweep_id(sweep: SweepSpec) -> str:
    """Hash of the sweep's trials: equal for sweeps that ask for the same results, whatever they are called."""
    names = "\n".join(sorted(trial.trial_id for trial in sweep.trials()))
    return hashlib.sha256(names.encode()).hexdigest()[:16]


def table_provenance(path: Path) -> dict[str, str]:
    """What is known of a table that came from elsewhere: its name and what it held."""
    file = path if path.is_file() else next(one for one in (path / "runs.parquet", path / "runs.csv") if one.exists())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return {"command": f"ninthpower fit {path.name}", "runs table": file.name, "sha256 of the table": digest}


def fit_provenance(settings: FitSpec) -> dict[str, str]:
    """The options of the fit and the version that made it."""
    options = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=True)
    return {"options of the fit": options, "fitted by": f"ninthpower {metadata.version('ninthpower')}"}


def method(runs: pd.DataFrame, settings: FitSpec, *, ours: bool) -> list[str]:
    """How the numbers were measured, one sentence each.

    Args:
        runs: Runs table.
        settings: Of the fit.
        ours: Whether the trials were run by this program; of a stranger's table only its columns are known.
    """
    sentences = _measured(runs) if ours else ["The table comes from elsewhere: its units and costs are taken on trust."]
    n_cells = runs["cell"].nunique() if "cell" in runs.columns else None
    cells = f" ({counted(n_cells, 'cell')} here)" if n_cells else ""
    sentences.append(
        f"A cell is the trials that differ only by their seed{cells}; the frontier holds the cells, averaged over "
        f"seeds, that no other beats in both {label(settings.cost)} and {label(settings.error)}."
    )
    sentences.append(
        f"Intervals hold {settings.level:.0%}: {settings.resamples:,} refits to cells drawn with replacement, all "
        "seeds of a cell together and the frontier chosen anew each time (bias-corrected and accelerated bootstrap)."
    )
    sentences.append(
        "The exponent k says that compute grows with performance to the power k, performance being 1/error; theory's "
        "floor is 4, and the study this program re-examines found about 9."
    )
    return sentences


def _measured(runs: pd.DataFrame) -> list[str]:
    sizes = sorted(int(size) for size in runs["n_test"].dropna().unique()) if "n_test" in runs.columns else []
    on = f" of {' or '.join(map(str, sizes))} test examples" if sizes else ""
    sentences = [
        f"Test error is the share{on} misclassified, measured once at the end; every choice is made on validation.",
        "Compute counts the operations of forward and backward passes on the real graph, 1 multiply-add = 2 FLOP; "
        "training compute is everything spent to get the model, teachers and searches included.",
    ]
    if "energy_source" in runs.columns:
        counts = Counter(runs["energy_source"].fillna("unknown"))
        words = ", ".join(f"{counts[name]:,} {name}" for name in ("measured", "estimated", "unknown") if counts[name])
        sentences.append(f"Energy of {counted(len(runs), 'trial')}: {words}.")
    if "inference_batch" in runs.columns and runs["inference_batch"].notna().any():
        batches = "/".join(str(int(batch)) for batch in sorted(runs["inference_batch"].dropna().unique()))
        sentences.append(f"Latency is the median over batches of {batches} examples, per example.")
    return sentences


def _common_options(records: Sequence[Record]) -> str:
    """The options that all trials share, as lines; those that vary are columns of the runs table."""
    specs = [_flat(record.get("spec", {})) for record in records]
    shared = {
        name: value
        for name, value in specs[0].items()
        if all(name in spec and spec[name] == value for spec in specs)
    }  # fmt: skip
    return "\n".join(f"{name}: {json.dumps(value)}" for name, value in sorted(shared.items())) + "\n"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _distinct(values: Iterable[Any]) -> str:
    return "; ".join(sorted({str(value) for value in values if value is not None})) or "unknown"
