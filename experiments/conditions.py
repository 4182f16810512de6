"""The conditions of a night: machine, versions, reference kernel, and what a step really did."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, ValidationError

from cluster.records import Record
from experiments.spec import Strict
from experiments.wording import part_of
from scaling.export import write_json

if TYPE_CHECKING:
    from experiments.machine import Machine
    from experiments.reference_kernel import KernelSample, KernelTiming

CONDITIONS_FILE = "conditions.json"
# Beyond this ratio between the kernel of one night and of the other, nothing is said of seconds: on a machine that
# does much else, the kernel and a trial are no longer slowed alike. Assumed; see docs/nightly.md for what was seen.
MOST_SPEED_CHANGE = 1.5
# Samples of the kernel that count for a trial: from so many seconds before its start until as many after its end.
WINDOW_SECONDS = 3.0
LEAST_SAMPLES = 3
# Assumed: the load of a night is that of so many stretches which have nothing to do with one another.
STRETCHES = 8


class Kernel(Strict):
    """One timing of the reference kernel."""

    seconds: float = Field(gt=0, description="median of its rounds")
    spread: float = Field(ge=1, description="slowest of the middle half of the rounds over the fastest")
    joules: float | None = Field(None, description="mean of a round; none where there is no meter")
    energy_source: str = Field(description="measured, estimated or unknown")


class Audited(Strict):
    """What a step of one cell did, seen from outside."""

    dataset: str
    family: str
    technique: str
    width: int
    depth: int
    n_train: int
    flops_per_step: float = Field(gt=0, description="counted on steps that ran")
    labels_digest: str = Field(description="hash of the labels of one pass, in the order of training")


class Conditions(Strict):
    """What a night ran on."""

    device_class: str = Field(description="processor, threads per trial and trials side by side")
    versions: dict[str, str] = Field(description="of Python, the platform and the libraries")
    git_commit: str | None = Field(None, description="of the code that trained")
    kernel: tuple[Kernel, ...] = Field(description="the reference kernel before and after the trials")
    audit: tuple[Audited, ...] = Field(description="one line per cell")
    kernel_step_seconds: float | None = Field(
        None, gt=0, description="median of the fastest step of each round beside the trials"
    )
    kernel_beside: tuple[tuple[float, float], ...] = Field(
        (), description="short rounds of the kernel beside the trials: Unix time and seconds; empty in a baseline"
    )

    @property
    def kernel_joules(self) -> float | None:
        """The night's unit of energy: geometric mean; none if a timing has none."""
        joules = [timing.joules for timing in self.kernel]
        known = [value for value in joules if value]
        return math.exp(math.fsum(map(math.log, known)) / len(known)) if known and len(known) == len(joules) else None


def make_conditions(
    machine: Machine,
    *,
    workers: int,
    timings: Sequence[KernelTiming],
    audit: Sequence[Audited],
    beside: Sequence[KernelSample] = (),
) -> Conditions:
    """Put together what a night ran on."""
    from experiments.device import processor_name
    from experiments.trial import environment

    known = environment(machine)
    return Conditions(
        device_class=f"{processor_name()}, {machine.threads} threads, {workers} trials side by side",
        versions=known["versions"],
        git_commit=known["git_commit"],
        kernel=tuple(Kernel(**vars(timing)) for timing in timings),
        audit=tuple(audit),
        kernel_step_seconds=float(np.median([one.step_seconds for one in beside])) if beside else None,
        kernel_beside=tuple((one.at, one.seconds) for one in beside),
    )


def save_conditions(conditions: Conditions, folder: Path) -> Path:
    """Keep the conditions beside the results of their night."""
    return write_json(conditions.model_dump(mode="json"), folder / CONDITIONS_FILE)


def read_conditions(folder: Path) -> Conditions:
    """Read the conditions of a night.

    Raises:
        ValueError: If they were not kept, or are damaged.
    """
    path = folder / CONDITIONS_FILE
    if not path.is_file():
        raise ValueError(f"{folder} has no {CONDITIONS_FILE}, so it is no whole night; run ninthpower nightly")
    try:
        return Conditions.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise ValueError(f"{path} is damaged ({str(error).splitlines()[0]}); run the night again") from None


