"""The conditions of a night: machine, versions, reference kernel, and what a step really did."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError

from experiments.spec import Strict
from scaling.export import write_json

if TYPE_CHECKING:
    from experiments.reference_kernel import KernelTiming
    from experiments.workbench import Machine

CONDITIONS_FILE = "conditions.json"
# Beyond this ratio of the kernel after the sweep to the kernel before, nothing is said of seconds. Assumed; a shared
# machine drifts by tens of per cent within minutes.
MOST_SPEED_CHANGE = 1.5


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

    @property
    def kernel_seconds(self) -> float | None:
        """The night's unit of time: geometric mean of the timings; none if there is none."""
        seconds = [timing.seconds for timing in self.kernel]
        return math.exp(math.fsum(map(math.log, seconds)) / len(seconds)) if seconds else None

    @property
    def kernel_joules(self) -> float | None:
        """The night's unit of energy: geometric mean; none if a timing has none."""
        joules = [timing.joules for timing in self.kernel]
        known = [value for value in joules if value]
        return math.exp(math.fsum(map(math.log, known)) / len(known)) if known and len(known) == len(joules) else None


def make_conditions(
    machine: Machine, *, workers: int, timings: Sequence[KernelTiming], audit: Sequence[Audited]
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


def not_comparable(base: Conditions, tonight: Conditions) -> dict[str, str]:
    """Name the clock costs that cannot be compared between two nights, each with the reason."""
    seconds = _why_no_seconds(base, tonight)
    found = dict.fromkeys(("wall_seconds", "inference_seconds"), seconds) if seconds else {}
    if seconds:
        found["energy_joules"] = seconds
    elif base.kernel_joules is None or tonight.kernel_joules is None:
        found["energy_joules"] = "the energy of the reference kernel is not known on both nights"
    elif {one.energy_source for one in base.kernel} != {one.energy_source for one in tonight.kernel}:
        found["energy_joules"] = "joules were measured on one night and estimated on the other"
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
            f"The labels that training sees are not those of the baseline, in {relabelled} of {len(both)} cells."
        )
    dearer = [
        line.flops_per_step / old.flops_per_step for line, old in both if line.flops_per_step != old.flops_per_step
    ]
    if dearer:
        found.append(
            f"A training step runs {100 * (min(dearer) - 1):+.3g}% to {100 * (max(dearer) - 1):+.3g}% FLOP against the "
            f"baseline's, in {len(dearer)} of {len(both)} cells."
        )
    return found


def _cell(line: Audited) -> tuple[object, ...]:
    return line.dataset, line.family, line.technique, line.width, line.depth, line.n_train


def _why_no_seconds(base: Conditions, tonight: Conditions) -> str:
    if base.device_class != tonight.device_class:
        return f"the baseline is of another machine ({base.device_class})"
    if not base.kernel or not tonight.kernel:
        return "the reference kernel was not timed on both nights"
    seconds = [timing.seconds for timing in tonight.kernel]
    if max(seconds) / min(seconds) > MOST_SPEED_CHANGE:
        return f"the machine's speed changed by a factor of {max(seconds) / min(seconds):.2g} during the night"
    return ""
