"""A night: run a small sweep, judge it against the kept baseline and the nights before, write what a team reads."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.baseline import digest_of, kept_rows, read_baseline, with_units
from experiments.conditions import (
    Conditions,
    changes,
    kernel_uncertainty,
    make_conditions,
    not_comparable,
    read_conditions,
    save_conditions,
)
from experiments.history import NIGHTS_SUFFIX, PastNight, read_history, results_digest
from experiments.results import read_results
from experiments.wording import part_of
from scaling.guard import Drift, Night, NightSetting, judge_night, measure_drift, pair_trials
from scaling.words import agree, counted

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.sweep import SweepSpec

# The finding that drift is measured on: strict in its cost, and the least noisy error.
DRIFT_COST, DRIFT_ERROR = "train_flops", "test_loss"


@dataclass(frozen=True)
class JudgedNight:
    """A night, its verdict, and what may explain it.

    Attributes:
        name: Of the night: the folder it lies in.
        night: Findings against the baseline.
        drifts: By technique.
        changes: What is not as in the baseline, in words.
        baseline_digest: Which baseline.
        results_digest: Of all results of the night; the same for a night that repeated another to the last bit.
        ended_at: When its last trial ended, UTC.
        git_commit: Of the code that trained.
    """

    name: str
    night: Night
    drifts: dict[str, Drift]
    changes: tuple[str, ...]
    baseline_digest: str
    results_digest: str
    ended_at: str
    git_commit: str | None

    @property
    def regressions(self) -> tuple[str, ...]:
        """What fails the night, drift included; empty if nothing does."""
        slow = tuple(f"{name}: {drift.sentence}" for name, drift in self.drifts.items() if drift.is_loss)
        return (*self.night.regressions, *slow)

    @property
    def exit_code(self) -> int:
        """0: no loss was shown; 1: one was."""
        return 1 if self.regressions else 0

    @property
    def headline(self) -> str:
        """The verdict in one sentence."""
        if self.regressions:
            return f"Learning has become dearer: {counted(len(self.regressions), 'finding')}."
        if not self.night.differing:
            n_pairs = self.night.n_pairs
            trials = "the one trial is that" if n_pairs == 1 else f"all {n_pairs} trials are those"
            return f"Nothing has changed: {trials} of the baseline, to the last bit."
        trials = counted(self.night.n_pairs, "trial")
        return f"No loss was shown over {trials}; the results are not those of the baseline."

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it, and `read_history` reads it."""
        return {
            "version": 1, "name": self.name, "ended_at": self.ended_at, "git_commit": self.git_commit,
            "baseline_digest": self.baseline_digest, "results_digest": self.results_digest,
            "exit_code": self.exit_code, "headline": self.headline, "changes": list(self.changes),
            **self.night.to_dict(), "regressions": list(self.regressions),
            "drifts": {name: drift.to_dict() for name, drift in self.drifts.items()},
            "gains": gains_for_drift(self.night),
        }  # fmt: skip


def run_night(
    sweep: SweepSpec, *, nights_folder: Path, data_folder: Path | None, workers: int | None,
    tracking_uri: str | None, console: Console, quiet: bool, name: str | None = None,
) -> Path:  # fmt: skip
    """Run a sweep from nothing in a folder of its own, with the reference kernel before and after.

    Returns:
        The results folder.

    Raises:
        ValueError: If a trial of the sweep cannot run, or there is a night of that name.
        RuntimeError: If the night was interrupted.
    """
    from experiments.destination import STORE_NAME
    from experiments.reference_kernel import kernel_beside, time_reference_kernel
    from experiments.running import machine_for, run_sweep
    from experiments.training_audit import audit_trials

    machine = machine_for(sweep, data_folder)
    stamp = name or datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    folder = nights_folder / stamp
    if folder.exists():
        raise ValueError(
            f"there is a night {stamp} in {nights_folder} already, and a night begins with nothing; give another "
            f"--name, or judge that one with --results {folder / sweep.name}"
        )
    nights_folder.mkdir(parents=True, exist_ok=True)
    uri = tracking_uri or sweep.tracking.uri or f"sqlite:///{(nights_folder / STORE_NAME).absolute()}"
    before = time_reference_kernel(threads=machine.threads)
    with kernel_beside() as beside:
        finished = run_sweep(
            sweep, results_folder=folder, data_folder=data_folder, workers=workers, address=None,
            tracking_uri=uri, console=console, quiet=quiet,
        )  # fmt: skip
    if finished.outcome.interrupted:
        raise RuntimeError(
            f"stopped after {part_of(finished.outcome.n_recorded, finished.outcome.n_requested, 'trial')}; a night is "
            "run in one piece, so run `ninthpower nightly` again"
        )
    after = time_reference_kernel(threads=machine.threads)
    audit = audit_trials(sweep.trials(), machine)
    n_workers = workers or max(1, int((os.cpu_count() or 1) / max(sweep.resources.cpus, 1)))
    conditions = make_conditions(machine, workers=n_workers, timings=(before, after), audit=audit, beside=beside)
    save_conditions(conditions, finished.folder)
    return finished.folder