def kernel_seconds_beside(records: Iterable[Record], conditions: Conditions) -> dict[str, float]:
    """Say for each trial how long a short round of the kernel took while it ran: its own unit of time [s].

    The arithmetic mean, as what else runs delays a trial by the sum of its turns. A trial that ran where too few rounds
    were timed is left out, as is one that did not finish.
    """
    samples = np.array(conditions.kernel_beside).reshape(-1, 2)
    found = {}
    for record in records:
        if record["status"] != "finished":
            continue
        began, ended = (dt.datetime.fromisoformat(str(record[name])).timestamp() for name in ("started_at", "ended_at"))
        near = (samples[:, 0] >= began - WINDOW_SECONDS) & (samples[:, 0] <= ended + WINDOW_SECONDS)
        if near.sum() >= LEAST_SAMPLES:
            found[str(record["trial_id"])] = float(samples[near, 1].mean())
    return found


def kernel_uncertainty(base_kernels: Sequence[float], kernels: Sequence[float]) -> float:
    """How sure the unit of time is: standard error of the log ratio of both nights' kernels.

    Near 0 on a machine that does nothing else; where load comes and goes, the kernel and the trials beside it are not
    slowed exactly alike, the less so the more it varies.

    Args:
        base_kernels, kernels: Seconds of the kernel beside each trial.
    """
    nights = [np.log(np.array(seconds)) for seconds in (base_kernels, kernels)]
    return math.sqrt(sum(float(night.var()) / STRETCHES for night in nights if night.size))


def not_comparable(
    base: Conditions, tonight: Conditions, base_kernels: Sequence[float], kernels: Sequence[float]
) -> dict[str, str]:
    """Name the clock costs that cannot be compared between two nights, each with the reason.

    Args:
        base, tonight: The two nights.
        base_kernels, kernels: Seconds of the kernel beside each trial.
    """
    seconds = _why_no_seconds(base, tonight, base_kernels, kernels)
    found = dict.fromkeys(("wall_seconds", "inference_seconds"), seconds) if seconds else {}
    sources = {one.energy_source for night in (base, tonight) for one in night.kernel}
    if seconds:
        found["energy_joules"] = seconds
    elif base.kernel_joules is None or tonight.kernel_joules is None:
        found["energy_joules"] = "the energy of the reference kernel is not known on both nights"
    elif sources != {"measured"}:
        found["energy_joules"] = "joules were estimated from the processor's rating and time, not measured"
    return found


def changes(base: Conditions, tonight: Conditions) -> list[str]:
    """Say what is not as it was, one sentence each; a name for what the results may have moved by."""
    found = [
        f"{name} is {tonight.versions.get(name, 'absent')}, it was {base.versions.get(name, 'absent')}."
        for name in sorted({*base.versions, *tonight.versions})
        if base.versions.get(name) != tonight.versions.get(name)
    ]
    if base.device_class != tonight.device_class:
        found.append(f"The machine is {tonight.device_class}; it was {base.device_class}.")
    before = {_cell(line): line for line in base.audit}
    both = [(line, before[_cell(line)]) for line in tonight.audit if _cell(line) in before]
    relabelled = sum(line.labels_digest != old.labels_digest for line, old in both)
    if relabelled:
        found.append(
            f"The labels that training sees are not those of the baseline, in {part_of(relabelled, len(both), 'cell')}."
        )
    if len(both) < max(len(base.audit), len(tonight.audit)):
        found.append(
            f"FLOP per training step and labels were counted on both nights in "
            f"{part_of(len(both), max(len(base.audit), len(tonight.audit)), 'cell')} only."
        )
    dearer = [
        line.flops_per_step / old.flops_per_step for line, old in both if line.flops_per_step != old.flops_per_step
    ]
    if dearer:
        found.append(
            f"A training step runs {100 * (min(dearer) - 1):+.3g}% to {100 * (max(dearer) - 1):+.3g}% FLOP against the "
            f"baseline's, in {part_of(len(dearer), len(both), 'cell')}."
        )
    return found


def _cell(line: Audited) -> tuple[object, ...]:
    return line.dataset, line.family, line.technique, line.width, line.depth, line.n_train


def _why_no_seconds(
    base: Conditions, tonight: Conditions, base_kernels: Sequence[float], kernels: Sequence[float]
) -> str:
    if base.device_class != tonight.device_class:
        return f"the baseline is of another machine ({base.device_class})"
    if not base_kernels or not kernels or base.kernel_step_seconds is None or tonight.kernel_step_seconds is None:
        return "the reference kernel was not timed beside the trials on both nights"
    one, other = (math.exp(float(np.log(seconds).mean())) for seconds in (base_kernels, kernels))
    if max(one, other) / min(one, other) > MOST_SPEED_CHANGE:
        return f"the machine was {other / one:.2g} times as slow as in the baseline's night, by the reference kernel"
    return ""