def judge(
    results: Path, baseline_path: Path, *, history: Sequence[PastNight] = (), setting: NightSetting | None = None
) -> JudgedNight:
    """Judge the results of a night.

    Raises:
        ValueError: If it cannot be judged: the baseline is missing, damaged or old, the night was cut short, or a trial
            failed. Nothing has been written then.
    """
    base = read_baseline(baseline_path)
    table, sweep, records = read_results(results)
    conditions = read_conditions(results)
    if sweep is not None and sweep.name != base.sweep:
        raise ValueError(f"the night is of the sweep {sweep.name!r}, the baseline {baseline_path} of {base.sweep!r}")
    tonight, kept = pd.DataFrame(kept_rows(with_units(table, records, conditions))), base.runs()
    pairs = pair_trials(in_kernels(kept, base.conditions), in_kernels(tonight, conditions))
    if pairs.missing:
        raise ValueError(
            f"the night was cut short or the sweep is another: {counted(len(pairs.missing), 'trial')} of the "
            f"baseline {agree(len(pairs.missing), 'is', 'are')} not there, the first is {pairs.missing[0]}; run "
            "the night again, or write a new baseline"
        )
    lost = [words for words, status in pairs.unfinished if status != "diverged"]
    if lost:
        raise ValueError(
            f"{counted(len(lost), 'trial')} failed or {agree(len(lost), 'was', 'were')} stopped, so the night is not "
            f"whole; the first is {lost[0]}"
        )
    kernels = [list(_kernel_seconds(side).dropna()) for side in (kept, tonight)]
    not_known = not_comparable(base.conditions, conditions, *kernels)
    night = judge_night(pairs, setting, not_known=not_known, clock_error=kernel_uncertainty(*kernels))
    digest, results_hash = digest_of(baseline_path), results_digest(tonight)
    name = results.absolute().parent.name
    said = (
        *_changed_settings(pairs.differing(["trial_id", "learning_rate", "epochs"])),
        *changes(base.conditions, conditions),
    )
    ended_at = max((str(record["ended_at"]) for record in records), default="")
    before = [past for past in history if past.name != name and past.ended_at < ended_at]
    drifts = _drifts(night, before, digest, results_hash)
    return JudgedNight(name, night, drifts, said, digest, results_hash, ended_at, conditions.git_commit)


def in_kernels(runs: pd.DataFrame, conditions: Conditions) -> pd.DataFrame:
    """Express durations in the kernel beside each trial, latencies in its fastest steps, joules in its joules.

    Unknown stays unknown.
    """
    units = {
        "wall_seconds": _kernel_seconds(runs),
        "inference_seconds": conditions.kernel_step_seconds or float("nan"),
        "energy_joules": conditions.kernel_joules or float("nan"),
    }
    return runs.assign(**{
        name: pd.to_numeric(runs[name]) / unit for name, unit in units.items() if name in runs.columns
    })  # fmt: skip


def _kernel_seconds(runs: pd.DataFrame) -> pd.Series:
    """Of each trial; unknown in a night that timed no kernel."""
    return pd.to_numeric(runs["kernel_seconds"] if "kernel_seconds" in runs else pd.Series(float("nan"), runs.index))


def gains_for_drift(night: Night) -> dict[str, float | None]:
    """The gain of each technique that drift is measured on."""
    return {
        finding.technique: None if finding.gain is None else finding.gain.value
        for finding in night.findings
        if (finding.cost, finding.error) == (DRIFT_COST, DRIFT_ERROR)
    }


def nights_before(nights_folder: Path, tracking_uri: str | None, sweep: str) -> list[PastNight]:
    """Nights judged before, from files, and from MLflow where an address is given; each once."""
    from experiments.history import read_tracked_history

    found = {past.name: past for past in (read_tracked_history(tracking_uri, sweep) if tracking_uri else [])}
    found |= {past.name: past for past in read_history(nights_folder)}
    return sorted(found.values(), key=lambda past: past.ended_at)


def track_night(judged: JudgedNight, sweep: str, folder: Path, nights_folder: Path, tracking_uri: str | None) -> str:
    """Write the night to MLflow, a run per night; return a problem in one sentence, or nothing."""
    from cluster.night_log import log_night
    from experiments.delivering import ARTIFACTS_NAME
    from experiments.destination import STORE_NAME

    root = nights_folder.absolute()
    metrics: dict[str, float | None] = {f"gain/{name}": gain for name, gain in gains_for_drift(judged.night).items()}
    metrics |= {
        f"{finding.cost}/{finding.technique}" + (f"/{finding.error}" if finding.error else ""): finding.gain.value
        for finding in judged.night.findings
        if finding.gain is not None
    }
    params = {
        "ended_at": judged.ended_at, "baseline_digest": judged.baseline_digest, "sweep": sweep,
        "results_digest": judged.results_digest, "git_commit": judged.git_commit or "unknown",
        "exit_code": str(judged.exit_code),
    }  # fmt: skip
    root.mkdir(parents=True, exist_ok=True)
    return log_night(
        tracking_uri or f"sqlite:///{root / STORE_NAME}", f"{sweep}{NIGHTS_SUFFIX}", judged.name, params=params,
        metrics={**metrics, "regressions": float(len(judged.regressions))}, artifacts=[folder],
        description="\n\n".join([judged.headline, *judged.regressions]),
        artifact_root=None if tracking_uri else (root / ARTIFACTS_NAME).as_uri(),
    )  # fmt: skip


def _drifts(night: Night, history: Sequence[PastNight], digest: str, results_hash: str) -> dict[str, Drift]:
    same_baseline = [past for past in history if past.baseline_digest == digest]
    hashes = [*(past.results_digest for past in same_baseline), results_hash]
    return {
        name: measure_drift([*(past.gains.get(name) for past in same_baseline), gain], hashes)
        for name, gain in gains_for_drift(night).items()
    }


def _changed_settings(names: Sequence[str]) -> list[str]:
    words = {"trial_id": "Trials have other settings than in the baseline: the sweep file has changed."}
    return [words.get(name, f"The sweep's {name} is not that of the baseline.") for name in names]
